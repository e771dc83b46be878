"""Writes the audit: actions in the admin and the staff API, and looks at conversations.

Django's own history (`LogEntry`) names object and fields, so most rows are made from its entries, in the transaction of
the change. An action without such an entry, for example an export, gets its row from its request.
"""

import json
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from allauth.account.adapter import get_adapter
from django.apps import apps
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db.models import Model
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponseBase
from django.template.response import TemplateResponse

from accounts.audit.models import ACTION_CHARS, FIELDS_CHARS, REASON_CHARS, AuditEntry
from accounts.models import User
from accounts.second_factor import ADMIN_PATH, STAFF_API_PATH
from accounts.security_events import SecurityEvent
from web.refusals import request_id

# Objects of one action that get a row each; an action on more of them has rows for the first ones only.
MOST_OBJECTS = 1_000
# Characters of an object's id that fit its column.
_ID_CHARS = 64
_ACTIONS = {ADDITION: "add", CHANGE: "change", DELETION: "delete"}
_METHODS = {"POST": "add", "PUT": "change", "PATCH": "change", "DELETE": "delete"}
# Statuses of responses to requests that did nothing.
_NOTHING_DONE = {400, 401, 404, 405, 406, 409, 413, 415, 422, 429}


@dataclass
class _Scope:
    """The request of a staff user while it runs."""

    request: HttpRequest
    reason: str = ""
    # Set once there is a row, or once it is clear that there is nothing to record.
    is_recorded: bool = False


_scope: ContextVar[_Scope | None] = ContextVar("audit", default=None)


def register() -> None:
    post_save.connect(_record_history, sender=LogEntry, dispatch_uid="audit")


