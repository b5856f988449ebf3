// Clocks that tick, and the keys of our admin pages. Everything is right without it; this keeps it right.
(() => {
  "use strict";
  // `+n d, h, min`: one or two units, as incidents.admin.dashboard writes them on the server.
  const span = (seconds, units) => {
    const minutes = Math.floor(Math.abs(seconds) / 60);
    const [d, h, m] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24, minutes % 60];
    if (!minutes) return units.less;
    if (d) return `${d} ${units.d} ${h} ${units.h}`;
    if (h) return `${h} ${units.h} ${m} ${units.m}`;
    return `${m} ${units.m}`;
  };
  const tick = () => {
    const now = Date.now() / 1000;
    for (const clock of document.querySelectorAll(".cp-clock[data-at]")) {
      const { at, from, kind, textIn, textLate, unitD, unitH, unitM, unitLess } = clock.dataset;
      const units = { d: unitD, h: unitH, m: unitM, less: unitLess };
      const value = clock.querySelector(".cp-clock-value");
      if (kind === "since") {
        value.textContent = span(now - at, units);
        continue;
      }
      const left = at - now;
      const state = left < 0 ? "late" : left < (at - from) / 3 ? "soon" : "calm";
      if (clock.dataset.state !== state) clock.dataset.state = state;
      value.textContent = (left < 0 ? textLate : textIn).replace("{}", span(left, units));
    }
  };
  const typing = (target) => target.closest("input, textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const target = document.querySelector(`[data-cp-key="${CSS.escape(event.key)}"]`);
    if (!target) return;
    event.preventDefault();
    target.tagName === "DIALOG" ? target.showModal() : target.click();
  });
  document.addEventListener("click", (event) => {
    // The demo's login page: a tap on a person logs in.
    const login = event.target.closest("[data-cp-login]");
    if (!login) return;
    const form = document.getElementById("login-form");
    form.elements.username.value = login.dataset.cpLogin;
    form.elements.password.value = login.dataset.cpPassword;
    form.requestSubmit();
  });
  // The dashboard follows what others do, unless somebody is in the middle of something on it.
  const touched = (one) => one.checked !== one.defaultChecked || one.value !== one.defaultValue;
  const refresh = async () => {
    const live = document.querySelector("[data-cp-live]");
    if (!live || document.hidden || live.contains(document.activeElement) || live.querySelector("[open]")) return;
    const answer = await fetch(location.href, { credentials: "same-origin" }).catch(() => null);
    if (!answer || !answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-cp-live]");
    if (!fresh || live.contains(document.activeElement) || [...live.querySelectorAll("input")].some(touched)) return;
    live.replaceChildren(...fresh.childNodes);
    tick();
  };
  document.addEventListener("DOMContentLoaded", () => {
    // The theme has no main landmark.
    (document.getElementById("main") ?? document.getElementById("page"))?.setAttribute("role", "main");
    tick();
    setInterval(refresh, 15000);
    setInterval(tick, 5000);
  });
})();
