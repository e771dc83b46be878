// Builds the bundle that is committed under chat/static/chat, or the folder given as an argument. What templates load
// has a stable name; what these files share, or load later, has a hash in its name.
import { build } from "esbuild";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const output = resolve(process.argv[2] ?? join(here, "../chat/static/chat"));

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
 * Returns the licences of the packages in the bundle.
 * @param {import("esbuild").Metafile} metafile
 */
async function collectLicences(metafile) {
  const inputs = Object.keys(metafile.inputs);
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

await mkdir(output, { recursive: true });
for (const folder of ["chunks", "fonts"]) await rm(join(output, folder), { recursive: true, force: true });

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: [
    { in: "src/pages/base.js", out: "base" },
    { in: "src/pages/chat.js", out: "chat" },
    { in: "src/pages/push-demo.js", out: "push-demo" },
    { in: "src/pages/overview.js", out: "overview" },
    { in: "src/pages/tools.js", out: "tools" },
    { in: "src/pages/data.js", out: "data" },
    { in: "src/service-worker.js", out: "service-worker" },
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
  alias: { entities: "./src/markdown/entities.js" },
  plugins: [woff2Only],
  metafile: true,
  logLevel: "warning",
});

await writeFile(join(output, "LICENSES.txt"), await collectLicences(metafile));
await cp(join(here, "static"), output, { recursive: true });
