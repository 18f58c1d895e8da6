// What the server says to the script: one element of the page carries addresses and every text for people.
const root = document.getElementById("ps-live");

export const has = root !== null;

export function setting(name, otherwise = "") {
  return root?.dataset[name] ?? otherwise;
}

// A text with its numbers put in: {n} in the page's words.
export function text(name, values = {}) {
  return setting(`text${name[0].toUpperCase()}${name.slice(1)}`).replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

// What everything on the page listens to: `frame`, `events`, `nodes`, `notice`, `gap`, `state`.
export const bus = new EventTarget();

export function tell(kind, detail) {
  bus.dispatchEvent(new CustomEvent(kind, { detail }));
}

export function on(kind, act) {
  bus.addEventListener(kind, (event) => act(event.detail));
}

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// A request of ours: with the session, answered as JSON or as a part; a redirect is the login page, so the right is gone.
export async function ask(url, accept, { signal, ...more } = {}) {
  return fetch(url, {
    credentials: "same-origin",
    cache: "no-store",
    redirect: "manual",
    headers: { Accept: accept, ...(more.headers ?? {}) },
    signal: signal ?? AbortSignal.timeout(8000),
  });
}

export const isRefusal = (answer) => answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403;
