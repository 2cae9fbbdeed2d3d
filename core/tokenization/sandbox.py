"""Where chat templates run: jinja2's immutable sandbox, in which each step and each byte made is paid for from one budget.

A template comes from a file, so it may be hostile: loop without end, or double a text thirty times. Whatever can repeat or grow
(loops, calls, filters, tests, operators, slices, comparisons, output) asks the budget first; what it would make is estimated
before it is made. The tree of the template is rewritten to that end (`_Priced`) before jinja2 compiles it.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from core.tokenization.budget import BUDGET, CHEAP, GROWTH, JOIN, READ_WHOLE, format_growth, spend, weight

LONGEST_RANGE = 200_000
DROPPED = ("urlize", "striptags", "pprint", "wordwrap")  # their time grows with the square of the text
UNSAFE = ("translate", "maketrans", "encode", "to_bytes", "striptags", "unescape")


def _counted(items: Iterable[Any]) -> list[Any]:
    """What a loop runs over, an item a step."""
    budget, found = BUDGET.get(), []
    for item in items:
        budget.spend(0)
        found.append(item)
    return found


def _made(value: Any) -> Any:
    """A list, tuple or dictionary that a template writes."""
    spend(weight(value))
    return value


def _compared(value: Any) -> Any:
    spend(weight(value) // CHEAP)
    return value


def _searched(value: Any) -> Any:
    """What stands to the right of `in`: a dictionary is looked up, not read."""
    spend(0 if isinstance(value, dict) else weight(value) // CHEAP)
    return value


def _shown(value: Any) -> Any:
    """What is about to be written out."""
    spend(weight(value))
    return value


def _joined(*values: Any) -> str:
    spend(sum(map(weight, values)))
    return "".join(map(str, values))


def _cut(value: Any, start: Any, stop: Any, step: Any) -> Any:
    found = value[start:stop:step]
    spend(sys.getsizeof(found))
    return found


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
        spend((weight(value) if name in READ_WHOLE else sys.getsizeof(value)) // CHEAP)
        if growth:
            spend(growth(*args[first:], **named))
        found = plain(*args, **named)
        found = _counted(found) if isinstance(found, Iterator) else found
        spend(sys.getsizeof(found))
        return found

    return paid


def _paid_test(plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def paid(*args: Any, **named: Any) -> Any:
        spend(sum(map(weight, args)) // CHEAP if len(args) > 1 else 0)
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
        spend(sum(weight(value) for value in args if isinstance(value, tuple)))
        if isinstance(owner, str):
            growth = JOIN["method"] if name == "join" else GROWTH.get(name)
            spend(growth(owner, *args, **kwargs) if growth else sys.getsizeof(owner) // CHEAP)
        found = super().call(__context, __obj, *args, **kwargs)
        spend(weight(found) if isinstance(owner, str) else sys.getsizeof(found))
        return found

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sized = [value for value in (left, right) if isinstance(value, str | list | tuple)]
        numbers = [value for value in (left, right) if isinstance(value, int | float)]
        if operator == "**" and (abs(left) > 2**16 or abs(right) > 64):
            raise SecurityError("a power is too large")
        if operator == "*" and any(abs(number) > 2**63 for number in numbers):
            raise SecurityError("a product is too large")
        if operator == "%" and isinstance(left, str):
            spend(format_growth(left, right))
        elif operator == "*" and sized:
            spend(sys.getsizeof(sized[0]) * int(max(*numbers, 0, 0)))
        else:
            spend(sum(map(sys.getsizeof, sized)))
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
