// The service worker: shows the offline page when the server cannot be reached, and leads from a notification to its tab.
// It stores the offline page and that page's own files, nothing else. web/app_shell.py writes `OFFLINE` before it.

/** @type {any} The types of a worker and of a page cannot be loaded together. */
const worker = self;

/** @type {{ page: string, files: string[], version: string }} */
const { page, files, version } = worker.OFFLINE;
const CACHE_PREFIX = "offline-";
const cacheName = CACHE_PREFIX + version;

/** Which documents are the offline page: only their files come from here, all others by the usual way. */
const offlineClients = new Set();

async function keepOfflinePage() {
  const cache = await caches.open(cacheName);
  await cache.addAll([page, ...files].map((url) => new Request(url, { cache: "reload" })));
  await worker.skipWaiting();
}

async function dropOlderVersions() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(CACHE_PREFIX) && name !== cacheName);
  await Promise.all(old.map((name) => caches.delete(name)));
  await worker.registration.navigationPreload?.enable();
}

/** @param {string} url */
const findKept = (url) => caches.match(url, { cacheName, ignoreVary: true });

/** @param {any} event */
async function navigate({ request, preloadResponse, resultingClientId }) {
  try {
    return (await preloadResponse) ?? (await fetch(request));
  } catch (error) {
    const kept = await findKept(page);
    if (!kept) throw error;
    offlineClients.add(resultingClientId);
    return kept;
  }
}

/** @param {Request} request */
const fetchFile = async (request) => (await findKept(request.url)) ?? fetch(request);

/** @param {string} path */
async function showTab(path) {
  const tabs = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
  const tab = tabs.find((/** @type {{ url: string }} */ { url }) => new URL(url).pathname === path);
  return tab ? tab.focus() : worker.clients.openWindow(path);
}

worker.addEventListener("install", (/** @type {any} */ event) => event.waitUntil(keepOfflinePage()));
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(dropOlderVersions()));
worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") event.respondWith(navigate(event));
  else if (offlineClients.has(event.clientId) && files.includes(new URL(request.url).pathname))
    event.respondWith(fetchFile(request));
});
worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
  event.notification.close();
  event.waitUntil(showTab(event.notification.data));
});
