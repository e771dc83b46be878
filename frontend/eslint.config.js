import js from "@eslint/js";
import globals from "globals";

/** Ways to turn text into HTML without the sanitizer. */
const unsafeProperties = ["innerHTML", "outerHTML", "insertAdjacentHTML", "setHTMLUnsafe"];

/** A module that fails to load may be gone since an upgrade; `loadOnce` then reloads the page. */
const bareImport = {
  selector: "ImportExpression:not(CallExpression[callee.name='loadOnce'] ImportExpression)",
  message: "Load modules through loadOnce (src/load-once.js).",
};

export default [
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "array-callback-return": "error",
      complexity: ["error", 10],
      "consistent-return": "error",
      eqeqeq: "error",
      // JSDoc comments carry the types, which count in no other language either.
      "max-lines": ["error", { max: 400, skipComments: true }],
      "max-lines-per-function": ["error", { max: 60, skipComments: true }],
      "no-console": "error",
      "no-else-return": "error",
      "no-eval": "error",
      "no-implicit-coercion": "error",
      "no-new": "error",
      "no-restricted-properties": ["error", ...unsafeProperties.map((property) => ({ property }))],
      "no-self-compare": "error",
      "no-shadow": "error",
      "no-unneeded-ternary": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      "no-useless-return": "error",
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-arrow-callback": "error",
      "prefer-const": "error",
      "prefer-template": "error",
    },
  },
  {
    files: ["src/**", "static/**"],
    languageOptions: { globals: globals.browser },
    rules: { "no-restricted-syntax": ["error", bareImport] },
  },
  { files: ["test/**"], languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  { files: ["*.mjs"], languageOptions: { globals: globals.node } },
];
