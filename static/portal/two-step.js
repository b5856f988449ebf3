// Passkeys: the buttons that ask the browser for one. Codes work without any script.
(() => {
  "use strict";
  const ids = { credential: "id_credential", data: "passkey-data" };
  const { addForm, authenticateForm } = window.allauth.webauthn.forms;
  if (document.getElementById("passkey-add")) addForm({ ids: { ...ids, add: "passkey-add" } });
  if (document.getElementById("passkey-use")) authenticateForm({ ids: { ...ids, authenticate: "passkey-use" } });
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    document.getElementById("passkey-error").hidden = false;
  });
})();
