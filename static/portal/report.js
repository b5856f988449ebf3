// Dates and the list of periods say the same thing: whichever was touched last is meant.
document.addEventListener("change", (event) => {
  const form = event.target.closest(".cp-report-form");
  if (!form) return;
  const { period, first, last } = form.elements;
  if (event.target === first || event.target === last) period.value = "custom";
  if (event.target === period && period.value !== "custom") first.value = last.value = "";
});
