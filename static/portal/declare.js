// The title that an empty field will get, shown while components are chosen; and no second submit.
(() => {
  "use strict";
  const form = document.getElementById("cp-declare");
  const title = form.querySelector("#id_title");
  const order = ["operational", "under_maintenance", "degraded_performance", "partial_outage", "major_outage"];
  const initial = title.placeholder;
  const suggest = () => {
    const chosen = [...form.querySelectorAll('input[name^="component_"]:checked')].filter((i) => i.value !== "operational");
    if (!chosen.length) {
      title.placeholder = initial;
      return;
    }
    const names = chosen.map((i) => i.dataset.name);
    const worst = chosen.reduce((a, b) => (order.indexOf(b.value) > order.indexOf(a.value) ? b : a));
    const list = names.length > 3 ? `${names.slice(0, 2).join(", ")} …` : names.length > 1 ? `${names.slice(0, -1).join(", ")} ${title.dataset.and} ${names.at(-1)}` : names[0];
    title.placeholder = `${list}: ${worst.dataset.state}`;
  };
  form.addEventListener("change", suggest);
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
  // A page that comes back from the browser's memory may be sent again.
  window.addEventListener("pageshow", () => delete form.dataset.sent);
  suggest();
})();
