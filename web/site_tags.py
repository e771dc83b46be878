"""Template tags for the name and the footer of this site, which the operator sets."""

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def site_name() -> str:
    """Return the name of the site."""
    return str(settings.SITE_NAME)


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
