// Boxes that may be too small for their text: those that scroll are reached with the keyboard, the others are not.
const observer = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollHeight > target.clientHeight) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
  }
});

/**
 * Lets users scroll the box with the keyboard whenever it is too small for its text.
 * @param {Element} box
 */
export const makeReachable = (box) => observer.observe(box);
