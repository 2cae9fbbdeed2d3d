"""How likely each token was: against the reference's scores, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch

import core
from core.errors import DataError
from core.lens import likelihood

TEXT = "The capital of France is Paris, and 東京 is in Japan 🙂."


@pytest.fixture(scope="module")
def smol() -> tuple[Any, Any]:
    name = "SmolLM2-135M-Instruct"
    return core.AutoModelForCausalLM.from_pretrained(name), core.AutoTokenizer.from_pretrained(name)


def test_against_the_models_own_loss(smol: tuple[Any, Any]) -> None:
    model, tokenizer = smol
    ids = tokenizer(TEXT)["input_ids"]
    found = likelihood(model, tokenizer, ids, top=5)
    assert [choice.id for choice in found] == ids
    assert found[0].probability is None and found[0].alternatives == []
    row = torch.tensor([ids])
    with torch.inference_mode():
        loss = float(model(input_ids=row, labels=row).loss)
    chances = torch.tensor([choice.probability for choice in found[1:]])
    assert abs(float(-chances.log().mean()) - loss) < 1e-4
    paris = next(choice for choice in found if choice.token.strip("·") == "Paris")
    assert paris.rank == 0 and paris.alternatives[0][0] == paris.id and paris.alternatives[0][2] == paris.probability
    assert all(len(choice.alternatives) == 5 for choice in found[1:])


def test_refusals(smol: tuple[Any, Any], minilm: Path) -> None:
    model, tokenizer = smol
    with pytest.raises(DataError, match="no token"):
        likelihood(model, tokenizer, [])
    with pytest.raises(DataError, match="at most"):
        likelihood(model, tokenizer, [5] * 9000)
    encoder = core.AutoModel.from_pretrained(minilm)
    with pytest.raises(DataError, match="does not predict"):
        likelihood(encoder, core.AutoTokenizer.from_pretrained(minilm), [1, 2])
