// Brings frames and events to the page: by socket, and while that cannot be had by asking; knows when what it brought is old.
import { ask, isRefusal, setting, tell } from "./page.js";

const MIN_DELAY_S = 0.5;
const MAX_DELAY_S = 15;
const FAILURES_BEFORE_ASKING = 3;
const ASK_EVERY_S = 5;
const STALE_AFTER_S = 3;
// A cut cable closes no socket: after so long without a word the server is asked for one, and given up if none comes.
const SILENT_S = 10;
const ANSWER_S = 5;
const CONNECT_S = 10;
const SEEN = 4000;
const RESTART = 1012;
const MAINTENANCE = 1013;
// Our own codes say that the right or the session is gone: to come back would be refused again.
const isRight = (code) => code === 4401 || code === 4403;

const now = () => performance.now() / 1000;

// States: connecting, live, stale (connected, but no frame for 3 s), asking (no socket), lost (neither), refused.
export class Transport {
  constructor({ topics, filters = {}, after = "" }) {
    this.topics = topics;
    this.filters = filters;
    this.last = after;
    this.state = "";
    this.failures = 0;
    this.attempts = 0;
    this.frameAt = -Infinity;
    this.heardAt = -Infinity;
    this.pingedAt = 0;
    this.openedAt = 0;
    this.seq = "";
    this.seen = new Set();
    this.order = [];
    this.socket = null;
    this.retry = 0;
    this.asking = 0;
    this.answered = false;
  }

  start() {
    document.addEventListener("visibilitychange", () => this.visibility());
    addEventListener("online", () => this.again(0));
    // The browser knows that the cable is out; the socket would find out minutes later.
    addEventListener("offline", () => this.socket?.close());
    addEventListener("pagehide", () => this.drop());
    addEventListener("pageshow", (event) => event.persisted && this.again(0));
    this.timer = setInterval(() => this.look(), 500);
    this.connect();
  }

  set(state, detail = {}) {
    if (this.state === "refused") return;
    const same = this.state === state;
    this.state = state;
    if (!same) tell("state", { state, ...detail });
  }

  connect() {
    clearTimeout(this.retry);
    if (this.state === "refused" || this.socket !== null) return;
    const address = new URL(setting("socket"), location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    let socket;
    try {
      socket = new WebSocket(address);
    } catch {
      this.closed(1006);
      return;
    }
    this.socket = socket;
    this.openedAt = now();
    if (this.state === "") this.set("connecting");
    socket.addEventListener("open", () => {
      this.heardAt = now();
      this.subscribe();
    });
    socket.addEventListener("message", (message) => this.receive(socket, message.data));
    socket.addEventListener("close", (event) => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.closed(event.code);
    });
  }

