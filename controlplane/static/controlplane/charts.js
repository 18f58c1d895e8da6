// Draws `data-chart` elements with uPlot from history and frames, in the colours of the theme, with a table behind each.
import { ask, on, setting, text } from "./page.js";
import { show, time } from "./format.js";
import { Behind } from "./table.js";

const HEIGHT = 190;
// Seconds that a window shows and how many of them lie between two points; long ones are asked for again now and then.
const WINDOWS = { live: [120, 1], "15m": [900, 1], "1h": [3600, 60], "24h": [86400, 60], "30d": [2592000, 3600], "1y": [31622400, 86400] };
const MARKED = new Set(["warning", "critical"]);
const MAX_MARKS = 200;

const histories = new Map();
const charts = [];
const marks = [];

// One request a window, whoever draws it.
function history(name) {
  if (!histories.has(name)) {
    const address = new URL(setting("history"), location.href);
    address.searchParams.set("window", name);
    const asked = ask(address, "application/json")
      .then(async (answer) => {
        if (!answer.ok) return null;
        const { at, figures } = await answer.json();
        return { ...figures, at };
      })
      .catch(() => null);
    histories.set(name, asked);
    asked.finally(() => histories.delete(name));
  }
  return histories.get(name);
}

const colour = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();

class Chart {
  constructor(element) {
    this.element = element;
    this.names = element.dataset.chart.split(" ").filter(Boolean);
    this.labels = (element.dataset.labels || "").split("|");
    this.format = element.dataset.format || "count";
    this.window = element.dataset.window in WINDOWS ? element.dataset.window : "live";
    [this.span_s, this.step_s] = WINDOWS[this.window];
    this.at = [];
    this.series = this.names.map(() => []);
    this.plot = null;
    this.behind = new Behind(element, {
      heads: [text("time"), ...this.names.map((_, index) => this.label(index))],
      rows: () => this.rows(),
    });
    this.watch = new ResizeObserver(() => this.resize());
    this.watch.observe(element);
    this.draw();
    this.load();
  }

  label(index) {
    return this.labels[index] || this.names[index];
  }

  async load() {
    const found = await history(this.window);
    if (found?.at) this.take(found);
    this.loadedAt = performance.now();
  }

  // What history has, then what frames brought meanwhile.
  take(found) {
    const from = found.at.length ? found.at.at(-1) : -Infinity;
    const rest = this.at.findIndex((at) => at > from);
    const later = rest < 0 ? this.at.length : rest;
    this.series = this.names.map((name, index) => [...(found[name] ?? found.at.map(() => null)), ...this.series[index].slice(later)]);
    this.at = [...found.at, ...this.at.slice(later)];
    this.cut();
    this.show();
  }

  frame(frame) {
    if (this.step_s > 1) {
      if (performance.now() - (this.loadedAt ?? -Infinity) > this.step_s * 1000) {
        this.loadedAt = performance.now();
        this.load();
      }
      return;
    }
    const last = this.at.at(-1) ?? -Infinity;
    if (frame.at <= last) return;
    // A break in the frames is a break in the line.
    if (frame.at - last > 3 * this.step_s && Number.isFinite(last)) this.push(last + this.step_s, null);
    this.push(frame.at, frame);
    this.cut();
    this.show();
  }

  push(at, frame) {
    this.at.push(at);
    this.names.forEach((name, index) => this.series[index].push(frame?.[name] ?? null));
  }

  cut() {
    const first = (this.at.at(-1) ?? 0) - this.span_s;
    let drop = 0;
    while (drop < this.at.length && this.at[drop] < first) drop += 1;
    if (!drop) return;
    this.at.splice(0, drop);
    this.series.forEach((values) => values.splice(0, drop));
  }

  rows() {
    const rows = [];
    // From the newest on, at most sixty of them, evenly over what is shown.
    const step = Math.max(1, Math.ceil(this.at.length / 60));
    for (let index = this.at.length - 1; index >= 0; index -= step) {
      rows.push([time(this.at[index]), ...this.series.map((values) => show(values[index], this.format))]);
    }
    return rows;
  }

  data() {
    return [this.at, ...this.series];
  }

  show() {
    const isEmpty = this.series.every((values) => values.every((value) => value === null));
    this.element.classList.toggle("ps-chart-empty", isEmpty);
    if (isEmpty) this.element.dataset.empty = text("noData");
    if (document.hidden) return;
    const end = this.at.at(-1) ?? Date.now() / 1000;
    this.plot?.batch(() => {
      this.plot.setData(this.data(), false);
      this.plot.setScale("x", { min: end - this.span_s, max: end });
    });
    // Nobody points at a moment: the legend tells the newest figures.
    if (this.plot && this.plot.cursor.idx == null && this.at.length) this.plot.setLegend({ idx: this.at.length - 1 }, false);
    this.behind.refresh();
  }

