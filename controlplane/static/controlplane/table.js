// The table behind a chart: made when it is opened, kept up to date while it is.
import { text } from "./page.js";

const EVERY_MS = 2000;

function cell(kind, words) {
  const made = document.createElement(kind);
  made.textContent = words;
  if (kind === "th") made.scope = "col";
  return made;
}

function row(kind, words) {
  const made = document.createElement("tr");
  made.append(...words.map((word) => cell(kind, word)));
  return made;
}

export class Behind {
  constructor(chart, { heads, rows }) {
    this.rows = rows;
    this.drawnAt = 0;
    const next = chart.nextElementSibling;
    // One that the server drew, for those without a script, is taken over.
    this.details = next?.matches("details.ps-behind") ? next : document.createElement("details");
    if (this.details !== next) {
      this.details.className = "ps-behind";
      const summary = document.createElement("summary");
      summary.textContent = text("table");
      const scroll = document.createElement("div");
      scroll.className = "ps-scroll";
      scroll.tabIndex = 0;
      scroll.setAttribute("role", "region");
      scroll.setAttribute("aria-label", chart.getAttribute("aria-label") || text("table"));
      const table = document.createElement("table");
      table.className = "ps-table ps-dense";
      const head = document.createElement("thead");
      head.append(row("th", heads));
      table.append(head, document.createElement("tbody"));
      scroll.append(table);
      this.details.append(summary, scroll);
      chart.after(this.details);
    }
    this.body = this.details.querySelector("tbody");
    this.details.addEventListener("toggle", () => this.refresh(true));
  }

  refresh(now = false) {
    if (!this.details.open || (!now && performance.now() - this.drawnAt < EVERY_MS)) return;
    this.drawnAt = performance.now();
    this.body?.replaceChildren(...this.rows().map((words) => row("td", words)));
  }
}
