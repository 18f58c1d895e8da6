// An event as a line of a list: the same as the server draws in `event.html`. Everything that comes is text, never markup.
import { time } from "./format.js";

function part(kind, words, name = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  made.textContent = words;
  return made;
}

function words(value) {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

const epoch = (at) => (typeof at === "number" ? at : Date.parse(at) / 1000);

// `isBrief`: of what it carries only the reason; `more(event)` may give further elements for the end of the line.
export function line(event, { isFresh = true, isBrief = false, link = null, more = null } = {}) {
  const item = document.createElement("li");
  item.id = `e-${event.id}`;
  item.dataset.id = event.id;
  item.dataset.severity = event.severity ?? "info";
  if (isFresh) item.className = "ps-fresh";
  const moment = document.createElement("time");
  const at = epoch(event.at);
  if (Number.isFinite(at)) moment.dateTime = new Date(at * 1000).toISOString();
  if (link) {
    const anchor = part("a", time(at));
    anchor.href = link(event);
    moment.append(anchor);
  } else moment.textContent = time(at);
  const said = part("span", "", "ps-event");
  said.append(part("b", event.name));
  if (event.subject) said.append(" ", part("span", event.subject));
  if (event.permission) said.append(" ", part("code", event.permission));
  if (event.decision) said.append(" ", part("span", event.decision, event.decision === "allow" ? "ps-yes-word" : "ps-no-word"));
  const data = Object.entries(event.data ?? {}).filter(([name]) => !isBrief || name === "reason");
  for (const [name, value] of data) said.append(" ", part("code", `${name}=${words(value)}`));
  if (more) said.append(...more(event));
  item.append(moment, said);
  return item;
}
