// Task lists: "[ ]" or "[x]" and a space at the beginning of a list item become a box that cannot be operated.
/** @import { MarkdownIt, StateCore } from "markdown-it" */

const BOX = /^\[([ xX])\]\s+/;

/**
 * Takes the brackets out of the texts, before links are parsed.
 * @param {StateCore} state
 */
function takeBrackets({ tokens }) {
  for (const [i, item] of tokens.entries()) {
    const token = tokens[i + 2];
    if (item.type !== "list_item_open" || tokens[i + 1]?.type !== "paragraph_open" || !token) continue;
    const [brackets = "", mark] = token.content.match(BOX) ?? [];
    if (!brackets) continue;
    token.content = token.content.slice(brackets.length);
    token.meta = { task: mark === " " ? "open" : "done" };
    item.attrJoin("class", "task");
  }
}

/**
 * Puts the boxes before the parsed texts.
 * @param {StateCore} state
 */
function addBoxes({ tokens, Token }) {
  for (const token of tokens) {
    if (!token.meta?.task) continue;
    const box = new Token("task_box", "input", 0);
    box.attrs = [
      ["type", "checkbox"],
      ["disabled", ""],
    ];
    if (token.meta.task === "done") box.attrs.push(["checked", ""]);
    token.children?.unshift(box);
  }
}

/**
 * The plugin for markdown-it.
 * @param {MarkdownIt} markdown
 */
export function taskLists(markdown) {
  markdown.core.ruler.before("inline", "task_brackets", takeBrackets);
  markdown.core.ruler.after("inline", "task_boxes", addBoxes);
}
