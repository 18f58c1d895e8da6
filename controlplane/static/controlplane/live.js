// The entry of every control page: starts what its elements ask for. A page's own modules listen on the bus of `page.js`.
import { has, on, setting } from "./page.js";
import { Transport } from "./transport.js";
import * as banners from "./banners.js";
import * as binding from "./binding.js";
import * as charts from "./charts.js";
import * as keys from "./keys.js";
import * as parts from "./parts.js";
import * as status from "./status.js";

function begin() {
  keys.start();
  if (!has) return;
  const topics = new Set(["frame", ...setting("topics").split(" ").filter(Boolean)]);
  // Marks on charts, parts with topics and alerts live by events.
  if (document.querySelector("[data-topics]:not([data-topics='']), [data-chart]")) topics.add("events");
  const transport = new Transport({ topics: [...topics], after: setting("after") });
  status.start();
  banners.start();
  binding.start();
  parts.start();
  charts.start();
  on("choose", (filters) => transport.choose(filters));
  // What the server drew into the page is not to come again.
  transport.know([...document.querySelectorAll("[data-id]")].map((item) => item.dataset.id));
  transport.start();
}

// By then the page's own modules listen.
document.addEventListener("DOMContentLoaded", begin);
