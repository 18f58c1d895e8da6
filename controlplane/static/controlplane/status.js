// Says how fresh the page is, turns old figures grey, and reads notices and alerts out.
import { on, tell, text } from "./page.js";
import { time } from "./format.js";

const badge = document.getElementById("ps-status");
const notices = document.getElementById("ps-notices");
const root = document.body;

const LEVELS = { connecting: "info", live: "ok", stale: "bad", asking: "warn", lost: "bad", refused: "bad" };

let state = "";
let age = null;

function draw() {
  if (!badge || !state) return;
  badge.dataset.state = LEVELS[state] ?? "info";
  const seconds = age === null ? "" : String(Math.round(age));
  const name = age === null && (state === "stale" || state === "lost") ? `${state}Never` : state;
  const said = text(name, { s: seconds });
  const label = badge.querySelector("[data-label]");
  if (label.textContent !== said) label.textContent = said;
}

export function say(level, words, { id = "" } = {}) {
  if (!notices || !words) return;
  const known = id && notices.querySelector(`[data-notice="${CSS.escape(id)}"]`);
  if (known) known.remove();
  const line = document.createElement("p");
  line.className = "ps-notice";
  line.dataset.state = level;
  if (id) line.dataset.notice = id;
  line.textContent = words;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "ps-close";
  close.setAttribute("aria-label", text("close"));
  close.textContent = "×";
  close.addEventListener("click", () => line.remove());
  line.append(close);
  notices.append(line);
  while (notices.childElementCount > 5) notices.firstElementChild.remove();
}

function unsay(id) {
  notices?.querySelector(`[data-notice="${CSS.escape(id)}"]`)?.remove();
}

export function start() {
  on("state", (change) => {
    state = change.state;
    const isOld = state === "stale" || state === "lost" || state === "refused";
    root.classList.toggle("ps-stale", isOld);
    root.dataset.connection = state;
    if (state === "refused") say("bad", text("refusedLong"), { id: "refused" });
    draw();
  });
  on("age", (value) => {
    age = value;
    draw();
  });
  on("closed", ({ code }) => {
    if (code === 1012) say("info", text("restarting"), { id: "server" });
    else if (code === 1013) say("warn", text("maintenance"), { id: "server" });
  });
  on("hello", () => unsay("server"));
  on("notice", (notice) => {
    if (notice.kind !== "maintenance") return;
    const until = notice.until ? text("until", { until: time(Date.parse(notice.until) / 1000 || Number(notice.until)) }) : "";
    const mode = { off: "maintenanceOff", read_only: "maintenanceReadOnly", full: "maintenanceFull" }[notice.mode];
    if (mode) say(notice.mode === "off" ? "ok" : "warn", [text(mode), notice.reason, until].filter(Boolean).join(" "), { id: "maintenance" });
  });
  on("gap", ({ dropped }) => say("warn", dropped ? text("dropped", { n: dropped }) : text("gap"), { id: "gap" }));
  on("events", (events) => {
    for (const event of events) {
      if (event.severity !== "critical" || !String(event.name).startsWith("alert.")) continue;
      const what = event.data?.rule ?? event.data?.name ?? event.subject ?? "";
      say("bad", `${event.name} ${what}`.trim(), { id: `alert ${what}` });
    }
  });
  tell("age", null);
}
