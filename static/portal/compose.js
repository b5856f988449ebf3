// Compose: preview while typing, autosave, and text that is never lost. Everything works without it, by the buttons.
(() => {
  "use strict";
  const form = document.getElementById("cp-compose");
  if (!form) return;
  const PREVIEW_AFTER = 400;
  const SAVE_AFTER = 2000;
  const SAVE_WITHIN = 10000;
  const RETRY_AFTER = 5000;
  const say = form.dataset;
  const version = form.elements.version;
  const status = document.getElementById("cp-saved");
  const refusal = document.getElementById("cp-refusal");
  const store = `compose-${say.update}`;
  // Autosave would take an approval away at the first key: then only the button saves.
  let automatic = say.status === "draft" && !refusal.firstElementChild;
  let dirty = Boolean(say.typed);
  let leaving = false;
  let saving = false;
  let waiting = null; // a button that was pressed while an autosave was on its way
  let edits = 0;
  let previewTimer;
  let saveTimer;
  let previewing;

  // ── Text of this device ──
  const typed = () => {
    const fields = {};
    for (const field of form.querySelectorAll(".cp-words")) fields[field.name] = field.value;
    return fields;
  };
  const keep = () => {
    try {
      localStorage.setItem(store, JSON.stringify(typed()));
    } catch { /* storage is full or forbidden: the server has what was saved */ }
  };
  const forget = () => {
    try {
      localStorage.removeItem(store);
    } catch { /* as above */ }
  };
  const offerRestore = () => {
    let kept;
    try {
      kept = JSON.parse(localStorage.getItem(store));
    } catch { return; }
    const now = typed();
    if (!kept || Object.keys(kept).every((key) => !(key in now) || kept[key].trim() === now[key].trim())) return forget();
    const box = document.getElementById("cp-restore");
    box.hidden = false;
    box.querySelector("[data-restore]").addEventListener("click", () => {
      for (const [key, text] of Object.entries(kept)) if (form.elements[key]) form.elements[key].value = text;
      box.hidden = true;
      changed();
    });
    box.querySelector("[data-forget]").addEventListener("click", () => {
      box.hidden = true;
      forget();
    });
  };

  // ── Preview ──
  const fill = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const slot of fresh.querySelectorAll("[data-slot]")) {
      const place = form.querySelector(`[data-slot="${CSS.escape(slot.dataset.slot)}"]`);
      // Only what differs is replaced, so that frames do not flicker and open details stay open.
      if (!place || place.dataset.last === slot.innerHTML) continue;
      place.dataset.last = slot.innerHTML;
      const open = place.querySelector("details[open]");
      place.innerHTML = slot.innerHTML;
      if (open) place.querySelector("details")?.setAttribute("open", "");
    }
    for (const field of form.querySelectorAll(".cp-words")) {
      const notes = form.querySelector(`[data-slot="notes-${field.name}"]`);
      field.toggleAttribute("aria-invalid", false);
      if (notes?.querySelector(".cp-finding-block, .cp-error")) field.setAttribute("aria-invalid", "true");
    }
  };
  const preview = async () => {
    previewing?.abort();
    previewing = new AbortController();
    try {
      const answer = await fetch(say.preview, { method: "POST", body: new FormData(form), signal: previewing.signal });
      if (answer.ok) fill(await answer.text());
    } catch { /* the next key tries again */ }
  };

  // ── Autosave ──
  const save = async () => {
    clearTimeout(saveTimer);
    if (!dirty || saving || leaving || !automatic) return;
    saving = true;
    const before = edits;
    status.textContent = say.saving;
    try {
      const body = new FormData(form);
      body.set("do", "save");
      const answer = await fetch(form.action, {
        method: "POST", body, headers: { "X-Requested-With": "autosave" }, signal: AbortSignal.timeout(SAVE_WITHIN),
      });
      const type = answer.headers.get("Content-Type") || "";
      if (!type.startsWith("application/json")) throw new Error("no answer");
      const result = await answer.json();
      if (answer.ok) {
        version.value = result.version;
        refusal.replaceChildren();
        status.textContent = `${say.saved} ${result.saved}`;
        dirty = edits !== before;
        if (!dirty) forget();
      } else {
        refuse(answer.status, result);
      }
    } catch {
      status.textContent = say.offline;
      saveTimer = setTimeout(save, RETRY_AFTER);
    }
    saving = false;
    if (waiting) {
      const button = waiting;
      waiting = null;
      // A conflict is looked at before anything else happens.
      // The picture does not leave before the words are safe, or it would lose them.
      if (automatic && (button.form === form || !dirty)) return button.form.requestSubmit(button);
    }
    if (dirty && edits !== before) saveTimer = setTimeout(save, SAVE_AFTER);
  };
  const refuse = (code, result) => {
    refusal.innerHTML = result.html;
    status.textContent = say.unsaved;
    if (code !== 409) return;
    // Somebody else was here: nothing is saved by itself any more, and the next save is a decision.
    automatic = false;
    version.value = result.version;
    refusal.scrollIntoView({ block: "center" });
  };
  const changed = () => {
    edits += 1;
    dirty = true;
    keep();
    status.textContent = say.unsaved;
    clearTimeout(previewTimer);
    previewTimer = setTimeout(preview, PREVIEW_AFTER);
    clearTimeout(saveTimer);
    saveTimer = setTimeout(save, SAVE_AFTER);
  };

  form.addEventListener("input", (event) => {
    if (event.target.form === form && !event.target.name.startsWith("_")) changed();
  });
  form.addEventListener("submit", (event) => {
    if (saving) {
      // It would carry the version from before that save, and meet itself as a conflict.
      event.preventDefault();
      waiting = event.submitter;
      return;
    }
    if (/^(template|scenario)/.test(event.submitter?.value)) forget();
    leaving = true;
    clearTimeout(saveTimer);
  });
  // ── The picture: a form of its own, whose controls stand among ours ──
  const picture = document.getElementById("cp-picture");
  picture.addEventListener("submit", (event) => {
    if (saving || (dirty && automatic)) {
      event.preventDefault();
      waiting = event.submitter;
      save();
      return;
    }
    picture.elements.version.value = version.value;
    leaving = !dirty;
  });
  // What is sent while the page goes away may arrive after the next page was read: then it meets itself.
  window.addEventListener("pagehide", () => { leaving = true; });
  // A page that comes back from the browser's memory is alive again.
  window.addEventListener("pageshow", () => { leaving = false; });
  window.addEventListener("beforeunload", (event) => {
    if (dirty && !leaving) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") save();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(document.getElementById("cp-submit"));
    }
  });
  form.addEventListener("click", (event) => {
    const minutes = event.target.closest("[data-minutes]")?.dataset.minutes;
    if (minutes) ahead(Number(minutes));
    const link = event.target.closest("[data-go]");
    if (!link) return;
    event.preventDefault();
    form.querySelector(`#cp-lang-${CSS.escape(link.dataset.go)}`)?.click();
    const field = form.querySelector(link.getAttribute("href"));
    field?.closest("details")?.setAttribute("open", "");
    field?.focus();
  });
  const ahead = (minutes) => {
    // The wall clock of the portal's zone, which need not be that of this device.
    const at = new Date(Math.ceil((Date.now() + minutes * 60000) / 300000) * 300000);
    const field = form.elements.next_update_at;
    const parts = new Intl.DateTimeFormat("sv-SE", {
      timeZone: field.dataset.zone, dateStyle: "short", timeStyle: "short",
    }).format(at);
    field.value = parts.replace(" ", "T");
    changed();
  };
  for (const one of form.querySelectorAll(".cp-js")) one.hidden = false;
  const facts = document.getElementById("cp-facts");
  if (window.matchMedia("(max-width: 47.99rem)").matches) {
    if (!facts.querySelector(".cp-finding, .cp-error, .cp-note, #cp-scenario")) facts.open = false;
    const card = document.getElementById("cp-picture-card");
    if (!card.querySelector(".cp-finding, .cp-error")) card.open = false;
  }
  offerRestore();
})();
