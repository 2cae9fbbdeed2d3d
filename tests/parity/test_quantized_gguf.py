"""A GGUF of every architecture, its matrices in every kind of blocks: kept, it computes what it computes unpacked."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file
from support import close
from test_gguf import ROWS, make_reference, write_gguf

import core
from core.modeling.quantized import Quantized

# the kinds of a file's matrices, the second for each other one
MIXTURES = {"Q4_0": (Kind.Q4_0, Kind.Q4_0), "Q4_1 and Q8_0": (Kind.Q4_1, Kind.Q8_0), "Q5_0 and plain": (Kind.Q5_0, None)}
# what keeps its matrices transposed here, and so cannot have the file's rows
TRANSPOSED = {"gpt2"}


def write_in_blocks(path: Path, name: str, kinds: tuple[Kind, Kind | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny file of this name, with matrices in blocks."""
    architecture, model_type, values = ROWS[name]
    add, count = gguf.GGUFWriter.add_tensor, iter(range(1 << 20))

    def add_in_blocks(writer: Any, name: str, array: np.ndarray, **options: Any) -> None:
        kind = kinds[next(count) % 2] if array.ndim > 1 and array.shape[-1] % 32 == 0 else None
        if kind is None:
            add(writer, name, array, **options)
        else:
            add(writer, name, gguf.quants.quantize(array, kind), raw_dtype=kind)

    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", add_in_blocks)
    make_reference(model_type, values).save_pretrained(path.parent / "reference")
    write_gguf(path, architecture, values, load_file(path.parent / "reference" / "model.safetensors"))


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("name", ROWS)
def test_kept_it_computes_the_same(name: str, mixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_in_blocks(tmp_path / "tiny.gguf", name, MIXTURES[mixture], monkeypatch)
    auto = core.AutoModel if name == "bert" else core.AutoModelForCausalLM
    plain = auto.from_pretrained(tmp_path / "tiny.gguf")
    kept = auto.from_pretrained(tmp_path / "tiny.gguf", quantization="gguf", dtype="float32")
    held = {key for key, module in kept.named_modules() if isinstance(module, Quantized)}
    assert held
    if name not in TRANSPOSED and mixture == "Q4_0":
        linear = {key for key, module in plain.named_modules() if isinstance(module, torch.nn.Linear) and "pooler" not in key}
        assert {key for key in linear if plain.get_submodule(key).out_features >= 32} <= held
    torch.manual_seed(5)
    ids = torch.randint(0, 60, (2, 9))
    with torch.no_grad():
        have, want = kept(ids)[0], plain(ids)[0]
        if "Q5_0" not in mixture:
            close(have, want)
        else:  # blocks that nothing multiplies become q8_0: a rounding more
            assert (have - want).norm() < 0.1 * want.norm()
        half = kept.to(torch.bfloat16)(ids)[0].float()
    assert (half - have).norm() < 0.15 * have.norm()
