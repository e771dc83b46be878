import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { describeDuration, describeReasoning, describeUsage } from "../src/generation/receipt.js";
import { hostOf } from "../src/generation/sources.js";
import { describeVendorDetails } from "../src/generation/vendor-details.js";
import { installPage } from "./page-stub.js";

const tokens = { input_tokens: 1234, output_tokens: 7, estimated: false };

beforeEach(() =>
  installPage({
    duration: "{seconds} s",
    thoughtMinutes: "{minutes} min {seconds} s",
    thoughtSeconds: "{seconds} s",
    usage: "{input}, {output}",
    usageCached: "{count} in ({part} cached)",
    usageEstimated: "about {input}, {output}",
    usageInput: "{count} in",
    usageOutput: "{count} out",
    usageReasoning: "{count} out ({part} reasoning)",
    vendorCode: "Code {code}",
    vendorRequest: "Request {id}",
  }),
);

test("the receipt names the time, with tenths below ten seconds", () => {
  assert.equal(describeDuration(1.26), "1.3 s");
  assert.equal(describeDuration(12.6), "13 s");
  assert.equal(describeDuration(undefined), "");
});

test("the receipt names the parts that are known and not zero", () => {
  assert.equal(describeUsage(tokens), "1,234 in, 7 out");
  assert.equal(describeUsage({ ...tokens, cached_tokens: 0, reasoning_tokens: 0 }), "1,234 in, 7 out");
  assert.equal(
    describeUsage({ ...tokens, cached_tokens: 1000, reasoning_tokens: 3 }),
    "1,234 in (1,000 cached), 7 out (3 reasoning)",
  );
});

test("an estimate is called one, and unknown usage is empty", () => {
  assert.equal(describeUsage({ ...tokens, estimated: true }), "about 1,234 in, 7 out");
  assert.equal(describeUsage(null), "");
  assert.equal(describeUsage(undefined), "");
});

test("reasoning is told in whole seconds, and in minutes from one on", () => {
  assert.equal(describeReasoning(0.2), "1 s");
  assert.equal(describeReasoning(12.4), "12 s");
  assert.equal(describeReasoning(59.6), "1 min 0 s");
  assert.equal(describeReasoning(125), "2 min 5 s");
});

test("the vendor's words are those that there are", () => {
  assert.equal(describeVendorDetails({ vendor_code: "11200", vendor_request_id: "cht1" }), "Code 11200 · Request cht1");
  assert.equal(describeVendorDetails({ vendor_request_id: "cht1" }), "Request cht1");
  assert.equal(describeVendorDetails({}), "");
  assert.equal(describeVendorDetails(undefined), "");
});

test("only web addresses have a host to show", () => {
  assert.equal(hostOf("https://a.example:8080/x?y#z"), "a.example:8080");
  assert.equal(hostOf("HTTP://例子.example"), "例子.example");
  assert.equal(hostOf("https://good.example@bad.example/"), "bad.example");
  for (const address of [
    "javascript:alert(1)",
    "javascript://a.example/%0Aalert(1)",
    "//a.example/",
    "data:,x",
    "https://",
    "",
  ])
    assert.equal(hostOf(address), null, address);
});
