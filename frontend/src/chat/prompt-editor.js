// A prompt that is written anew in its place.

/** Turns the prompt's node into a form with `draft` in it; resolves to what was sent, or null when it was given up. */
export function edited(node, draft) {
  const bubble = node.querySelector('[data-part="content"]');
  const form = document.getElementById("edit-template").content.firstElementChild.cloneNode(true);
  const field = form.querySelector("textarea");
  const fit = () => {
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
  };
  field.value = draft;
  bubble.after(form);
  node.classList.add("editing");
  fit();
  field.focus();
  field.setSelectionRange(draft.length, draft.length);
  return new Promise((resolve) => {
    const end = (text) => {
      form.remove();
      node.classList.remove("editing");
      resolve(text);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (field.value.trim()) end(field.value.trim());
    });
    form.querySelector('[data-part="cancel"]').addEventListener("click", () => end(null));
    field.addEventListener("input", fit);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing) end(null);
      if (!sends(event)) return;
      event.preventDefault();
      form.requestSubmit();
    });
  });
}

/** Whether a key sends what is being written: while an input method composes, Enter belongs to it; 229 is how Safari says so after the fact. */
export const sends = (event) =>
  event.key === "Enter" && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
