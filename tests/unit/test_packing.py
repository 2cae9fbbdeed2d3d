"""Rows of different lengths, computed together."""

import random
from pathlib import Path

import torch

import core
from core.pipelines.packing import FILLED, TOKENS, batches

TEXTS = [
    "One.",
    "Two words.",
    "A sentence of some length, with a clause in it, " * 4,
    "Short again.",
    "Of middle length, " * 5,
] * 3


def test_every_row_once_in_full_batches_of_like_lengths() -> None:
    chance = random.Random(0)
    lengths = [chance.randint(1, 300) for _ in range(500)]
    found = batches(lengths)
    assert sorted(row for batch in found for row in batch) == list(range(500))
    for batch in found:
        own = [lengths[row] for row in batch]
        assert len(own) * max(own) <= TOKENS and min(own) >= FILLED * max(own)
    assert sum(len(batch) * max(lengths[row] for row in batch) for batch in found) < 1.1 * sum(lengths)
    assert max(map(len, batches(lengths, most=3))) == 3
    assert batches([5000, 0]) == [[0], [1]] and batches([]) == []


def test_a_text_has_the_vectors_it_has_alone(minilm: Path) -> None:
    extract = core.pipeline("feature-extraction", str(minilm))
    together = extract(TEXTS, return_tensors=True)
    for text, found in zip(TEXTS[:5], together, strict=False):
        alone = extract(text, return_tensors=True)
        assert found.shape == alone.shape
        assert (found - alone).abs().max() < 1e-5
    pooled = extract(TEXTS, pooling="mean")
    assert torch.allclose(pooled[1], together[1][0].mean(0), atol=1e-6)
    assert torch.allclose(extract(TEXTS, pooling="mean", batch_size=2), pooled, atol=1e-5)
