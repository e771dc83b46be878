"""Check a request for a generation in the contract's order, and store it."""

from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import guests, token_limits
from accounts.models import queue_writes
from chat import text_tools
from chat.attachments import prompts
from chat.attachments.prompts import Attached
from chat.errors import ContentBlocked, ConversationBlocked, Draining, PromptTooLong, StorageFull
from chat.generations import attaching, continuation, lookup, masking, prompt
from chat.generations.load import check_load
from chat.generations.request import NO_PRECHECK, GenerationRequest, Precheck, Started
from chat.generations.target import Target, has_room
from chat.models import TITLE_CHARS, Conversation, Generation, Hit, Message, new_generation_id
from chat.screening import audit, incoming
from chat.screening.incoming import Screened, ScreenedCall
from chat.screening.lexicon import Lexicon
from chat.screening.live import LiveWords, UserWords
from providers import access
from providers.errors import ModelUnavailable, UnknownModel
from providers.requests import able, wanted
from providers.routing import Attempts, Routing
from providers.snapshot import ModelConfig
from providers.wire.base import PromptMessage
from quotas import ledger
from quotas.errors import QuotaExhausted
from quotas.ledger import ReservedUnit
from runtime import fast_sql
from runtime.process import ServingProcess
from runtime.tasks import Drain
from web.refusals import NotAuthenticated, NotFound, TooManyRequests

Messages = tuple[PromptMessage, ...]
Parameters = dict[str, Any]