  draw() {
    this.plot?.destroy();
    const line = colour(this.element, "--ps-line");
    const muted = colour(this.element, "--ps-muted");
    const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    const format = this.format;
    const value = (_, found) => show(found, format);
    this.plot = new globalThis.uPlot(
      {
        width: this.width(),
        height: HEIGHT,
        tzDate: (at) => globalThis.uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
        cursor: { y: false, points: { size: 6 }, sync: { key: "ps", setSeries: false } },
        legend: { live: true },
        padding: [8, 8, 0, 0],
        scales: {
          x: { time: true },
          y: { range: (_, min, max) => this.range(min, max) },
        },
        axes: [
          { ...axis, size: 28, space: 70, values: (_, splits) => splits.map((at) => this.tick(at)) },
          { ...axis, size: 62, space: 32, values: (_, splits) => splits.map((found) => show(found, format)) },
        ],
        series: [
          { label: text("time"), value: (_, at) => time(at) },
          ...this.names.map((_, index) => ({
            label: this.label(index),
            stroke: colour(this.element, `--ps-c${(index % 6) + 1}`),
            // Not by colour alone: the second and third line are dashed.
            dash: [undefined, [6, 3], [2, 3], [10, 3, 2, 3]][index % 4],
            fill: index === 0 && this.names.length < 3 ? colour(this.element, "--ps-c1-fill") : undefined,
            width: 1.5,
            points: { show: false },
            value,
          })),
        ],
        hooks: { draw: [(plot) => this.marks(plot)] },
      },
      this.data(),
      this.element,
    );
    const canvas = this.element.querySelector("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", this.element.getAttribute("aria-label") || this.names.map((_, index) => this.label(index)).join(", "));
    this.show();
  }

  range(min, max) {
    if (format01(this.format)) return [0, 1];
    const top = max === null || max <= 0 ? 1 : max * 1.1;
    return [Math.min(0, min ?? 0), top];
  }

  tick(at) {
    const shown = time(at);
    if (this.span_s > 172800) return new Date(at * 1000).toISOString().slice(5, 10);
    return this.span_s > 900 ? shown.slice(0, 5) : shown;
  }

  marks(plot) {
    const { ctx, bbox } = plot;
    const { min, max } = plot.scales.x;
    ctx.save();
    ctx.lineWidth = Math.max(1, devicePixelRatio);
    for (const mark of marks) {
      if (mark.at < min || mark.at > max) continue;
      const x = Math.round(plot.valToPos(mark.at, "x", true));
      ctx.strokeStyle = ctx.fillStyle = colour(this.element, mark.severity === "critical" ? "--ps-no" : "--ps-warn");
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.beginPath();
      const size = 4 * devicePixelRatio;
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + 1.5 * size);
      ctx.fill();
    }
    ctx.restore();
  }

  width() {
    return Math.max(120, Math.floor(this.element.clientWidth));
  }

  resize() {
    if (this.plot && this.plot.width !== this.width()) this.plot.setSize({ width: this.width(), height: HEIGHT });
  }

  gone() {
    this.watch.disconnect();
    this.plot?.destroy();
  }
}

const format01 = (format) => format === "percent";

function mount(root) {
  for (const element of root.querySelectorAll("[data-chart]")) {
    if (!charts.some((chart) => chart.element === element)) charts.push(new Chart(element));
  }
  for (let index = charts.length - 1; index >= 0; index -= 1) {
    if (!charts[index].element.isConnected) charts.splice(index, 1)[0].gone();
  }
}

// Warnings and worse stand as marks in every chart.
function mark(events) {
  let isNew = false;
  for (const event of events) {
    if (!MARKED.has(event.severity)) continue;
    const at = typeof event.at === "number" ? event.at : Date.parse(event.at) / 1000;
    if (!Number.isFinite(at)) continue;
    marks.push({ at, severity: event.severity, name: event.name });
    isNew = true;
  }
  marks.splice(0, Math.max(0, marks.length - MAX_MARKS));
  if (isNew) charts.forEach((chart) => chart.plot?.redraw(false));
}

export function start() {
  if (!globalThis.uPlot || !document.querySelector("[data-chart], [data-part]")) return;
  mount(document);
  on("frame", (frame) => charts.forEach((chart) => chart.frame(frame)));
  on("events", mark);
  on("renewed", mount);
  on("state", ({ state }) => state === "live" && charts.forEach((chart) => chart.at.length || chart.load()));
  // What the time of silence brought is in the history.
  on("gap", () => charts.forEach((chart) => chart.load()));
  on("hello", () => charts.forEach((chart) => chart.load()));
  const redraw = () => requestAnimationFrame(() => charts.forEach((chart) => chart.draw()));
  new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["class", "data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.addEventListener("visibilitychange", () => document.hidden || charts.forEach((chart) => chart.show()));
}
