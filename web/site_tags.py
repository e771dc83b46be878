"""Template tags for the name, logo, colours and footer that the operator sets."""

from django import template
from django.conf import settings
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from web import brand

register = template.Library()


@register.simple_tag
def site_name() -> str:
    """Return the name of the site."""
    return str(settings.SITE_NAME)


@register.simple_tag
def site_logo() -> str:
    """Return the address of the logo."""
    return brand.logo_url()


@register.simple_tag
def site_icons() -> SafeString:
    """Name the icons of the site."""
    rows = ((format_html_join("", ' {}="{}"', attributes.items()),) for attributes in brand.icon_links())
    return format_html_join("\n    ", "<link{}>", rows)


@register.simple_tag
def site_colours(name: str = "pages") -> SafeString:
    """Load the site's colours after our own style sheet; nothing when they are ours."""
    url = brand.stylesheet_url(name)
    return format_html('<link rel="stylesheet" href="{}">', url) if url else SafeString("")


@register.simple_tag
def site_contact() -> str:
    """Return the address or page for questions; empty if there is none."""
    return str(settings.SITE_CONTACT)


@register.inclusion_tag("site_footer.html")
def site_footer() -> dict[str, str]:
    """Show the footer's text, the contact and the legal number, where set."""
    contact = settings.SITE_CONTACT
    return {
        "text": settings.SITE_FOOTER,
        "contact_url": f"mailto:{contact}" if contact and "://" not in contact else contact,
        "legal_number": settings.SITE_LEGAL_NUMBER,
    }
