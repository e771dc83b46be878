// Builds the bundle that is committed under chat/static/chat, or the folder given as an argument. All names have a hash
// of the content, so browsers may keep the files for ever; bundle.json maps stable names to them (web/bundle.py). Texts
// are compressed here, so that a start takes no time for it; `--quick` compresses them little, in a tenth of the time.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, parse, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const options = process.argv.slice(2);
const isQuick = options.includes("--quick");
const output = resolve(options.find((option) => option !== "--quick") ?? join(here, "../chat/static/chat"));

/** Bytes below which a compressed copy of a file saves no packet. */
const LEAST_COMPRESSED_BYTES = 1000;

/**
 * Keeps one of KaTeX's three formats of each font, which every supported browser reads.
 * @type {import("esbuild").Plugin}
 */
const woff2Only = {
  name: "woff2-only",
  setup({ onLoad }) {
    onLoad({ filter: /katex[^/]*\.css$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)/g, ""),
      loader: "css",
    }));
  },
};

/**
 * Leaves out kinds of diagrams that models hardly ever write, and mermaid's own copy of KaTeX: a quarter of it.
 * @type {import("esbuild").Plugin}
 */
const fewerDiagrams = {
  name: "fewer-diagrams",
  setup({ onLoad }) {
    const rare = "architecture|block|c4|cynefin|ishikawa|railroad|swimlanes|venn|wardley";
    onLoad({ filter: new RegExp(`/mermaid\\.core/(?:${rare})[^/]*\\.mjs$`) }, () => ({
      contents: "export const diagram = undefined, render = undefined;",
    }));
    onLoad({ filter: /mermaid\/node_modules\/katex\/.*\.m?js$/ }, () => ({ contents: "export default {};" }));
  },
};

/**
 * Sets the fields of markdown-it's objects by assignments. Its helper defines each as a property, which took a fifth of
 * the time of the scripts while a completion grew: a text becomes many such objects at each update.
 * @type {import("esbuild").Plugin}
 */
const plainFields = {
  name: "plain-fields",
  setup({ onLoad }) {
    onLoad({ filter: /markdown-it\/dist\/markdown-it\.mjs$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const contents = source.replace(/(?<=function _defineProperty\(\w+, \w+, \w+\) )\{[^]*?\n\}/, (body) => {
        const [, object, name, value] = /\? Object\.defineProperty\((\w+), (\w+), \{\s+value: (\w+),/.exec(body) ?? [];
        if (!object) throw new Error("markdown-it has another helper for its fields");
        return `{ ${object}[${name}] = ${value}; return ${object}; }`;
      });
      if (contents === source) throw new Error("markdown-it has no helper for its fields");
      return { contents, loader: "js" };
    });
  },
};

/**
 * Returns the licences of the packages in the bundle.
 * @param {import("esbuild").Metafile[]} metafiles
 */
async function collectLicences(...metafiles) {
  const inputs = metafiles.flatMap((metafile) => Object.keys(metafile.inputs));
  const packages = new Set(inputs.flatMap((input) => input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1] ?? []));
  const texts = [];
  for (const name of [...packages].sort()) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).sort().find((entry) => /^licen[cs]e/i.test(entry));
    const licence = file ? (await readFile(join(folder, file), "utf8")).trim() : license;
    texts.push(`${name} ${version}\n\n${licence}`);
  }
  return `${texts.join(`\n\n${"-".repeat(72)}\n\n`)}\n`;
}

/**
 * Copies a file of frontend/static with a hash in its name, and returns that name.
 * @param {string} file
 */
async function copyHashed(file) {
  const content = await readFile(join(here, "static", file));
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 8).toUpperCase();
  const { name, ext } = parse(file);
  await writeFile(join(output, `${name}-${hash}${ext}`), content);
  return `${name}-${hash}${ext}`;
}

/**
 * Returns for each entry its file, and the chunks that it imports before it runs.
 * @param {import("esbuild").Metafile} metafile
 */
