"""Folders of weights, both ways with the reference library: what one saves the other loads, with equal outputs; old names and formats;
options of from_pretrained."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import core
from core.errors import CheckpointError, ConfigError

SMALL = {"vocab_size": 96, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": 96, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 32}),
    "llama": ("LlamaForCausalLM", SMALL | {"num_key_value_heads": 2, "tie_word_embeddings": False}),
    "llama, tied": ("LlamaForCausalLM", SMALL | {"tie_word_embeddings": True}),
    "bert": ("BertForMaskedLM", SMALL | {"max_position_embeddings": 32}),
}
IDS = torch.arange(40).reshape(2, 20)


def make_reference(name: str) -> Any:
    cls, values = ROWS[name]
    torch.manual_seed(0)
    model = getattr(transformers, cls)(getattr(transformers, cls).config_class(**values)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    return model


def our(name: str) -> Any:
    return getattr(core, name)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


@pytest.fixture(params=ROWS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Any, Path]:
    """A row, the reference model and its folder."""
    model = make_reference(request.param)
    model.save_pretrained(tmp_path / "reference")
    return request.param, model, tmp_path / "reference"


@pytest.mark.parametrize("shard", ["5GB", "30KB"])
def test_both_ways(saved: tuple[str, Any, Path], shard: str, tmp_path: Path) -> None:
    name, reference, folder = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"a_key_of_tomorrow": {"deep": [1, None]}}))
    ours = our(ROWS[name][0]).from_pretrained(folder)
    expected = logits(reference)
    assert torch.allclose(logits(ours), expected, atol=1e-5 * max(1, expected.abs().max().item()))
    ours.save_pretrained(tmp_path / "ours", max_shard_size=shard)
    files = sorted((tmp_path / "ours").glob("*.safetensors"))
    assert len(files) == 1 if shard == "5GB" else len(files) > 2
    tensors = [key for file in files for key in load_file(file)]
    assert sorted(tensors) == sorted(load_file(folder / "model.safetensors")), "tied tensors once, all others there"
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["a_key_of_tomorrow"] == {"deep": [1, None]}
    assert (tmp_path / "ours" / "generation_config.json").is_file() == (name != "bert")
    again = getattr(transformers, ROWS[name][0]).from_pretrained(tmp_path / "ours")
    first, second = reference.state_dict(), again.state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    assert torch.allclose(logits(again), expected, atol=1e-5 * max(1, expected.abs().max().item()))
    assert torch.equal(logits(our(ROWS[name][0]).from_pretrained(tmp_path / "ours")), logits(ours))


@pytest.mark.parametrize("kind", ["zip", "legacy", "sharded"])
def test_bin(saved: tuple[str, Any, Path], kind: str, tmp_path: Path) -> None:
    name, reference, folder = saved
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(folder / "config.json", old)
    state = reference.state_dict()  # tied tensors twice, as torch.save has them
    if kind == "sharded":
        half = len(state) // 2
        parts = {
            f"pytorch_model-0000{i}-of-00002.bin": dict(list(state.items())[a:b]) for i, a, b in ((1, 0, half), (2, half, None))
        }
        for file, part in parts.items():
            torch.save(part, old / file)
        where = {key: file for file, part in parts.items() for key in part}
        (old / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    else:
        torch.save(state, old / "pytorch_model.bin", _use_new_zipfile_serialization=kind == "zip")
    ours, info = our(ROWS[name][0]).from_pretrained(old, output_loading_info=True)
    assert not any(info.values()), info
    expected = logits(reference)
    assert torch.allclose(logits(ours), expected, atol=1e-5 * max(1, expected.abs().max().item()))


class Evil:
    """What a hostile pickle would run."""

    def __reduce__(self) -> Any:
        return (print, ("owned",))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_bin_is_refused(zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_reference("bert").config.save_pretrained(tmp_path)
    torch.save({"x": Evil()}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin .*not run"):
        our("BertModel").from_pretrained(tmp_path)
    assert "owned" not in capsys.readouterr().out


def test_only_needed_tensors_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base model from a head's checkpoint touches the base's tensors alone, as views of the file."""
    make_reference("llama").save_pretrained(tmp_path)
    from core.checkpoints.safetensors_io import SafetensorsFile

    touched = []
    load = SafetensorsFile.load
    monkeypatch.setattr(SafetensorsFile, "load", lambda self, name, dtype=None: touched.append(name) or load(self, name, dtype))
    model, info = our("LlamaModel").from_pretrained(tmp_path, output_loading_info=True)
    assert "lm_head.weight" not in touched and info["unexpected_keys"] == ["lm_head.weight"]
    assert len(touched) == len(list(model.parameters()))


