"""The engine: eight people at once, and the second turn of a conversation."""

from functools import cache
from typing import Any

import torch

from core.generation import Engine
from tests.bench.harness import Row, seconds
from tests.bench.subjects import Subjects

PEOPLE, NEW = 8, 32
HISTORY, TURN = 600, 24  # tokens


def rows(subjects: Subjects) -> list[Row]:
    """Seconds a token of all together beside those of one alone; seconds to a second turn's first token."""
    table = [
        Row(
            f"engine.eight.{kind}",
            "s/token",
            lambda kind=kind: written(subjects, kind, PEOPLE),
            lambda kind=kind: written(subjects, kind, 1),
            "our single stream",
            aim=2.5,
            times=True,
            note=f"{PEOPLE} requests at once",
        )
        for kind in ("float32", "gguf")
    ]
    table += [
        Row(
            f"turn.second.{kind}",
            "s",
            lambda kind=kind: second_turn(subjects, kind),
            lambda: seconds(lambda: first_token(subjects.reference("float32"), subjects.ids(HISTORY + TURN))),
            "transformers on the whole text",
            aim=10,
            times=True,
            note=f"{TURN} tokens after {HISTORY}, to the first token",
        )
        for kind in ("float32", "gguf")
    ]
    return table


@cache
def engine(subjects: Subjects, kind: str) -> Engine:
    """One for the process, warm."""
    made = Engine(subjects.ours(kind), max_rows=PEOPLE)
    for people in (1, PEOPLE):
        _ask(made, subjects, people, 4)
    return made


def written(subjects: Subjects, kind: str, people: int) -> float:
    """Seconds a token where so many ask at the same moment, their prompts read and everybody's tokens counted."""
    asked = engine(subjects, kind)
    asked.run(lambda model: asked.prefixes.clear())
    return seconds(lambda: _ask(asked, subjects, people, NEW)) / (people * NEW)


def _ask(asked: Engine, subjects: Subjects, people: int, new: int) -> None:
    rows = subjects.ids(16 * PEOPLE).view(PEOPLE, 16)[:people]
    requests = [asked.submit(row[i:], max_new_tokens=new, min_new_tokens=new, do_sample=False) for i, row in enumerate(rows)]
    for request in requests:
        request.result()


def second_turn(subjects: Subjects, kind: str) -> float:
    """Seconds to the first token, the history having been read for the turn before."""
    asked, ids = engine(subjects, kind), subjects.ids(HISTORY + TURN)[0]
    asked.run(lambda model: asked.prefixes.clear())
    asked.submit(ids[:HISTORY], max_new_tokens=1).result()
    asked.run(lambda model: None)  # what was read is put away
    end = asked.submit(ids, max_new_tokens=1).result()
    if end.reused_tokens != HISTORY:
        raise RuntimeError(f"The second turn reused {end.reused_tokens} tokens of {HISTORY}.")
    return end.first_token_seconds


def first_token(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """What `generate` does for one."""
    return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False)
