import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutOrigin } from "../src/chat/conversation-list.js";

test("the address of the next page is asked for at the page's own origin", () => {
  assert.equal(withoutOrigin("http://web:8000/api/conversations/?cursor=a%3D"), "/api/conversations/?cursor=a%3D");
  assert.equal(withoutOrigin("/api/conversations/"), "/api/conversations/");
});