class Admission:
    """Decides about requests for generations; all of it runs in a database thread."""

    def __init__(
        self, words: LiveWords, drain: Drain, process: ServingProcess, routing: Routing, large: Executor | None = None
    ) -> None:
        self._large_calls = large
        self._words, self._drain, self._process, self._routing = words, drain, process, routing

    def refuse_early(self, request: GenerationRequest, precheck: Precheck = NO_PRECHECK) -> Started | None:
        """Refuse a request without a write to the database when its quota is exhausted.

        Return its generation if the key is known, and None when only the transaction can decide. The ledger is read
        before the ladder, so that a request that took the last unit under the same key is found there.
        """
        model = self._routing.configuration.models().get(request.model)
        if model is None:
            return None
        try:
            ledger.confirm_exhausted(request.user_id, model.id)
            return None
        except QuotaExhausted as error:
            exhausted = error
        try:
            return self._climb(request, precheck, exhausted)
        except ContentBlocked:
            return None  # the transaction refuses it, because the words found must be stored

    def refuse_before_words(self, request: GenerationRequest, precheck: Precheck) -> Started | None:
        """Raise a refusal that comes before the words in the order.

        Return the generation if the key is known, else None. No attachment is read for it.
        """
        found = self._before_words(request, self._checked_size_and_model(request), precheck)
        return Started(found) if isinstance(found, Generation) else None

    def before_moderation(self, request: GenerationRequest, precheck: Precheck) -> Started | str:
        """Raise a refusal that comes before the words, else return the texts to moderate.

        They are the new texts as the upstream gets them, and empty where a word refuses the request anyway. A known key
        returns its generation.
        """
        target = self._before_words(request, self._checked_size_and_model(request), precheck)
        if isinstance(target, Generation):
            return Started(target)
        lexicon = self._words.for_user(request.user_id).current.incoming
        screened = precheck.new or masking.screen_new(lexicon, request)
        is_refused = screened.together_with(precheck.attached).blocked
        if is_refused or (target.conversation and target.conversation.blocked):
            return ""
        # Another completion of a prompt that came before there was a service.
        question = target.question.content if target.question else ""
        # Both may have words that were listed after they were stored.
        standing, question = incoming.screen(lexicon, request.standing if request.kept else "", question).texts
        texts = (standing, *screened.texts, question, precheck.attached_text)
        return "\n\n".join(filter(None, texts))

    def start(self, request: GenerationRequest, precheck: Precheck = NO_PRECHECK, *, savepoint: bool = True) -> Started:
        """Store a generation with its reservation, or raise the first refusal of the ladder.

        A call of /v1 that must wait, because its user started too many, is refused at its place in the ladder.
        """
        try:
            return self._climb(request, precheck, savepoint=savepoint)
        except IntegrityError:
            # A row that it needs was deleted meanwhile (by an admin, for example), which only the commit noticed.
            if not get_user_model().objects.filter(id=request.user_id).exists():
                raise NotAuthenticated from None
            return self._climb(request, precheck, savepoint=savepoint)

    def _climb(
        self,
        request: GenerationRequest,
        precheck: Precheck,
        exhausted: QuotaExhausted | None = None,
        *,
        savepoint: bool = True,
    ) -> Started:
        """Check a request in the contract's order, then store it.

        With `exhausted`, which the ledger has confirmed, this only reads, and raises it at its place in the order.
        """
        config = self._checked_size_and_model(request)
        words = self._words.for_user(request.user_id)
        call, lexicon = precheck.screened, words.current.incoming
        screened = precheck.new or masking.screen_new(lexicon, request)
        screened = screened.together_with(precheck.attached).together_with(precheck.moderated)
        try:
            with nullcontext() if exhausted else transaction.atomic(savepoint=savepoint):
                if not exhausted:
                    # Keys, joins, the count of active generations and deletions of conversations cannot race then.
                    queue_writes(request.user_id)
                target = self._before_words(request, config, precheck)
                if isinstance(target, Generation):
                    return Started(target)
                _check_words(target, screened, words)
                incoming.refuse_tokens(lexicon, request.extras)
                if not has_room(request, target, screened, reads_only=bool(exhausted)):
                    raise StorageFull
                if exhausted:
                    raise exhausted
                row_id = new_generation_id()
                if request.token:
                    token_limits.use(request.token, row_id, timezone.now())
                if request.guest_address:
                    guests.count(request.user_id, request.guest_address)
                reservation = ledger.reserve(request.user_id, target.config.id, row_id)
                target.config.check_available()
                row, turns, seam = self._store(request, row_id, target, screened, reservation, words)
                # Before the commit, so that impossible parameters of the model leave nothing stored.
                built = _built_prompt(request, target.config, row, turns, screened)
        except ContentBlocked:
            if not exhausted:
                # Not before the transaction is rolled back.
                kept = audit.excerpt(screened.hits, lexicon, _own_texts(request))
                audit.record_refusal(request.user_id, screened.hits, kept)
            raise
        attempts = self._attempts(request, target.config, row_id, *built, call, lexicon)
        return Started(row, reservation, attempts, seam, words)

    def _before_words(
        self, request: GenerationRequest, config: ModelConfig | None, precheck: Precheck
    ) -> Generation | Target:
        """Check from the key to the active generations; return the key's generation, else the target."""
        if row := lookup.same(request):
            return row
        if self._drain.active:
            raise Draining
        target = _with_attachments(request, self._target(request, config))
        if precheck.wait_seconds:
            raise TooManyRequests(retry_after=precheck.wait_seconds)
        check_load(request)
        return target

    def _store(
        self,
        request: GenerationRequest,
        row_id: str,
        target: Target,
        screened: Screened,
        reservation: ReservedUnit,
        words: UserWords,
    ) -> tuple[Generation, list[PromptMessage], str]:
        """Store generation and messages; return the row, the prompt's turns, a continuation's seam."""
        turns: list[PromptMessage] = []
        seam, place = "", dict[str, Any](message=None)
        if target.continued:
            place, seam = continuation.begin(target.continued, words.current.outgoing)
            turns = continuation.turns(_turns(target, Message.objects.branch(target.continued.pk)))
            Conversation.objects.filter(pk=target.continued.conversation_id).update(updated_at=timezone.now())
        elif request.kept:
            conversation, question, parent_id = target.conversation, target.question, target.parent_id
            branch = Message.objects.branch(parent_id) if parent_id else []
            if question is None:
                prompt_text, system_prompt = screened.texts
                given = None if request.system_prompt is None else system_prompt
                title = prompt_text if prompt_text.strip() else prompts.names_of(target.attached.new)
                conversation = _stored_conversation(request, conversation, title, given)
                question = _add(conversation, parent_id, "user", prompt_text)
            turns = _turns(target, [*branch, question], attaching.including(target.attached, question.id))
            place = {"message": _add(question.conversation, question.id, "assistant", "", target.config.slug)}
        message = place["message"]
        row = fast_sql.create(
            Generation,
            id=row_id,
            user_id=request.user_id,
            conversation=message.conversation if message else None,
            **place,
            quota_id=reservation.quota_id,
            reservation_id=reservation.reservation_id,
            model=target.config.slug,
            parameters=request.chosen or None,
            language=request.language or settings.LANGUAGE_CODE,
            process=self._process.id,
            counted=not request.is_api_call,
            token_id=request.token.id if request.token else None,
            idempotency_key=request.idempotency_key,
            # Without a key no other request can be the same one.
            request_digest=request.digest() if request.idempotency_key or request.joins_running else "",
            created_at=reservation.began_at,
        )
        audit.record(request.user_id, row_id, Hit.Direction.INPUT, screened.hits)
        return row, turns, seam

    def _checked_size_and_model(self, request: GenerationRequest) -> ModelConfig | None:
        """Refuse a long text and an unusable model; return the model if one is named.

        The messages of /v1 have no limit here but that of the body; the model's context decides about them.
        """
        texts = () if request.is_api_call else (request.prompt, request.system_prompt or "")
        if any(len(text) > settings.MAX_PROMPT_CHARS for text in texts):
            raise PromptTooLong(details={"max_chars": settings.MAX_PROMPT_CHARS})
        if not request.model and (request.is_follow_up or not request.kept):
            return None
        config = self._usable_model(request, request.model)
        config.check_parameters(request.parameters)
        config.check_tools(request.extras)
        return config

    def _usable_model(self, request: GenerationRequest, slug: str) -> ModelConfig:
        """Return a model that the user may use, with the routes that take the request."""
        config = self._routing.configuration.models().get(slug)
        if config is None or not (access.may_use(request.user_id, config) and request.may_use(slug)):
            raise UnknownModel
        return able(config, wanted(request.messages, request.extras))

    def _target(self, request: GenerationRequest, config: ModelConfig | None) -> Target:
        if request.continues is not None:
            continued = continuation.find(request.user_id, request.continues)
            config = self._usable_model(request, continued.model)
            return Target(config, continued.conversation, continued=continued)
        if request.regenerate is not None:
            own = Message.objects.filter(conversation__user_id=request.user_id, role=Message.Role.ASSISTANT)
            message = own.select_related("parent", "conversation").filter(id=request.regenerate).first()
            if message is None or message.parent is None:
                raise NotFound
            message.parent.conversation = message.conversation
            config = config or self._usable_model(request, message.model)
            return Target(config, message.conversation, message.parent.parent_id, message.parent)
        config = config or self._usable_model(request, self._first_available(request))
        return Target(config, *_place(request))

    def _first_available(self, request: GenerationRequest) -> str:
        """Return the first available model of the user's list, else simply the first."""
        with_quota = ledger.quota_slugs()
        usable = access.usable(self._routing.configuration, request.user_id)
        models = [model for model in usable if model.id in with_quota and request.may_use(model.slug)]
        if not models:
            raise ModelUnavailable
        return next((model for model in models if model.available()), models[0]).slug

    def _attempts(
        self,
        request: GenerationRequest,
        config: ModelConfig,
        row_id: str,
        messages: Messages,
        parameters: Parameters,
        call: ScreenedCall | None,
        lexicon: Lexicon,
    ) -> Attempts:
        """Mask what goes upstream, after the start's own part of the transaction."""
        mask = None
        if call:
            messages, extras = call.messages, call.extras
        else:
            if not request.instruction:  # its text is the screened prompt
                is_new = request.kept and not (request.is_follow_up or request.attachments)
                messages, mask = masking.mask(lexicon, messages, self._large_calls, new=int(is_new))
            extras = incoming.mask_extras(lexicon, request.extras)
        whole, user = not request.kept or request.continues is not None, request.user_id
        given = frozenset(request.parameters)
        return Attempts(
            self._routing, config, messages, parameters, row_id, extras, whole=whole, user=user, given=given, mask=mask
        )


