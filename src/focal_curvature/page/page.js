"use strict";

// Without this script every row is shown, in the order of the files.
for (const form of document.querySelectorAll("form[data-table]")) {
  const table = document.getElementById(`${form.dataset.table}-table`);
  const count = document.getElementById(`${form.dataset.table}-count`);
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  const choices = [...form.querySelectorAll("select")];
  let order = "";

  const filter = () => {
    let shown = 0;
    for (const row of rows) {
      row.hidden = choices.some(({ name, value }) => value && row.dataset[name] !== value);
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} rows${order}`;
  };

  const sort = (column) => {
    const heading = headings[column];
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    order = `, sorted by ${heading.textContent}, ${descending ? "descending" : "ascending"}`;
    const compare = (a, b) => {
      const [first, second] = [a, b].map((row) => row.cells[column]);
      if (first.dataset.number === undefined) {
        const sign = descending ? -1 : 1;
        return sign * first.textContent.localeCompare(second.textContent, "en", { numeric: true });
      }
      // Rows without the number come last either way.
      const [x, y] = [first, second].map((cell) => cell.dataset.number);
      if (!x || !y) return !x - !y;
      return descending ? y - x : x - y;
    };
    body.append(...rows.sort(compare));
    filter();
  };

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sort(column));
    heading.append(button);
  });
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector("button").addEventListener("click", () => {
    for (const choice of choices) choice.value = "";
    filter();
  });
  form.hidden = false;
  filter();
}

// On paper nothing can be opened.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
