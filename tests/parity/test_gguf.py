"""GGUF files of every architecture, written as llama.cpp's converter writes them: configuration, names and numbers are those of the
reference model they came from; and every quantisation unpacks as the format's own library does it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file

import core
from core.checkpoints import open_checkpoint
from core.checkpoints.description import read_description
from core.checkpoints.gguf import GGUFFile

COMMON = {"vocab_size": 97, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
LLAMA = COMMON | {"num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-4, "rope_theta": 5000.0}
WIDE = LLAMA | {"head_dim": 24}
GEMMA = WIDE | {"sliding_window": 16, "query_pre_attn_scalar": 24}
BERT = COMMON | {"max_position_embeddings": 40, "type_vocab_size": 3, "layer_norm_eps": 1e-4}
GPT2 = {
    "vocab_size": 97,
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 256,
    "n_positions": 1024,
    "layer_norm_epsilon": 1e-4,
}
STARCODER = {key: value for key, value in LLAMA.items() if key != "rms_norm_eps"} | {"norm_epsilon": 1e-4, "sliding_window": 16}
LONG = {"rope_type": "longrope", "short_factor": [1.0 + i / 8 for i in range(8)], "long_factor": [2.0 + i for i in range(8)]}
PHI3 = LLAMA | {"original_max_position_embeddings": 64, "rope_scaling": LONG, "sliding_window": 16, "pad_token_id": 0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}

# name -> architecture in the file, the reference's model_type, its configuration
ROWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "llama", LLAMA),
    "llama, wide heads, tied": ("llama", "llama", WIDE | {"tie_word_embeddings": True}),
    "llama, linear": ("llama", "llama", LLAMA | {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "llama, yarn": ("llama", "llama", LLAMA | {"rope_scaling": YARN}),
    "mixtral": ("llama", "mixtral", LLAMA | {"num_local_experts": 3, "num_experts_per_tok": 2}),
    "qwen2": ("qwen2", "qwen2", LLAMA),
    "qwen3": ("qwen3", "qwen3", WIDE),
    "gemma": ("gemma", "gemma", WIDE),
    "gemma2": ("gemma2", "gemma2", GEMMA | {"attn_logit_softcapping": 30.0, "final_logit_softcapping": 20.0}),
    "gemma3": ("gemma3", "gemma3_text", GEMMA),
    "phi3": ("phi3", "phi3", PHI3),
    "gpt2": ("gpt2", "gpt2", GPT2),
    "starcoder2": ("starcoder2", "starcoder2", STARCODER),
    "bert": ("bert", "bert", BERT),
}
READ_BY_THE_REFERENCE = ["llama", "qwen2", "gemma2", "gemma3", "phi3", "gpt2", "starcoder2"]
SCALARS = {
    "block_count": ("num_hidden_layers", "n_layer"),
    "context_length": ("max_position_embeddings", "n_positions"),
    "embedding_length": ("hidden_size", "n_embd"),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "attention.sliding_window": ("sliding_window",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "rope.freq_base": ("rope_theta",),
    "expert_count": ("num_local_experts",),
    "expert_used_count": ("num_experts_per_tok",),
}


def make_reference(model_type: str, values: dict[str, Any]) -> Any:
    """A tiny model with every parameter random."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **copy.deepcopy(values))  # it writes into them
    auto = transformers.AutoModel if model_type == "bert" else transformers.AutoModelForCausalLM
    model = auto.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


