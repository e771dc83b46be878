"""How a stream fails: one tree, and the actions of the error tables as data.

    Exception
    ├── ProviderError        what to do about it: `action`, `attempts`, `cooldown_s`, `scope`
    │   ├── UpstreamFailed     shown as upstream_error
    │   ├── UpstreamTimeout    shown as upstream_timeout
    │   │   └── TotalTimeout     after visible text: the completion ends with `length`
    │   ├── ContentBlocked     shown as content_blocked
    │   ├── PromptTooLong      shown as prompt_too_long
    │   └── BadParameter       shown as invalid_request
    │       └── OtherKind        the field is `model`
    └── Retry                resend another request; no failure yet

Which failure gets which action is a vendor fact and lives in the provider's module. Carrying actions out (waiting,
switching keys, cooling them down) is left to the one retry loop above the providers.
"""

from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

from providers.wire.base import JSON, ChatRequest
from providers.wire.base import gettext_noop as _

Action = Literal["wait", "switch", "disable", "user", "ops"]
Scope = Literal["key", "key_model", "all"]
Blame = Literal["request", "key", "rate", "upstream"]


@dataclass(eq=False, repr=False)
class Verdict:
    """The message of a failure, and the actions that it asks for.

    blame
        The class of the failure, which decides what follows for other requests: `request`: nothing. `key`: the vendor
        declares the key unusable, and only a neutral probe confirms it. `rate`: a limit of the key, which then cools
        down. `upstream`: everything else; failures are counted, and a probe decides. It is `request` for the action
        `user`, and else `upstream` unless given.
    action
        `wait`: where there is no other key or route, the same key again after `retry_after` or the usual backoff, up to
        `attempts` more times.
        `switch`: another key now; a limited or denied one rests for `cooldown_s`.
        `disable`: another key now; once a probe confirms it, the failing one rests until an operator clears it.
        `user`: the request itself is at fault. `ops`: our configuration is.
    attempts
        Further attempts that `wait` allows, 0 to 2; meaningless for other actions. All of this holds only before
        the first visible character: later every failure just ends the completion.
    scope
        The part that fails: the `key`, the key for this model only (`key_model`), or the whole upstream (`all`).
    waits
        Seconds to wait before each new try of the same key, when `switch` finds no other key. When it is empty,
        `cooldown_s` is the wait.
    ends_conversation
        The vendor's moderation found the whole exchange at fault: no further prompts of it are to be sent.

    The message is ours, never the raw body, URL or key.
    """

    message: str
    action: Action
    attempts: int = 0
    cooldown_s: float = 0.0
    scope: Scope = "key_model"
    waits: tuple[float, ...] = ()
    ends_conversation: bool = False
    blame: Blame = "upstream"

    def __post_init__(self) -> None:
        if self.action == "user":
            self.blame = "request"


@dataclass(eq=False, repr=False)
class ProviderError(Verdict, Exception):
    """A stream failed.

    `vendor_code` and `vendor_request_id` are for logs. `retry_after` is the upstream's hint in seconds; for `switch` it
    is already contained in `cooldown_s`.
    """

    code: ClassVar[str] = "upstream_error"

    vendor_code: str = ""
    vendor_request_id: str = ""
    retry_after: float | None = None
    status: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        Exception.__init__(self, self.message)


class UpstreamFailed(ProviderError):  # noqa: N818
    """The upstream, the way to it or our configuration of it failed."""


class UpstreamTimeout(ProviderError):  # noqa: N818
    """One of the four clocks ran out."""

    code = "upstream_timeout"


class TotalTimeout(UpstreamTimeout):
    """The clock over everything ran out; after visible text this ends the completion with `length`."""


class ContentBlocked(ProviderError):  # noqa: N818
    """The upstream's moderation refused the prompt."""

    code = "content_blocked"


class PromptTooLong(ProviderError):  # noqa: N818
    """The prompt exceeds what the model or the upstream takes."""

    code = "prompt_too_long"


@dataclass(eq=False, repr=False)
class BadParameter(ProviderError):  # noqa: N818
    """The upstream does not take a field that the caller sent; `param` names it."""

    code = "invalid_request"

    param: str = ""


def field_not_taken(param: str, refused: ProviderError | None = None) -> BadParameter:
    """Return the failure for a field that the upstream does not take.

    `refused`: the vendor's own refusal of it, which knows its code and its id of the request.
    """
    failure = BadParameter("The upstream does not take a field of the request.", "user", param=param)
    if refused is not None:
        failure.vendor_code, failure.vendor_request_id = refused.vendor_code, refused.vendor_request_id
        failure.status = refused.status
    return failure


@dataclass(eq=False, repr=False)
class OtherKind(BadParameter):
    """The request asks for a completion or embeddings, and the model gives only the other."""

    param: str = "model"


class Retry(Exception):  # noqa: N818
    """Send `request` instead, because the upstream refused a field or the prompt's length.

    Raised before the first event only. `learned` holds facts to store with the route once `request` succeeded, so that
    the next request succeeds at once: `token_cap_field`, `include_usage`, or `refused`, configured parameters with the
    values that the upstream refuses. It is empty when the prompt was cut.
    Every `Retry` changes the request, so a loop that follows them makes progress. `otherwise` is the failure to raise
    when the loop does not resend.
    """

    def __init__(self, request: ChatRequest, learned: dict[str, JSON], otherwise: ProviderError) -> None:
        super().__init__(otherwise.message)
        self.request = request
        self.learned = learned
        self.otherwise = otherwise


@dataclass(eq=False)
class Row(Verdict):
    """One row of a vendor's error table."""

    kind: type[ProviderError] = UpstreamFailed

    def error(
        self,
        *,
        vendor_code: str = "",
        vendor_request_id: str = "",
        retry_after: float | None = None,
        status: int | None = None,
    ) -> ProviderError:
        """Return the failure of this row; for `switch` the upstream's hint replaces the cooldown."""
        facts = {field.name: getattr(self, field.name) for field in fields(Verdict)}
        if self.action == "switch" and retry_after is not None:
            facts["cooldown_s"] = max(retry_after, 1.0)
        return self.kind(
            **facts,
            vendor_code=vendor_code,
            vendor_request_id=vendor_request_id,
            retry_after=retry_after,
            status=status,
        )


# Seconds. Daily volumes of Chinese vendors are renewed at midnight there; five minutes more allow for their clocks.
_BEIJING_S, _DAY_S, _RENEWED_S = 8 * 3600, 24 * 3600, 5 * 60

BROKEN = Row(_("The upstream's response was broken."), "wait", attempts=1)


def broken_stream(vendor_code: str, *, status: int | None = 200, blame: Blame = "upstream") -> ProviderError:
    """Return the failure for a broken stream: wait once at most."""
    return replace(BROKEN, blame=blame).error(vendor_code=vendor_code, status=status)


def seconds_until_renewed(now: float) -> float:
    """Return the seconds from `now` (since the epoch) until 00:05 in Beijing."""
    return _DAY_S - (now + _BEIJING_S - _RENEWED_S) % _DAY_S
