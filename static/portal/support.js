// The support brief: copies an answer, and says when it is no longer the latest. Without it the words can be selected.
(() => {
  "use strict";
  const brief = document.getElementById("cp-brief");
  if (!brief) return;
  const { url, mark, update, copied, notCopied } = brief.dataset;
  const EVERY = 20000;

  // ── Copy ──
  const select = (text) => {
    const range = document.createRange();
    range.selectNodeContents(text);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text.textContent); // not there without https
      return true;
    } catch {
      select(text);
      return document.execCommand("copy");
    }
  };
  for (const button of brief.querySelectorAll("[data-copy]")) {
    const label = button.textContent;
    let back;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const done = await copy(document.getElementById(button.dataset.copy));
      button.textContent = done ? `✓ ${copied}` : label;
      document.getElementById("cp-said").textContent = done ? copied : notCopied;
      clearTimeout(back);
      back = setTimeout(() => {
        button.textContent = label;
        document.getElementById("cp-said").textContent = "";
      }, 3000);
    });
  }
  const printer = brief.querySelector("[data-print]");
  printer.hidden = false;
  printer.addEventListener("click", () => window.print());

  // ── Changed since it was opened? ──
  const note = document.getElementById("cp-changed");
  const say = (what) => {
    for (const one of note.children) one.hidden = one.dataset.when !== what;
    note.hidden = !what;
  };
  let failures = 0;
  const look = async () => {
    if (document.hidden) return;
    let answer;
    try {
      answer = await fetch(url, {
        credentials: "same-origin", redirect: "manual", headers: { "If-None-Match": `"${mark}"` },
      });
    } catch {
      answer = null;
    }
    if (answer?.status === 304) {
      failures = 0;
      return say("");
    }
    if (!answer?.ok) {
      failures += 1;
      if (failures > 1) say("away");
      return;
    }
    failures = 0;
    const news = await answer.json();
    say(String(news.update ?? "") === update ? "other" : "update");
  };
  setInterval(look, EVERY);
  document.addEventListener("visibilitychange", look);
})();
