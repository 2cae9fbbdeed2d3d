"""Sentences of mixed length as vectors: MiniLM, float32."""

import random

from tests.bench.harness import Row, seconds
from tests.bench.subjects import Subjects

SENTENCES, LONGEST = 256, 120


def rows(subjects: Subjects) -> list[Row]:
    """Our pipeline as it is, beside the reference's as it is, and fed with sorted sentences, 32 at a time."""

    def ours() -> float:
        return seconds(lambda: subjects.embedder()(sentences(subjects)))

    def theirs(**options: object) -> float:
        texts = sentences(subjects)
        if options:
            texts = sorted(texts, key=len)
        return seconds(lambda: subjects.reference_embedder()(texts, **options))

    more = {"times": True, "note": f"{SENTENCES} sentences of 3 to {LONGEST} words"}
    return [
        Row("embed.mixed", "s", ours, theirs, aim=3, rounds=3, **more),
        Row("embed.sorted", "s", ours, lambda: theirs(batch_size=32), "transformers, sorted", aim=1.6, rounds=3, **more),
    ]


def sentences(subjects: Subjects) -> list[str]:
    """Pieces of the text whose lengths are spread as those of real questions and paragraphs: many short, few long."""
    chance, words = random.Random(0), subjects.text.split()
    lengths = [min(LONGEST, max(3, round(chance.lognormvariate(3.2, 0.8)))) for _ in range(SENTENCES)]
    starts = [chance.randrange(len(words) - LONGEST) for _ in lengths]
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
