// Builds the committed bundle: stable names for what templates load (chat.js, tools.js, overview.js, data.js,
// push-demo.js, chat.css, dashboard.css, formulas.css), hashed names for what these share or load later.
import { build } from "esbuild";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const output = join(here, "../chat/static/chat");

// KaTeX names three formats of each font; every browser that runs this page reads the first.
const woff2Only = {
  name: "woff2-only",
  setup({ onLoad }) {
    onLoad({ filter: /katex[^/]*\.css$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)/g, ""),
      loader: "css",
    }));
  },
};

async function licences(metafile) {
  const packages = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const name = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1];
    if (name) packages.add(name);
  }
  const texts = [];
  for (const name of [...packages].sort()) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? (await readFile(join(folder, file), "utf8")).trim() : license;
    texts.push(`${name} ${version}\n\n${text}`);
  }
  return texts.join(`\n\n${"-".repeat(72)}\n\n`) + "\n";
}

await mkdir(output, { recursive: true });
for (const folder of ["chunks", "fonts"]) await rm(join(output, folder), { recursive: true, force: true });

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: [
    { in: "src/pages/chat.js", out: "chat" },
    { in: "src/pages/push-demo.js", out: "push-demo" },
    { in: "src/pages/overview.js", out: "overview" },
    { in: "src/pages/tools.js", out: "tools" },
    { in: "src/pages/data.js", out: "data" },
    { in: "styles/chat.css", out: "chat" },
    { in: "styles/dashboard.css", out: "dashboard" },
    { in: "styles/formulas.css", out: "formulas" },
  ],
  outdir: output,
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["chrome109", "firefox115", "safari16"],
  minify: true,
  charset: "utf8",
  legalComments: "none",
  chunkNames: "chunks/[name]-[hash]",
  assetNames: "fonts/[name]",
  loader: { ".woff2": "file" },
  plugins: [woff2Only],
  metafile: true,
  logLevel: "info",
});

await writeFile(join(output, "LICENSES.txt"), await licences(metafile));
await cp(join(here, "static"), output, { recursive: true });
