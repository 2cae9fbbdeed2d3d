"""Compiled decode steps against the plain path, which the other parity tests hold against the reference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rows import ALL_ROWS
from support import Row, close, randomise

import core
from core import kernels
from core.modeling.cache import Cache
from core.models.llama import LlamaModel

pytestmark = pytest.mark.skipif(kernels.reason_against() is not None, reason=str(kernels.reason_against()))


def make(row: Row, dtype: torch.dtype = torch.float32) -> Any:
    """A random model of a row."""
    config = core.AutoConfig.for_model(row.model_type, **row.values)
    return randomise(core.AutoModelForCausalLM.from_config(config)).to(dtype).eval()


def served(row: Row) -> bool:
    """Whether the row is one of LLaMA's relatives with a head; Mixtral's layers choose experts."""
    trunk = getattr(getattr(core, row.class_name), "trunk", object)
    return row.head == "CausalLM" and issubclass(trunk, LlamaModel) and row.model_type != "mixtral"


SERVED = [row for row in ALL_ROWS if served(row)]


def texts(batch: int, length: int, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids and a mask, each row but the first padded on the left by another number of tokens."""
    torch.manual_seed(batch)
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(1, batch):
        mask[row, : row % 4] = 0
    return torch.randint(5, vocabulary, (batch, length)), mask


@torch.inference_mode()
def logits_of(model: Any, ids: torch.Tensor, mask: torch.Tensor, prompt: int) -> list[torch.Tensor]:
    """The logits after each token from the prompt's last on, as the decode loop computes them."""
    from core.generation.step import decode_step

    cache = Cache()
    return [decode_step(model, ids[:, :end], mask[:, :end], cache) for end in range(prompt, ids.shape[1] + 1)]


def compare(model: Any, batch: int, length: int = 14, prompt: int = 6, check: Callable[..., None] = close) -> None:
    """Both paths over one text, then the compiled one again: its first step of all is computed on both."""
    ids, mask = texts(batch, length, model.config.vocab_size)
    with kernels.off():
        expected = logits_of(model, ids, mask, prompt)
    for _ in range(2):
        found = logits_of(model, ids, mask, prompt)
    assert kernels.describe(model).startswith("compiled step"), kernels.describe(model)
    for ours, plain in zip(found, expected, strict=True):
        check(ours, plain)


@pytest.mark.parametrize("row", SERVED, ids=str)
def test_every_decoder(row: Row) -> None:
    """Sizes that divide by nothing, grouped heads, biases, norms, windows, rotations, tied and untied; one row and several."""
    model = make(row)
    for batch in (1, 3):
        compare(model, batch)
