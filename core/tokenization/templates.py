"""Chat templates: jinja2 in its immutable sandbox, with counted loops, guarded arithmetic and a cap on the output."""

import json
from datetime import datetime
from functools import lru_cache
from itertools import accumulate
from secrets import token_hex
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.errors import TokenizerError

MOST_STEPS = 200_000
MOST_OUTPUT = 4_000_000
LONGEST_PRODUCT = 1_000_000
MARK = f"\ue0fe{token_hex(12)}\ue0ff"  # no message can hold it


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}` encloses the assistant's words; a mark of this process stands at both ends."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Any) -> str:
        return f"{MARK}{caller()}{MARK}"


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**", "+", "%"])

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.steps = 0
        self.filters["tojson"] = lambda value, **kw: json.dumps(value, ensure_ascii=False, **kw)
        self.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
        self.globals["range"] = self._range
        self.filters["_counted"] = self._counted

    def _range(self, *args: int) -> range:
        numbers = range(*args)
        if len(numbers) > MOST_STEPS:
            raise SecurityError("a range is too long")
        return numbers

    def _counted(self, items: Any) -> Any:
        for item in items:
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise SecurityError("its loops take too many steps")
            yield item

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(value) if isinstance(value, str | list | tuple) else 0 for value in (left, right)]
        if operator == "*":
            numbers = [abs(value) for value in (left, right) if isinstance(value, int | float)]
            if max(sizes) * max(numbers, default=0) > LONGEST_PRODUCT or any(number > 2**63 for number in numbers):
                raise SecurityError("a product is too large")
        elif operator == "**" and (abs(left) > 2**16 or abs(right) > 64):
            raise SecurityError("a power is too large")
        elif operator == "%" and isinstance(left, str):
            raise SecurityError("% on texts is not allowed")
        elif operator == "+" and sum(sizes) > MOST_OUTPUT:
            raise SecurityError("a text is too long")
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: Any, filename: Any) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "list", [], [], None, None)
            loop.iter = nodes.Filter(loop.iter.node, "_counted", [], [], None, None)
            loop.iter = nodes.Filter(loop.iter, "list", [], [], None, None)
        return tree


def _refuse(message: str) -> None:
    raise TemplateError(message)


@lru_cache(maxsize=32)
def _compiled(template: str) -> tuple[_Sandbox, Any]:
    sandbox = _Sandbox()
    return sandbox, sandbox.from_string(template)


def render_marked(template: str, **values: Any) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation, and from where to where the template says that the assistant speaks. Raises TokenizerError."""
    parts = _render(template, values).split(MARK)
    ends = list(accumulate(map(len, parts)))
    return "".join(parts), list(zip(ends[0:-1:2], ends[1:-1:2], strict=True))


def render(template: str, **values: Any) -> str:
    """The text of a conversation. Raises TokenizerError saying what is wrong with the template or the messages."""
    return render_marked(template, **values)[0]


def _render(template: str, values: dict[str, Any]) -> str:
    try:
        sandbox, compiled = _compiled(template)
        sandbox.steps = 0
        parts, size = [], 0
        for part in compiled.generate(**values):
            size += len(part)
            if size > MOST_OUTPUT:
                raise SecurityError("its output is too long")
            parts.append(part)
        return "".join(parts)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError, AttributeError) as error:
        raise TokenizerError(f"The chat template cannot be used: {str(error) or type(error).__name__}.") from error
