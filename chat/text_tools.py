"""Text tools: instructions for prompts. Admins edit them; the first run creates defaults."""

from django.db import transaction
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from chat import schemas
from chat.models import TextTool
from web.refusals import InvalidRequest

DEFAULT_LANGUAGE = "English"
TEXT, LANGUAGE = "{text}", "{target_language}"
# Languages that the page suggests, each by its own name; users may type others.
LANGUAGES = (
    *("English", "简体中文", "繁體中文", "日本語", "한국어", "Français", "Deutsch", "Español"),
    *("Português", "Русский", "Italiano", "العربية"),
)

_FIELDS = ("slug", "title_en", "instruction_en", "title_zh", "instruction_zh")
_FIRST_RUN = (
    (
        "polish",
        "Polish",
        (
            "Improve the wording of the following text. Keep its meaning, its language and its formatting. "
            "Answer with the improved text only."
        ),
        "润色",
        "请润色下面的文字，保持原意、原语言和原格式，只输出润色后的文字。",
    ),
    (
        "translate",
        "Translate",
        "Translate the following text into {target_language}. Keep its formatting. Answer with the translation only.",
        "翻译",
        "请把下面的文字翻译成{target_language}，保持原格式，只输出译文。",
    ),
    (
        "summarise",
        "Summarise",
        "Summarise the following text in its own language: first one sentence, then the main points as a list.",
        "总结",
        "请用原语言总结下面的文字：先写一句话概括，再列出要点。",
    ),
    (
        "explain",
        "Explain",
        "Explain the following text or code in its own language, so that somebody new to the subject understands it.",
        "解释",
        "请用原语言解释下面的文字或代码，让初学者也能看懂。",
    ),
    (
        "proofread",
        "Proofread",
        (
            "Correct spelling, grammar and punctuation in the following text and change nothing else. "
            "Answer with the corrected text, then list the corrections."
        ),
        "纠错",
        "请改正下面文字中的错别字、语法和标点错误，不改动其他内容。先输出改正后的文字，再列出改动。",
    ),
    (
        "expand",
        "Expand",
        "Write a longer version of the following text in its own language, with more detail and the same meaning.",
        "扩写",
        "请用原语言扩写下面的文字，补充细节，保持原意。",
    ),
    (
        "write-code",
        "Write code",
        "Write code for the following task. Answer with one code block and a short note on how to run it.",
        "写代码",
        "请为下面的任务编写代码。先给出一个代码块，再简短说明如何运行。",
    ),
)


def ensure_defaults() -> None:
    """Create the default tools if there are none. Safe for several processes at once."""
    with transaction.atomic():
        if not TextTool.objects.exists():
            rows = [dict(zip(_FIELDS, texts, strict=True)) for texts in _FIRST_RUN]
            tools = [TextTool(position=position, **row) for position, row in enumerate(rows)]
            TextTool.objects.bulk_create(tools, ignore_conflicts=True)


def offered() -> list[schemas.TextTool]:
    """Return the enabled tools, titled in the active language."""
    rows = TextTool.objects.filter(enabled=True).order_by("position", "slug")
    return [
        {"slug": row.slug, "title": row.title(is_chinese_active()), "needs_target_language": row.needs_target_language}
        for row in rows
    ]


def instruction(slug: str, target_language: str | None, *, chinese: bool) -> str:
    """Return a tool's instruction with the target language in it. Raises InvalidRequest."""
    row = TextTool.objects.filter(slug=slug, enabled=True).first()
    if row is None:
        raise InvalidRequest(details={"text_tool": [_("There is no such text tool.")]})
    return row.instruction(chinese).replace(LANGUAGE, target_language or DEFAULT_LANGUAGE)


def applied(instruction: str, prompt: str) -> str:
    """Insert the prompt into the instruction at `{text}`, or append it."""
    return instruction.replace(TEXT, prompt, 1) if TEXT in instruction else f"{instruction}\n\n{prompt}"


def is_chinese_active() -> bool:
    """Whether the active language is Chinese; database threads do not know it."""
    return (get_language() or "").startswith("zh")
