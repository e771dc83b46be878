"""A provider without an upstream: the built-in `demo` model, and the fake that tests script.

It streams at the pace of a real model, so that all of a chat can be tried without a key. No network.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import NamedTuple

from providers.wire.base import (
    ChatRequest,
    Delta,
    Endpoint,
    Event,
    Finished,
    OfferedModel,
    Provider,
    Usage,
    gettext_noop,
    prompt_tokens,
)

# A reply of a script: a text, a failure, or events one by one with failures among them.
Reply = str | Exception | Sequence[Event | Exception]

# Han characters decide that the demo replies in Chinese.
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_TOKEN = re.compile(r"\s*[A-Za-z0-9]{1,6}|\s*[^\sA-Za-z0-9]{1,2}|\s+")
_QUOTED_CHARS = 80


class Call(NamedTuple):
    """One recorded call of `stream`."""

    request: ChatRequest
    key: str | None


class Scripted(Provider):
    """A provider that streams scripted replies.

    A script is a function of the last user message, or replies to use up in order. `calls` records every call of a
    given script, none of the demo's; `delay_s` are the seconds before each token or event. `max_tokens` cuts a text and
    finishes with `length`, like a model's.
    """

    title = gettext_noop("Built-in demo")
    needs_base_url = False
    known_models = (OfferedModel("demo"),)

    def __init__(
        self,
        script: Callable[[str], Reply] | Iterable[Reply] | None = None,
        *,
        delay_s: float = 0.02,
        name: str = "demo",
    ) -> None:
        self.name = name
        self.calls: list[Call] = []
        self._delay_s = delay_s
        self._script = _as_function(demo_reply if script is None else script)
        self._recording = script is not None

    @classmethod
    def for_endpoint(cls, endpoint: Endpoint) -> Provider:
        """Return the demo: it has no address."""
        return cls()

    async def stream(self, request: ChatRequest, key: str | None) -> AsyncIterator[Event]:
        """Stream the scripted reply; see `Provider.stream`. Raises `LookupError` when the replies are used up."""
        if self._recording:
            self.calls.append(Call(request, key))
        reply = self._script(_last_prompt(request))
        if isinstance(reply, Exception):
            raise reply
        for event in _events_of(reply, request) if isinstance(reply, str) else reply:
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if isinstance(event, Exception):
                raise event
            yield event

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""


def demo_reply(prompt: str) -> str:
    """Return the demo's reply in Markdown, Chinese when the prompt holds Chinese characters."""
    quoted = " ".join(prompt.split())
    if len(quoted) > _QUOTED_CHARS:
        quoted = quoted[:_QUOTED_CHARS] + "…"
    return (_CHINESE if _HAN.search(prompt) else _ENGLISH).replace("{prompt}", quoted)


def cut_tokens(text: str) -> list[str]:
    """Cut `text` into pieces of about a token; joined they are `text` again."""
    return _TOKEN.findall(text)


def _as_function(script: Callable[[str], Reply] | Iterable[Reply]) -> Callable[[str], Reply]:
    if callable(script):
        return script
    replies = deque(script)

    def next_reply(_: str) -> Reply:
        if not replies:
            raise LookupError("the script has no reply left")
        return replies.popleft()

    return next_reply


def _last_prompt(request: ChatRequest) -> str:
    return next((message.content for message in reversed(request.messages) if message.role == "user"), "")


def _events_of(text: str, request: ChatRequest) -> list[Event]:
    tokens = cut_tokens(text)
    cap = request.parameters.get("max_tokens")
    kept = tokens[:cap] if isinstance(cap, int) else tokens
    usage = Usage(prompt_tokens(request.messages), len(kept))
    return [*map(Delta, kept), usage, Finished("stop" if len(kept) == len(tokens) else "length")]


_CHINESE = """\
## 这里是演示模型

你刚才说的是：“{prompt}”。我只是一段预先写好的文字，**并不是真正的 AI**，所以无法真正回答。\
不过，流式输出、历史记录、配额这些功能都和真实模型完全一样。

### 如何得到真实的回答

1. 设置环境变量 `OPENAI_API_KEYS`（需要时再设置 `OPENAI_BASE_URL`）后重启；
2. 或者设置 `SPARK_APP_ID`、`SPARK_API_KEY`、`SPARK_API_SECRET`，或 `ZHIPU_API_KEYS`；
3. 或者在管理后台添加一个兼容 OpenAI 接口的上游，例如 Ollama 或 vLLM。

### 界面能显示什么

代码：

```python
def fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
```

| 内容 | 是否支持 |
| --- | --- |
| 表格 | 是 |
| 公式 | 是 |

行内公式 $E = mc^2$，以及单独一行的公式：

$$
\\int_0^1 x^2 \\, dx = \\frac{1}{3}
$$

这段文字会像真正的模型那样一个词一个词地出现。现在就刷新页面试试：它会从原处继续；也可以按“停止”，已经出现的部分会保留下来。
"""

_ENGLISH = """\
## This is the demo model

You said: “{prompt}”. I am a prepared text and **no real AI**, so I cannot really answer.

### How to get real answers

1. Set `OPENAI_API_KEYS` in the environment (and `OPENAI_BASE_URL` for another host), then restart;
2. or set `SPARK_APP_ID`, `SPARK_API_KEY` and `SPARK_API_SECRET`, or `ZHIPU_API_KEYS`;
3. or add an OpenAI-compatible upstream in the admin, such as Ollama or vLLM.

### What an answer can show

Code:

```python
def fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
```

| Content | Supported |
| --- | --- |
| tables | yes |
| formulas | yes |

A formula in a line, $E = mc^2$, and one of its own:

$$
\\int_0^1 x^2 \\, dx = \\frac{1}{3}
$$

This text appears word by word, as a real model's does. Reload the page now, and it goes on where it was; or press \
stop, and what you have seen so far is kept.
"""
