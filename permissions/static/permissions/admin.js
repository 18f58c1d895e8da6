// Names for the fields that Django's own scripts leave without one, and the keyboard for what Unfold gives to the mouse alone.
"use strict";

(() => {
  const menu = document.currentScript.dataset.menu;
  const text = (element) => (element ? element.textContent.trim().replace(/[:*]+$/, "").trim() : "");

  const nameOf = (select) => {
    const label = document.querySelector(`label[for="${CSS.escape(select.id)}"]`);
    if (text(label)) return text(label);
    // In a table of rows the column's heading says what the field is.
    const cell = select.closest("td");
    const head = cell && cell.closest("table").querySelectorAll("thead th")[cell.cellIndex];
    return select.getAttribute("aria-label") || text(head) || select.name;
  };

  const nameAll = () => {
    for (const select of document.querySelectorAll("select.select2-hidden-accessible")) {
      const box = select.nextElementSibling;
      if (!box) continue;
      const name = nameOf(select);
      for (const part of box.querySelectorAll('[role="combobox"], [role="textbox"]')) {
        if (part.getAttribute("aria-label") !== name) part.setAttribute("aria-label", name);
        // The value is announced as the content; a reference to it would take the place of the name.
        part.removeAttribute("aria-labelledby");
      }
    }
    // Unfold opens its menu and its filters by elements that the keyboard cannot reach.
    for (const opener of document.querySelectorAll("a[x-on\\:click]:not([href]), span[x-on\\:click], div[x-on\\:click]")) {
      if (opener.hasAttribute("tabindex") || opener.closest("a[href], button, select, [role='button']")) continue;
      opener.tabIndex = 0;
      opener.setAttribute("role", "button");
      if (opener.classList.contains("material-symbols-outlined")) opener.setAttribute("aria-label", opener.title || menu);
      opener.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        opener.click();
      });
    }
    const search = document.getElementById("searchbar");
    const button = search && search.form && search.form.querySelector('[type="submit"]');
    if (search && !search.getAttribute("aria-label")) {
      search.setAttribute("aria-label", (button && button.value) || search.placeholder || "Search");
    }
  };

  // Select2 makes its boxes when Django's script has run, and again for each row that is added.
  const start = () => {
    nameAll();
    new MutationObserver(nameAll).observe(document.body, { childList: true, subtree: true });
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
