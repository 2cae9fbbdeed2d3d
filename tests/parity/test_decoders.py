"""What holds of single decoders: old files and new ones, the layouts that the tutorial loads, heads the reference lacks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from rows.decoders import BLOOM, GPT2, GPT_BIGCODE, GPT_NEOX, LLAMA, OPT, OPT_350M
from rows.llamas import FULL, GEMMA, GEMMA2, GEMMA3, MIXTRAL, PHI3, QWEN2, QWEN3, SLIDING, STARCODER2, WINDOW
from safetensors.torch import load_file, save_file
from support import Row, close, make_reference, pair, randomise

import core
from core.errors import CheckpointError, ConfigError

IDS = torch.tensor([[5, 17, 42, 8, 63, 21, 9, 77, 31], [5, 11, 88, 8, 19, 21, 54, 6, 93]])


def rewrite_config(folder: Path, added: dict[str, Any], dropped: tuple[str, ...] = ()) -> None:
    """Change and drop keys of a folder's config.json."""
    file = folder / "config.json"
    values = json.loads(file.read_text()) | added
    file.write_text(json.dumps({key: value for key, value in values.items() if key not in dropped}))


LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.5, 2.0], "long_factor": [2.0, 3.0, 4.0]}
NEW = ("rope_parameters", "layer_types", "dtype", "_sliding_window_pattern")
OLD_FILES: list[tuple[str, str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    # what, model_type, values of the model, keys as older files have them, further keys that these lack
    ("plain rope", "llama", LLAMA, {"rope_theta": 700.0, "rope_scaling": None, "torch_dtype": "float32"}, ("head_dim",)),
    ("linear, by `type`", "llama", LLAMA, {"rope_theta": 700.0, "rope_scaling": {"type": "linear", "factor": 3.0}}, ()),
    (
        "llama 3.1",
        "llama",
        LLAMA,
        {
            "rope_theta": 700.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
        (),
    ),
    ("the first llamas", "llama", LLAMA | {"num_key_value_heads": 6}, {"max_sequence_length": 64}, ("num_key_value_heads",)),
    ("without head_dim", "mistral", LLAMA | WINDOW, {"rope_theta": 700.0}, ("head_dim",)),
    ("theta missing", "mixtral", MIXTRAL, {}, ("head_dim",)),
    ("window by number of layers", "qwen2", QWEN2, {"rope_theta": 700.0, "use_mrope": False}, ()),
    ("plain rope", "qwen3", QWEN3, {"rope_theta": 700.0, "rope_scaling": None}, ()),
    ("the first release", "gemma", GEMMA, {"rope_theta": 700.0, "hidden_act": "gelu", "hidden_activation": None}, ()),
    (
        "both names of the activation",
        "gemma2",
        GEMMA2,
        {"rope_theta": 700.0, "hidden_act": "relu", "cache_implementation": "hybrid"},
        (),
    ),
    (
        "two thetas, a pattern",
        "gemma3_text",
        GEMMA3 | {"layer_types": [SLIDING, FULL, SLIDING]},
        {
            "rope_theta": 900.0,
            "rope_local_base_freq": 40.0,
            "rope_scaling": {"rope_type": "linear", "factor": 3.0},
            "sliding_window_pattern": 2,
        },
        (),
    ),
    ("thetas missing", "gemma3_text", GEMMA3, {"sliding_window_pattern": 3}, ()),
    (
        "longrope by `type`",
        "phi3",
        PHI3,
        {"rope_theta": 500.0, "rope_scaling": LONGROPE, "original_max_position_embeddings": 4},
        (),
    ),
    ("partial rope", "phi3", PHI3, {"rope_theta": 500.0, "partial_rotary_factor": 0.7, "rope_scaling": None}, ()),
    ("plain rope", "starcoder2", STARCODER2, {"rope_theta": 700.0, "mlp_type": "default", "norm_type": "layer_norm"}, ()),
    ("names of its own", "gpt_neox", GPT_NEOX, {"rotary_pct": 0.7, "rotary_emb_base": 300}, ("attention_bias",)),
    ("keys missing", "opt", OPT | OPT_350M, {"prefix": "</s>"}, ("enable_bias", "layer_norm_elementwise_affine", "layerdrop")),
    ("common names", "bloom", BLOOM, {"n_embed": 36, "num_attention_heads": 6, "n_head": 6}, ("hidden_size",)),
    ("keys missing", "gpt2", GPT2, {"n_ctx": 64, "task_specific_params": {}}, ("n_inner", "scale_attn_by_inverse_layer_idx")),
]


@pytest.mark.parametrize(
    ("what", "model_type", "values", "old", "dropped"), OLD_FILES, ids=[f"{f[1]}: {f[0]}" for f in OLD_FILES]
)
def test_older_files(
    what: str, model_type: str, values: dict[str, Any], old: dict[str, Any], dropped: tuple[str, ...], tmp_path: Path
) -> None:
    """Files of older versions mean here what they mean to the reference; so does what we make of them."""
    make_reference(Row(model_type, "CausalLM", what, values)).save_pretrained(tmp_path)
    rewrite_config(tmp_path, old, NEW + dropped)
    expected = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")(IDS).logits
    ours = core.AutoModelForCausalLM.from_pretrained(tmp_path)
    close(ours(IDS).logits, expected)
    ours.save_pretrained(tmp_path / "again")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again", attn_implementation="eager")
    close(again(IDS).logits, expected)


def test_the_first_phi3_calls_longrope_by_other_names(tmp_path: Path) -> None:
    """ "su" and "yarn" are "longrope"; the reference stumbles over them."""
    make_reference(Row("phi3", "CausalLM", "other names", PHI3)).save_pretrained(tmp_path)
    logits = []
    for name in ("longrope", "su", "yarn"):
        rewrite_config(tmp_path, {"rope_scaling": LONGROPE | {"type": name}, "original_max_position_embeddings": 32}, NEW)
        logits.append(core.AutoModelForCausalLM.from_pretrained(tmp_path)(IDS).logits)
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])


