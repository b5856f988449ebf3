// Shows what the portal sends to this browser (channels/providers/webpush.py), and opens its page when it is clicked.
self.addEventListener("push", (event) => {
  const said = event.data.json();
  const shown = { body: said.body, tag: said.tag, lang: said.lang, renotify: true, data: said.url };
  event.waitUntil(self.registration.showNotification(said.title, shown));
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(self.clients.openWindow(event.notification.data));
});
