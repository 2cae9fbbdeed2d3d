"""Sentences of mixed length as vectors: MiniLM."""

import random
from collections.abc import Callable

from tests.bench.harness import Row, seconds
from tests.bench.subjects import Subjects

SENTENCES, LONGEST = 256, 120
NOTE = f"{SENTENCES} sentences of 3 to {LONGEST} words"


def rows(subjects: Subjects) -> list[Row]:
    """Our pipeline as it is, beside the reference's as it is (one at a time), fed with 32 at a time as they come, and with 32 at a time
    sorted by length."""
    table = []
    for dtype in ("float32", "bfloat16"):
        for name, what, options, order, aim in (
            ("default", "one at a time", {}, False, 3),
            ("mixed", "32 at a time", {"batch_size": 32}, False, None),
            ("sorted", "sorted, 32 at a time", {"batch_size": 32}, True, 1.6),
        ):
            theirs, other = reference(subjects, dtype, options, order), f"transformers, {what}"
            table.append(Row(f"embed.{dtype}.{name}", "s", ours(subjects, dtype), theirs, other, aim, 3, times=True, note=NOTE))
    return table


def ours(subjects: Subjects, dtype: str) -> Callable[[], float]:
    """Seconds of all sentences."""
    return lambda: seconds(lambda: subjects.embedder(dtype)(sentences(subjects)))


def reference(subjects: Subjects, dtype: str, options: dict[str, int], order: bool) -> Callable[[], float]:
    """The same."""

    def measure() -> float:
        texts = sorted(sentences(subjects), key=len) if order else sentences(subjects)
        return seconds(lambda: subjects.reference_embedder(dtype)(texts, **options))

    return measure


def sentences(subjects: Subjects) -> list[str]:
    """Pieces of the text whose lengths are spread as those of real questions and paragraphs: many short, few long."""
    chance, words = random.Random(0), subjects.text.split()
    lengths = [min(LONGEST, max(3, round(chance.lognormvariate(3.2, 0.8)))) for _ in range(SENTENCES)]
    starts = [chance.randrange(len(words) - LONGEST) for _ in lengths]
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
