// A button that subscribes this browser, where it can. The form goes out as ever: a browser's address is just one it
// gives itself, and it is asked like any other.
(() => {
  "use strict";
  const form = document.querySelector("form[data-push-key]");
  if (!form || !("serviceWorker" in navigator) || !("PushManager" in window) || !window.Notification) return;
  const place = form.querySelector(".cp-push");
  const button = place.querySelector("button");
  const note = place.nextElementSibling;
  place.hidden = false;

  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

  const subscription = async () => {
    await navigator.serviceWorker.register(form.dataset.pushWorker);
    const { pushManager } = await navigator.serviceWorker.ready;
    const options = { userVisibleOnly: true, applicationServerKey: bytes(form.dataset.pushKey) };
    const old = await pushManager.getSubscription();
    // One that was made with another key of ours can never be written to again.
    const theirs = old && old.options.applicationServerKey;
    const same = theirs && String(new Uint8Array(theirs)) === String(options.applicationServerKey);
    if (old && !same) await old.unsubscribe();
    return pushManager.subscribe(options);
  };

  button.addEventListener("click", async () => {
    button.disabled = true;
    note.textContent = "";
    try {
      if ((await Notification.requestPermission()) !== "granted") {
        note.textContent = note.dataset.refused;
        return;
      }
      const { endpoint, keys } = (await subscription()).toJSON();
      const data = new URLSearchParams(new FormData(form));
      for (const [name, value] of Object.entries({ medium: "webpush", address: endpoint, ...keys })) data.set(name, value);
      const answer = await fetch(form.action, { method: "POST", body: data });
      if (answer.redirected) {
        location.assign(answer.url);
        return;
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      form.elements.stamp.value = page.querySelector("input[name=stamp]")?.value ?? form.elements.stamp.value;
      const wrong = [...page.querySelectorAll(".cp-errors li")].map((one) => one.textContent.trim());
      note.textContent = wrong.join(" ") || note.dataset.failed;
    } catch {
      note.textContent = note.dataset.failed;
    } finally {
      button.disabled = false;
    }
  });
})();
