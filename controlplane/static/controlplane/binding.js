// Writes figures into `data-live` elements, and marks with `data-state` those past the bound they name.
import { on } from "./page.js";
import { show } from "./format.js";

let latest = null;

function level(element, value) {
  if (typeof value !== "number") return "";
  const { badAbove, warnAbove, badBelow, warnBelow } = element.dataset;
  if ((badAbove !== undefined && value > Number(badAbove)) || (badBelow !== undefined && value < Number(badBelow))) return "bad";
  if ((warnAbove !== undefined && value > Number(warnAbove)) || (warnBelow !== undefined && value < Number(warnBelow))) return "warn";
  return "ok";
}

function write(element, frame) {
  const value = frame[element.dataset.live];
  const shown = show(value, element.dataset.format);
  // Only what changed: a screen reader's place and a selection stay where they are.
  if (element.textContent !== shown) element.textContent = shown;
  const bounds = "badAbove" in element.dataset || "warnAbove" in element.dataset || "badBelow" in element.dataset || "warnBelow" in element.dataset;
  if (!bounds) return;
  const box = element.closest(".ps-tile, .ps-figure") ?? element;
  const state = level(element, value);
  if (box.dataset.state !== state) box.dataset.state = state;
}

function meter(element, frame) {
  const value = frame[element.dataset.liveValue];
  if (typeof value === "number") element.value = value;
  else element.removeAttribute("value");
}

// Below `root`: after a part was renewed what the server wrote into it is up to a second older.
export function bind(root = document) {
  if (latest === null) return;
  for (const element of root.querySelectorAll("[data-live]")) write(element, latest);
  // Help for an empty system goes with the first figure of its name.
  for (const element of root.querySelectorAll("[data-empty-while]")) element.hidden ||= latest[element.dataset.emptyWhile] > 0;
  for (const element of root.querySelectorAll("progress[data-live-value], meter[data-live-value]")) meter(element, latest);
}

export function start() {
  on("frame", (frame) => {
    latest = frame;
    bind();
  });
  on("snapshot", (found) => {
    if (latest === null && found.frame) {
      latest = found.frame;
      bind();
    }
  });
}
