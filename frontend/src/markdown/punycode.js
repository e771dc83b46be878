// Takes the place of the package "punycode.js" in the bundle: the browser knows how to write hosts in ASCII already.

/**
 * Returns a host in ASCII; throws when it is none.
 * @param {string} host
 */
const toASCII = (host) => new URL(`http://${host}`).hostname;

/**
 * Returns a host as it is written: one in ASCII may be made to look like another one in Unicode.
 * @param {string} host
 */
const toUnicode = (host) => host;

export default { toASCII, toUnicode };
