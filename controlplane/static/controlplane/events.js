// The live events: newest first, held back while paused, never more than the page keeps.
import { on, tell } from "./page.js";
import { line } from "./rows.js";

const list = document.getElementById("stream");
const KEPT = 2000;
const CLEARED = "events.cleared";

function fill(words, values) {
  return words.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

class Stream {
  constructor() {
    this.pauseButton = document.getElementById("pause");
    this.count = document.getElementById("shown-count");
    this.empty = document.getElementById("no-events");
    this.filters = JSON.parse(list.dataset.filters || "{}");
    this.held = [];
    this.lost = 0;
    this.isPaused = false;
    this.pauseButton.hidden = false;
    this.pauseButton.addEventListener("click", () => this.pause(!this.isPaused));
    document.addEventListener("keydown", (event) => {
      if (event.key === "p" && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest("input, select, textarea")) {
        this.pause(!this.isPaused);
      }
    });
    on("events", (events) => this.take(events));
    this.draw();
  }

  // The socket chooses as well; what comes by asking may not be chosen.
  isWanted(event) {
    return Object.entries(this.filters).every(([name, wanted]) => {
      const value = String(event[name] ?? "");
      return name === "name" ? value.startsWith(wanted) : value === wanted;
    });
  }

  take(events) {
    for (const event of events) {
      if (event.name === CLEARED) {
        this.held = [];
        list.replaceChildren();
      }
      if (!this.isWanted(event)) continue;
      this.held.push(event);
    }
    if (this.held.length > KEPT) this.lost += this.held.splice(0, this.held.length - KEPT).length;
    if (!this.isPaused) this.release();
    this.draw();
  }

  release() {
    // A busy stream does not flicker.
    const isFresh = this.held.length <= 3;
    const lines = this.held.map((event) => line(event, { isFresh, link: (one) => this.link(one), more: (one) => this.more(one) }));
    list.prepend(...lines.reverse());
    this.held = [];
    this.lost = 0;
    while (list.childElementCount > KEPT) list.lastElementChild.remove();
  }

  pause(is) {
    this.isPaused = is;
    if (!is) this.release();
    this.draw();
  }

  draw() {
    const { pause, resume, shown } = list.dataset;
    const held = this.held.length + this.lost;
    this.pauseButton.textContent = this.isPaused ? fill(resume, { n: held }) : pause;
    this.pauseButton.setAttribute("aria-pressed", String(this.isPaused));
    this.count.textContent = fill(shown, { n: list.childElementCount });
    this.empty.hidden = list.childElementCount > 0;
  }

  link(event) {
    const address = new URL(location.pathname, location.href);
    address.searchParams.set("event", event.id);
    return address.href;
  }

  more(event) {
    const found = [];
    if (event.actor && event.actor !== event.subject) {
      const actor = document.createElement("span");
      actor.className = "ps-muted";
      actor.textContent = fill(list.dataset.by, { actor: event.actor });
      found.push(" ", actor);
    }
    if (list.dataset.simulator && event.subject && event.permission) {
      const address = new URL(list.dataset.simulator, location.href);
      address.searchParams.set("subject", event.subject);
      address.searchParams.set("permission", event.permission);
      if (event.data?.resource) address.searchParams.set("resource", event.data.resource);
      if (event.realm) address.searchParams.set("realm", event.realm);
      const anchor = document.createElement("a");
      anchor.href = address.href;
      anchor.className = "ps-link";
      anchor.textContent = list.dataset.simulate;
      found.push(" ", anchor);
    }
    return found;
  }
}

if (list) {
  const stream = new Stream();
  // Once everybody listens: from now on the socket sends these alone.
  document.addEventListener("DOMContentLoaded", () => queueMicrotask(() => tell("choose", stream.filters)));
}
