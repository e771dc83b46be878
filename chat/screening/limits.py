"""Refuse own expressions that would cost too much in ordinary text, before they are stored.

All figures are counts, so the same expression is refused on every machine. `scanning` bounds the work for other texts.
"""

from collections.abc import Iterable

from django.utils.translation import gettext_lazy as _

from chat.screening import automaton
from chat.screening.automaton import Automaton, Pattern
from chat.screening.expressions import Expression, NotAnExpression, compiled
from chat.screening.scanning import PatternTracker
from chat.screening.tracking import Term

# States of an expression's automaton at most.
MOST_STATES = 500
# Starts that may lead to a match at the same time, on average over ORDINARY, at most: of one expression, and of all
# enabled patterns together. Each one costs a step with every further character.
MOST_STARTS = 8
# A text such as models write, in two languages.
ORDINARY = (
    "当然可以。下面是一个简单的例子：首先安装依赖，然后运行测试，最后查看结果。如果出现错误，请检查配置文件里的地址和端口是否正确。"
    "2026 年 11 月 30 日，我们一共处理了 12,480 条请求，平均耗时 35 毫秒，其中 98.5% 成功。\n\n"
    "Sure, here is a short example. First install the dependencies, then run the tests and look at the results; if "
    "something fails, check the address and the port in your configuration.\n\n"
    '```python\nfor number, name in enumerate(names, 1):\n    print(f"{number}. {name.title()}")\n```\n\n'
    "| model | tokens |\n|---|---|\n| demo-1 | 1024 |\n\nSee https://example.org/docs/api.html#limits for the details."
)


def check(text: str) -> None:
    """Raise NotAnExpression for an expression that cannot be used."""
    searched = _automaton([compiled(text)])
    if searched.explore(MOST_STATES) > MOST_STATES:
        raise NotAnExpression(_("This expression has too many combinations. Make it shorter or more exact."))
    if _starts(searched) > MOST_STARTS * len(ORDINARY):
        reason = _("Ordinary text would often look like the beginning of a match. Begin the expression more exactly.")
        raise NotAnExpression(reason)


def check_together(expressions: Iterable[Expression]) -> None:
    """Raise NotAnExpression if all expressions together would cost too much."""
    searched = _automaton(expressions)
    if searched.explore(automaton.MOST_STATES) > automaton.MOST_STATES:
        raise NotAnExpression(_("All enabled patterns together have too many combinations. Disable some first."))
    if _starts(searched) > MOST_STARTS * len(ORDINARY):
        reason = _("With this one ordinary text would too often look like the beginning of a match of some pattern.")
        raise NotAnExpression(reason)


def _automaton(expressions: Iterable[Expression]) -> Automaton:
    return Automaton(Pattern(Term("", False, number), each) for number, each in enumerate(expressions, 1))


def _starts(searched: Automaton) -> int:
    """Return the starts over all characters of ORDINARY."""
    tracker, starts = PatternTracker(searched), 0
    for at, character in enumerate(ORDINARY):
        tracker.go(character, at)
        starts += len(tracker.alive)
    return starts
