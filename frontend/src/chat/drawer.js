// The sidebar as a drawer on small screens, and the menus that open from a <details>.

const sidebar = document.getElementById("sidebar");
const main = document.getElementById("main");
const opener = document.getElementById("open-sidebar");
const narrow = matchMedia("(max-width: 56rem)");

function setOpen(open) {
  sidebar.classList.toggle("open", open);
  sidebar.inert = narrow.matches && !open;
  main.inert = narrow.matches && open;
  opener.setAttribute("aria-expanded", String(open));
}

function close() {
  if (!sidebar.classList.contains("open")) return;
  setOpen(false);
  opener.focus();
}

export function installDrawer() {
  setOpen(false);
  narrow.addEventListener("change", () => setOpen(false));
  opener.addEventListener("click", () => {
    setOpen(true);
    sidebar.querySelector("[data-close-sidebar]").focus();
  });
  for (const closer of document.querySelectorAll("[data-close-sidebar]")) closer.addEventListener("click", close);
}

/** Menus close by Escape and by a click elsewhere; Escape closes the drawer when no menu is open. */
export function installMenus() {
  const openMenus = () => [...document.querySelectorAll("details.menu[open]")];
  document.addEventListener("click", ({ target }) => {
    for (const menu of openMenus()) if (!menu.contains(target)) menu.open = false;
  });
  document.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || document.querySelector("dialog[open]")) return;
    const menus = openMenus();
    for (const menu of menus) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    if (!menus.length) close();
  });
}
