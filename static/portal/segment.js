// Counts who a segment means while its conditions are typed, and shows one empty row after the last that is used.
(() => {
  "use strict";
  const box = document.getElementById("segment-count");
  const form = document.querySelector("form[id$=_form]");
  if (!box || !form) return;
  const said = box.querySelector("[role=status]");
  let timer = 0;
  let asked = 0;

  const count = async () => {
    const mine = ++asked;
    try {
      const answer = await fetch(box.dataset.url, { method: "POST", body: new FormData(form) });
      const { text, error } = await answer.json();
      if (mine === asked) said.textContent = text || error;
    } catch {
      // The number comes with the next key, or after saving.
    }
  };

  const rows = [...form.querySelectorAll("[name^=attribute_]")].map((input) => ({
    inputs: [input, form.elements[input.name.replace("attribute", "values")]],
    row: input.closest(".form-row, .field-row, fieldset > div > div") || input.parentElement,
  }));
  const unfold = () => {
    const last = rows.findLastIndex(({ inputs }) => inputs.some((input) => input && input.value.trim()));
    rows.forEach(({ row }, n) => { row.hidden = n > last + 1; });
  };

  unfold();
  form.addEventListener("input", () => {
    unfold();
    clearTimeout(timer);
    timer = setTimeout(count, 400);
  });
})();