def _place(request: GenerationRequest) -> tuple[Conversation | None, int | None]:
    """Return the conversation and the message to continue from; None twice for a new conversation."""
    if request.conversation is None:
        return None, None
    conversation = Conversation.objects.owned_by(request.user_id).filter(id=request.conversation).first()
    if conversation is None:
        raise NotFound
    if request.parent == 0:
        return conversation, None
    messages = conversation.messages.order_by("-id").values_list("id", flat=True)
    parent_id = (messages.filter(id=request.parent) if request.parent is not None else messages).first()
    if request.parent is not None and parent_id is None:
        raise NotFound
    return conversation, parent_id


def _with_attachments(request: GenerationRequest, target: Target) -> Target:
    """Add the attachments of the request and of earlier turns, which the model must take."""
    if not request.kept or not (request.attachments or target.conversation):
        return target
    attached = prompts.find(
        request.user_id, request.attachments, target.conversation.pk if target.conversation else None
    )
    question = (target.question.pk, target.question.content) if target.question else (None, request.prompt)
    config = attaching.fitted(target.config, attached, question[0])
    attaching.check_context(config, request.parameters, attached, question)
    return replace(target, config=config, attached=attached)


def _turns(target: Target, branch: list[Message], attached: Attached | None = None) -> list[PromptMessage]:
    return prompts.turns(
        branch,
        attached or target.attached,
        takes_images=attaching.takes_images(target.config),
        context_tokens=target.config.context_tokens,
    )


