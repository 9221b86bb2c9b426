"use strict";

/* Verdicts: rows that the filters leave; a link to hidden evidence sets them. */
const filterVerdicts = (() => {
  const form = $("#verdict-filters");
  if (!form) return null;
  const groups = $$(".group");
  const total = $$(".group tbody tr").length;
  const shown = "those that decide";
  const verdict = (row) => $("b", row).className.replace("-", " ");
  const values = {
    source: (group) => [group.dataset.source],
    claim: (group) => [group.dataset.claim],
    hessian: (group) => [group.dataset.hessian],
    model: (group) => $$("tbody tr", group).map((row) => row.cells[1].textContent),
    verdict: (group) => $$("tbody tr", group).map(verdict),
  };
  for (const [key, of] of Object.entries(values)) {
    const found = [...new Set(groups.flatMap(of))];
    const options = ["all", ...(key === "verdict" ? [shown] : []), ...found];
    form[key].append(...options.map((text) => make("option", text)));
  }
  const fits = (key, value) => {
    const chosen = form[key].value;
    if (chosen === shown) return value !== "described";
    return chosen === "all" || chosen === value;
  };
  const filter = () => {
    let rows = 0;
    for (const group of groups) {
      const inside = ["source", "claim", "hessian"].every((key) => fits(key, group.dataset[key]));
      let left = 0;
      for (const row of $$("tbody tr", group)) {
        row.hidden = !(fits("model", row.cells[1].textContent) && fits("verdict", verdict(row)));
        left += !row.hidden;
      }
      group.hidden = !(inside && left);
      if (!group.hidden) rows += left;
    }
    $("#verdict-count").textContent = `${rows} of ${total} rows`;
  };
  const set = (chosen) => {
    for (const key of Object.keys(values)) form[key].value = chosen[key] ?? "all";
    filter();
  };
  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  $("button", form).addEventListener("click", () => set({}));
  form.hidden = false;
  set({ source: groups[0].dataset.source, verdict: shown });
  return set;
})();

const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.matches(".group")) filterVerdicts({ claim: target.dataset.claim, source: target.dataset.source, hessian: target.dataset.hessian });
  if (target.matches("details")) target.open = true;
  if (target.tabIndex === -1) target.focus({ preventScroll: true });
  target.scrollIntoView();
};
reveal();
document.addEventListener("drawn", reveal); // what is drawn moves what is below
addEventListener("hashchange", reveal);
// A second click on the same link changes no hash.
addEventListener("click", ({ target }) => {
  const link = target.closest?.("a[href^='#']");
  if (link && link.hash === location.hash) reveal();
});
