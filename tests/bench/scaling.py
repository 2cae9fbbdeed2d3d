"""How the time of a token, and memory, grow with what was read and with how many write at once, beside the bounds that memory sets."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from tests.bench.children import report
from tests.bench.harness import Row, child, seconds
from tests.bench.subjects import Subjects

CONTEXTS = (128, 512, 2048, 8192)
AT_ONCE = (1, 2, 4, 8, 16)
STEPS = 8
FEW, NEW = 16, 16  # tokens of a text whose memory counts as none; tokens written


def rows(subjects: Subjects) -> list[Row]:
    """A Llama of SmolLM2's shape with few words and long positions, bfloat16, random weights."""
    table = [Row("scale.read", "GB/s", bandwidth, note="this machine's memory, as one sum reads it")]
    for tokens in CONTEXTS:
        table.append(Row(f"scale.context.{tokens}", "s/token", step_time(1, tokens), bound(1, tokens), "memory bound"))
    for batch in AT_ONCE:
        table.append(Row(f"scale.rows.{batch}", "s/step", step_time(batch, 128), bound(batch, 128), "memory bound"))
    held = [("memory_context", tokens, 1, tokens) for tokens in CONTEXTS] + [
        ("memory_rows", batch, batch, 512) for batch in AT_ONCE
    ]
    for name, count, batch, tokens in held:
        table.append(Row(f"scale.{name}.{count}", "MB", more(batch, tokens), pairs(batch, tokens), "keys and values", rounds=1))
    return table


@cache
def model() -> Any:
    """The subject."""
    from core import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=16384,
    )
    return LlamaForCausalLM(config).eval().to(torch.bfloat16)


@cache
def _block() -> torch.Tensor:
    return torch.ones(64_000_000)


def bandwidth() -> float:
    """GB/s of reading 256 MB."""
    block = _block()
    return block.nbytes / 1e9 / min(seconds(block.sum) for _ in range(3))


def step_time(batch: int, tokens: int) -> Callable[[], float]:
    """Seconds of a decode step of so many rows after so many tokens."""
    from core.generation.step import decode_step
    from core.modeling.cache import Cache

    def measure() -> float:
        config, cache = model().config, Cache()
        ids, mask = torch.ones(batch, tokens + 1, dtype=torch.long), torch.ones(batch, tokens + 1, dtype=torch.long)
        with torch.inference_mode():
            for layer in range(config.num_hidden_layers):
                pair = torch.randn(2, batch, config.num_key_value_heads, tokens, config.head_dim, dtype=torch.bfloat16)
                cache.update(layer, pair[0], pair[1])

            def step() -> None:
                cache.trim(tokens)
                decode_step(model(), ids, mask, cache)

            step()
            return min(seconds(step) for _ in range(STEPS))

    return measure


def bound(batch: int, tokens: int) -> Callable[[], float]:
    """Seconds of reading the weights once and every row's keys and values."""

    def measure() -> float:
        weights = sum(p.nbytes for p in model().parameters()) - model().get_input_embeddings().weight.nbytes
        return (weights / 1e9 + pairs(batch, tokens)() / 1e3) / bandwidth()

    return measure


def pairs(batch: int, tokens: int) -> Callable[[], float]:
    """MB of so many rows' keys and values, of so many tokens each."""

    def measure() -> float:
        config = model().config
        return batch * tokens * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 2 / 1e6

    return measure


def more(batch: int, tokens: int) -> Callable[[], float]:
    """MB that a process holds at most while the engine answers so many texts at once, beyond those of one that answers a few words."""

    def measure() -> float:
        peaks = [child("answer", str(b), str(t), module="scaling")["peak"] for b, t in ((batch, tokens), (1, FEW))]
        return peaks[0] - peaks[1]

    return measure


# ---------------------------------------------------------------- in the child


def answer(batch: str, tokens: str) -> dict[str, float]:
    """Texts of so many tokens, each its own, read and gone on with together."""
    from core.generation import Engine

    torch.set_default_dtype(torch.bfloat16)  # the model is never held in float32: its peak would hide what comes after
    model()
    torch.set_default_dtype(torch.float32)
    with Engine(model(), max_rows=max(AT_ONCE), max_tokens=max(CONTEXTS) * 2) as engine:
        texts = [torch.arange(int(tokens)) * (7 + row) % 1000 for row in range(int(batch))]
        for request in [engine.submit(ids, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False) for ids in texts]:
            request.result()
    return {}


if __name__ == "__main__":
    report({"answer": answer})
