"""Refusals and failure codes for users when no upstream completes their prompt."""

from collections.abc import Sequence
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from providers.wire.errors import BadParameter, ProviderError
from web.refusals import InvalidRequest, Refusal


class ModelUnavailable(Refusal):
    """Every route to the model is cooling, quarantined or full."""

    code, status = "model_unavailable", 503
    text = _("This model cannot be reached at the moment. Please try again later or pick another one.")


class UnknownModel(InvalidRequest):
    """No enabled model that the user may use has that name."""

    def __init__(self, text: str | Promise | None = None) -> None:
        super().__init__(details={"model": [text or _("There is no such model.")]})


class Unsupported(InvalidRequest):
    """No upstream of the model takes some fields of the request."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(details={name: [_("This model does not take it.")] for name in names})


# Text for each code with which a stream may fail. A vendor's own words stay in the logs.
TEXTS: dict[str, Promise] = {
    "upstream_error": _("The model's service reported an error. Please try again."),
    "upstream_timeout": _("The model's service did not answer in time. Please try again."),
    "content_blocked": _("The model's service declined to answer this prompt."),
    "prompt_too_long": _("The prompt is too long for this model."),
    "model_unavailable": ModelUnavailable.text,
    "invalid_request": _("The model's service does not accept a field of the request."),
}


def shown(error: ProviderError) -> dict[str, Any]:
    """Return a failure as `{code, details?, retry_after?}`, to store and to send in any language."""
    param = error.param if isinstance(error, BadParameter) else ""
    facts = {"vendor_code": error.vendor_code, "vendor_request_id": error.vendor_request_id, "param": param}
    details = {name: value for name, value in facts.items() if value}
    body: dict[str, Any] = {"code": error.code}
    if details:
        body["details"] = details
    if error.retry_after is not None:
        body["retry_after"] = error.retry_after
    return body
