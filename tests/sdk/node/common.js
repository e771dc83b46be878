// What the programs have in common.
export const HELLO = [{ role: "user", content: "Hello" }];
export const PNG = "AAAA";

/** A `fetch` that counts its calls. */
export function counting() {
  const counted = (...given) => {
    counted.calls += 1;
    return fetch(...given);
  };
  counted.calls = 0;
  return counted;
}

/** Run `work`, and return what it raises as `[class, status, more…]`. */
export async function raised(work, ...more) {
  try {
    return ["nothing", await work()];
  } catch (error) {
    return [
      error.constructor.name,
      error.status ?? error.statusCode ?? null,
      ...more.map((name) => error[name] ?? null),
    ];
  }
}
