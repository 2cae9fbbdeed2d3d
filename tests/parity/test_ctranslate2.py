"""Whisper from CTranslate2's model.bin: configuration and tensors are the reference's."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from ctranslate2_writer import variable, write_whisper

from core.checkpoints import open_checkpoint
from core.checkpoints.description import read_description
from core.errors import CheckpointError

SIZES: dict[str, Any] = {
    "vocab_size": 51864,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 56,
    "num_mel_bins": 16,
    "max_source_positions": 20,
    "max_target_positions": 12,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_tensors_and_configuration(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.WhisperConfig(**SIZES, pad_token_id=50256, bos_token_id=50256, eos_token_id=50256)
    reference = transformers.WhisperForConditionalGeneration(config).to(dtype)
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    state = {name: tensor.detach() for name, tensor in reference.state_dict().items() if name != "proj_out.weight"}
    write_whisper(tmp_path / "model.bin", state, heads=3)
    (tmp_path / "config.json").write_text('{"suppress_ids": [1, 2], "suppress_ids_begin": [220], "lang_ids": []}')
    said = read_description(tmp_path)
    assert {key: said[key] for key in SIZES} == SIZES
    assert (said["model_type"], said["suppress_tokens"], said["begin_suppress_tokens"]) == ("whisper", [1, 2], [220])
    assert (said["eos_token_id"], said["decoder_start_token_id"]) == (50256, 50257)
    with open_checkpoint(tmp_path) as file:
        assert sorted(file.names()) == sorted(state)
        for name, tensor in state.items():
            assert torch.equal(file.load(name), tensor), name
            assert file.load(name, torch.bfloat16).dtype == torch.bfloat16


def test_the_starter_is_whole(whisper_tiny: Path) -> None:
    """All of the reference's tensors, with its shapes."""
    config = transformers.WhisperConfig(**read_description(whisper_tiny))
    with torch.device("meta"):
        expected = transformers.WhisperForConditionalGeneration(config).state_dict()
    with open_checkpoint(whisper_tiny) as file:
        assert {name: file.load(name).shape for name in file.names()} == {
            name: tensor.shape for name, tensor in expected.items() if name != "proj_out.weight"
        }


def test_quantised_and_foreign_models_are_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**SIZES)).state_dict()
    state = {name: tensor for name, tensor in state.items() if name != "proj_out.weight"}
    write_whisper(tmp_path / "model.bin", state, heads=3)
    whole = (tmp_path / "model.bin").read_bytes()
    (tmp_path / "model.bin").write_bytes(whole.replace(b"WhisperSpec", b"OtherSpec12"))
    with pytest.raises(CheckpointError, match=r"model\.bin holds .*OtherSpec12"):
        open_checkpoint(tmp_path)
    bias = state["model.encoder.conv1.bias"]
    plain = variable("encoder/conv1/bias", (24,), 0, bias.numpy().tobytes())
    assert plain in whole
    (tmp_path / "model.bin").write_bytes(whole.replace(plain, variable("encoder/conv1/bias", (24,), 1, bytes(24))))
    with pytest.raises(CheckpointError, match=r"'encoder/conv1/bias' is quantised to int8"):
        open_checkpoint(tmp_path)
