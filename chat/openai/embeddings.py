"""Serve `POST /v1/embeddings`: pass texts on to a model that embeds, and its embeddings back.

https://platform.openai.com/docs/api-reference/embeddings. Keys, quotas and screening are those of completions.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponseBase
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from chat import bodies
from chat.bodies import Slug
from chat.generations.pipeline import PARTING
from chat.openai import schemas
from chat.openai.bodies import check_not_blank, without_null
from chat.openai.calls import ApiCall, caller_of, serve
from chat.openai.relay import Whole
from chat.openai.views import GROUP
from providers.wire.base import EMBEDDINGS, PromptMessage
from web.methods import methods
from web.openapi import Operation

# Texts of one request, and tokens of one text.
_MOST, _MOST_TOKENS = 2_048, 100_000
Tokens = Annotated[list[StrictInt], Field(min_length=1, max_length=_MOST_TOKENS, fail_fast=True)]
Text = Annotated[StrictStr, Field(min_length=1)]


class EmbeddingsBody(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    model: Slug
    input: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=_MOST, fail_fast=True)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=_MOST, fail_fast=True)]
    )
    dimensions: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None
    encoding_format: Literal["float", "base64"] | None = None

    def call(self) -> ApiCall:
        """Return the call, of which each text is a message."""
        fields = without_null({"dimensions": self.dimensions, "encoding_format": self.encoding_format})
        texts = [self.input] if isinstance(self.input, str) else [text for text in self.input if isinstance(text, str)]
        if not texts:
            fields["input"] = self.input
        messages = tuple(PromptMessage("user", text) for text in texts or [""])
        if texts:
            check_not_blank("input", messages)
        # Far enough apart that no word matches across two texts.
        prompt = PARTING.join(texts)
        return ApiCall(self.model, messages, {}, {EMBEDDINGS: fields}, {EMBEDDINGS: "model"}, prompt)


class WholeEmbeddings(Whole):
    """Embeddings in one piece, as the upstream sent them."""

    def __init__(self) -> None:
        super().__init__()
        self._items: Sequence[Mapping[str, Any]] = ()

    def embeddings(self, items: Sequence[Mapping[str, Any]]) -> bool:
        self._items = items
        return not self._left

    def _start(self, generation: str, model: str) -> None:
        self._model = model

    def _finish(self, reason: str, usage: Mapping[str, Any]) -> None:
        given = usage["prompt_tokens"]
        counts = {"prompt_tokens": given, "total_tokens": given}
        self.body = {"object": "list", "data": self._items, "model": self._model, "usage": counts}


@Operation(
    GROUP,
    "Embeddings of texts",
    body=EmbeddingsBody,
    headers=("Idempotency-Key",),
    example={"model": "text-embedding-3-small", "input": ["Hello"]},
    returns=schemas.EmbeddingList,
    refuses=(404, 409, 429, 500, 502, 504),
    refusal=schemas.OpenAIRefusal,
    proof="bearer",
)
async def post_embeddings(request: HttpRequest) -> HttpResponseBase:
    caller = await caller_of(request)
    body = bodies.checked(EmbeddingsBody, without_null(bodies.json_object(request)))
    return await serve(request, caller, body.call(), WholeEmbeddings())


embeddings = methods(POST=post_embeddings)
