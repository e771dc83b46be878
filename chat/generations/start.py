"""How a generation begins in the database: refused in due order, or stored with its reservation, in one transaction."""

from dataclasses import replace

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from chat import text_tools
from chat.apps import chat
from chat.errors import Conflict, ContentBlocked, ConversationBlocked, PromptTooLong
from chat.generations import prompt
from chat.generations.request import Ask, Begun
from chat.models import TITLE_CHARS, Conversation, Generation, Hit, Message, new_generation_id
from chat.screening import audit, incoming
from chat.screening.incoming import Screened
from providers import access, routing
from providers.apps import providers_app
from providers.errors import ModelUnavailable, UnknownModel
from providers.routing import Attempts
from providers.snapshot import ModelConfig
from providers.wire.base import PromptMessage, wanted
from quotas import ledger
from quotas.errors import QuotaExhausted
from quotas.ledger import ReservedUnit
from runtime import fast_sql
from runtime.apps import runtime
from web.refusals import InvalidRequest, NotAuthenticated, NotFound, ServiceUnavailable, TooManyRequests


def refused_early(ask: Ask) -> Begun | None:
    """Refuse without a write, in due order, what the ledger confirms to be exhausted; None: `begin` has to say.

    The ledger is read first: who took the last unit under the same key is stored by then, and found.
    """
    models = _checked_models(ask)
    try:
        ledger.confirm_exhausted(ask.user_id, models[ask.model].id)
    except QuotaExhausted:
        if known := _known(ask):
            return Begun(known)
        if runtime().drain.active or ask.regenerate:
            return None
        conversation, _parent_id = _place(ask)
        _check_active(ask)
        if conversation and conversation.blocked:
            raise ConversationBlocked from None
        if incoming.screen(chat().words.load().incoming, ask.prompt, ask.system_prompt or "").blocked:
            return None
        raise
    return None


def begin(ask: Ask) -> Begun:
    """Begin it, or refuse it in due order."""
    try:
        return _begin(ask)
    except IntegrityError:
        # What it needs was deleted as it began, an admin's quota for one, which only the commit noticed.
        if not get_user_model().objects.filter(id=ask.user_id).exists():
            raise NotAuthenticated from None
        return _begin(ask)


def _begin(ask: Ask) -> Begun:
    models = _checked_models(ask)
    screened = incoming.screen(chat().words.load().incoming, ask.prompt, ask.system_prompt or "")
    try:
        return _begin_screened(ask, screened, models)
    except ContentBlocked:
        audit.record_refusal(ask.user_id, screened.hits)  # only now: what came before is rolled back
        raise


def _begin_screened(ask: Ask, screened: Screened, models: dict[str, ModelConfig]) -> Begun:
    """Begin it with the texts as they were screened; a word that blocks is refused in its turn."""
    prompt_text, system_prompt = screened.texts
    clean = replace(ask, prompt=prompt_text, system_prompt=None if ask.system_prompt is None else system_prompt)
    with transaction.atomic():
        one_at_a_time(ask.user_id)
        if known := _known(ask):
            return Begun(known)
        if runtime().drain.active:
            raise ServiceUnavailable
        question, slug = _regenerated(ask, ask.regenerate) if ask.regenerate else (None, ask.model)
        slug = slug or _first_available(ask.user_id)
        config = _usable_model(ask, models, slug)
        conversation, parent_id = _place(ask) if question is None else (question.conversation, question.parent_id)
        _check_active(ask)
        if conversation and conversation.blocked:
            raise ConversationBlocked
        if screened.blocked:
            raise ContentBlocked
        row_id = new_generation_id()
        held = ledger.reserve(ask.user_id, config.id, row_id)
        config.check_available()
        if not ask.kept:
            row = _new_generation(ask, row_id, slug, None, held)
            audit.record(ask.user_id, row_id, Hit.Direction.INPUT, screened.hits)
            return Begun(row, held, _unkept(clean, config, row_id))
        turns = [(turn.role, turn.content) for turn in Message.objects.branch(parent_id)] if parent_id else []
        if question is None:
            conversation = _touched(conversation, clean) if conversation else _new_conversation(clean)
            question = _add(conversation, parent_id, Message.Role.USER, clean.prompt)
        answer = _add(conversation or question.conversation, question.id, Message.Role.ASSISTANT, "", slug)
        row = _new_generation(ask, row_id, slug, answer, held)
        messages, parameters = prompt.build(
            config.context_tokens,
            {**config.parameters, **ask.parameters},
            row.conversation.system_prompt if row.conversation else "",
            [*turns, (Message.Role.USER, question.content)],
        )
        audit.record(ask.user_id, row_id, Hit.Direction.INPUT, screened.hits)
    messages = incoming.mask_earlier(chat().words.load().incoming, messages, new=0 if ask.regenerate else 1)
    return Begun(row, held, Attempts(providers_app().routing, config, messages, parameters, row_id))


def _unkept(ask: Ask, config: ModelConfig, row_id: str) -> Attempts:
    """Send the caller's prompt as it is: what they did not ask to be shortened is refused when it is too long.

    Words that block are refused in the new text; in what is older, and those that are masked everywhere, are masked.
    """
    messages = incoming.mask_earlier(chat().words.load().incoming, ask.messages, new=0)
    if ask.instruction:
        messages = (PromptMessage("user", text_tools.applied(ask.instruction, ask.prompt)),)
    parameters = prompt.capped(config.context_tokens, config.parameters, messages) | ask.parameters
    extras = incoming.mask_extras(chat().words.load().incoming, ask.extras)
    return Attempts(providers_app().routing, config, messages, parameters, row_id, extras, whole=True)


