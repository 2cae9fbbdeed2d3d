"""Where chat templates run: jinja2's immutable sandbox, in which each step and each byte made is paid for from one budget.

A template comes from a file, so it may be hostile: loop without end, or double a text thirty times. Whatever can repeat or grow
(loops, calls, filters, tests, operators, slices, comparisons, output) asks the budget first; what it would make is estimated
before it is made. The tree of the template is rewritten to that end (`_Priced`) before jinja2 compiles it.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, MappingView
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from time import monotonic
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

BYTES = 48_000_000  # of everything that a template makes, whether or not it is still held
SECONDS = 3.0
STEP = 64  # bytes that a step costs: 750,000 steps in all
CHEAP = 64  # reading costs this many times less than making
PARTS = 200_000  # of a nested value
LONGEST_RANGE = 200_000


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


def _spend(size: int) -> None:
    BUDGET.get().spend(size)


def _counted(items: Iterable[Any]) -> list[Any]:
    """What a loop runs over, an item a step."""
    budget, found = BUDGET.get(), []
    for item in items:
        budget.spend(0)
        found.append(item)
    return found


def _made(value: Any) -> Any:
    """A list, tuple or dictionary that a template writes."""
    _spend(weight(value))
    return value


def _compared(value: Any) -> Any:
    _spend(weight(value) // CHEAP)
    return value


def _searched(value: Any) -> Any:
    """What stands to the right of `in`: a dictionary is looked up, not read."""
    _spend(0 if isinstance(value, dict) else weight(value) // CHEAP)
    return value


def _shown(value: Any) -> Any:
    """What is about to be written out."""
    _spend(weight(value))
    return value


def _joined(*values: Any) -> str:
    _spend(sum(map(weight, values)))
    return "".join(map(str, values))


def _cut(value: Any, start: Any, stop: Any, step: Any) -> Any:
    found = value[start:stop:step]
    _spend(sys.getsizeof(found))
    return found


# ---------------------------------------------------------------------- how much a filter, a method or an operator would make


def _format(form: str, *values: Any, **named: Any) -> int:
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
    "format": _format,
    "format_map": lambda form, values: _format(form, values),
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
DROPPED = ("urlize", "striptags", "pprint", "wordwrap")  # their time grows with the square of the text
UNSAFE = ("translate", "maketrans", "encode", "to_bytes", "striptags", "unescape")


def _paid_filter(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, paying for what it reads and what it makes."""
    first = 1 if hasattr(plain, "jinja_pass_arg") else 0
    growth = JOIN["filter"] if name == "join" else GROWTH.get(name)

    @wraps(plain)
    def paid(*args: Any, **named: Any) -> Any:
        value = args[first] if len(args) > first else None
        if isinstance(value, Iterator):
            value = _counted(value)
            args = (*args[:first], value, *args[first + 1 :])
        _spend((weight(value) if name in READ_WHOLE else sys.getsizeof(value)) // CHEAP)
        if growth:
            _spend(growth(*args[first:], **named))
        found = plain(*args, **named)
        found = _counted(found) if isinstance(found, Iterator) else found
        _spend(sys.getsizeof(found))
        return found

    return paid


def _paid_test(plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def paid(*args: Any, **named: Any) -> Any:
        _spend(sum(map(weight, args)) // CHEAP if len(args) > 1 else 0)
        return plain(*args, **named)

    return paid


# ---------------------------------------------------------------------- the environment


class _Priced(NodeTransformer):
    """The template's tree with a filter wherever something repeats or grows."""

    def _through(self, name: str, node: Any, *args: Any) -> Any:
        return nodes.Filter(node, name, list(args), [], None, None).set_lineno(node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = self._through("_counted", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._through("_joined", *node.nodes)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        ends = (end or nodes.Const(None) for end in (node.arg.start, node.arg.stop, node.arg.step))
        return self._through("_cut", node.node, *ends)

    def visit_List(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") == "store" else self._through("_made", node)

    visit_Tuple = visit_Dict = visit_List

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = self._through("_compared", node.expr)
        for operand in node.ops:
            operand.expr = self._through("_searched" if operand.op in ("in", "notin") else "_compared", operand.expr)
        return node


class _Code(CodeGenerator):
    def _output_child_to_const(self, *args: Any) -> str:
        """Also a fixed text is written out through `_shown`: it may stand in a loop."""
        raise nodes.Impossible


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}` encloses the assistant's words; the environment's mark stands at both ends."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Any) -> str:
        return f"{self.environment.mark}{caller()}{self.environment.mark}"  # type: ignore[attr-defined]


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one template. BUDGET must be set while it compiles and while it renders."""

    intercepted_binops = frozenset(["*", "**", "+", "%"])
    code_generator_class = _Code

    def __init__(self, mark: str) -> None:
        extensions: list[Any] = [_Generation, loopcontrols]
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_shown)
        self.mark = mark
        plain = {**self.filters, "tojson": _json}
        self.filters = {name: _paid_filter(name, made) for name, made in plain.items() if name not in DROPPED}
        own = (_counted, _made, _compared, _searched, _joined, _cut)
        self.filters |= {function.__name__: function for function in own}
        self.tests = {name: _paid_test(test) for name, test in self.tests.items()}
        self.globals |= {"raise_exception": _refuse, "strftime_now": _now, "range": _range}
        del self.globals["lipsum"]

    def _parse(self, source: str, name: Any, filename: Any) -> nodes.Template:
        return _Priced().visit(super()._parse(source, name, filename))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr not in UNSAFE and super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        method = getattr(__obj, "__wrapped__", __obj)  # str.format is wrapped by the sandbox
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        _spend(sum(weight(value) for value in args if isinstance(value, tuple)))
        if isinstance(owner, str):
            growth = JOIN["method"] if name == "join" else GROWTH.get(name)
            _spend(growth(owner, *args, **kwargs) if growth else sys.getsizeof(owner) // CHEAP)
        found = super().call(__context, __obj, *args, **kwargs)
        _spend(weight(found) if isinstance(owner, str) else sys.getsizeof(found))
        return found

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sized = [value for value in (left, right) if isinstance(value, str | list | tuple)]
        numbers = [value for value in (left, right) if isinstance(value, int | float)]
        if operator == "**" and (abs(left) > 2**16 or abs(right) > 64):
            raise SecurityError("a power is too large")
        if operator == "*" and any(abs(number) > 2**63 for number in numbers):
            raise SecurityError("a product is too large")
        if operator == "%" and isinstance(left, str):
            _spend(_format(left, right))
        elif operator == "*" and sized:
            _spend(sys.getsizeof(sized[0]) * int(max(*numbers, 0, 0)))
        else:
            _spend(sum(map(sys.getsizeof, sized)))
        return super().call_binop(context, operator, left, right)


def _json(value: Any, **options: Any) -> str:
    return json.dumps(value, **{"ensure_ascii": False, **options})


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _range(*args: int) -> range:
    numbers = range(*args)
    if len(numbers) > LONGEST_RANGE:
        raise SecurityError("a range is too long")
    return numbers
