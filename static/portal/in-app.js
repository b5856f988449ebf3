// Notices of the status page inside the pages of a product: a banner, and a drawer behind a bell.
// docs/reference/in-app.md tells how a page includes it, its data attributes, and what the page's own
// Content-Security-Policy must allow. It sets no cookie, leaves no global, and fails in silence.
(() => {
  "use strict";
  const NAME = "commsportal-notices";
  const script = document.currentScript;
  if (!script || !script.src || !document.adoptedStyleSheets || !window.HTMLDialogElement) return;
  const asked = script.dataset;
  let lang = "en";
  try {
    [lang] = Intl.getCanonicalLocales(asked.lang || document.documentElement.lang || navigator.language);
  } catch {} // no language: English
  const words = {
    en: ["Service notices", "unread", "Close", "Details (new tab)", "Over", "Nothing to report."],
    it: ["Avvisi sul servizio", "da leggere", "Chiudi", "Dettagli (nuova scheda)", "Concluso", "Niente da segnalare."],
  };
  const [TITLE, UNREAD, CLOSE, DETAILS, OVER, NOTHING] = words[lang.slice(0, 2)] || words.en;
  // All readers of a language ask for the same address, which every cache on the way holds; what is mine is chosen here.
  const address = new URL(`api/in-app.json?lang=${lang.slice(0, 2)}`, script.src);
  const wanted = (asked.components || "").split(/[\s,]+/).filter(Boolean);
  const mine = ({ components: about }) => !wanted.length || !about.length || about.some((id) => wanted.includes(id));
  const pause = Math.max(30, Number(asked.interval) || 60) * 1000;

  // ── What this browser remembers: id → SHOWN + READ + DISMISSED; in memory where storage is blocked ──

  const SHOWN = 1, READ = 2, DISMISSED = 4;
  const memory = {};
  const recall = () => {
    try {
      for (const [id, bits] of Object.entries(JSON.parse(localStorage.getItem(NAME)))) memory[id] |= bits;
    } catch {}
  };
  const has = (one, bit) => memory[one.id] & bit;
  const mark = (some, bit, event) => {
    recall();
    const news = some.filter((one) => !has(one, bit));
    if (!news.length) return;
    for (const one of news) memory[one.id] |= bit;
    try {
      localStorage.setItem(NAME, JSON.stringify(Object.fromEntries(Object.entries(memory).slice(-200))));
    } catch {}
    if (event) tell(event, news);
  };
  // A number for each notice, and nothing about the reader: docs/reference/in-app.md, "What is counted".
  const tell = (event, some) => {
    const body = JSON.stringify({ event, ids: some.slice(0, 20).map((one) => one.id) });
    const quiet = { credentials: "omit", referrerPolicy: "no-referrer", keepalive: true };
    fetch(new URL("in-app/seen", script.src), { method: "POST", body, ...quiet }).catch(() => {});
  };

  // ── What is seen: made with createElement and text alone, styled by a sheet that needs no 'unsafe-inline' ──

  const make = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const name in attributes) made.setAttribute(name, attributes[name]);
    made.append(...children);
    return made;
  };
  const drawing = (d) => {
    const made = (tag) => document.createElementNS("http://www.w3.org/2000/svg", tag);
    const svg = made("svg");
    const path = made("path");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", d);
    svg.append(path);
    return svg;
  };
  const cross = () => {
    const button = make("button", { class: "close", type: "button", "aria-label": CLOSE });
    button.append(drawing("M6 6 18 18M18 6 6 18"));
    return button;
  };
  const link = (one) => {
    const made = make("a", { target: "_blank", rel: "noopener noreferrer" }, DETAILS);
    aim(made, one);
    return made;
  };
  // Whatever a feed says, only http and https become links.
  const aim = (anchor, one) => {
    anchor.hidden = !/^https?:\/\//i.test(one.url);
    if (anchor.hidden) anchor.removeAttribute("href");
    else anchor.href = one.url;
  };
  const tone = (one) => (one.over ? "over" : one.impact || "major");
  const say = (one, headline) => {
    const own = { lang: one.language, dir: "auto" };
    const clock = { hour: "2-digit", minute: "2-digit", timeZoneName: "short" };
    const at = new Date(one.at).toLocaleString(lang, { day: "numeric", month: "short", ...clock });
    const time = make("time", { datetime: one.at, dir: "auto" }, at);
    const state = make("small", {}, ...(one.over ? [OVER, " · "] : []), time);
    return [make(headline, own, one.subject), state, make("p", own, one.text.replace(one.url, ""))]; // it is behind the link
  };

  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { all: initial !important; display: block !important }
    * { box-sizing: border-box; margin: 0; padding: 0 }
    [hidden] { display: none !important }
    .root { --back: #fff; --text: #17202a; --soft: #56616d; --line: #c9d0d6; --link: #0b5c72; color-scheme: light;
      --major: #b45309; --minor: #946200; --critical: #b3261e; --maintenance: #1d5fae; --over: #1b7a3d;
      font: 1rem/1.45 system-ui, sans-serif; color: var(--text); text-align: start; overflow-wrap: anywhere }
    .root.dark { --back: #1b2229; --text: #eef2f5; --soft: #a9b4be; --line: #46525d; --link: #7cc7dc; color-scheme: dark;
      --major: #f59e42; --minor: #e3b341; --critical: #ff8a80; --maintenance: #7fb2f5; --over: #6fcf8e }
    .corner { position: fixed; z-index: 2147483647; inset-inline-end: 1rem; inset-block: auto 1rem; display: flex;
      flex-direction: column; align-items: end; gap: .75rem; max-inline-size: calc(100% - 2rem); pointer-events: none }
    .top { inset-block: 1rem auto; flex-direction: column-reverse }
    .start { inset-inline: 1rem auto; align-items: start }
    .corner > * { pointer-events: auto }
    .banner, dialog, .bell { background: var(--back); color: inherit; border: 1px solid var(--line);
      box-shadow: 0 4px 20px #0004 }
    .banner { inline-size: 26rem; max-inline-size: 100%; max-block-size: 60vh; overflow: auto; border-radius: .5rem;
      padding: .75rem 1rem; padding-inline-end: 3.25rem; position: relative; border-inline-start: .375rem solid var(--tone) }
    .bell, .close { inline-size: 2.75rem; block-size: 2.75rem; padding: .625rem; cursor: pointer; color: inherit }
    .bell { position: relative; border-radius: 50% }
    .close { position: absolute; inset-block-start: 0; inset-inline-end: 0; background: none; border: 0 }
    .count { position: absolute; inset-block-start: -.4rem; inset-inline-end: -.4rem; min-inline-size: 1.35rem;
      border-radius: 1rem; background: var(--critical); color: var(--back); font: bold .8125rem/1.35rem system-ui;
      text-align: center }
    svg { display: block; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round }
    dialog { position: fixed; inset-block: 0; inset-inline: auto 0; block-size: 100%; max-block-size: 100%;
      inline-size: 26rem; max-inline-size: 100%; border-width: 0; padding: 1rem; flex-direction: column }
    dialog[open] { display: flex }
    dialog::backdrop { background: #0006 }
    h2 { font-size: 1.25rem; padding-inline-end: 2.5rem }
    ul { list-style: none; overflow: auto }
    li { margin-block: 1rem; padding-inline-start: .75rem; border-inline-start: .375rem solid var(--tone) }
    h3, strong { display: block; font-size: 1rem; font-weight: 600 }
    small { display: block; font-size: .875rem; color: var(--soft) }
    p { white-space: pre-line }
    a { color: var(--link); display: inline-block; padding-block: .25rem }
    :focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
    .close:focus-visible { outline-offset: -4px }
    .major { --tone: var(--major) } .minor, .none { --tone: var(--minor) } .critical { --tone: var(--critical) }
    .maintenance { --tone: var(--maintenance) } .over { --tone: var(--over) }
    @media (prefers-reduced-motion: no-preference) {
      .banner, dialog[open] { animation: come .2s }
      @keyframes come { from { opacity: 0; translate: 0 .5rem } }
    }
    @media print { .root { display: none } }
  `);

  const host = make(NAME);
  const status = make("div", { role: "status" });
  const more = link({});
  const shut = cross();
  const banner = make("section", { "aria-label": TITLE }, status, more, shut);
  const number = make("span", { class: "count", "aria-hidden": "true" });
  const bell = make("button", { class: "bell", type: "button", "aria-haspopup": "dialog", hidden: "" }, number);
  bell.prepend(drawing("M6 9a6 6 0 0 1 12 0c0 6 3 7 3 7H3s3-1 3-7M10 20h4"));
  const list = make("ul");
  const leave = cross();
  const heading = make("h2", { id: "title" }, TITLE);
  const drawer = make("dialog", { "aria-labelledby": "title" }, heading, leave, list);
  const corner = make("div", { class: `corner ${asked.position || ""}` }, banner, bell);
  const root = make("div", { class: "root", lang }, corner, drawer);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = () => root.classList.toggle("dark", asked.theme === "dark" || (asked.theme !== "light" && dark.matches));

  let notices = [];
  let current; // the notice in the banner

  const draw = () => {
    if (!host.isConnected) {
      if (document.querySelector(NAME)) return; // included twice: once is enough
      (document.body || document.documentElement).append(host);
    }
    recall();
    // Of an incident that is over only those are told who were just told of it.
    const next = notices.find((one) => !has(one, DISMISSED) && (!one.over || one.thread === current?.thread));
    const shown = asked.banner === "off" ? undefined : next;
    if (shown?.id !== current?.id) {
      banner.className = shown ? `banner ${tone(shown)}` : "";
      status.replaceChildren(...(shown ? say(shown, "strong") : []));
    }
    current = shown;
    aim(more, shown || {});
    shut.hidden = !shown;
    if (shown) mark([shown], SHOWN, "shown");
    const unread = notices.filter((one) => !has(one, READ | DISMISSED)).length;
    number.textContent = unread;
    number.hidden = !unread;
    bell.hidden = !notices.length;
    bell.setAttribute("aria-label", unread ? `${TITLE}, ${unread} ${UNREAD}` : TITLE);
  };

  const fill = () => {
    const held = drawer.contains(host.shadowRoot.activeElement);
    const items = notices.map((one) => make("li", { class: tone(one) }, ...say(one, "h3"), link(one)));
    list.replaceChildren(...(items.length ? items : [make("li", { class: "over" }, NOTHING)]));
    if (held) leave.focus();
    mark(notices, SHOWN, "shown");
    mark(notices, READ);
  };
  const open = () => {
    draw();
    if (drawer.open || !host.isConnected) return;
    drawer.showModal();
    fill();
    draw();
  };

  host.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
  host.shadowRoot.append(root);
  colour();
  dark.addEventListener("change", colour);
  bell.addEventListener("click", open);
  document.addEventListener("commsportal:open", open);
  leave.addEventListener("click", () => drawer.close());
  drawer.addEventListener("click", (event) => event.target === drawer && drawer.close());
  shut.addEventListener("click", () => {
    mark([current], DISMISSED, "dismissed");
    draw();
    if (!current) bell.focus();
  });

  // ── Asking: never while the tab is hidden, less and less often while there is no answer ──

  let last = "";
  let failures = 0;
  let due = 0;
  let timer;

  const ask = async () => {
    due = Infinity; // not twice at a time
    try {
      const signal = AbortSignal.timeout(15000);
      const quiet = { credentials: "omit", referrerPolicy: "no-referrer", priority: "low" };
      const answer = await fetch(address, { cache: "no-cache", signal, ...quiet });
      if (!answer.ok) throw 0;
      const text = await answer.text();
      const said = JSON.parse(text).notices.filter(mine);
      if (text !== last && (said.length || last)) {
        notices = said;
        draw();
        if (drawer.open) fill();
      }
      last = text;
      failures = 0;
    } catch {
      failures += 1;
    }
    due = Date.now() + Math.min(pause * 2 ** failures, Math.max(pause, 900000)) * (1 + Math.random() / 5);
    wait();
  };
  const wait = () => {
    clearTimeout(timer);
    if (!document.hidden && due < Infinity) timer = setTimeout(ask, Math.max(0, due - Date.now()));
  };
  document.addEventListener("visibilitychange", () => {
    wait();
    if (host.isConnected) draw(); // what was closed in another tab
  });
  wait();
})();