def test_mixtral_says_where_tokens_went() -> None:
    """Router logits by layer, the loss over them, and both files: experts one by one, or all in one tensor."""
    reference, ours, folder = pair(Row("mixtral", "CausalLM", "routers", MIXTRAL))
    mask = torch.ones_like(IDS)
    mask[1, 6:] = 0
    expected = reference(IDS, attention_mask=mask, output_router_logits=True)
    found = ours(IDS, attention_mask=mask, output_router_logits=True)
    close(found.aux_loss, expected.aux_loss)
    close(ours(IDS, output_router_logits=True).aux_loss, reference(IDS, output_router_logits=True).aux_loss)
    assert len(found.router_logits) == len(expected.router_logits) == 3
    for a, b in zip(found.router_logits, expected.router_logits, strict=True):
        close(a[mask.flatten() == 1], b[mask.flatten() == 1])
    assert "router_logits" not in ours(IDS) and ours.model(IDS, output_router_logits=True).router_logits[0].shape == (18, 5)
    assert load_file(folder / "model.safetensors").keys() == ours.state_dict().keys()
    fused = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    assert "model.layers.0.mlp.experts.gate_up_proj" in fused
    save_file(fused, folder / "model.safetensors")
    for cls, run in ((core.MixtralForCausalLM, ours), (core.MixtralModel, ours.model)):
        close(cls.from_pretrained(folder)(IDS)[0], run(IDS)[0])
    save_file(fused | {"model.layers.1.mlp.experts.gate_up_proj": torch.ones(3)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"'model.layers.1.mlp.experts.gate_up_proj' has shape \(3,\)"):
        core.MixtralForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("prefix", ["model.language_model.", "language_model.model."])
def test_gemma3_that_reads_images_too_is_read_as_a_decoder(prefix: str, tmp_path: Path) -> None:
    """Its text part, in either layout of its files."""
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
        "model_type": "siglip_vision_model",
    }
    config = transformers.Gemma3Config(text_config=GEMMA3 | {"vocab_size": 120}, vision_config=vision, mm_tokens_per_image=4)
    config.text_config._attn_implementation = "eager"
    config.image_token_index = 110
    reference = randomise(transformers.Gemma3ForConditionalGeneration(config))
    reference.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    old = next(name for name in names if name.endswith("embed_tokens.weight")).removesuffix("embed_tokens.weight")
    save_file({name.replace(old, prefix): tensor for name, tensor in names.items()}, tmp_path / "model.safetensors")
    expected = reference(IDS).logits
    for cls in (core.AutoModelForCausalLM, core.Gemma3ForCausalLM):
        close(cls.from_pretrained(tmp_path)(IDS).logits, expected)
    close(core.AutoModel.from_pretrained(tmp_path)(IDS)[0], reference.model.language_model(IDS)[0])


