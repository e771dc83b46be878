"""Images inside completions, in OpenRouter's shape, which relays of Gemini and others send too.

https://openrouter.ai/docs/features/multimodal/image-generation
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_KIND = "image_url"
# An empty list as JSON.
NO_IMAGES = "[]"


@dataclass(frozen=True, slots=True)
class CompletionImages:
    """A JSON list of images as they came, such as `{"type": "image_url", "image_url": {"url": "data:…"}}`."""

    json: str
    # Images beside these that were left out on the way.
    left_out: int = 0


def listed_images(delta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the images of a delta: of their own field, and among content."""
    own, content = delta.get("images"), delta.get("content")
    found = [image for image in own if isinstance(image, dict)] if isinstance(own, list) else []
    parts = content if isinstance(content, list) else ()
    return found + [part for part in parts if isinstance(part, dict) and part.get("type") == _KIND]


def inline_image(media_type: str, data: str) -> dict[str, Any]:
    """Return an image in base64 in this shape."""
    return image_at(f"data:{media_type};base64,{data}")


def image_at(address: str) -> dict[str, Any]:
    """Return an image in this shape, with nothing beside its address."""
    return {"type": _KIND, _KIND: {"url": address}}


def address_of(image: Mapping[str, Any]) -> str:
    """Return the address of an image, empty without any."""
    given = image.get(_KIND)
    url = given.get("url") if isinstance(given, dict) else given
    return url if isinstance(url, str) else ""
