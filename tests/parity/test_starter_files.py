"""The reference reads our starters: the same logits from the same files, half precision computed in single."""

from typing import Any

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

import core
from core.checkpoints import bundled
from core.modeling.configuration import read_config
from core.pipelines.loading import named_head, pipeline

CARDS = bundled.cards()
TOLERANCE = 2e-5


def inputs_of(pipe: Any) -> dict[str, torch.Tensor]:
    """Something for the model to read."""
    torch.manual_seed(0)
    config, found = pipe.model.config, {}
    if pipe.tokenizer is not None:
        found = dict(pipe.tokenizer("Where did Ada Lovelace live?", return_tensors="pt"))
    if pipe.image_processor is not None:
        found["pixel_values"] = torch.rand(2, 3, *pipe.image_processor.size.values())
    if pipe.feature_extractor is not None:
        found["input_features"] = torch.rand(2, config.num_mel_bins, 2 * config.max_source_positions)
    if config.is_encoder_decoder and "input_ids" in found:
        found["decoder_input_ids"] = torch.tensor([[config.decoder_start_token_id, 9, 17]])
    return found


@pytest.mark.parametrize("name", CARDS)
def test_logits(name: str, minilm: Any, smollm2: Any) -> None:
    card = CARDS[name]
    pipe = pipeline(card.task, name)
    model = pipe.model
    values = read_config(name)
    head = named_head(values["model_type"], values)
    assert head is not None and next(model.parameters()).dtype == torch.float32
    kind = getattr(transformers, core.auto.ARCHITECTURES[values["model_type"]].class_name(head))
    if base := bundled.base_of(card.folder):
        config = transformers.AutoConfig.from_pretrained(card.folder)
        if "SmolLM2" in base:
            under = kind.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
        else:
            under = kind.from_pretrained(minilm, config=config)
        theirs = peft.PeftModel.from_pretrained(under, str(card.folder)).eval()
    else:
        theirs = kind.from_pretrained(card.folder).eval()
        assert next(theirs.parameters()).dtype == torch.float32
        assert {tensor.dtype for tensor in load_file(card.folder / "model.safetensors").values()} == {torch.float16}
    inputs = inputs_of(pipe)
    with torch.no_grad():
        ours, found = model(**inputs), theirs(**inputs)
    for key in ("logits", "logits_per_image", "start_logits", "end_logits"):
        if key in found:
            assert (ours[key] - found[key]).abs().max() <= TOLERANCE * found[key].abs().max().clamp(min=1), key
