"""`GET /api/conversations/`: the caller's conversations, and the search in them."""

from functools import partial
from typing import NamedTuple, cast

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.translation import gettext_lazy as _

from accounts.auth import aauthenticate
from chat import representation
from chat.apps import chat
from chat.conversations import search
from chat.conversations.deletions import delete_conversations
from chat.conversations.schemas import ConversationPage, FoundConversation, Match
from chat.models import Conversation
from runtime import database
from web.methods import methods
from web.openapi import Operation
from web.refusals import InvalidRequest

PAGE_SIZE = 50
# Characters of a searched text at most; longer ones are refused with 400.
MAX_SEARCH_CHARS = 100


class Query(NamedTuple):
    """The conversations that a caller asks for."""

    archived: bool
    text: str
    cursor: str | None


@Operation(
    "Conversations",
    "The caller's conversations, pinned ones first, then those used last",
    "With `search`, `match` is the newest message with the text and an excerpt, null if only the title has it. A search"
    " takes two seconds at most, then it is refused with 503; a newer search replaces an older one (429).",
    returns=ConversationPage,
    query={"search": str, "archived": bool, "cursor": str},
    refuses=(429,),
)
async def get_conversations(request: HttpRequest) -> HttpResponseBase:
    caller = await aauthenticate(request)
    text = request.GET.get("search", "")
    if len(text) > MAX_SEARCH_CHARS:
        raise InvalidRequest(details={"search": [_("At most 100 characters.")]})
    query = Query(_flag(request, "archived"), text, request.GET.get("cursor"))
    read = partial(read_page, caller.user.pk, query)
    rows, found = await (chat().searches.run(caller.user.pk, read) if text else database.run(read))
    results = [cast("FoundConversation", representation.conversation(row)) for row in rows[:PAGE_SIZE]]
    if text:
        for result in results:
            result["match"] = found.get(result["id"])
    return JsonResponse(ConversationPage(results=results, next=_next_url(request, rows)))


def read_page(user_id: int, query: Query) -> tuple[list[Conversation], dict[int, Match]]:
    """Return one page of rows and hits, and one row more if others follow."""
    rows: QuerySet[Conversation] = Conversation.objects.listed_for(user_id).filter(archived=query.archived)
    if query.text:
        rows = search.containing(rows, query.text)
    page = list(search.after_cursor(rows, query.cursor)[: PAGE_SIZE + 1])
    return page, search.matches(page[:PAGE_SIZE], query.text) if query.text else {}


def _next_url(request: HttpRequest, rows: list[Conversation]) -> str | None:
    if len(rows) <= PAGE_SIZE:
        return None
    query = request.GET.copy()
    query["cursor"] = search.cursor_of(rows[PAGE_SIZE - 1])
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def _flag(request: HttpRequest, name: str) -> bool:
    value = request.GET.get(name, "")
    if value.lower() in {"", "0", "false"}:
        return False
    if value.lower() in {"1", "true"}:
        return True
    raise InvalidRequest(details={name: [_("Expected true or false.")]})


conversations = methods(GET=get_conversations, DELETE=delete_conversations)
