// The page in the reader's own time zone, and up to date without reloading. Without this script it is complete.
(() => {
  "use strict";
  const root = document.documentElement;
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const here = root.dataset.zone;

  // ── Times in the reader's own zone, where its clocks differ from the page's: Berlin's and Rome's are the same ──

  const clock = (at, timeZone) => at.toLocaleString("en", { timeZone });
  const differs = (at) => own && own !== here && clock(at, own) !== clock(at, here);
  // “America/New York (Eastern Time)”; without the words in a browser that does not know them. The first part is
  // English, so that in another language the words stand alone: “ora orientale USA”.
  const called = (timeZone) => {
    const name = timeZone.replaceAll("_", " ");
    try {
      const parts = new Intl.DateTimeFormat(root.lang, { timeZone, timeZoneName: "longGeneric" }).formatToParts(new Date());
      const words = parts.find(({ type }) => type === "timeZoneName").value;
      return root.lang === "en" ? `${name} (${words})` : words.charAt(0).toLowerCase() + words.slice(1);
    } catch {
      return name;
    }
  };
  let elsewhere = differs(new Date());

  const localise = (within) => {
    const year = new Date().getFullYear();
    for (const element of within.querySelectorAll("time[datetime]")) {
      const at = new Date(element.dateTime);
      if (Number.isNaN(at.getTime()) || !differs(at)) continue;
      elsewhere = true;
      const write = (format) => new Intl.DateTimeFormat(root.lang, format).format(at);
      const parts = [];
      // What is written without a day keeps none, unless it is another day where the reader is.
      if (element.dataset.day !== "today" || at.toDateString() !== new Date().toDateString()) {
        parts.push(write({ day: "numeric", month: "long", year: at.getFullYear() === year ? undefined : "numeric" }));
      }
      parts.push(write({ hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZoneName: "short" }));
      element.title = element.textContent;
      // Written as on the page: left to itself, a language puts words of its own between day and clock.
      element.textContent = parts.join(", ");
    }
  };

  const main = document.getElementById("main");
  const words = (within) => within.querySelector("[role=status]")?.textContent;
  let shown = main && main.innerHTML; // as it was sent, before any time is rewritten
  let said = main && words(main);
  localise(document);
  const note = document.getElementById("zone");
  if (note && elsewhere) {
    note.textContent = note.dataset.elsewhere.replace(here, called(here)).replace("[own]", called(own));
  }

  // ── News without reloading ──
  // The page itself is asked for again: it is in every cache between us and the server, which answers 304 while nothing
  // has changed. The page says how often (seconds); one without that never changes.

  const pace = main && Number(main.dataset.refresh);
  if (!pace || !window.fetch) return;
  const news = document.getElementById("news");
  let failures = 0;
  let timer;

  const open = (within) => [...within.querySelectorAll("details")].map((one) => one.open);

  const keyOf = (one) => one.id || one.getAttribute("href") || one.textContent;
  const seen = () =>
    [...main.querySelectorAll("h1, h2, h3, summary, li, p")].find((one) => {
      const { top, bottom } = one.getBoundingClientRect();
      return bottom > top && top >= 0 && top < innerHeight;
    });

  const show = (next) => {
    const fresh = next.getElementById("main");
    if (!fresh) return;
    for (const old of document.querySelectorAll(".cp-as-of")) old.remove();
    for (const one of next.querySelectorAll(".cp-as-of")) main.before(one);
    if (fresh.innerHTML === shown) return;
    shown = fresh.innerHTML;
    const isNews = words(fresh) !== said; // and not the bar of today, which changes by itself
    said = words(fresh);
    const opened = open(main);
    const focused = main.contains(document.activeElement) && document.activeElement;
    const anchor = focused || seen();
    const [key, top] = anchor ? [keyOf(anchor), anchor.getBoundingClientRect().top] : [];
    main.replaceChildren(...fresh.childNodes);
    main.dataset.refresh = fresh.dataset.refresh || "";
    document.title = next.title;
    main.querySelectorAll("details").forEach((one, n) => (one.open = Boolean(opened[n])));
    localise(main);
    const twin = anchor && [...main.querySelectorAll(anchor.tagName)].find((one) => keyOf(one) === key);
    if (twin && focused) twin.focus({ preventScroll: true });
    // What is being read stays where it is; only a reader at the top sees the top change.
    if (twin && scrollY > 0) scrollBy({ top: twin.getBoundingClientRect().top - top, behavior: "instant" });
    if (news && isNews) news.textContent = `${news.dataset.updated} ${document.title}`;
  };

  const ask = async () => {
    try {
      const answer = await fetch(location.href, { cache: "no-cache", headers: { Accept: "text/html" } });
      if (!answer.ok) throw new Error(answer.status);
      show(new DOMParser().parseFromString(await answer.text(), "text/html"));
      failures = 0;
    } catch {
      failures += 1; // offline, or we are in trouble ourselves: ask less and less often
    }
    wait();
  };

  const wait = () => {
    clearTimeout(timer);
    if (document.hidden) return;
    const seconds = Number(main.dataset.refresh) || pace;
    const later = Math.min(600, seconds * 2 ** failures);
    timer = setTimeout(ask, later * (800 + 400 * Math.random()));
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
  window.addEventListener("online", ask);
  wait();
})();
