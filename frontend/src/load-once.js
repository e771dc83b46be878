// Loads what is needed later, such as a module, when it is needed first.
import { reloadIfStale } from "./stale-page.js";

/**
 * Makes a loader that runs `load` once, and again only after a failure.
 * @template T
 * @param {() => Promise<T>} load
 */
export function loadOnce(load) {
  /** @type {Promise<T> | null} */
  let loading = null;
  return () => {
    loading ??= load().catch((error) => {
      loading = null;
      reloadIfStale();
      throw error;
    });
    return loading;
  };
}
