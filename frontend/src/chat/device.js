// What the page uses of the device: the service worker, dictation, and notifications.
import { EndNotification } from "./end-notification.js";
import { installDictation } from "./dictation.js";

/** Lets the browser show the offline page, and install the page as an app. */
function installServiceWorker() {
  // Absent on insecure origins. A refusal, such as by a browser that stores nothing, leaves the page as it is.
  navigator.serviceWorker?.register("/service-worker.js").catch(() => {});
}

/**
 * Installs all of it; returns what the page informs of its generations.
 * @param {HTMLElement} announcer
 */
export function installDevice(announcer) {
  addEventListener("load", installServiceWorker, { once: true });
  installDictation();
  const notification = new EndNotification(announcer);
  notification.install();
  return notification;
}