def test_old_names_and_prefixes(tmp_path: Path) -> None:
    reference = make_reference("bert")
    expected = logits(reference)
    reference.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    renamed = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for k, t in state.items()
    }
    assert renamed.keys() != state.keys()
    without = {name.removeprefix("bert."): t for name, t in renamed.items()}
    for tensors in (renamed, without):
        save_file(tensors, tmp_path / "model.safetensors")
        ours, info = our("BertForMaskedLM").from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info.values())
        assert torch.allclose(logits(ours), expected, atol=1e-4)
    base, info = our("BertModel").from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == ["pooler.dense.weight", "pooler.dense.bias"]
    assert all(name.startswith("cls.") for name in info["unexpected_keys"])
    assert torch.equal(base.embeddings.word_embeddings.weight, reference.bert.embeddings.word_embeddings.weight)


def test_old_weight_norm(tmp_path: Path) -> None:
    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4, conv_dim=(16, 16), conv_stride=(5, 4), conv_kernel=(10, 8),
    )  # fmt: skip
    torch.manual_seed(0)
    reference = transformers.Wav2Vec2Model(config).eval()
    reference.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    marks = ((".parametrizations.weight.original0", ".weight_g"), (".parametrizations.weight.original1", ".weight_v"))
    old = {}
    for name, tensor in state.items():
        for new, mark in marks:
            name = name.replace(new, mark)
        old[name] = tensor
    assert sum(name.endswith(("weight_g", "weight_v")) for name in old) == 2
    save_file(old, tmp_path / "model.safetensors")
    ours, info = our("Wav2Vec2Model").from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    wave = torch.randn(1, 800)
    with torch.no_grad():
        assert torch.allclose(ours(wave).last_hidden_state, reference(wave).last_hidden_state, atol=1e-4)


def test_loading_info_and_its_warnings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_reference("bert").save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        _, info = our("BertForSequenceClassification").from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"][-2:] == ["classifier.weight", "classifier.bias"] and info["error_msgs"] == []
    assert "cls.predictions.bias" in info["unexpected_keys"]
    assert "newly initialized: ['bert.pooler" in caplog.text and "not used by BertForSequenceClassification" in caplog.text
    state = load_file(tmp_path / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    save_file(state | {name: torch.zeros(3, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"shape \(3, 3\)"):
        our("BertForMaskedLM").from_pretrained(tmp_path)
    model, info = our("BertForMaskedLM").from_pretrained(tmp_path, output_loading_info=True, ignore_mismatched_sizes=True)
    assert info["mismatched_keys"] == [(name, (3, 3), (48, 80))] and info["missing_keys"] == []
    assert 0 < model.get_parameter(name).std() < 0.05, "made new"


@pytest.mark.parametrize(
    "asked", [{}, {"dtype": "auto"}, {"torch_dtype": "auto"}, {"dtype": torch.float16}, {"dtype": "float16"}]
)
def test_dtype_of_the_file(asked: dict[str, Any], tmp_path: Path) -> None:
    make_reference("llama").half().save_pretrained(tmp_path)
    model = our("AutoModelForCausalLM").from_pretrained(tmp_path, **asked)
    assert {p.dtype for p in model.parameters()} == {torch.float16}


def test_other_dtypes(tmp_path: Path) -> None:
    make_reference("llama").half().save_pretrained(tmp_path)
    for asked in ({"dtype": "bfloat16"}, {"torch_dtype": "torch.bfloat16"}, {"torch_dtype": torch.bfloat16}):
        assert our("AutoModelForCausalLM").from_pretrained(tmp_path, **asked).dtype == torch.bfloat16
    with pytest.raises(ConfigError, match="float33"):
        our("AutoModelForCausalLM").from_pretrained(tmp_path, dtype="float33")


def test_variant_subfolder_and_choice_of_format(tmp_path: Path) -> None:
    reference = make_reference("gpt2")
    inner = tmp_path / "inner"
    reference.save_pretrained(inner, variant="fp16", max_shard_size="30KB")
    assert len(list(inner.glob("model.fp16-*.safetensors"))) > 1
    expected = logits(reference)
    for attention in ("eager", "sdpa", "flash_attention_2"):
        ours = our("GPT2LMHeadModel").from_pretrained(tmp_path, subfolder="inner", variant="fp16", attn_implementation=attention)
        assert torch.allclose(logits(ours), expected, atol=1e-4)
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        our("GPT2LMHeadModel").from_pretrained(inner)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in reference.state_dict().items()}
    torch.save(zeros, inner / "pytorch_model.bin")
    reference.save_pretrained(inner)
    assert our("GPT2LMHeadModel").from_pretrained(inner).transformer.wte.weight.abs().sum() > 0
    assert our("GPT2LMHeadModel").from_pretrained(inner, use_safetensors=False).transformer.wte.weight.abs().sum() == 0