@pytest.mark.parametrize("row", [Row("opt", "CausalLM", "holes", OPT), Row("bloom", "CausalLM", "holes", BLOOM)], ids=str)
def test_positions_count_real_tokens(row: Row) -> None:
    """A mask with padding before and amid the text, read at once and in two pieces, gives what the reference gives."""
    reference, ours, _ = pair(row)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1, 1]])
    expected = reference(IDS, attention_mask=mask).logits
    close(ours(IDS, attention_mask=mask).logits[mask == 1], expected[mask == 1])
    first = ours(IDS[:, :7], attention_mask=mask[:, :7])
    second = ours(IDS[:, 7:], attention_mask=mask, past_key_values=first.past_key_values)
    close(second.logits, expected[:, 7:])


def test_gpt_bigcode_takes_its_own_older_cache() -> None:
    """A layer's keys and values in one tensor, with one key for all heads and with a key a head."""
    for multi_query in (True, False):
        _, model, _ = pair(Row("gpt_bigcode", "CausalLM", "old cache", GPT_BIGCODE | {"multi_query": multi_query}))
        first = model(IDS[:, :5]).past_key_values
        old = tuple(torch.cat(layer, -1) for layer in first)
        old = tuple(layer.squeeze(1) for layer in old) if multi_query else old
        assert old[0].shape == ((2, 5, 12) if multi_query else (2, 6, 5, 12))
        close(model(IDS[:, 5:], past_key_values=old).logits, model(IDS).logits[:, 5:])


@pytest.mark.parametrize(
    ("row", "name", "classifier"),
    [
        (Row("gemma3_text", "Model", "tokens", GEMMA3), "Gemma3TextForTokenClassification", "score"),
        (Row("opt", "Model", "tokens", OPT | OPT_350M), "OPTForTokenClassification", "score"),
    ],
    ids=str,
)
def test_token_heads_that_the_reference_lacks(row: Row, name: str, classifier: str) -> None:
    """The layer over the reference's hidden states; labels give a loss; saved and loaded again."""
    reference, _, folder = pair(row)
    model = randomise(getattr(core, name).from_pretrained(folder, num_labels=5))
    getattr(model, model.base_model_prefix).load_state_dict(getattr(core, row.class_name).from_pretrained(folder).state_dict())
    expected = getattr(model, classifier)(reference(IDS).last_hidden_state)
    found = model(IDS, labels=IDS % 5)
    close(found.logits, expected)
    close(found.loss, torch.nn.functional.cross_entropy(expected.flatten(0, 1), (IDS % 5).flatten()))
    model.save_pretrained(folder / "tokens")
    close(core.AutoModelForTokenClassification.from_pretrained(folder / "tokens")(IDS).logits, expected)


def test_gemma_scales_token_vectors_by_a_rounded_root() -> None:
    """In half precision too, where the root of the width is not exact."""
    reference, ours, _ = pair(Row("gemma", "Model", "scale", GEMMA | {"hidden_size": 42, "num_attention_heads": 6}))
    assert torch.equal(ours.bfloat16().get_input_embeddings()(IDS), reference.bfloat16().get_input_embeddings()(IDS))


