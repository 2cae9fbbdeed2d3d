"""A Python function as the JSON schema of a tool, from its type hints and its docstring in Google's style."""

import inspect
import json
import re
import types
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from core.errors import TokenizerError

NAMES = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
SIMPLE = {**NAMES, list: "array", tuple: "array", dict: "object"}
SECTION = re.compile(r"^(Args|Returns|Raises):[ \t]*$", re.MULTILINE)
ARGUMENT = re.compile(r"^(\w+)[ \t]*(?:\([^)\n]*\))?:[ \t]*", re.MULTILINE)
CHOICES = re.compile(r"\(choices:\s*(\[.*?\])\)\s*$", re.DOTALL)


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    """{"type": "function", "function": {name, description, parameters}}. Raises TokenizerError naming what is missing."""
    if not callable(function) or not hasattr(function, "__name__"):
        raise TokenizerError(f"A tool is a JSON schema or a function, not {type(function).__name__}.")
    name = function.__name__
    description, told, returns = _docstring(inspect.getdoc(function) or "")
    if not description:
        raise TokenizerError(f"The function {name} needs a docstring that says what it does, to be a tool.")
    hints = get_type_hints(function)
    properties: dict[str, Any] = {}
    required = []
    for argument, parameter in inspect.signature(function).parameters.items():
        if argument not in hints:
            raise TokenizerError(f"The function {name} needs a type hint for its argument {argument}, to be a tool.")
        if argument not in told:
            raise TokenizerError(f"The docstring of {name} does not describe its argument {argument} under 'Args:'.")
        schema = _schema(hints[argument], name)
        text = told[argument]
        if choices := CHOICES.search(text):
            schema["enum"] = [str(choice).strip() for choice in json.loads(choices[1])]
            text = text[: choices.start()].strip()
        properties[argument] = {**schema, "description": text}
        if parameter.default is inspect.Parameter.empty:
            required.append(argument)
    parameters = {"type": "object", "properties": properties, **({"required": required} if required else {})}
    tool: dict[str, Any] = {"name": name, "description": description, "parameters": parameters}
    if "return" in hints:
        try:
            tool["return"] = {**_schema(hints["return"], name), **({"description": returns} if returns else {})}
        except TokenizerError:
            pass  # the model never writes it, so a type without a schema is left out
    return {"type": "function", "function": tool}


def _docstring(text: str) -> tuple[str, dict[str, str], str]:
    """What it does, what each argument is, what it returns."""
    parts = SECTION.split(text)
    sections = dict(zip(parts[1::2], (inspect.cleandoc("\n" + part) for part in parts[2::2]), strict=True))
    pieces = ARGUMENT.split(sections.get("Args", ""))
    told = {name: " ".join(words.split()) for name, words in zip(pieces[1::2], pieces[2::2], strict=True)}
    return parts[0].strip(), told, sections.get("Returns", "").strip()


def _schema(hint: Any, name: str) -> dict[str, Any]:
    """The schema of a type."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if hint in SIMPLE:
        return {"type": SIMPLE[hint]}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _one_of([member.value for member in hint])
    if origin is Literal:
        return _one_of(list(args))
    if origin in (Union, types.UnionType):
        kinds = [_schema(arg, name) for arg in args if arg is not type(None)]
        if len(kinds) == 1:
            found = kinds[0]
        elif all(set(kind) == {"type"} and isinstance(kind["type"], str) for kind in kinds):
            found = {"type": sorted({kind["type"] for kind in kinds})}
        else:
            found = {"anyOf": kinds}
        return {**found, "nullable": True} if type(None) in args else found
    if origin is list:
        return {"type": "array", "items": _schema(args[0], name)}
    if origin is tuple and ... not in args:
        return {"type": "array", "prefixItems": [_schema(arg, name) for arg in args]}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(args[1], name)}
    raise TokenizerError(
        f"The function {name} has the type hint {hint!r}, which has no JSON schema; describe the tool by a dictionary."
    )


def _one_of(values: list[Any]) -> dict[str, Any]:
    kinds = list(dict.fromkeys(NAMES.get(type(value), "string") for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}
