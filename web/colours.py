"""The shades that are made from the site's colour, and their contrast after WCAG 2.2.

Surfaces are those of `frontend/styles/tokens.css`.
"""

import re
from dataclasses import dataclass

# WCAG's lowest contrast of text (level AA).
LEAST_CONTRAST = 4.5
# The contrast that a colour of the dark theme gets where the operator names none.
_COMFORT = 6.5
_LIGHT_SURFACES = ("#fcfdfc", "#f2f5f4")
_DARK_PAGE, _DARK_SURFACES = "#151b1d", ("#151b1d", "#101517", "#1b2326")
_WHITE, _BLACK = "#ffffff", "#000000"


@dataclass(frozen=True, slots=True)
class Shades:
    """One theme's colours: of links, under the pointer, of chosen rows, of text on buttons."""

    accent: str
    strong: str
    tint: str
    on_accent: str


@dataclass(frozen=True, slots=True)
class Palette:
    """The shades of both themes."""

    light: Shades
    dark: Shades


def palette(text: str) -> Palette:
    """Return the shades for `#rrggbb`, or two of these with a comma between; raise ValueError."""
    parts = [part.strip().lower() for part in text.split(",")]
    if len(parts) > 2 or not all(re.fullmatch(r"#[0-9a-f]{6}", part) for part in parts):
        raise ValueError("not a colour such as #0b6b74, or two with a comma between: of the light and the dark theme")
    light = _light(parts[0])
    return Palette(light, _dark(parts[1] if len(parts) > 1 else _lightened(parts[0])))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _light(accent: str) -> Shades:
    tint = _mixed(accent, _WHITE, 0.09)
    _require(accent, (*_LIGHT_SURFACES, tint), "light", "darker")
    return Shades(accent, _mixed(accent, _BLACK, 0.8), tint, _WHITE)


def _dark(accent: str) -> Shades:
    tint, on_accent = _mixed(accent, _DARK_PAGE, 0.15), _mixed(accent, _BLACK, 0.16)
    _require(accent, (*_DARK_SURFACES, tint, on_accent), "dark", "lighter")
    return Shades(accent, _mixed(accent, _WHITE, 0.7), tint, on_accent)


def _require(accent: str, surfaces: tuple[str, ...], theme: str, remedy: str) -> None:
    lowest = min(contrast(accent, surface) for surface in surfaces)
    if lowest < LEAST_CONTRAST:
        raise ValueError(
            f"{accent} has a contrast of {lowest:.1f} in the {theme} theme, and text needs {LEAST_CONTRAST} (WCAG AA): "
            f"choose a {remedy} colour"
        )


def _lightened(colour: str) -> str:
    """Return the colour with as much white as the dark theme needs."""
    shades = (_mixed(colour, _WHITE, share / 20) for share in range(20, -1, -1))
    return next(shade for shade in shades if all(contrast(shade, one) >= _COMFORT for one in _DARK_SURFACES))


def _mixed(one: str, other: str, share: float) -> str:
    """Return a colour that has this share of the first one, else of the second."""
    pairs = zip(_channels(one), _channels(other), strict=True)
    return "#" + "".join(f"{round(share * first + (1 - share) * second):02x}" for first, second in pairs)


def _luminance(colour: str) -> float:
    """Return the relative luminance as WCAG defines it."""
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in (channel / 255 for channel in _channels(colour))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
