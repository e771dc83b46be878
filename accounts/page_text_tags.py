"""A template tag with links to the texts of the operator."""

from django import template
from django_stubs_ext import StrOrPromise

from accounts import page_texts

register = template.Library()


@register.simple_tag
def text_links() -> list[tuple[StrOrPromise, str]]:
    """Return title and address of each text that the operator wrote."""
    return page_texts.links()
