// The overview: its last events, as they come.
import { on } from "./page.js";
import { line } from "./rows.js";

const CALM = 3;
const list = document.getElementById("latest");
const empty = document.getElementById("no-events");

if (list) {
  const most = Number(list.dataset.most) || 20;
  on("events", (events) => {
    for (const event of events) {
      if (event.name === "events.cleared") list.replaceChildren();
      // A busy stream does not flicker.
      list.prepend(line(event, { isBrief: true, isFresh: events.length <= CALM }));
    }
    while (list.childElementCount > most) list.lastElementChild.remove();
    if (empty) empty.hidden = list.childElementCount > 0;
  });
}
