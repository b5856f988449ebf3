// Keeps the delivery page current. Without it the page reloads by itself; with it, nothing that is in use is replaced.
(() => {
  "use strict";
  const board = document.getElementById("cp-delivery");
  if (!board) return;
  let failures = 0;

  const inUse = (section) =>
    (section.contains(document.activeElement) && document.activeElement.matches("input, button, a")) ||
    section.querySelector("input[type=checkbox]:checked");

  const replace = (section, html) => {
    const all = () => [...section.querySelectorAll("details")];
    const open = all().map((one) => one.open);
    const focused = all().findIndex((one) => one.contains(document.activeElement));
    section.innerHTML = html;
    all().forEach((one, i) => { one.open = Boolean(open[i]); });
    all()[focused]?.querySelector("summary").focus();
  };

  const show = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html").getElementById("cp-delivery");
    if (!fresh) return location.reload(); // logged out, or no longer allowed
    board.dataset.poll = fresh.dataset.poll;
    // Read aloud once, at the end: a number every two seconds would drown everything else.
    if (fresh.dataset.poll === "0") board.querySelector("[data-said]").textContent = fresh.querySelector(".cp-h1").textContent;
    for (const section of board.querySelectorAll(":scope > [id]")) {
      const next = fresh.querySelector(`#${section.id}`);
      if (!next || next.innerHTML === section.innerHTML || inUse(section)) continue;
      replace(section, next.innerHTML);
    }
    for (const section of fresh.querySelectorAll(":scope > [id]")) {
      if (!document.getElementById(section.id)) board.append(section);
    }
  };

  const look = async () => {
    try {
      const answer = await fetch(board.dataset.url, { credentials: "same-origin", cache: "no-store" });
      if (answer.redirected || answer.status === 403 || answer.status === 404) return location.reload();
      if (!answer.ok) throw new Error(answer.status);
      show(await answer.text());
      failures = 0;
    } catch {
      failures += 1;
    }
    const offline = document.getElementById("cp-delivery-offline");
    if (offline) offline.hidden = failures < 2;
    wait();
  };

  const wait = () => {
    const seconds = Number(board.dataset.poll);
    if (!seconds) return;
    setTimeout(() => (document.hidden ? wait() : look()), 1000 * seconds * Math.min(1 + failures, 5));
  };
  wait();
})();
