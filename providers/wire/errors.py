"""How a stream fails: one tree, and the actions of the error tables as data.

    Exception
    ├── ProviderError        what to do about it: `action`, `attempts`, `cooldown_s`, `scope`
    │   ├── UpstreamFailed     shown as upstream_error
    │   ├── UpstreamTimeout    shown as upstream_timeout
    │   ├── ContentBlocked     shown as content_blocked
    │   ├── PromptTooLong      shown as prompt_too_long
    │   └── BadParameter       shown as invalid_request
    └── Retry                resend another request; no failure yet

Which failure gets which action is a vendor fact and lives in the provider's module. Carrying actions out (waiting,
switching keys, cooling them down) is left to the one retry loop above the providers.
"""

from typing import ClassVar, Literal, NamedTuple

from providers.wire.base import JSON, ChatRequest

Action = Literal["wait", "switch", "disable", "user", "ops"]
Scope = Literal["key", "key_model", "all"]


class ProviderError(Exception):
    """A stream failed.

    action
        `wait`: the same key again after `retry_after` or the usual backoff, up to `attempts` more times; after that
        like `switch` when `cooldown_s` is above zero, otherwise the failure stands.
        `switch`: another key now; the failing one rests for `cooldown_s`.
        `disable`: another key now; the failing one rests until an operator clears it.
        `user`: stop, the request itself is at fault. `ops`: stop, our configuration is at fault.
    attempts
        Further attempts that `wait` allows, 0 to 2; meaningless for other actions. All of this holds only before
        the first visible character: later every failure just ends the completion.
    scope
        The part that rests: the `key`, the key for this model only (`key_model`), or the whole upstream (`all`).
    waits
        Seconds to wait before each new try of the same key, when `switch` finds no other key. When it is empty,
        `cooldown_s` is the wait.
    retry_after
        The upstream's hint in seconds, None without one. For `switch` it is already contained in `cooldown_s`.
    crowded
        The key carried more attempts at once than the upstream allows: its `max_concurrency` is to be lowered.
    unanimous
        When all keys fail alike, the keys are not at fault: the failure then counts like `ops`, and no key rests.
    alerts
        The failure alerts an operator; `disable` and `ops` always do.
    alerts_if_persistent
        The failure alerts an operator when the key fails alike again after its rest.
    ends_conversation
        The vendor's moderation found the whole exchange at fault: no further prompts of it are to be sent.

    `vendor_code` and `vendor_request_id` are for logs. The message is ours, never the raw body, URL or key.
    """

    code: ClassVar[str] = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        action: Action,
        attempts: int = 0,
        cooldown_s: float = 0.0,
        scope: Scope = "key_model",
        vendor_code: str = "",
        vendor_request_id: str = "",
        retry_after: float | None = None,
        status: int | None = None,
        waits: tuple[float, ...] = (),
        crowded: bool = False,
        unanimous: bool = False,
        alerts: bool = False,
        alerts_if_persistent: bool = False,
        ends_conversation: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.action = action
        self.attempts = attempts
        self.cooldown_s = cooldown_s
        self.scope = scope
        self.vendor_code = vendor_code
        self.vendor_request_id = vendor_request_id
        self.retry_after = retry_after
        self.status = status
        self.waits = waits
        self.crowded = crowded
        self.unanimous = unanimous
        self.alerts = alerts or action in {"disable", "ops"}
        self.alerts_if_persistent = alerts_if_persistent
        self.ends_conversation = ends_conversation


class UpstreamFailed(ProviderError):  # noqa: N818
    """The upstream, the way to it or our configuration of it failed."""


class UpstreamTimeout(ProviderError):  # noqa: N818
    """One of the four clocks ran out."""

    code = "upstream_timeout"


class ContentBlocked(ProviderError):  # noqa: N818
    """The upstream's moderation refused the prompt."""

    code = "content_blocked"


class PromptTooLong(ProviderError):  # noqa: N818
    """The prompt exceeds what the model or the upstream takes."""

    code = "prompt_too_long"


class BadParameter(ProviderError):  # noqa: N818
    """The upstream does not take a field that the caller sent; `param` names it."""

    code = "invalid_request"

    def __init__(self, param: str, *, vendor_code: str, vendor_request_id: str, status: int) -> None:
        super().__init__(
            "The upstream does not take a field of the request.",
            action="user",
            vendor_code=vendor_code,
            vendor_request_id=vendor_request_id,
            status=status,
        )
        self.param = param


class Retry(Exception):  # noqa: N818
    """Send `request` instead, because the upstream refused a field or the prompt's length.

    Raised before the first event only. `learned` holds fields to store with the model, so that the next request
    succeeds at once: `token_cap_field` or `include_usage`. It is empty when the prompt was cut or a parameter left out.
    Every `Retry` changes the request, so a loop that follows them makes progress. `otherwise` is the failure to raise
    when the loop does not resend.
    """

    def __init__(self, request: ChatRequest, learned: dict[str, JSON], otherwise: ProviderError) -> None:
        super().__init__(otherwise.message)
        self.request = request
        self.learned = learned
        self.otherwise = otherwise


class Row(NamedTuple):
    """One row of a vendor's error table; the fields mean what they mean in `ProviderError`."""

    kind: type[ProviderError]
    message: str
    action: Action
    attempts: int = 0
    cooldown_s: float = 0.0
    scope: Scope = "key_model"
    waits: tuple[float, ...] = ()
    crowded: bool = False
    unanimous: bool = False
    alerts: bool = False
    alerts_if_persistent: bool = False
    ends_conversation: bool = False

    def error(
        self,
        *,
        vendor_code: str = "",
        vendor_request_id: str = "",
        retry_after: float | None = None,
        status: int | None = None,
    ) -> ProviderError:
        """Return the failure of this row.

        For `switch` the upstream's hint replaces the cooldown, from 1 s upwards.
        """
        hinted = self.action == "switch" and retry_after is not None
        return self.kind(
            self.message,
            action=self.action,
            attempts=self.attempts,
            cooldown_s=max(retry_after or 0.0, 1.0) if hinted else self.cooldown_s,
            scope=self.scope,
            vendor_code=vendor_code,
            vendor_request_id=vendor_request_id,
            retry_after=retry_after,
            status=status,
            waits=self.waits,
            crowded=self.crowded,
            unanimous=self.unanimous,
            alerts=self.alerts,
            alerts_if_persistent=self.alerts_if_persistent,
            ends_conversation=self.ends_conversation,
        )


BROKEN = Row(UpstreamFailed, "The upstream's answer was broken.", "wait", attempts=1, cooldown_s=30.0)


def broken_stream(vendor_code: str, *, status: int | None = 200) -> ProviderError:
    """Return the failure for a broken stream: wait once, then rest the key."""
    return BROKEN.error(vendor_code=vendor_code, status=status)
