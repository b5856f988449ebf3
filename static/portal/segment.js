// Counts who a segment means while its conditions are typed, offers values that recipients have, and shows one empty row
// after the last that is used.
(() => {
  "use strict";
  const box = document.getElementById("segment-count");
  const form = document.querySelector("form[id$=_form]");
  if (!box || !form) return;
  const said = box.querySelector("[role=status]");
  const say = box.dataset;
  const post = async (url, body, signal) => (await fetch(url, { method: "POST", body, signal })).json();
  let timer = 0;
  let counting = new AbortController();

  const count = async () => {
    counting.abort(); // one at a time, and the latest has the word
    counting = new AbortController();
    try {
      const { text, error } = await post(say.url, new FormData(form), counting.signal);
      said.textContent = text || error;
    } catch {
      // The number comes with the next key, or after saving.
    }
  };
  const countSoon = () => {
    counting.abort();
    clearTimeout(timer);
    timer = setTimeout(count, 400);
  };

  // ── Values that recipients have ──
  const known = new Map(); // by attribute, as long as the page is open
  const valuesOf = async (attribute) => {
    if (!attribute) return [];
    if (!known.has(attribute)) {
      const body = new FormData();
      body.set("attribute", attribute);
      body.set("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
      try {
        known.set(attribute, (await post(say.values, body)).values);
      } catch {
        return [];
      }
    }
    return known.get(attribute);
  };

  const offer = (attribute, values, number) => {
    const line = document.createElement("div");
    line.className = "cp-known";
    line.innerHTML = '<label></label><span><input autocomplete="off"><button type="button" class="cp-btn"></button></span><datalist></datalist>';
    const [label, input, button, list] = ["label", "input", "button", "datalist"].map((name) => line.querySelector(name));
    input.id = `known-value-${number}`;
    list.id = `known-values-${number}`;
    input.setAttribute("list", list.id);
    input.className = attribute.className;
    label.htmlFor = input.id;
    button.textContent = say.add;
    const fill = async () => {
      const name = attribute.value.trim();
      const found = await valuesOf(name);
      if (name !== attribute.value.trim()) return; // typed on meanwhile
      list.replaceChildren(...found.map((value) => Object.assign(document.createElement("option"), { value })));
      label.textContent = `${say.known} (${name})`;
      line.hidden = !found.length;
    };
    const add = () => {
      const value = input.value.trim();
      if (!value) return;
      const lines = values.value.split("\n").filter((one) => one.trim());
      if (!lines.includes(value)) values.value = [...lines, value].join("\n");
      input.value = "";
      input.focus();
      values.dispatchEvent(new Event("input", { bubbles: true }));
    };
    button.addEventListener("click", add);
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // it would save the segment
      add();
    });
    attribute.addEventListener("change", fill);
    line.hidden = true;
    values.parentElement.append(line);
    if (attribute.value) fill();
  };

  const rows = [...form.querySelectorAll("[name^=attribute_]")].map((input, n) => {
    const values = form.elements[input.name.replace("attribute", "values")];
    if (say.values && values) offer(input, values, n);
    return { inputs: [input, values], row: input.closest(".form-row, .field-row, fieldset > div > div") || input.parentElement };
  });
  const unfold = () => {
    const last = rows.findLastIndex(({ inputs }) => inputs.some((input) => input && input.value.trim()));
    rows.forEach(({ row }, n) => { row.hidden = n > last + 1; });
  };

  unfold();
  form.addEventListener("input", (event) => {
    if (event.target.closest(".cp-known")) return; // says nothing until it is added
    unfold();
    countSoon();
  });
})();