def test_contradictions_are_one_sentence() -> None:
    """Of a configuration, when the model is made."""
    with pytest.raises(ConfigError, match="layer_types speaks of 2 layers, num_hidden_layers of 3"):
        core.Qwen2Model(core.AutoConfig.for_model("qwen2", **QWEN2 | {"layer_types": [FULL, SLIDING]}))
    with pytest.raises(ConfigError, match="layer_types names chunked_attention"):
        core.LlamaModel(core.AutoConfig.for_model("llama", **LLAMA | {"layer_types": ["chunked_attention"] * 3}))
    with pytest.raises(ConfigError, match="use_bidirectional_attention"):
        core.AutoConfig.for_model("gemma3_text", **GEMMA3 | {"use_bidirectional_attention": True})
    with pytest.raises(ConfigError, match="add_cross_attention"):
        core.AutoConfig.for_model("gpt_bigcode", **GPT_BIGCODE | {"add_cross_attention": True})


LLAMA_2_CHAT = {
    "_name_or_path": "meta-llama/Llama-2-7b-chat-hf",
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 129,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.32.0.dev0",
    "use_cache": True,
    "vocab_size": 320,
}
LLAMA_2_GENERATION = {
    "bos_token_id": 1,
    "do_sample": True,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "temperature": 0.6,
    "max_length": 4096,
    "top_p": 0.9,
    "transformers_version": "4.32.0.dev0",
}
STARCODER = {
    "activation_function": "gelu",
    "architectures": ["GPTBigCodeForCausalLM"],
    "attention_softmax_in_fp32": True,
    "attn_pdrop": 0.1,
    "bos_token_id": 0,
    "embd_pdrop": 0.1,
    "eos_token_id": 0,
    "inference_runner": 0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "max_batch_size": None,
    "max_sequence_length": None,
    "model_type": "gpt_bigcode",
    "multi_query": True,
    "n_embd": 48,
    "n_head": 6,
    "n_inner": 192,
    "n_layer": 3,
    "n_positions": 512,
    "pad_key_length": True,
    "pre_allocate_kv_cache": False,
    "resid_pdrop": 0.1,
    "scale_attention_softmax_in_fp32": True,
    "scale_attn_weights": True,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "transformers_version": "4.28.1",
    "use_cache": True,
    "validate_runner_input": True,
    "vocab_size": 320,
}


def published(folder: Path, config: dict[str, Any], extra: dict[str, torch.Tensor], dtype: torch.dtype) -> Any:
    """A folder as a repository of the time: its config.json, weights in several files and an index, tensors of no use among them.
    The reference's model."""
    (folder / "config.json").write_text(json.dumps(config))
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder)).to(dtype)
    tensors = {name: tensor.clone() for name, tensor in randomise(model).state_dict().items()} | extra
    names = sorted(tensors)
    halves = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": {name: file for file, part in halves.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)


def test_llama_2_chat_as_published(tmp_path: Path) -> None:
    """Half precision in two files, each layer's frequencies among the weights, sampling by generation_config.json."""
    frequencies = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.rand(6) for i in range(3)}
    reference = published(tmp_path, LLAMA_2_CHAT, frequencies, torch.float16)
    (tmp_path / "generation_config.json").write_text(json.dumps(LLAMA_2_GENERATION))
    model = core.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.float16 and model.generation_config.top_p == 0.9
    assert model.config.to_dict()["pretraining_tp"] == 1
    model = core.LlamaForCausalLM.from_pretrained(tmp_path, torch_dtype=torch.float32, device_map="cpu")
    close(model(IDS).logits, reference(IDS).logits)
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None}
    assert model.generate(IDS, **options).tolist() == reference.generate(IDS, **options).tolist()


def test_starcoder_as_published(tmp_path: Path) -> None:
    """Two files with the tied layer written out, keys of its own server in config.json."""
    reference = published(tmp_path, STARCODER, {}, torch.float32)
    model = core.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(model, core.GPTBigCodeForCausalLM) and model.lm_head.weight is model.transformer.wte.weight
    assert model.config.to_dict()["pad_key_length"] is True
    close(model(IDS).logits, reference(IDS).logits)
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    assert model.generate(IDS, **options).tolist() == reference.generate(IDS, **options).tolist()
