"""tokenizer.json read, and the `tokenizers` library called: what it cannot do, panics included, becomes an error of ours."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from core.errors import TokenizerError, one_line, printable
from core.tokenization.convert import read_text

SPARE = 10_000  # ids that may stand free, beside as many as there are tokens
MOST_GROWTH = 1000  # a text's length after normalising or decoding, over its length before


def guarded(call: Callable[[], Any], refuse: Callable[[BaseException], TokenizerError]) -> Any:
    """What `call` gives. The library raises plain Exception, and its panics are not even that: `refuse` says what they mean."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError, TokenizerError):
        raise
    except BaseException as error:
        raise refuse(error) from None


def read_backend(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json. Raises TokenizerError naming file and fault."""
    text = read_text(path)
    backend = guarded(
        lambda: Tokenizer.from_str(text),
        lambda error: TokenizerError(f"{path} is not a tokenizer file: {one_line(error)}."),
    )
    ids = backend.get_vocab().values()
    if max(ids, default=0) > 2 * len(ids) + SPARE:
        raise TokenizerError(f"{path}: of its {len(ids)} tokens one has the id {max(ids)}.")
    for part in ("normalizer", "decoder"):
        if _growth(_state(getattr(backend, part))) > MOST_GROWTH:
            raise TokenizerError(f"{path}: its {part} makes texts more than {MOST_GROWTH} times as long.")
    for step in _steps(_state(backend.post_processor)):
        for token, number in _around(step):
            if backend.id_to_token(number) is None:
                raise TokenizerError(
                    f"{path}: its post_processor adds '{printable(token, 40)}' with the id {number}, which no token has."
                )
    return backend


def _state(component: Any) -> dict[str, Any]:
    """A component as tokenizer.json writes it."""
    return {} if component is None else json.loads(component.__getstate__())


def _steps(state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A component, or those that a sequence holds."""
    if state.get("type") == "Sequence":
        for step in next(value for value in state.values() if isinstance(value, list)):
            yield from _steps(step)
    else:
        yield state


def _growth(state: dict[str, Any]) -> float:
    """How many times as long a text may become by what replaces its parts."""
    growth = 1.0
    for step in _steps(state):
        if step.get("type") == "Replace":
            sought = step["pattern"].get("String")
            growth *= max(1.0, len(step["content"]) / len(sought) if sought else len(step["content"]) + 1)
    return growth


def _around(step: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """(token, id) of what a post-processor puts around a text."""
    for token, entry in (step.get("special_tokens") or {}).items():
        yield from ((token, number) for number in entry["ids"])
    yield from (step[role] for role in ("sep", "cls") if role in step)