def write_gguf(
    path: Path, architecture: str, values: dict[str, Any], tensors: dict[str, torch.Tensor], **more: torch.Tensor
) -> None:
    """What llama.cpp's convert_hf_to_gguf.py writes for this architecture, with the format library's own writer and names."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_token_list([f"t{i}" for i in range(values["vocab_size"])])
    for key, owns in SCALARS.items():
        for own in owns:
            if own in values:
                add = writer.add_float32 if isinstance(values[own], float) else writer.add_uint32
                add(f"{architecture}.{key}", values[own])
    if "pad_token_id" in values:
        writer.add_pad_token_id(values["pad_token_id"])
    layers = values.get("num_hidden_layers") or values["n_layer"]
    scaling = values.get("rope_scaling") or {}
    if scaling.get("rope_type") in ("linear", "yarn"):
        writer.add_string(f"{architecture}.rope.scaling.type", scaling["rope_type"])
        writer.add_float32(f"{architecture}.rope.scaling.factor", scaling["factor"])
    if original := scaling.get("original_max_position_embeddings") or values.get("original_max_position_embeddings"):
        writer.add_uint32(f"{architecture}.rope.scaling.original_context_length", original)
    for length in ("long", "short"):
        if f"{length}_factor" in scaling:
            writer.add_tensor(f"rope_factors_{length}.weight", np.array(scaling[f"{length}_factor"], np.float32))
    name_map = gguf.get_tensor_name_map({name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[architecture], layers)
    for name, tensor in convert(architecture, values, tensors).items():
        stem, _, kind = name.rpartition(".")
        found = name_map.get_name(stem)
        assert found, name
        writer.add_tensor(f"{found}.{kind}", tensor.float().numpy())
    for name, tensor in more.items():
        writer.add_tensor(f"{name}.weight", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert(architecture: str, values: dict[str, Any], tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The converter's changes to tensors, before they are named."""

    def permuted(w: torch.Tensor, heads: int) -> torch.Tensor:
        return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape).contiguous()

    done = {}
    experts: dict[str, list[torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if architecture == "llama" and name.endswith("q_proj.weight"):
            tensor = permuted(tensor, values["num_attention_heads"])
        if architecture == "llama" and name.endswith("k_proj.weight"):
            tensor = permuted(tensor, values["num_key_value_heads"])
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            tensor = tensor + 1
        if architecture == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            tensor = tensor.T.contiguous()
        if architecture == "bert" and name.startswith("pooler."):
            continue
        if ".experts." in name:
            layer, own = name.split(".experts.")[0], name.split(".")[-2]
            experts.setdefault(f"{layer}.experts.{own}.weight", []).append(tensor)
        else:
            done[name] = tensor
    return done | {name: torch.stack(parts) for name, parts in experts.items()}


@pytest.fixture
def row(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    architecture, model_type, values = ROWS[request.param]
    model = make_reference(model_type, values)
    model.save_pretrained(tmp_path / "reference")
    tensors = load_file(tmp_path / "reference" / "model.safetensors")
    write_gguf(tmp_path / "tiny.gguf", architecture, values, tensors)
    return {"path": tmp_path / "tiny.gguf", "model": model, "tensors": tensors, "values": copy.deepcopy(values)}


@pytest.mark.parametrize("row", ROWS, indirect=True)
def test_configuration_and_tensors_are_the_references(row: dict[str, Any]) -> None:
    model, values = row["model"], row["values"]
    config = read_description(row["path"])
    assert config["model_type"] == model.config.model_type
    assert config["architectures"] == [type(model).__name__]
    assert config["tie_word_embeddings"] == model.config.tie_word_embeddings or model.config.model_type == "bert"
    scaling = values.pop("rope_scaling", {})
    for key, value in values.items():
        assert config[key] == pytest.approx(value), key
    assert {key: config["rope_scaling"][key] for key in scaling} == scaling
    rebuilt = transformers.AutoConfig.for_model(**config)
    assert rebuilt.to_dict().get("layer_types") == model.config.to_dict().get("layer_types")
    with open_checkpoint(row["path"]) as file:
        ours = {name.removeprefix("bert."): file.load(name) for name in file.names()}
    expected = {name: t for name, t in row["tensors"].items() if not name.startswith("pooler.")}
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(ours[name], tensor, atol=3e-7, rtol=0), name


@pytest.mark.parametrize("row", ROWS, indirect=True)
def test_our_models_give_the_references_numbers(row: dict[str, Any]) -> None:
    """The file through our classes, against the reference model it was written from."""
    auto = core.AutoModel if row["model"].config.model_type == "bert" else core.AutoModelForCausalLM
    ours = auto.from_pretrained(row["path"])
    torch.manual_seed(5)
    ids = torch.randint(0, 60, (2, 9))
    with torch.no_grad():
        have, want = ours(ids)[0], row["model"](ids)[0]
    assert (have - want).abs().max() <= 1e-4 * max(1.0, want.abs().max().item())


@pytest.mark.parametrize("row", READ_BY_THE_REFERENCE, indirect=True)
def test_the_reference_reads_the_same(row: dict[str, Any]) -> None:
    """The state that the reference makes of the file, name by name."""
    reference = transformers.AutoModelForCausalLM.from_pretrained(row["path"].parent, gguf_file=row["path"].name).state_dict()
    with open_checkpoint(row["path"]) as file:
        for name in file.names():
            assert torch.allclose(file.load(name), reference[name], atol=3e-7, rtol=0), name


def test_llama3s_factors(tmp_path: Path) -> None:
    """Llama 3's stretching is stored as one factor a rotary pair; the model made of it gives the reference's numbers."""
    settings = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    values = LLAMA | {"rope_scaling": settings | {"original_max_position_embeddings": 32}}
    model = make_reference("llama", values)
    inverse = model.model.rotary_emb.inv_freq
    plain = make_reference("llama", LLAMA).model.rotary_emb.inv_freq
    factors = plain / inverse
    assert 7.9 < float(factors.max()) < 8.001 and float(factors.min()) == 1
    path = tmp_path / "llama3.gguf"
    write_gguf(path, "llama", LLAMA, dict(model.state_dict()), rope_freqs=factors)
    ours = core.AutoModelForCausalLM.from_pretrained(path)
    ids = torch.randint(0, 97, (1, 60))
    with torch.no_grad():
        assert torch.allclose(ours(ids).logits, model(ids).logits, atol=1e-4)


def test_a_model_from_gguf_is_saved_and_read_by_the_reference(tmp_path: Path) -> None:
    model = make_reference("llama", LLAMA)
    write_gguf(tmp_path / "tiny.gguf", "llama", LLAMA, dict(model.state_dict()))
    core.AutoModelForCausalLM.from_pretrained(tmp_path / "tiny.gguf").save_pretrained(tmp_path / "saved")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    ids = torch.randint(0, 97, (2, 20))
    with torch.no_grad():
        assert torch.equal(again(ids).logits, model(ids).logits)


def _random_blocks(kind: Kind) -> np.ndarray:
    """(6, two blocks) bytes: any bits, but scales that are numbers."""
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = np.random.default_rng(int(kind)).integers(0, 256, (12, size), dtype=np.uint8)
    scales = {"Q2_K": (80, 82), "Q3_K": (108,), "Q6_K": (208,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q4_1": (0, 2), "Q5_1": (0, 2)}
    for at in scales.get(kind.name, (0,)):
        blocks[:, at : at + 2] = np.linspace(-2, 2, 12).astype(np.float16)[:, None].view(np.uint8)
    return blocks.reshape(6, 2 * size)


KINDS = [Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0, Kind.Q2_K, Kind.Q3_K, Kind.Q4_K, Kind.Q5_K, Kind.Q6_K]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_blocks_unpack_as_the_formats_library_does(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.checkpoints.gguf_quants.AT_ONCE", 1280)  # several parts, the last not full
    blocks = _random_blocks(kind)
    expected = gguf.quants.dequantize(blocks, kind)
    _check_kind(tmp_path, kind, blocks, lambda loaded: np.array_equal(loaded.numpy(), expected))


def test_q8_k(tmp_path: Path) -> None:
    """A float32 scale, 256 numbers of a byte, sums that only products need."""
    chance = np.random.default_rng(0)
    scales = chance.standard_normal((12, 1)).astype(np.float32)
    numbers = chance.integers(-128, 128, (12, 256)).astype(np.int8)
    blocks = np.concatenate([scales.view(np.uint8), numbers.view(np.uint8), np.zeros((12, 32), np.uint8)], 1).reshape(6, -1)
    expected = (scales * numbers.astype(np.float32)).reshape(6, 512)
    _check_kind(tmp_path, Kind.Q8_K, blocks, lambda loaded: np.array_equal(loaded.numpy(), expected))


def _check_kind(tmp_path: Path, kind: Kind, blocks: np.ndarray, equal: Callable[[torch.Tensor], bool]) -> None:
    writer = gguf.GGUFWriter(tmp_path / "kind.gguf", "llama")
    writer.add_tensor("x", blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = GGUFFile(tmp_path / "kind.gguf")
    assert equal(file.load("x"))
    half = file.load("x", torch.bfloat16)
    assert half.dtype == torch.bfloat16 and torch.equal(half, file.load("x").bfloat16())
    assert torch.equal(file.load("x", index=4), file.load("x")[4])