def _own_texts(request: GenerationRequest) -> tuple[str, ...]:
    """Return the texts that may be refused; the system prompt of a preset is not."""
    own = "" if request.has_preset_prompt else request.system_prompt
    return request.prompt, own or ""


def _check_words(target: Target, screened: Screened, words: UserWords) -> None:
    if target.conversation and target.conversation.blocked:
        raise ConversationBlocked
    if screened.blocked:
        raise ContentBlocked(words.current.texts.get(screened.category))


def _built_prompt(
    request: GenerationRequest, config: ModelConfig, row: Generation, turns: list[PromptMessage], screened: Screened
) -> tuple[Messages, Parameters]:
    """Return the messages, in which earlier turns are not masked yet, and the parameters."""
    if request.kept:
        parameters = {**config.parameters, **request.parameters}
        own = row.conversation.system_prompt if row.conversation else ""
        system_prompt = "\n\n".join(filter(None, (request.standing, own)))
        build = continuation.build if request.continues is not None else prompt.build
        return build(config.context_tokens, parameters, system_prompt, turns)
    # The caller's prompt is sent whole. A long one is refused, because the caller did not ask to shorten it.
    messages = request.messages
    if request.instruction:
        messages = (PromptMessage("user", text_tools.applied(request.instruction, screened.texts[0])),)
    return messages, prompt.capped(config.context_tokens, config.parameters, messages) | request.parameters


def _stored_conversation(
    request: GenerationRequest, conversation: Conversation | None, title: str, system_prompt: str | None
) -> Conversation:
    if conversation is None:
        values = {"title": title[:TITLE_CHARS], "system_prompt": system_prompt or "", "temporary": request.temporary}
        return fast_sql.create(Conversation, user_id=request.user_id, **values)
    conversation.updated_at = timezone.now()
    if system_prompt is not None:
        conversation.system_prompt = system_prompt
    conversation.save(update_fields=["updated_at", "system_prompt"])
    return conversation


def _add(conversation: Conversation, parent_id: int | None, role: str, content: str, model: str = "") -> Message:
    values = {"role": role, "content": content, "model": model}
    return fast_sql.create(Message, conversation=conversation, parent_id=parent_id, **values)
