// Times in the reader's own zone, where it differs from the page's. Without this script the page is complete.
(() => {
  "use strict";
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const page = document.documentElement.dataset.zone;
  if (!own || own === page) return;
  const language = document.documentElement.lang;
  const year = new Date().getFullYear();
  for (const element of document.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const write = (format) => new Intl.DateTimeFormat(language, format).format(at);
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
  const note = document.getElementById("zone");
  if (note) note.textContent = own;
})();
