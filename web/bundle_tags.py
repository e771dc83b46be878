"""The template tag that loads a script of the bundle."""

from django import template
from django.contrib.staticfiles.storage import staticfiles_storage
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def script(name: str) -> SafeString:
    """Load a script, and its chunks at the same time instead of after it."""
    urls = ((url,) for url in staticfiles_storage.imported_urls(name))  # type: ignore[attr-defined]
    preloads = format_html_join("", '<link rel="modulepreload" href="{}">', urls)
    return format_html('{}<script type="module" src="{}"></script>', preloads, staticfiles_storage.url(name))
