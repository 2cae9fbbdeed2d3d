"""What version 5 of the reference dropped, against numbers frozen from 4.57.6 by tools/freeze_reference.py."""

import json
from typing import Any

import pytest
import torch
from support import close

import core
from core.auto import ARCHITECTURES
from tools.freeze_reference import CASES, FOLDER, caches, fill, head_masks, inputs_for


def unpack(value: dict[str, Any]) -> torch.Tensor:
    """A tensor from the file."""
    return torch.tensor(value["data"]).view(value["shape"])


@pytest.mark.parametrize("model_type", [name for name in CASES if name in ARCHITECTURES])
def test_head_masks_and_tuple_caches(model_type: str) -> None:
    values, kind = CASES[model_type]
    model = core.AutoModel.from_config(core.AutoConfig.for_model(model_type, **values)).eval()
    fill(model)
    inputs = inputs_for(kind)
    expected = json.loads((FOLDER / f"{model_type}.json").read_text(encoding="utf-8"))
    real = inputs.get("attention_mask", torch.ones(2, 1)).bool()
    seen = 0
    with torch.no_grad():
        plain = model(**inputs).last_hidden_state
        for name, masks in head_masks(kind).items():
            found, wanted = model(**inputs, **masks).last_hidden_state, unpack(expected[name])
            by_token = found.shape[:2] == real.shape
            close(found[real] if by_token else found, wanted[real] if by_token else wanted, name)
            assert not torch.allclose(found, plain, atol=1e-3)
            seen += 1
        if kind == "cross":
            for name, tensor in caches(model, inputs).items():
                close(tensor, unpack(expected[f"cache {name}"]), name)
                seen += 1
    assert seen == len(expected)
