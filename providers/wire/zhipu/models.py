"""Titles and context sizes of Zhipu's models, which its list of models does not report.

Source: https://docs.bigmodel.cn/cn/guide/start/model-overview, November 2026. These are first values of new rows.
"""

import re

from providers.wire.base import OfferedModel

_K128, _K200, _M1 = 131_072, 200_000, 1_000_000

MODELS = (
    OfferedModel("glm-5.3", _M1, "GLM-5.3"),
    OfferedModel("glm-5.3-flash", _M1, "GLM-5.3 Flash"),
    OfferedModel("glm-5.2", _M1, "GLM-5.2"),
    OfferedModel("glm-5.1", _K200, "GLM-5.1"),
    OfferedModel("glm-5", _K200, "GLM-5"),
    OfferedModel("glm-5-turbo", _K200, "GLM-5 Turbo"),
    OfferedModel("glm-4.7", _K200, "GLM-4.7"),
    OfferedModel("glm-4.7-flash", _K200, "GLM-4.7 Flash"),
    OfferedModel("glm-4.7-flashx", _K200, "GLM-4.7 FlashX"),
    OfferedModel("glm-4.6", _K200, "GLM-4.6"),
    OfferedModel("glm-4.6v", _K128, "GLM-4.6V"),
    OfferedModel("glm-4.6v-flash", _K128, "GLM-4.6V Flash"),
    OfferedModel("glm-4.5", _K128, "GLM-4.5"),
    OfferedModel("glm-4.5-x", _K128, "GLM-4.5 X"),
    OfferedModel("glm-4.5-air", _K128, "GLM-4.5 Air"),
    OfferedModel("glm-4.5-airx", _K128, "GLM-4.5 AirX"),
    OfferedModel("glm-4.5-flash", _K128, "GLM-4.5 Flash"),
    OfferedModel("glm-4.5v", 65_536, "GLM-4.5V"),
    OfferedModel("glm-4-plus", 128_000, "GLM-4 Plus"),
    OfferedModel("glm-4-air-250414", 128_000, "GLM-4 Air"),
    OfferedModel("glm-4-flash-250414", 128_000, "GLM-4 Flash"),
    OfferedModel("glm-4-flash", 128_000, "GLM-4 Flash"),
    OfferedModel("glm-4-long", _M1, "GLM-4 Long"),
)

# Versions with a switch for thinking, and those with degrees of it: https://docs.bigmodel.cn/cn/guide/capabilities/thinking
SWITCH_SINCE, DEGREES_SINCE = (4, 5), (5, 2)
_VERSION = re.compile(r"glm-(\d{1,2})(?:\.(\d{1,2}))?(?!\d)")


def version_of(name: str) -> tuple[int, int] | None:
    """Return the version in a model's name; None for a name without one."""
    found = _VERSION.match(name.lower())
    return (int(found[1]), int(found[2] or 0)) if found else None