  subscribe() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const wanted = document.hidden ? [] : this.topics;
    this.send({ type: "subscribe", topics: wanted, filters: this.filters, ...(this.last && wanted.length ? { after: this.last } : {}) });
  }

  send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  // Another choice of events: from now on, nothing is sent twice.
  choose(filters) {
    this.filters = filters;
    this.subscribe();
  }

  receive(socket, data) {
    if (this.socket !== socket) return;
    this.heardAt = now();
    this.pingedAt = 0;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message.type === "hello") {
      this.failures = 0;
      this.stopAsking();
      tell("hello", message);
    } else this.deliver(message);
  }

  deliver(message) {
    switch (message.type) {
      case "frame":
        this.frame(message.frame);
        break;
      case "events":
        this.events(message.events ?? [], message.last);
        break;
      case "nodes":
        tell("nodes", message.nodes ?? []);
        break;
      case "notice":
        tell("notice", message.notice ?? {});
        break;
      case "gap":
        if (message.last) this.last = message.last;
        tell("gap", { dropped: message.dropped ?? null });
        break;
      case "bye":
        this.bye = message;
        break;
      default: // a later server may say more
    }
  }

  frame(frame) {
    // The same frame again, from a store that nobody writes to any more, is no sign of life.
    const seq = frame ? `${frame.seq}@${frame.at}` : "";
    if (!frame || seq === this.seq) return;
    this.seq = seq;
    this.frameAt = now();
    if (this.socket !== null && !this.asking) {
      this.attempts = 0;
      this.set("live");
    }
    tell("frame", frame);
  }

  events(found, last) {
    const fresh = found.filter((event) => !this.seen.has(event.id));
    for (const event of fresh) {
      this.seen.add(event.id);
      this.order.push(event.id);
    }
    while (this.order.length > SEEN) this.seen.delete(this.order.shift());
    // As they came: what another store held meanwhile may have smaller ids.
    const newest = last || found.at(-1)?.id;
    if (newest) this.last = newest;
    if (fresh.length) tell("events", fresh);
  }

  // What the server drew into the page is known already.
  know(ids) {
    for (const id of ids) {
      this.seen.add(id);
      this.order.push(id);
    }
  }

  closed(code) {
    const bye = this.bye;
    this.bye = null;
    if (isRight(code)) {
      this.refuse();
      return;
    }
    if (code === RESTART || code === MAINTENANCE) this.attempts = 0;
    else this.failures += 1;
    tell("closed", { code, reason: bye?.reason ?? "" });
    if (document.hidden) return; // it comes back when somebody looks
    if (this.failures >= FAILURES_BEFORE_ASKING) this.startAsking();
    this.again(this.delay(bye?.retry_after));
  }

  // Full jitter: after a restart of the server not everybody comes at once.
  delay(retryAfter) {
    const most = Math.min(MAX_DELAY_S, MIN_DELAY_S * 2 ** this.attempts);
    this.attempts += 1;
    const wait = Math.random() * most;
    return Number.isFinite(retryAfter) && retryAfter > 0 ? Math.min(retryAfter, 60) + wait : wait;
  }

  again(delay_s) {
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), delay_s * 1000);
  }

  drop() {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.retry);
    socket?.close(1000);
  }

  refuse() {
    this.drop();
    this.stopAsking();
    clearInterval(this.timer);
    this.set("refused");
  }

  visibility() {
    if (this.state === "refused") return;
    if (document.hidden) {
      this.stopAsking();
      this.subscribe();
      return;
    }
    this.heardAt = now();
    if (this.socket !== null) this.subscribe();
    else this.again(0);
    this.look();
  }

  // Twice a second: is what is shown still true, is the socket still one?
  look() {
    if (document.hidden) return;
    const at = now();
    const age = at - this.frameAt;
    if (this.socket?.readyState === WebSocket.CONNECTING && at - this.openedAt > CONNECT_S) this.socket.close();
    if (this.socket?.readyState === WebSocket.OPEN) {
      if (this.pingedAt && at - this.pingedAt > ANSWER_S) {
        const dead = this.socket;
        this.socket = null; // its close event may take minutes
        dead.close();
        this.pingedAt = 0;
        this.closed(1006);
      } else if (!this.pingedAt && at - this.heardAt > SILENT_S) {
        this.pingedAt = at;
        this.send({ type: "ping" });
      }
    }
    const isOpen = this.socket?.readyState === WebSocket.OPEN;
    const isBeginning = this.state === "connecting" && at - this.openedAt <= STALE_AFTER_S;
    if (this.asking) this.set(age > ASK_EVERY_S + STALE_AFTER_S || !this.answered ? "lost" : "asking");
    else if (age > STALE_AFTER_S && !isBeginning) this.set(isOpen ? "stale" : "lost");
    tell("age", Number.isFinite(age) ? age : null);
  }

  startAsking() {
    if (this.asking || this.state === "refused") return;
    this.answered = false;
    const round = async () => {
      await this.round();
      if (this.asking) this.asking = setTimeout(round, ASK_EVERY_S * 1000);
    };
    this.asking = setTimeout(round, 0);
  }

  stopAsking() {
    clearTimeout(this.asking);
    this.asking = 0;
  }

  async round() {
    try {
      const answer = await ask(setting("snapshot"), "application/json");
      if (isRefusal(answer)) {
        this.refuse();
        return;
      }
      this.answered = answer.ok;
      if (!answer.ok) return;
      const found = await answer.json();
      if (!this.asking) return;
      if (found.frame && found.frame_age_s !== null && found.frame_age_s <= STALE_AFTER_S) this.frame(found.frame);
      if (found.nodes && this.topics.includes("nodes")) tell("nodes", found.nodes);
      tell("snapshot", found);
      if (this.topics.includes("events")) await this.askEvents();
    } catch {
      this.answered = false;
    }
  }

  async askEvents() {
    const address = new URL(setting("events"), location.href);
    if (this.last) address.searchParams.set("after", this.last);
    for (const [name, value] of Object.entries(this.filters)) if (value) address.searchParams.set(name === "name" ? "type" : name, value);
    const answer = await ask(address, "application/json");
    if (!answer.ok || !this.asking) return;
    const found = await answer.json();
    if (found.gap) tell("gap", { dropped: found.dropped ?? null });
    this.events(found.events ?? [], found.last);
  }
}