def audited(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Record what staff do in the admin and the staff API. A middleware."""

    def handle(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith((ADMIN_PATH, STAFF_API_PATH)):
            return get_response(request)
        scope = _Scope(request)
        token = _scope.set(scope)
        try:
            response = get_response(request)
        finally:
            _scope.reset(token)
        if not scope.is_recorded and getattr(request.user, "is_staff", False):
            _record_request(scope, response)
        return response

    return handle


def record(request: HttpRequest, action: str, model: type[Model] | None, ids: Iterable[Any], reason: str = "") -> None:
    """Store a row for each of these objects; without objects, one row.

    The reason that staff gave for this request is stored where no other is.
    """
    wanted = [str(one)[:_ID_CHARS] for one in ids][:MOST_OBJECTS]
    owners = _owners(model, wanted)
    rows: list[dict[str, Any]] = [{"object_id": one, "user_id": owners.get(one)} for one in wanted] or [{}]
    scope = _scope.get()
    common = {
        **_who(request),
        "action": action[:ACTION_CHARS],
        "object_type": model._meta.label_lower if model else "",
        "reason": (reason or (scope.reason if scope else ""))[:REASON_CHARS],
    }
    AuditEntry.objects.bulk_create([AuditEntry(**common, **row) for row in rows])
    if scope:
        scope.is_recorded = True


def skip() -> None:
    """Record nothing of this request, because it shows and changes nothing."""
    if scope := _scope.get():
        scope.is_recorded = True


def give_reason(text: str) -> None:
    """Store this reason with what the request shows."""
    if scope := _scope.get():
        scope.reason = text


def _who(request: HttpRequest) -> dict[str, Any]:
    user: Any = request.user
    return {
        "actor_id": user.pk,
        "actor_name": user.get_username(),
        "via": AuditEntry.Via.ADMIN if request.path.startswith(ADMIN_PATH) else AuditEntry.Via.API,
        "address": get_adapter(request).get_client_ip(request)[:45],
        "request_id": request_id(request)[:64],
    }


def _owners(model: type[Model] | None, ids: list[str]) -> dict[str, int]:
    """Return the user to whom each of these rows belongs, where there is one."""
    if model is User:
        return {one: int(one) for one in ids if one.isdecimal()}
    if model is None or "user_id" not in {field.attname for field in model._meta.concrete_fields}:
        return {}
    try:
        rows = list(model._base_manager.filter(pk__in=ids).values_list("pk", "user_id"))
    except (TypeError, ValueError):  # a request may name any text as an id
        return {}
    return {str(row_id): user_id for row_id, user_id in rows if user_id is not None}


def _record_history(instance: LogEntry, created: bool, raw: bool, **_signal: Any) -> None:
    """Store a row for a new entry of Django's history, in its transaction."""
    if not created or raw:
        return
    scope = _scope.get()
    model = instance.content_type.model_class() if instance.content_type else None
    object_id = str(instance.object_id or "")
    names, text = _changes(instance.change_message)
    who = _who(scope.request) if scope else {"via": AuditEntry.Via.COMMAND}
    row = model and model._base_manager.filter(pk=object_id).first()
    AuditEntry.objects.create(
        **{**who, "actor_id": instance.user_id, "actor_name": instance.user.get_username()},
        action=_ACTIONS.get(instance.action_flag, "change"),
        object_type=model._meta.label_lower if model else "",
        object_id=object_id[:_ID_CHARS],
        user_id=_owners(model, [object_id]).get(object_id),
        changed_fields=", ".join(names)[:FIELDS_CHARS],
        reason=(text or str(getattr(row, "reason", "")))[:REASON_CHARS],
    )
    if isinstance(row, User) and names:
        SecurityEvent.objects.note(row.pk, SecurityEvent.Kind.STAFF, None, ", ".join(names))
    if scope:
        scope.is_recorded = True


def _changes(message: str) -> tuple[list[str], str]:
    """Return the names of the changed fields, and text that is no list of changes."""
    try:
        parts = json.loads(message) if message else []
    except ValueError:
        return [], message
    names: list[str] = []
    for part in parts:
        for action, details in part.items():
            fields = details.get("fields", [])
            # Related rows have the name of their kind; what they are called may be a text of a user.
            kind = details.get("name", "")
            names += [f"{kind}: {field}" if kind else field for field in fields]
            if kind and not fields:
                names.append(f"{kind} ({action})")
    return list(dict.fromkeys(map(str, names))), ""


def _record_request(scope: _Scope, response: HttpResponseBase) -> None:
    """Store what a request did, if it did something."""
    request, match = scope.request, scope.request.resolver_match
    if match is None or response.status_code in _NOTHING_DONE:
        return
    model = _model_of(match.route, match.func)
    object_id = match.kwargs.get("object_id", match.kwargs.get("pk"))
    ids = [] if object_id is None else [object_id]
    if request.method not in {"GET", "HEAD", "OPTIONS"}:
        is_shown_again = response.status_code == 200 and isinstance(response, TemplateResponse)
        if is_shown_again:  # a form with errors, or the question whether to go on
            return
        action = _METHODS.get(request.method or "", "add")
        if _is_admin(request):
            action = _admin_action(request) or match.route.strip("/").rpartition("/")[2]
            ids = ids or request.POST.getlist("_selected_action")
        record(request, "refused" if response.status_code == 403 else action, model, ids)
    elif model and response.status_code == 200 and getattr(_admin_page(match.func), "audits_reads", False):
        record(request, "view" if ids else "list", model, ids, scope.reason)


def _admin_action(request: HttpRequest) -> str:
    """Return the action on chosen rows of a list; empty for another request."""
    # A list has two fields for it, and the request says which of them counts.
    name = " ".join(filter(None, request.POST.getlist("action")))
    # Then the action is done on all rows that were found, and the request names those of one page at most.
    is_on_all = request.POST.get("select_across", "").lower() not in {"", "0", "false"}
    return f"{name} (all)" if name and is_on_all else name


def _is_admin(request: HttpRequest) -> bool:
    return request.path.startswith(ADMIN_PATH)


def _admin_page(view: Any) -> Any:
    """Return the ModelAdmin of a view, which Django notes on it."""
    return getattr(view, "model_admin", None)


def _model_of(route: str, view: Any) -> type[Model] | None:
    """Return the model of a route of the admin or of the staff API."""
    if page := _admin_page(view):
        model: type[Model] = page.model
        return model
    if found := getattr(getattr(view, "cls", None), "model", None):
        return found  # type: ignore[no-any-return]
    parts = route.split("/")
    if len(parts) > 2 and parts[0] == ADMIN_PATH.strip("/"):
        try:
            return apps.get_model(parts[1], parts[2])
        except LookupError:
            return None
    return None
