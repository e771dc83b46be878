"""The account page with settings to copy into programs that call /v1."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_stubs_ext import StrOrPromise

from accounts import links
from accounts.models import User
from accounts.token_limits import usable_models

# What stands for the address, the model and the secret in the texts below. The secret is shown once, when it is made.
_BASE, _MODEL, _KEY = "@ADDRESS@", "@MODEL@", "sk-…"


@dataclass(frozen=True, slots=True)
class Program:
    """A program, the place of its settings, and the settings as a text to copy."""

    slug: str
    title: str
    place: StrOrPromise
    settings: str

    def with_values(self, values: Mapping[str, str]) -> "Program":
        settings = self.settings
        for name, value in values.items():
            settings = settings.replace(name, value)
        return Program(self.slug, self.title, self.place, settings)


_FORM = f"""\
API host   {_BASE}
API key    {_KEY}
Model      {_MODEL}
"""

PROGRAMS = (
    Program(
        "curl",
        "curl",
        _("In a terminal."),
        f"""\
curl {_BASE}/v1/chat/completions \\
  -H "Authorization: Bearer {_KEY}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "{_MODEL}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
""",
    ),
    Program(
        "openai-python",
        "OpenAI SDK (Python)",
        _("In your program, after pip install openai."),
        f"""\
from openai import OpenAI

client = OpenAI(base_url="{_BASE}/v1", api_key="{_KEY}")
answer = client.chat.completions.create(
    model="{_MODEL}",
    messages=[{{"role": "user", "content": "Hello"}}],
)
print(answer.choices[0].message.content)
""",
    ),
    Program(
        "openai-node",
        "OpenAI SDK (Node)",
        _("In your program, after npm install openai."),
        f"""\
import OpenAI from "openai";

const client = new OpenAI({{ baseURL: "{_BASE}/v1", apiKey: "{_KEY}" }});
const answer = await client.chat.completions.create({{
  model: "{_MODEL}",
  messages: [{{ role: "user", content: "Hello" }}],
}});
console.log(answer.choices[0].message.content);
""",
    ),
    Program(
        "claude-code",
        "Claude Code",
        _("In the terminal in which you start claude."),
        f"""\
export ANTHROPIC_BASE_URL="{_BASE}"
export ANTHROPIC_AUTH_TOKEN="{_KEY}"
export ANTHROPIC_MODEL="{_MODEL}"
export ANTHROPIC_DEFAULT_HAIKU_MODEL="{_MODEL}"
""",
    ),
    Program(
        "codex",
        "Codex",
        _("In ~/.codex/config.toml, with the token in the environment variable RIVULET_API_KEY."),
        f"""\
model = "{_MODEL}"
model_provider = "rivulet"

[model_providers.rivulet]
name = "Rivulet"
base_url = "{_BASE}/v1"
env_key = "RIVULET_API_KEY"
wire_api = "responses"
""",
    ),
    Program(
        "continue",
        "Continue",
        _("In ~/.continue/config.yaml."),
        f"""\
name: Rivulet
version: 1.0.0
schema: v1
models:
  - name: {_MODEL}
    provider: openai
    model: {_MODEL}
    apiBase: {_BASE}/v1
    apiKey: {_KEY}
""",
    ),
    Program(
        "cherry-studio",
        "Cherry Studio",
        _("Under Settings, Model Provider: add a provider of the type OpenAI with these values, and the model."),
        _FORM,
    ),
    Program(
        "nextchat",
        "NextChat",
        _("Under Settings: switch on Custom Endpoint, choose OpenAI, and enter the model under Custom Models."),
        _FORM,
    ),
    Program(
        "langchain",
        "LangChain (Python)",
        _("In your program, after pip install langchain-openai."),
        f"""\
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="{_MODEL}", base_url="{_BASE}/v1", api_key="{_KEY}")
print(model.invoke("Hello").content)
""",
    ),
)


@require_safe
@login_required
@never_cache
def connect(request: HttpRequest) -> HttpResponse:
    """Show each program's settings, with our address and the chosen model."""
    user: User = request.user  # type: ignore[assignment]
    models = list(usable_models(user))
    chosen = _chosen(request.GET.get("model", ""), models)
    values = {_BASE: links.absolute(request, ""), _MODEL: chosen}
    programs = [program.with_values(values) for program in PROGRAMS]
    context = {"programs": programs, "models": models, "chosen": chosen, "base_url": values[_BASE]}
    return render(request, "account/connect.html", context)


def _chosen(model: str, models: Iterable[str]) -> str:
    """Return the given model, else the first one that is not the demo."""
    if model in models:
        return model
    return next((slug for slug in models if slug != "demo"), "demo")
