"""All routes that are no staff rows: plain async views and DRF views alike, as one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from accounts import api as accounts
from chat import bodies
from chat.channels import views
from chat.conversations import api
from chat.openai.bodies import CompletionBody
from chatproject.openapi.shapes import ANYTHING, COUNT, FLAG, TEXT, WHOLE, Shape, many, one_of, page, record, ref
from quotas import staff

# Who may call: anybody, with any proof, with a token only, or with a ticket too.
Proof = Literal["open", "any", "bearer", "ticket"]

JSON, STREAM = "application/json", "text/event-stream"

CHAT_EVENTS = {
    name: f"Chat{name.title()}Event" for name in ("start", "message", "reasoning", "notice", "reset", "done", "error")
}
PUSH_EVENTS = {name: f"Push{name.title()}Event" for name in ("message", "complete", "error", "reset")}


@dataclass(frozen=True)
class Answer:
    """What a status brings: a shape of some media type, and for streams the component of each event."""

    shape: Shape | None = None
    media: str = JSON
    events: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """One method of one path. `body`: a serializer, a pydantic model or a shape; `refused`: statuses of its own."""

    group: str
    summary: str
    answers: Mapping[int, tuple[Answer, ...]]
    body: Any = None
    example: Any = None
    query: Mapping[str, Shape] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    refused: tuple[int, ...] = ()
    proof: Proof = "any"
    media: tuple[str, ...] = (JSON,)


def says(shape: Shape, status: int = 200) -> dict[int, tuple[Answer, ...]]:
    return {status: (Answer(shape),)}


def streams(events: Mapping[str, str], *more: int) -> dict[int, tuple[Answer, ...]]:
    return {200: (Answer(TEXT, STREAM, events),), **dict.fromkeys(more, (Answer(),))}


NOTHING: dict[int, tuple[Answer, ...]] = {204: (Answer(),)}
# What may refuse a question, beside its form: account, key, quota and rates, moderation, upstream, drain.
ASKING = (403, 404, 409, 413, 422, 429, 502, 503, 504)
ASKED = {200: (Answer(TEXT, STREAM, CHAT_EVENTS),), 202: (Answer(ref("Begun")),)}
_QUESTION = {"model": "demo", "prompt": "Hello"}
_QUERY: dict[str, Shape] = {
    **dict.fromkeys(("model", "prompt", "text_tool", "target_language", "system_prompt"), TEXT),
    **dict.fromkeys(("conversation", "parent"), WHOLE),
    "idempotency_key": TEXT,
    "last_event_id": TEXT,
}
_SEEN: dict[str, Shape] = {"last_event_id": TEXT}
_USER = {"user": "alice"}

Table = dict[tuple[str, str], Route]

ACCOUNTS: Table = {
    ("POST", "/api/auth/register/"): Route(
        "Accounts",
        "Make an account",
        says(ref("Registered"), 201),
        accounts.RegisterBody,
        {"username": "alice", "email": "alice@example.org", "password": "a long passphrase"},
        refused=(403, 429),
        proof="open",
    ),
    ("POST", "/api/auth/token/"): Route(
        "Accounts",
        "Log in: tokens for a name or an address, and a password",
        says(ref("Tokens")),
        accounts.LoginBody,
        {"username": "alice", "password": "a long passphrase"},
        refused=(401, 429),
        proof="open",
    ),
    ("POST", "/api/auth/token/refresh/"): Route(
        "Accounts",
        "New tokens for a refresh token, which is used up",
        says(ref("Tokens")),
        accounts.RefreshBody,
        {"refresh": "eyJ…"},
        refused=(401,),
        proof="open",
    ),
    ("POST", "/api/auth/token/revoke/"): Route(
        "Accounts",
        "Make a refresh token useless",
        NOTHING,
        accounts.RefreshBody,
        {"refresh": "eyJ…"},
        refused=(401,),
        proof="open",
    ),
    ("GET", "/api/me/"): Route("Accounts", "Who I am", says(ref("Me"))),
    ("GET", "/api/tokens/"): Route("Accounts", "My API tokens", says(many(ref("ApiToken")))),
    ("POST", "/api/tokens/"): Route(
        "Accounts",
        "Make an API token; its secret is shown this once",
        says(ref("NewApiToken"), 201),
        accounts.TokenBody,
        {"name": "laptop"},
    ),
    ("DELETE", "/api/tokens/{token_id}/"): Route("Accounts", "Delete an API token", NOTHING, refused=(404,)),
    ("POST", "/api/tickets/"): Route(
        "Accounts",
        "A ticket for one GET of one event stream, within 30 seconds",
        says(ref("Ticket"), 201),
        accounts.TicketBody,
        {"path": "/api/chat/"},
    ),
    ("GET", "/api/invitations/"): Route("Accounts", "Whom I invited", says(ref("Invitations"))),
    ("POST", "/api/redeem/"): Route(
        "Accounts",
        "Redeem a code",
        says(ref("Redeemed")),
        accounts.RedeemBody,
        {"code": "7k3mq-8wxyp-0d2vn-5htrz"},
        refused=(429,),
    ),
}

QUOTAS: Table = {
    ("GET", "/api/models/"): Route("Models and quotas", "Models that I may use", says(many(ref("Model")))),
    ("GET", "/api/text-tools/"): Route("Models and quotas", "Text tools", says(many(ref("TextTool")))),
    ("GET", "/api/quotas/"): Route("Models and quotas", "What I have", says(many(ref("Quota")))),
    ("GET", "/api/quotas/ledger/"): Route(
        "Models and quotas", "Every grant and spend, newest first", says(page("LedgerRow")), query={"cursor": TEXT}
    ),
    ("GET", "/api/quotas/usage/"): Route(
        "Models and quotas",
        "Charged answers by day and model",
        says(many(ref("UsageOfDay"))),
        query={"days": {**COUNT, "minimum": 1, "maximum": 366}},
    ),
}

CHAT: Table = {
    ("POST", "/api/chat/"): Route(
        "Chat",
        "Ask; the answer goes on when the caller leaves",
        ASKED,
        bodies.ChatBody,
        _QUESTION,
        headers=("Idempotency-Key",),
        refused=ASKING,
    ),
    ("GET", "/api/chat/"): Route(
        "Chat",
        "Ask from an EventSource; a refusal is an `error` event",
        streams(CHAT_EVENTS, 204),
        query=_QUERY,
        headers=("Last-Event-ID",),
        proof="ticket",
    ),
    ("GET", "/api/generations/{generation_id}/"): Route("Chat", "One answer", says(ref("Generation")), refused=(404,)),
    ("GET", "/api/generations/{generation_id}/events/"): Route(
        "Chat",
        "The events of an answer, from the beginning or after the last one seen, then those to come",
        streams(CHAT_EVENTS, 204),
        query=_SEEN,
        headers=("Last-Event-ID",),
        refused=(404,),
        proof="ticket",
    ),
    ("POST", "/api/generations/{generation_id}/stop/"): Route(
        "Chat", "Stop an answer", says(ref("Generation")), refused=(404,)
    ),
    ("POST", "/api/messages/{message_id}/regenerate/"): Route(
        "Chat",
        "Another answer to the same question, as a sibling",
        ASKED,
        bodies.RegenerateBody,
        {"model": "demo"},
        headers=("Idempotency-Key",),
        refused=ASKING,
    ),
    ("GET", "/api/chatgpt/test"): Route(
        "Chat",
        "The classic example: unnamed events with OpenAI's chunks",
        streams({"": "CompletionChunk", "error": "ClassicErrorEvent"}, 204),
        query={"message": TEXT, "model": TEXT, "last_event_id": TEXT},
        headers=("Last-Event-ID",),
        proof="ticket",
    ),
}

CONVERSATIONS: Table = {
    ("GET", "/api/conversations/"): Route(
        "Conversations",
        "My conversations, pinned ones first, then those used last",
        says(page("Conversation")),
        query={"search": TEXT, "archived": FLAG, "cursor": TEXT},
    ),
    ("GET", "/api/conversations/{conversation_id}/"): Route(
        "Conversations", "One conversation", says(ref("Conversation")), refused=(404,)
    ),
    ("PATCH", "/api/conversations/{conversation_id}/"): Route(
        "Conversations",
        "Rename, pin, archive, or change the system prompt",
        says(ref("Conversation")),
        api.ConversationChange,
        {"title": "Greetings", "pinned": True},
        refused=(404, 422),
    ),
    ("DELETE", "/api/conversations/{conversation_id}/"): Route(
        "Conversations", "Delete it; running answers are stopped", NOTHING, refused=(404,)
    ),
    ("GET", "/api/conversations/{conversation_id}/messages/"): Route(
        "Conversations", "The tree of messages in order of creation", says(many(ref("Message"))), refused=(404,)
    ),
    ("GET", "/api/conversations/{conversation_id}/export/"): Route(
        "Conversations",
        "That conversation as a file",
        {200: (Answer(ref("Export")), Answer(TEXT, "text/markdown"))},
        query={"as": one_of("json", "markdown")},
        refused=(404,),
    ),
    ("GET", "/api/export/"): Route("Conversations", "All conversations as one file", says(ref("Export"))),
    ("POST", "/api/import/"): Route(
        "Conversations",
        "Such a file back in, all or nothing",
        says(ref("Imported"), 201),
        ref("Export"),
        {"format": "rivulet", "version": 1, "conversations": []},
        refused=(429,),
    ),
}

_PUSHED = (403, 409)
PUSH: Table = {
    ("GET", "/sse/{key}/"): Route(
        "Push channels",
        "Read one's own channel: what is kept, then what comes",
        streams(PUSH_EVENTS, 204),
        query=_SEEN,
        headers=("Last-Event-ID",),
        proof="ticket",
    ),
    ("POST", "/api/channels/{key}/messages/"): Route(
        "Push channels",
        "Push a message into somebody's channel",
        says(ref("Pushed"), 202),
        views.MessageBody,
        {**_USER, "event": "paying", "data": {"status": "paying"}},
        refused=_PUSHED,
    ),
    ("POST", "/api/channels/{key}/complete/"): Route(
        "Push channels", "End a channel", says(ref("Pushed")), views.UserBody, _USER, refused=_PUSHED
    ),
    ("POST", "/api/channels/{key}/error/"): Route(
        "Push channels",
        "End a channel with an error",
        says(ref("Pushed")),
        views.ErrorBody,
        {**_USER, "message": "The card was declined."},
        refused=_PUSHED,
    ),
    ("GET", "/sse/message/{key}/"): Route(
        "Push channels", "Play the payment example", says(ref("Playing"), 202), refused=(403, 409)
    ),
}
PUSH["GET", "/sse/{key}"] = PUSH["GET", "/sse/{key}/"]

OPENAI: Table = {
    ("POST", "/v1/chat/completions"): Route(
        "OpenAI-compatible",
        "A completion, streamed or whole",
        {200: (Answer(ref("Completion")), Answer(TEXT, STREAM, {"": "CompletionChunk"}))},
        CompletionBody,
        {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]},
        refused=(403, 404, 429, 500, 502, 503, 504),
        proof="bearer",
    ),
    ("GET", "/v1/models"): Route(
        "OpenAI-compatible", "Models that I may use", says(ref("OpenAIModels")), proof="bearer"
    ),
    ("GET", "/v1/models/{model_id}"): Route(
        "OpenAI-compatible", "One of them", says(ref("OpenAIModel")), refused=(404,), proof="bearer"
    ),
}

OPERATIONS: Table = {
    ("GET", "/healthz"): Route("Operations", "The process lives", says(ref("Health")), proof="open"),
    ("GET", "/readyz"): Route(
        "Operations",
        "Whether work may be sent here",
        {**says(ref("Health")), **says(ref("Health"), 503)},
        proof="open",
    ),
    ("GET", "/metrics"): Route(
        "Operations",
        "Figures for Prometheus; from this machine, or with METRICS_TOKEN as bearer",
        {200: (Answer(TEXT, "text/plain"),)},
        refused=(403,),
        proof="open",
    ),
    ("GET", "/api/schema/"): Route(
        "Operations",
        "This description: YAML, or JSON with `Accept: application/json` or `?format=json`",
        {
            200: (
                *(Answer(ANYTHING, media) for media in (JSON, "application/vnd.oai.openapi+json")),
                *(Answer(ANYTHING, media) for media in ("application/yaml", "application/vnd.oai.openapi")),
            )
        },
        query={"format": one_of("json", "yaml")},
        proof="open",
    ),
    ("GET", "/api/docs/"): Route(
        "Operations", "This description as a page", {200: (Answer(TEXT, "text/html"),)}, proof="open"
    ),
}

STAFF: Table = {
    ("POST", "/api/admin/redeem-codes/"): Route(
        "Staff",
        "Make a batch of codes",
        says(record(codes=many(TEXT)), 201),
        staff.BatchBody,
        {"quota": "standard", "credits": 5, "count": 10},
        refused=(403,),
    ),
    ("POST", "/api/admin/sensitive-words/import/"): Route(
        "Staff",
        "Import a list of words, plain text or CSV",
        says(record(created=COUNT, duplicates=COUNT, rejected=many(record(line=COUNT, reason=TEXT)))),
        TEXT,
        media=("text/plain", "text/csv"),
        query={"action": one_of("block", "mask"), "scope": one_of("input", "output", "both"), "category": TEXT},
        refused=(403,),
    ),
}

ROUTES: Table = {**STAFF, **ACCOUNTS, **QUOTAS, **CHAT, **CONVERSATIONS, **PUSH, **OPENAI, **OPERATIONS}
