// Renews the parts of a page: on their time, at once when an event of their topics comes; one that cannot be renewed turns grey.
import { ask, isRefusal, on, tell, text } from "./page.js";
import { bind } from "./binding.js";

// Events come in bursts; a part is renewed once for them all.
const GATHER_MS = 150;
const ROUND_MS = 500;
const WAIT_MAX = 32;

const wasTouched = (field) =>
  field.matches("input, textarea, select") &&
  (field === document.activeElement ||
    (field.matches("select")
      ? [...field.options].some((option) => option.selected !== option.defaultSelected)
      : /^(checkbox|radio)$/.test(field.type)
        ? field.checked !== field.defaultChecked
        : field.value !== field.defaultValue));

const callbacks = {
  beforeNodeMorphed(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) return true;
    // What a person typed, what a chart drew, what says of itself that it keeps.
    if (wasTouched(old) || old.hasAttribute("data-keep")) return false;
    return !(old.hasAttribute("data-chart") && old.dataset.chart === fresh.dataset?.chart && old.dataset.window === fresh.dataset?.window);
  },
  beforeNodeRemoved(old) {
    // The table behind a chart is the script's own: the server knows nothing of it.
    return !(old.nodeType === Node.ELEMENT_NODE && old.matches("details.ps-behind"));
  },
  beforeAttributeUpdated(name, element) {
    return !(name === "open" && element.matches("details, dialog"));
  },
};

class Part {
  constructor(element) {
    this.element = element;
    this.every_ms = Number(element.dataset.renew || 0) * 1000;
    this.topics = (element.dataset.topics || "").split(" ").filter(Boolean);
    this.due = performance.now() + this.every_ms;
    this.isBusy = false;
    this.isWanted = false;
    this.waits = 1;
  }

  concerns(events) {
    return this.topics.length > 0 && events.some((event) => this.topics.some((topic) => String(event.name).startsWith(topic)));
  }

  async renew() {
    if (this.isBusy) {
      this.isWanted = true;
      return;
    }
    this.isBusy = true;
    try {
      const address = new URL(location.href);
      address.searchParams.set("part", this.element.dataset.part);
      const answer = await ask(address, "text/html");
      if (isRefusal(answer)) throw new Error("refused");
      if (!answer.ok) throw new Error(String(answer.status));
      this.morph(await answer.text());
      this.old(false);
      this.waits = 1;
    } catch {
      this.old(true);
      this.waits = Math.min(this.waits * 2, WAIT_MAX);
    } finally {
      this.isBusy = false;
      this.due = performance.now() + Math.max(this.every_ms, 1000) * this.waits;
      if (this.isWanted) {
        this.isWanted = false;
        this.renew();
      }
    }
  }

  morph(html) {
    globalThis.Idiomorph.morph(this.element, html, { morphStyle: "innerHTML", ignoreActiveValue: true, callbacks });
    bind(this.element);
    tell("renewed", this.element);
  }

  old(is) {
    if (this.element.classList.contains("ps-old") === is) return;
    this.element.classList.toggle("ps-old", is);
    if (is) this.element.title = text("old");
    else this.element.removeAttribute("title");
  }
}

export function start() {
  const parts = [...document.querySelectorAll("[data-part]")].map((element) => new Part(element));
  if (!parts.length) return;
  let isOver = false;
  let gathered = 0;
  const wanted = new Set();
  on("events", (events) => {
    for (const part of parts) if (part.concerns(events)) wanted.add(part);
    if (!wanted.size || gathered) return;
    gathered = setTimeout(() => {
      gathered = 0;
      if (!isOver && !document.hidden) for (const part of wanted) part.renew();
      wanted.clear();
    }, GATHER_MS);
  });
  on("gap", () => parts.forEach((part) => part.renew()));
  on("state", ({ state }) => {
    if (state === "refused") {
      isOver = true;
      parts.forEach((part) => part.old(true));
    }
  });
  setInterval(() => {
    if (isOver || document.hidden) return;
    for (const part of parts) {
      const isDue = part.every_ms > 0 || part.element.classList.contains("ps-old");
      if (isDue && !part.isBusy && performance.now() >= part.due) part.renew();
    }
  }, ROUND_MS);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !isOver) for (const part of parts) if (part.every_ms > 0) part.renew();
  });
}
