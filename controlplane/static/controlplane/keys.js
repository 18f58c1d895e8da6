// The keyboard: `/` goes to the filter, `?` shows the keys, Esc closes; never while somebody types.
const isTyping = (target) => target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;

function filter() {
  return document.querySelector("[data-filter], .ps-page form[method='get'] input:not([type='hidden'])") ?? document.getElementById("searchbar");
}

export function start() {
  const help = document.getElementById("ps-keys");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape" && isTyping(event.target) && event.target.matches("[data-filter]")) {
      event.target.blur();
      return;
    }
    if (isTyping(event.target)) return;
    if (event.key === "/") {
      const field = filter();
      if (!field) return;
      event.preventDefault();
      field.closest("details")?.setAttribute("open", "");
      field.focus();
      field.select?.();
    } else if (event.key === "?" && help) {
      event.preventDefault();
      if (!help.open) help.showModal();
    }
  });
  // A dialog closes by Esc of itself; a click beside it is the same wish.
  help?.addEventListener("click", (event) => {
    if (event.target === help || event.target.closest("[data-close]")) help.close();
  });
  document.querySelector("[data-keys]")?.addEventListener("click", () => help?.showModal());
}
