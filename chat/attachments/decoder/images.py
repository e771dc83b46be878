"""Decode pictures and encode them anew: without metadata, upright, and no larger than models need."""

import io

from PIL import Image, ImageOps

from chat.attachments.decoder.results import Decoded, Limits, Refused

# Pillow's names of the formats that are taken.
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
# Quality of JPEG and WebP, of 100, tried in this order until the picture is small enough.
_QUALITIES = (90, 80, 65, 50)


def media_type(content: bytes) -> str:
    """Return the media type of a picture by its first bytes; empty for other files."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else ""


def decoded(content: bytes, media_type: str, limits: Limits) -> Decoded:
    """Return a picture for models; an animation becomes its first frame. Raises Refused."""
    with _opened(content, media_type, limits) as image:
        picture = _upright(image, limits.max_side)
    has_alpha = picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255)
    if not has_alpha:
        picture = picture.convert("RGB")
    # GIF becomes PNG, which is as exact and which all vendors take.
    if media_type in {"image/png", "image/gif"}:
        encoded = _encoded(picture, "PNG", optimize=False)
        if len(encoded) <= limits.max_image_bytes:
            return Decoded("image", "image/png", encoded)
    form = "WEBP" if has_alpha or media_type == "image/webp" else "JPEG"
    for quality in _QUALITIES:
        encoded = _encoded(picture, form, quality=quality)
        if len(encoded) <= limits.max_image_bytes:
            return Decoded("image", f"image/{form.lower()}", encoded)
    raise Refused("costly")


def check(content: bytes, media_type: str, limits: Limits) -> None:
    """Raise Refused for a picture that `decoded` cannot have made."""
    if len(content) > limits.max_image_bytes or media_type == "image/gif":
        raise Refused("damaged")
    with _opened(content, media_type, limits) as image:
        if max(image.size) > limits.max_side:
            raise Refused("pixels", str(limits.max_side))
        image.load()


def _opened(content: bytes, media_type: str, limits: Limits) -> Image.Image:
    """Read the header, and refuse a picture that would take too much memory."""
    Image.MAX_IMAGE_PIXELS = None  # our own check follows, and does not warn first
    image = Image.open(io.BytesIO(content), formats=[_FORMATS[media_type]])
    width, height = image.size
    if width * height > limits.max_pixels or not (width and height):
        image.close()
        raise Refused("pixels", str(limits.max_pixels))
    return image


def _upright(image: Image.Image, max_side: int) -> Image.Image:
    orientation = image.getexif()
    # JPEG is then decoded at a fraction of its size where that is enough.
    image.draft(None, (max_side, max_side))
    has_transparency = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
    picture = image.convert("RGBA" if has_transparency else "RGB")
    picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    picture.getexif().update(orientation)
    upright = ImageOps.exif_transpose(picture)
    upright.info = {}
    return upright


def _encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    """Return a picture in a format, without anything but its pixels."""
    bare = Image.new(picture.mode, picture.size)
    bare.paste(picture)
    stream = io.BytesIO()
    bare.save(stream, form, **options)
    return stream.getvalue()
