// The page within the sandboxed frame that draws diagrams (templates/diagram.html). It has an origin of its own and may
// load nothing but its own scripts, so a hostile diagram reaches nothing. It sends back a picture, which runs nothing.
import mermaid from "mermaid";

/** Bounds for diagrams of a hostile upstream, and no HTML within them. */
const options = {
  startOnLoad: false,
  suppressErrorRendering: true,
  securityLevel: /** @type {const} */ ("strict"),
  htmlLabels: false,
  flowchart: { htmlLabels: false },
  maxTextSize: 20_000,
  maxEdges: 300,
  fontFamily:
    "ui-sans-serif, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'PingFang SC', 'Noto Sans CJK SC', sans-serif",
  // What a diagram's own text may not change.
  secure: [
    "secure",
    "securityLevel",
    "startOnLoad",
    "maxTextSize",
    "maxEdges",
    "htmlLabels",
    "flowchart",
    "fontFamily",
  ],
};

/** The page's colours (styles/tokens.css); mermaid derives those of all parts from them. */
const colours = {
  light: {
    darkMode: false,
    background: "#f4f7f6",
    primaryColor: "#e4f0ef",
    primaryTextColor: "#1b2527",
    primaryBorderColor: "#0b6b74",
    lineColor: "#56656a",
    edgeLabelBackground: "#f4f7f6",
    noteBkgColor: "#fbefd8",
    noteTextColor: "#1b2527",
  },
  dark: {
    darkMode: true,
    background: "#101517",
    primaryColor: "#1c3235",
    primaryTextColor: "#dfe7e7",
    primaryBorderColor: "#74c7cd",
    lineColor: "#97a7aa",
    edgeLabelBackground: "#101517",
    noteBkgColor: "#3a3320",
    noteTextColor: "#dfe7e7",
  },
};

let count = 0;

/**
 * Returns a picture of a diagram, in XML and with a size, as an <img> needs it.
 * @param {string} source
 * @param {boolean} isDark
 */
async function draw(source, isDark) {
  mermaid.initialize({ ...options, theme: "base", themeVariables: isDark ? colours.dark : colours.light });
  count += 1;
  const { svg } = await mermaid.render(`diagram-${count}`, source);
  const drawn = new DOMParser().parseFromString(svg, "text/html").querySelector("svg");
  const [, , width, height] = (drawn?.getAttribute("viewBox") ?? "").split(/[ ,]+/).map(Number);
  if (!drawn || !width || !height) throw new Error("The diagram is empty");
  drawn.removeAttribute("style");
  drawn.setAttribute("width", String(Math.ceil(width)));
  drawn.setAttribute("height", String(Math.ceil(height)));
  return new XMLSerializer().serializeToString(drawn);
}

addEventListener("message", async ({ data, source: page, origin }) => {
  if (page !== parent) return;
  const { id, source, isDark } = data;
  const svg = await draw(source, isDark).catch(() => "");
  parent.postMessage({ id, svg }, origin);
});
// Opened by itself, the page has nothing to do.
if (parent !== window) parent.postMessage({ isReady: true }, "*");
