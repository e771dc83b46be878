// Keeps the theme of Django's administration the same as that of the other pages, which have it in a cookie. This is a
// classic script, so that it runs before Django's theme.js, which reads localStorage.
(() => {
  const chosen = document.cookie.match(/(?:^|; )theme=(light|dark)(?:;|$)/)?.[1];
  localStorage.setItem("theme", chosen ?? "auto");
  document.addEventListener("click", ({ target }) => {
    if (!target.closest(".theme-toggle")) return;
    const theme = localStorage.getItem("theme");
    const seconds = theme === "auto" ? 0 : 365 * 24 * 60 * 60;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `theme=${theme}; Path=/; Max-Age=${seconds}; SameSite=Lax${secure}`;
  });
})();
