"""What one rendering of a chat template may spend, and what each operation costs: estimated before anything is made."""

import re
import sys
from collections.abc import Callable, MappingView
from contextvars import ContextVar
from time import monotonic
from typing import Any

from jinja2.exceptions import SecurityError

BYTES = 48_000_000  # of everything that a template makes, whether or not it is still held
SECONDS = 3.0
STEP = 64  # bytes that a step costs: 750,000 steps in all
CHEAP = 64  # reading costs this many times less than making
PARTS = 200_000  # of a nested value


class Budget:
    """What one rendering may still spend."""

    def __init__(self) -> None:
        self.left, self.until = BYTES, monotonic() + SECONDS

    def spend(self, size: int) -> None:
        """Raise SecurityError where `size` bytes and a step are more than is left."""
        self.left -= size + STEP
        if self.left < 0:
            raise SecurityError("it makes too much text or takes too many steps")
        if monotonic() > self.until:
            raise SecurityError("it takes too long")


BUDGET: ContextVar[Budget] = ContextVar("BUDGET")


def weight(value: Any) -> int:
    """Bytes of a value with all that it holds, counted as often as it is held. Raises SecurityError for what has no end."""
    waiting, total, parts = [value], 0, 0
    while waiting:
        item = waiting.pop()
        total, parts = total + sys.getsizeof(item), parts + 1
        if isinstance(item, dict):
            parts += 2 * len(item)
            waiting += [*item, *item.values()]
        elif isinstance(item, list | tuple | set | MappingView):
            parts += len(item)
            waiting += item  # type: ignore[arg-type]
        if parts > PARTS:
            raise SecurityError("a value holds too many others")
    return total


def spend(size: int) -> None:
    """Of the budget of the rendering that runs."""
    BUDGET.get().spend(size)


# ---------------------------------------------------------------------- how much a filter, a method or an operator would make


def format_growth(form: str, *values: Any, **named: Any) -> int:
    form = str(form)
    if re.search(r"\*|\{[^{}]*\{", form):
        raise SecurityError("a width that is computed is not allowed")
    return sum(map(int, re.findall(r"\d{1,9}", form))) + (len(form) + 1) * sum(map(weight, (*values, *named.values())))


def _wide(value: Any, width: int = 80, *rest: Any) -> int:
    return len(str(value)) + width


def _indent(value: Any, width: Any = 4, *rest: Any, **named: Any) -> int:
    return len(str(value)) + (str(value).count("\n") + 1) * (width if isinstance(width, int) else len(width))


def _replace(value: Any, old: Any, new: Any, *rest: Any) -> int:
    return len(str(value)) + str(value).count(str(old)) * len(str(new))


GROWTH: dict[str, Callable[..., int]] = {
    "center": _wide,
    "ljust": _wide,
    "rjust": _wide,
    "zfill": _wide,
    "indent": _indent,
    "replace": _replace,
    "format": format_growth,
    "format_map": lambda form, values: format_growth(form, values),
    "expandtabs": lambda value, tabsize=8: value.count("\t") * tabsize,
    "batch": lambda value, linecount, fill_with=None: 8 * linecount,
    "slice": lambda value, slices, fill_with=None: 64 * slices,
    "round": lambda value, precision=0, method="": 8 * abs(precision),
    "tojson": lambda value, indent=None, **options: weight(value) * (2 + (indent if isinstance(indent, int) else 0)),
}
JOIN: dict[str, Callable[..., int]] = {
    "filter": lambda value, d="", attribute=None: weight(value) + len(str(d)) * len(value),
    "method": lambda d, value: weight(value) + len(d) * len(value),
}
READ_WHOLE = ("sort", "unique", "groupby", "min", "max", "string", "dictsort", "urlencode")
