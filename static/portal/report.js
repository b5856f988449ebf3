// Dates and the list of periods say the same thing: whichever was touched last is meant.
document.addEventListener("change", (event) => {
  const form = event.target.closest(".cp-report-form");
  if (!form) return;
  const { period, first, last } = form.elements;
  if (event.target === first || event.target === last) period.value = "custom";
  if (event.target === period && period.value !== "custom") first.value = last.value = "";
});

// Printing, which is also how a report becomes a PDF: what is folded away is shown, as far as it belongs on paper.
for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
const folded = () => document.querySelectorAll(".cp-report details:not(.cp-no-print):not([open])");
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...folded()];
  for (const one of opened) one.open = true;
});
window.addEventListener("afterprint", () => {
  for (const one of opened) one.open = false;
});
