// Without it the page shows everything. With it, tables can be sorted, and weights can be looked for.
"use strict";
const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].sort((a, b) => compare(value(a, column), value(b, column)));
      table.tBodies[0].append(...(falling ? rows.reverse() : rows));
    });
  });
}
const search = document.querySelector("#search");
if (search) {
  search.closest("label").hidden = false;
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    for (const block of document.querySelectorAll("details.block")) {
      const rows = [...block.querySelectorAll("tbody tr")];
      rows.forEach((row) => { row.hidden = !row.textContent.toLowerCase().includes(wanted); });
      block.hidden = rows.every((row) => row.hidden);
      if (wanted) block.open = !block.hidden;
    }
  });
}
