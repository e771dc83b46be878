"""Serve the site's logo and colours.

Addresses contain a digest, so that browsers may keep them for ever.
"""

import hashlib
import io
from functools import lru_cache

from csp.constants import NONE, UNSAFE_INLINE
from csp.decorators import csp
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import reverse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe
from PIL import Image, ImageOps

from web.colours import Palette
from web.logo import Logo

# Pixels of the icons that are made from a PNG, WebP or JPEG: of the manifest, and Apple's.
ICON_SIZES = (180, 192, 512)
# Of a logo that is opened by itself: an SVG may have styles, but runs nothing.
POLICY = {"default-src": [NONE], "style-src": [UNSAFE_INLINE], "frame-ancestors": [NONE], "sandbox": []}
_kept_for_ever = cache_control(public=True, max_age=31_536_000, immutable=True)


def logo_url() -> str:
    """Return the address of the logo, the operator's or ours."""
    logo: Logo | None = settings.SITE_LOGO
    return reverse("brand-logo", args=[logo.digest]) if logo else static("chat/rivulet.svg")


def icon_links() -> list[dict[str, str]]:
    """Return the attributes of the `link` elements for the site's icons."""
    logo: Logo | None = settings.SITE_LOGO
    if logo is None:
        ours = {"rel": "icon", "type": "image/svg+xml", "href": static("chat/favicon.svg")}
        return [ours, {"rel": "apple-touch-icon", "type": "image/png", "href": static("chat/apple-touch-icon.png")}]
    links = [{"rel": "icon", "type": logo.media_type, "href": logo_url()}]
    if not logo.is_svg:
        links.append({"rel": "apple-touch-icon", "type": "image/png", "href": _icon_url(logo, 180)})
    return links


def manifest_icons() -> list[dict[str, str]]:
    """Return the icons of the web app manifest."""
    logo: Logo | None = settings.SITE_LOGO
    if logo and logo.is_svg:
        return [{"src": logo_url(), "sizes": "any", "type": logo.media_type}]
    if logo:
        sizes = (192, 512)
        return [{"src": _icon_url(logo, size), "sizes": f"{size}x{size}", "type": "image/png"} for size in sizes]
    maskable = {"src": static("chat/icon-maskable-512.png"), "purpose": "maskable"}
    return [
        {"src": static("chat/favicon.svg"), "sizes": "any", "type": "image/svg+xml"},
        {"src": static("chat/icon-192.png"), "sizes": "192x192", "type": "image/png"},
        {"src": static("chat/icon-512.png"), "sizes": "512x512", "type": "image/png"},
        {**maskable, "sizes": "512x512", "type": "image/png"},
    ]


def stylesheet_url(name: str) -> str:
    """Return the address of the colours for `pages` or `admin`; empty for ours."""
    palette: Palette | None = settings.SITE_COLOR
    return reverse("brand-colours", args=[name, _digest(_stylesheet(palette, name))]) if palette else ""


@require_safe
@_kept_for_ever
@csp(POLICY)  # type: ignore[arg-type]  # it also takes views with arguments
def logo(_request: HttpRequest, digest: str) -> HttpResponse:
    """Return the operator's file as it is."""
    return HttpResponse(_logo(digest).data, content_type=_logo(digest).media_type)


@require_safe
@_kept_for_ever
def icon(_request: HttpRequest, digest: str, size: int) -> HttpResponse:
    """Return the logo as a square PNG."""
    found = _logo(digest)
    if found.is_svg or size not in ICON_SIZES:
        raise Http404
    return HttpResponse(_png(found, size), content_type="image/png")


@require_safe
@_kept_for_ever
def colours(_request: HttpRequest, name: str, digest: str) -> HttpResponse:
    """Return the style sheet that replaces our colours by the site's."""
    palette: Palette | None = settings.SITE_COLOR
    text = _stylesheet(palette, name) if palette and name in _PROPERTIES else ""
    if not text or digest != _digest(text):
        raise Http404
    return HttpResponse(text, content_type="text/css; charset=utf-8")


def _stylesheet(palette: Palette, name: str) -> str:
    properties = _PROPERTIES[name](palette)
    lines = [f"  {title}: var(--light, {light}) var(--dark, {dark});" for title, light, dark in properties]
    return "\n".join([":root,\nhtml[data-theme] {", *lines, "}\n"])


def _of_pages(palette: Palette) -> list[tuple[str, str, str]]:
    light, dark = palette.light, palette.dark
    return [
        ("--accent", light.accent, dark.accent),
        ("--accent-strong", light.strong, dark.strong),
        ("--accent-tint", light.tint, dark.tint),
        ("--on-accent", light.on_accent, dark.on_accent),
    ]


def _of_admin(palette: Palette) -> list[tuple[str, str, str]]:
    """Return the properties of `frontend/styles/admin.css` that show the colour."""
    light, dark = palette.light, palette.dark
    buttons = ("--button-bg", "--default-button-bg")
    return [
        ("--primary", light.accent, light.strong),
        ("--secondary", light.accent, dark.tint),
        ("--accent", light.tint, dark.strong),
        ("--link-fg", light.accent, dark.accent),
        ("--link-hover-color", light.strong, dark.strong),
        ("--link-selected-fg", light.accent, dark.strong),
        ("--header-bg", light.accent, light.strong),
        ("--header-color", light.tint, light.tint),
        ("--breadcrumbs-bg", light.tint, "#1b2326"),
        ("--breadcrumbs-link-fg", light.strong, dark.accent),
        *((name, light.accent, light.accent) for name in buttons),
        *((name.replace("-bg", "-hover-bg"), light.strong, light.strong) for name in buttons),
        ("--selected-bg", light.tint, dark.tint),
        ("--selected-row", light.tint, dark.tint),
    ]


_PROPERTIES = {"pages": _of_pages, "admin": _of_admin}


def _logo(digest: str) -> Logo:
    logo: Logo | None = settings.SITE_LOGO
    if logo is None or logo.digest != digest:
        raise Http404
    return logo


@lru_cache(len(ICON_SIZES))
def _png(logo: Logo, size: int) -> bytes:
    """Return an icon; made once, because any visitor may ask for it."""
    with Image.open(io.BytesIO(logo.data)) as image:
        square = ImageOps.pad(image.convert("RGBA"), (size, size), color=(0, 0, 0, 0))
    png = io.BytesIO()
    square.save(png, "PNG")
    return png.getvalue()


def _icon_url(logo: Logo, size: int) -> str:
    return reverse("brand-icon", args=[logo.digest, size])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
