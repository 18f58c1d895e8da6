// Raises and lowers the banners above the page as the frames say; the server drew them all.
import { on } from "./page.js";

const NO_LEADER_S = 15;

function set(name, isUp) {
  const banner = document.querySelector(`[data-banner="${name}"]`);
  if (banner && banner.hidden === isUp) banner.hidden = !isUp;
}

// Unknown is not away.
const isAway = (value) => value === false || value === 0;

export function start() {
  let state = "";
  on("state", (change) => {
    state = change.state;
  });
  on("frame", (frame) => {
    set("leader", false);
    set("store", isAway(frame.storage_up));
    set("database", isAway(frame.database_up));
    if (frame.maintenance) set("maintenance", frame.maintenance !== "off");
  });
  // Connected, and still no frame: it is not the way here that is broken.
  on("age", (age) => {
    if (state === "stale" && age !== null && age > NO_LEADER_S) set("leader", true);
  });
}