def _first_available(user_id: int) -> str:
    """Return the model that comes first in the list of a user's models, of those that can answer."""
    with_quota = ledger.quota_slugs()
    usable = access.usable(providers_app().configuration, user_id)
    found = next((model for model in usable if model.id in with_quota and model.available()), None)
    if found is None:
        raise ModelUnavailable
    return found.slug


def _checked_models(ask: Ask) -> dict[str, ModelConfig]:
    """Return all models; refuse what is too long, and a model that the caller may not use, or that cannot take it."""
    texts = (ask.prompt, ask.system_prompt or "", *(message.content for message in ask.messages))
    if any(len(text) > settings.MAX_PROMPT_CHARS for text in texts):
        raise PromptTooLong(details={"max_chars": settings.MAX_PROMPT_CHARS})
    models = providers_app().configuration.models()
    if ask.model or (ask.kept and not ask.regenerate):
        _usable_model(ask, models, ask.model).check_parameters(ask.parameters)
    return models


def _usable_model(ask: Ask, models: dict[str, ModelConfig], slug: str) -> ModelConfig:
    """Return the model, with those of its routes that can take what is asked."""
    if slug not in models or not access.may_use(ask.user_id, models[slug]):
        raise UnknownModel
    return routing.able(models[slug], wanted(ask.messages, ask.extras))


def one_at_a_time(user_id: int) -> None:
    """Let one user's starts queue: keys, joins and the count of active ones are then decided without a race.

    Who deletes what a start may go on from queues with them, inside a transaction as they do. SQLite's transactions
    have the write lock from their beginning; there this would say nothing new.
    """
    if connection.vendor != "sqlite":
        list(get_user_model().objects.select_for_update(no_key=True, of=("self",)).filter(id=user_id).values_list("id"))


def _known(ask: Ask) -> Generation | None:
    if ask.idempotency_key:
        row = Generation.objects.by_key(ask.user_id, ask.idempotency_key)
        if row and row.request_digest != ask.digest():
            raise Conflict
        return row
    if ask.joins_running:
        owned = Generation.objects.owned_by(ask.user_id)
        return owned.running().filter(request_digest=ask.digest()).select_related("conversation").first()
    return None


def _regenerated(ask: Ask, answer_id: int) -> tuple[Message, str]:
    """Return the question that is to be answered again, and by which model."""
    mine = Message.objects.filter(conversation__user_id=ask.user_id, role=Message.Role.ASSISTANT)
    answer = mine.select_related("parent", "conversation").filter(id=answer_id).first()
    if answer is None or answer.parent is None:
        raise NotFound
    answer.parent.conversation = answer.conversation
    return answer.parent, ask.model or answer.model


def _place(ask: Ask) -> tuple[Conversation | None, int | None]:
    """Return the conversation to go on with and the message to go on from; nothing for a new conversation."""
    if ask.conversation is None:
        if ask.parent is not None:
            raise InvalidRequest(details={"parent": [_("A parent needs its conversation.")]})
        return None, None
    conversation = Conversation.objects.owned_by(ask.user_id).filter(id=ask.conversation).first()
    if conversation is None:
        raise NotFound
    if ask.parent == 0:
        return conversation, None
    messages = conversation.messages.order_by("-id").values_list("id", flat=True)
    parent_id = (messages.filter(id=ask.parent) if ask.parent is not None else messages).first()
    if ask.parent is not None and parent_id is None:
        raise NotFound
    return conversation, parent_id


def _touched(conversation: Conversation, ask: Ask) -> Conversation:
    conversation.updated_at = timezone.now()
    if ask.system_prompt is not None:
        conversation.system_prompt = ask.system_prompt
    conversation.save(update_fields=["updated_at", "system_prompt"])
    return conversation


def _check_active(ask: Ask) -> None:
    limit = settings.MAX_ACTIVE_GENERATIONS if ask.counted else 0
    if limit and _active(ask.user_id) >= limit:
        raise TooManyRequests(_("Please wait until one of your running answers has ended."), retry_after=5)


def _active(user_id: int) -> int:
    """Plain SQL: each question asks this, and the ORM took longer to build it than the ledger takes for all it does."""
    statement = "SELECT COUNT(*) FROM chat_generation WHERE user_id = %s AND status = 'running' AND counted"
    with connection.cursor() as cursor:
        cursor.execute(statement, [user_id])
        return int(cursor.fetchone()[0])


def _new_conversation(ask: Ask) -> Conversation:
    title, system_prompt = ask.prompt[:TITLE_CHARS], ask.system_prompt or ""
    return fast_sql.insert(Conversation(user_id=ask.user_id, title=title, system_prompt=system_prompt))


def _add(conversation: Conversation, parent_id: int | None, role: str, content: str, model: str = "") -> Message:
    return fast_sql.insert(
        Message(conversation=conversation, parent_id=parent_id, role=role, content=content, model=model)
    )


def _new_generation(ask: Ask, row_id: str, model: str, answer: Message | None, held: ReservedUnit) -> Generation:
    row = Generation(
        id=row_id,
        user_id=ask.user_id,
        conversation=answer.conversation if answer else None,
        message=answer,
        quota_id=held.quota_id,
        reservation_id=held.reservation_id,
        model=model,
        language=ask.language or settings.LANGUAGE_CODE,
        process=runtime().process.id,
        counted=ask.counted,
        idempotency_key=ask.idempotency_key,
        # Nothing else can ever be the same request.
        request_digest=ask.digest() if ask.idempotency_key or ask.joins_running else "",
        created_at=held.began_at,
    )
    return fast_sql.insert(row)
