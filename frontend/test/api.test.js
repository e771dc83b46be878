import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { call, headers, ignoreRefusal, readRefusal, Refusal } from "../src/api.js";
import { installFetch, installPage, refusal } from "./page-stub.js";

beforeEach(() => installPage({ offline: "offline!", failed: "failed!" }));

test("requests carry the CSRF token of the cookie", () => {
  assert.equal(headers()["X-CSRFToken"], "secret");
  document.cookie = "csrftoken=renewed";
  assert.equal(headers({ Accept: "text/event-stream" })["X-CSRFToken"], "renewed");
  assert.equal(headers({ Accept: "text/event-stream" }).Accept, "text/event-stream");
});

test("a call sends JSON and returns the JSON of the response", async () => {
  const requests = installFetch(Response.json({ id: 3 }));
  assert.deepEqual(await call("PATCH", "/api/x/", { title: "a" }), { id: 3 });
  assert.equal(requests[0]?.init.body, '{"title":"a"}');
  assert.equal(requests[0]?.init.headers["Content-Type"], "application/json");
});

test("a file is sent as it is", async () => {
  const requests = installFetch(Response.json({}));
  const file = new Blob(["[]"]);
  await call("POST", "/api/import/", file);
  assert.equal(requests[0]?.init.body, file);
});

test("an empty response has no JSON", async () => {
  installFetch(new Response(null, { status: 204 }));
  assert.equal(await call("DELETE", "/api/x/"), null);
});

test("a refusal has the code, message and details of the server", async () => {
  const body = { error: { code: "invalid_request", message: "no", details: { title: ["too long"] } } };
  installFetch(Response.json(body, { status: 400 }));
  await assert.rejects(call("POST", "/api/x/", {}), (error) => {
    assert.ok(error instanceof Refusal);
    assert.deepEqual([error.code, error.message, error.details], ["invalid_request", "no", { title: ["too long"] }]);
    return true;
  });
});

test("an error page of a proxy is no refusal of ours, but a call reports it", async () => {
  const page = () => new Response("<h1>Bad gateway</h1>", { status: 502 });
  assert.equal(await readRefusal(page()), null);
  assert.equal(await readRefusal(Response.json({ error: "text" })), null);
  installFetch(page());
  await assert.rejects(call("GET", "/api/x/"), { code: "unknown", message: "failed!" });
});

test("a server out of reach is reported as such", async () => {
  installFetch(new TypeError("network"));
  await assert.rejects(call("GET", "/api/x/"), { code: "offline", message: "offline!" });
});

test("only refusals are ignored", async () => {
  await ignoreRefusal(async () => {
    throw await readRefusal(refusal(404, "not_found"));
  });
  const fault = new TypeError("fault");
  await assert.rejects(
    ignoreRefusal(() => Promise.reject(fault)),
    fault,
  );
});
