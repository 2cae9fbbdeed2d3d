"""Chat templates rendered: one text, and where in it the assistant speaks."""

from functools import lru_cache
from itertools import accumulate
from secrets import token_hex
from typing import Any

from jinja2 import Template

from core.errors import TokenizerError, one_line
from core.tokenization.sandbox import BUDGET, Budget, Sandbox

LONGEST_TEMPLATE = 100_000  # characters; published ones have up to 30,000
MARK = f"\ue0fe{token_hex(12)}\ue0ff"  # no message can hold it


def render_marked(template: str, **values: Any) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation, and from where to where the template says that the assistant speaks. Raises TokenizerError."""
    parts = _render(template, values).split(MARK)
    ends = list(accumulate(map(len, parts)))
    return "".join(parts), list(zip(ends[0:-1:2], ends[1:-1:2], strict=False))


def render(template: str, **values: Any) -> str:
    """The text of a conversation. Raises TokenizerError saying what is wrong with the template or the messages."""
    return render_marked(template, **values)[0]


@lru_cache(maxsize=32)
def _compiled(template: str) -> Template:
    return Sandbox(MARK).from_string(template)


def _render(template: str, values: dict[str, Any]) -> str:
    if len(template) > LONGEST_TEMPLATE:
        raise TokenizerError(
            f"The chat template has {len(template):,} characters; up to {LONGEST_TEMPLATE:,} are read. Is it a template?"
        )
    before = BUDGET.set(Budget())
    try:
        return "".join(_compiled(template).generate(**values))
    except Exception as error:  # jinja2 compiles to Python, so a template can cause any error that an expression can
        raise TokenizerError(f"The chat template cannot be used: {one_line(error)}.") from error
    finally:
        BUDGET.reset(before)
