"""A provider without an upstream: the built-in `demo` model.

It streams at the pace of a real model, so that all of a chat can be tried without a key. No network.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import ClassVar

from providers.wire.base import ChatRequest, Delta, Event, Finished, OfferedModel, Provider, Usage, prompt_tokens
from providers.wire.base import gettext_noop as _

# Han characters decide that the demo replies in Chinese.
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_TOKEN = re.compile(r"\s*[A-Za-z0-9]{1,6}|\s*[^\sA-Za-z0-9]{1,2}|\s+")
_QUOTED_CHARS = 80


class Scripted(Provider):
    """Replies with a prepared text, which `max_tokens` cuts like a real model's."""

    title = _("Built-in demo")
    needs_base_url = False
    known_models = (OfferedModel("demo"),)
    # Seconds before each token.
    delay_s: ClassVar[float] = 0.02

    async def stream(self, request: ChatRequest, key: str | None) -> AsyncIterator[Event]:
        prompt = next((message.content for message in reversed(request.messages) if message.role == "user"), "")
        tokens = cut_tokens(demo_reply(prompt))
        cap = request.parameters.get("max_tokens")
        kept = tokens[:cap] if isinstance(cap, int) else tokens
        usage, finished = (
            Usage(prompt_tokens(request.messages), len(kept)),
            Finished("stop" if kept == tokens else "length"),
        )
        events: list[Event] = [*map(Delta, kept), usage, finished]
        for event in events:
            await asyncio.sleep(self.delay_s)
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
