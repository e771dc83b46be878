// Official clients in JavaScript, as a program: `node program.js <base URL>`. It reads lines of a key and a function,
// such as `openai.text`, and prints one line of JSON for each. Calls run at once, so each line has the name of its call.
import readline from "node:readline";

import * as anthropic from "./anthropic.js";
import * as openai from "./openai.js";
import * as vercel from "./vercel.js";

const SDKS = { anthropic, openai, vercel };
const url = process.argv[2];

for await (const line of readline.createInterface({ input: process.stdin })) {
  const [key, name] = line.split(" ");
  const [sdk, work] = name.split(".");
  SDKS[sdk][work](url, key).then(
    (value) => console.log(JSON.stringify([name, value])),
    (error) => console.log(JSON.stringify([name, { failed: String(error?.stack ?? error) }])),
  );
}
