"""A hidden word guessed from both sides."""

from collections.abc import Sequence
from typing import Any

from app.components.results import candidates, heading
from app.components.task_page import Task
from app.tabs.tasks.fields import one_text, the_text

MASK = "[MASK]"


def _shown(found: list[Any], values: Sequence[Any]) -> str:
    lists = found if found and isinstance(found[0], list) else [found]
    parts = []
    for number, rows in enumerate(lists, 1):
        title = "The hidden word" if len(lists) == 1 else f"Hidden word {number}"
        # a click takes the word into the place it was guessed for
        picks = [(row["token_str"].strip(), row["score"], f"{number - 1} {row['token_str'].strip()}") for row in rows]
        parts.append(heading(title, "A click puts the word into the sentence.") + candidates(picks))
    return "".join(parts)


def _taken(values: Sequence[Any], pick: str) -> list[Any]:
    number, word = pick.split(" ", 1)
    parts = str(values[0]).split(MASK)
    at = int(number) + 1
    return [MASK.join(parts[:at]) + word + MASK.join(parts[at:])] if at < len(parts) else list(values)


TASK = Task(
    id="fill-mask",
    title="Fill mask",
    task="fill-mask",
    about=f"The words that fit where {MASK} stands, read from both sides of it.",
    inputs=one_text,
    examples=[
        [f"She opened the {MASK} and went inside."],
        [f"I would like a cup of {MASK}."],
        [f"He is a very good {MASK}."],
    ],
    call=lambda values: ((the_text(values, what=f"a sentence with {MASK} in it"),), {}),
    show=_shown,
    waiting=f"Write a sentence with {MASK} in it, or click an example.",
    hub="google-bert/bert-base-uncased",
    button="Guess",
    shown_options=("top_k", "targets"),
    looked_into=lambda values: str(values[0]),
    picked=_taken,
)
