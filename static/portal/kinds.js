// Each step of a runbook, and each question of a survey, shows the settings of its kind alone. Without this all of them
// are there, each with its kind's name.
(() => {
  "use strict";
  const rows = (group) => [...group.querySelectorAll("[name*='__']:not([name*='__prefix__'])")];
  const kindOf = (name) => /^\w+-\d+-(\w+?)__/.exec(name)?.[1];
  const show = (group) => {
    const chosen = group.querySelector("[data-cp-kind]")?.value;
    for (const field of rows(group)) {
      const kind = kindOf(field.name);
      if (!kind) continue;
      const line = field.closest(".form-row .field-row, .field-line, [class*='field-']") ?? field.parentElement;
      line.hidden = kind !== chosen;
    }
  };
  const all = () => document.querySelectorAll("[id$='-group'] .form-group:has([data-cp-kind])").forEach(show);
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-cp-kind]")) show(event.target.closest(".form-group"));
  });
  document.addEventListener("formset:added", (event) => {
    // The number of the new one is the next.
    const group = event.target.closest("[id$='-group']");
    if (!group?.querySelector("[data-cp-kind]")) return;
    const numbers = [...group.querySelectorAll("input[name$='-position']")];
    const mine = event.target.querySelector("input[name$='-position']");
    const most = Math.max(0, ...numbers.filter((one) => one !== mine).map((one) => Number(one.value) || 0));
    if (mine) mine.value = most + 1;
    all();
  });
  document.addEventListener("DOMContentLoaded", all);
})();