function describeEntries({ outputs }) {
  const nameOf = (/** @type {string} */ path) => relative(output, join(here, path));
  /** @type {(path: string, found?: Set<string>) => Set<string>} */
  const importsOf = (path, found = new Set()) => {
    for (const { path: imported, kind } of outputs[path]?.imports ?? []) {
      if (kind !== "import-statement" || found.has(imported)) continue;
      found.add(imported);
      importsOf(imported, found);
    }
    return found;
  };
  return Object.keys(outputs)
    .filter((path) => outputs[path]?.entryPoint && !nameOf(path).includes("/"))
    .map((path) => {
      const { name, ext } = parse(path);
      const stable = name.slice(0, name.lastIndexOf("-")) + ext;
      return { name: stable, file: nameOf(path), imports: [...importsOf(path)].map(nameOf).sort() };
    });
}

/** Writes a .br and a .gz file beside each text that they make notably smaller. */
async function compress() {
  const files = await readdir(output, { recursive: true });
  for (const file of files.filter((name) => /\.(?:js|css|svg)$/.test(name))) {
    const content = await readFile(join(output, file));
    if (content.length < LEAST_COMPRESSED_BYTES) continue;
    const quality = isQuick ? constants.BROTLI_MIN_QUALITY : constants.BROTLI_MAX_QUALITY;
    const params = { [constants.BROTLI_PARAM_SIZE_HINT]: content.length, [constants.BROTLI_PARAM_QUALITY]: quality };
    await writeFile(join(output, `${file}.br`), brotliCompressSync(content, { params }));
    await writeFile(join(output, `${file}.gz`), gzipSync(content, { level: isQuick ? 1 : 9 }));
  }
}

await rm(output, { recursive: true, force: true });
await mkdir(output, { recursive: true });

/** @type {import("esbuild").BuildOptions} */
const common = {
  absWorkingDir: here,
  bundle: true,
  target: ["chrome109", "firefox115", "safari16"],
  minify: true,
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
};

const { metafile } = await build({
  ...common,
  entryPoints: [
    { in: "src/pages/base.js", out: "base" },
    { in: "src/pages/chat.js", out: "chat" },
    { in: "src/pages/push-demo.js", out: "push-demo" },
    { in: "src/pages/overview.js", out: "overview" },
    { in: "src/pages/tools.js", out: "tools" },
    { in: "src/pages/data.js", out: "data" },
    { in: "src/pages/shared.js", out: "shared" },
    { in: "styles/chat.css", out: "chat" },
    { in: "styles/admin.css", out: "admin" },
    { in: "styles/dashboard.css", out: "dashboard" },
    { in: "styles/formulas.css", out: "formulas" },
  ],
  outdir: output,
  splitting: true,
  format: "esm",
  metafile: true,
  entryNames: "[name]-[hash]",
  chunkNames: "chunks/[name]-[hash]",
  assetNames: "fonts/[name]-[hash]",
  loader: { ".woff2": "file" },
  alias: { entities: "./src/markdown/entities.js", "punycode.js": "./src/markdown/punycode.js" },
  plugins: [woff2Only, plainFields],
});
// A single script of the old kind: modules cannot be loaded into the sandboxed frame, which has no origin, without CORS.
const diagrams = await build({
  ...common,
  entryPoints: ["src/pages/diagram-frame.js"],
  outdir: output,
  format: "iife",
  entryNames: "[name]-[hash]",
  metafile: true,
  plugins: [fewerDiagrams],
});
// A script of its own kind, at an address of its own (web/app_shell.py).
await build({
  ...common,
  entryPoints: ["src/service-worker.js"],
  outfile: join(output, "service-worker.js"),
  format: "iife",
});

/** @type {Record<string, { file: string, imports: string[] }>} */
const bundle = {};
for (const built of [metafile, diagrams.metafile]) {
  for (const { name, file, imports } of describeEntries(built)) bundle[name] = { file, imports };
}
for (const file of await readdir(join(here, "static"))) bundle[file] = { file: await copyHashed(file), imports: [] };
const sorted = Object.fromEntries(Object.entries(bundle).sort(([one], [other]) => (one < other ? -1 : 1)));
await writeFile(join(output, "bundle.json"), `${JSON.stringify(sorted, null, 2)}\n`);
await writeFile(join(output, "LICENSES.txt"), await collectLicences(metafile, diagrams.metafile));
await compress();
