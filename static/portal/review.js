// Review: the dialog that the key "a" opens (admin.js), and one click for one decision.
(() => {
  "use strict";
  const form = document.getElementById("cp-decide");
  if (!form) return;
  const dialog = form.querySelector("dialog");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  // The typed count lies behind the dialog: let it be seen when it is missing.
  form.addEventListener("invalid", () => dialog.close(), true);
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
  });
  window.addEventListener("pageshow", () => { sent = false; });
})();
