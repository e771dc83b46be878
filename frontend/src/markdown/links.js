// Which links of a completion may be followed.

/**
 * Returns whether an address leads out of the site with the host `ownHost`. A link into this service could act in the
 * reader's name.
 * @param {string} href
 * @param {string} ownHost
 */
export function isExternal(href, ownHost) {
  let url;
  try {
    url = new URL(href);
  } catch {
    return false;
  }
  return url.protocol === "mailto:" || (["https:", "http:"].includes(url.protocol) && url.host !== ownHost);
}
