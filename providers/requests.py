"""Build the request for one route: the fields it may have, and whose parameters win."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from providers.errors import Unsupported
from providers.learned import Learned
from providers.snapshot import ModelConfig, RouteConfig
from providers.wire.base import IMAGES, JSON, ChatRequest, PromptMessage, prompt_tokens

# Values that are defaults anyway. They are left out where the upstream does not accept the field.
_NO_CHANGE: Mapping[str, tuple[JSON, ...]] = {
    "tool_choice": ("auto", "none"),
    "parallel_tool_calls": (True,),
    "response_format": ({"type": "text"},),
    "top_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logprobs": (False,),
}


def wanted(messages: Sequence[PromptMessage], extras: Mapping[str, JSON]) -> list[str]:
    """Return the names of `PASSED_ON`, and `IMAGES`, that an upstream must take for this request."""
    names = [name for name, value in extras.items() if value not in _NO_CHANGE.get(name, ())]
    if "tools" not in names and any(turn.role == "tool" or "tool_calls" in turn.fields for turn in messages):
        names.append("tools")
    if any("text" not in part for turn in messages for part in turn.parts):
        names.append(IMAGES)
    return names


def able(model: ModelConfig, needed: Collection[str]) -> ModelConfig:
    """Return the model with only the routes that accept all of `needed`.

    Raises Unsupported when no route does.
    """
    if not needed:
        return model
    routes = tuple(route for route in model.routes if model.taken_by(route).issuperset(needed))
    if model.routes and not routes:
        taken_by_all = frozenset.intersection(*map(model.taken_by, model.routes))
        raise Unsupported([name for name in needed if name not in taken_by_all])
    return model if len(routes) == len(model.routes) else replace(model, routes=routes)


def through(model: ModelConfig, route: RouteConfig, learned: Learned, request: ChatRequest) -> ChatRequest:
    """Return a request as a route needs it.

    `request` has the caller's parameters, which always win, and those of the model. Parameters of the route replace the
    model's. Lessons about the upstream's model replace settings of the model, never the caller's.
    """
    given = {name: value for name, value in request.parameters.items() if name in request.given}
    configured = learned.accepted({**request.parameters, **_capped(model, route, request)})
    parameters = {name: value for name, value in {**configured, **given}.items() if name not in route.drop}
    return replace(
        request,
        model=route.upstream_model,
        parameters=parameters,
        token_cap_field=learned.token_cap_field or model.token_cap_field,
        include_usage=model.include_usage if learned.include_usage is None else learned.include_usage,
        drop=route.drop,
        clocks=route.clocks,
        most_tokens=learned.most_tokens,
        refused_thinking=learned.refused_thinking,
    )


def _capped(model: ModelConfig, route: RouteConfig, request: ChatRequest) -> Mapping[str, JSON]:
    """Return the route's parameters, with `max_tokens` lowered to what the prompt leaves of the context."""
    if "max_tokens" not in route.parameters:
        return route.parameters
    left = max(1, model.context_tokens - prompt_tokens(request.messages))
    return {**route.parameters, "max_tokens": min(route.parameters["max_tokens"], left)}
