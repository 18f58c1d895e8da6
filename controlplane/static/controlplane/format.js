// Numbers as people read them, in the language of the page. null is unknown and shows as a dash, never as a zero.
const language = document.documentElement.lang || "en";
const makers = new Map();

function number(value, options) {
  const key = JSON.stringify(options);
  if (!makers.has(key)) makers.set(key, new Intl.NumberFormat(language, options));
  return makers.get(key).format(value);
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];
// More digits the smaller a number is: 0.42, 4.2, 42, 4,200.
const short = (value) => number(value, { maximumFractionDigits: Math.abs(value) < 1 ? 2 : Math.abs(value) < 100 ? 1 : 0 });

function bytes(value) {
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < BYTES.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${short(value)} ${BYTES[unit]}`;
}

function seconds(value) {
  if (Math.abs(value) < 1) return `${short(value * 1000)} ms`;
  if (Math.abs(value) < 120) return `${short(value)} s`;
  if (Math.abs(value) < 7200) return `${short(value / 60)} min`;
  return value < 172800 ? `${short(value / 3600)} h` : `${short(value / 86400)} d`;
}

const FORMATS = {
  rate: (value) => `${short(value)}/s`,
  percent: (value) => number(value, { style: "percent", maximumFractionDigits: Math.abs(value) < 0.1 || value > 0.99 ? 1 : 0 }),
  ms: (value) => `${short(value)} ms`,
  seconds,
  count: (value) => number(value, { maximumFractionDigits: 0 }),
  bytes,
  mb: (value) => bytes(value * 1048576),
  text: (value) => String(value),
};

export const UNKNOWN = "–";

export function show(value, format) {
  if (value === null || value === undefined || value === "") return UNKNOWN;
  if (typeof value === "boolean") value = value ? 1 : 0;
  if (format === "text" || typeof value !== "number") return String(value);
  return Number.isFinite(value) ? (FORMATS[format] ?? FORMATS.count)(value) : UNKNOWN;
}

const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, timeZone: "UTC" });

// Epoch seconds, shown in UTC as everywhere on the site.
export function time(epoch) {
  return epoch === null || epoch === undefined ? UNKNOWN : clock.format(new Date(epoch * 1000));
}
