"""GGUF files in the terms of a checkpoint folder: their metadata as a config.json, their tensors under the reference's names.

What llama.cpp's converter does to each architecture, undone. https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from core.checkpoints.blocks import Blocks, quantize
from core.checkpoints.gguf import GGUFFile
from core.errors import CheckpointError

Config = dict[str, Any]
Transform = Callable[[torch.Tensor, Config], torch.Tensor]


# ---------------------------------------------------------------- what the converter did to tensors


def _unpermute(heads_key: str) -> Transform:
    """GGUF keeps a head's rows as rotary pairs (0, 1), (2, 3) …; the checkpoint's order is (0, d/2), (1, d/2 + 1) …"""

    def transform(tensor: torch.Tensor, config: Config) -> torch.Tensor:
        heads = config.get(heads_key) or config["num_attention_heads"]
        return tensor.view(heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    return transform


def _minus_one(tensor: torch.Tensor, config: Config) -> torch.Tensor:
    """Gemma's norms multiply by 1 + weight; GGUF stores the sum."""
    return tensor - 1


def _transpose(tensor: torch.Tensor, config: Config) -> torch.Tensor:
    """GPT-2's layers keep (in, out), GGUF (out, in)."""
    return tensor.T.contiguous()


# ---------------------------------------------------------------- what the architectures are called


@dataclass(frozen=True)
class Architecture:
    """One architecture: its class, keys of its metadata -> of its config.json, stems of tensors' names (before .weight and
    .bias) -> the reference's, what to do with tensors whose name matches, and keys that follow from others."""

    model_type: str
    model_class: str
    keys: dict[str, str]
    names: dict[str, str]
    transforms: dict[str, Transform] = field(default_factory=dict)
    more: Callable[[Config, GGUFFile], Config] = lambda config, file: {}


SIZES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
}
KEYS = SIZES | {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
}
GEMMA_KEYS = KEYS | {
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
NAMES = {
    "token_embd": "model.embed_tokens",
    "blk.{i}.attn_norm": "model.layers.{i}.input_layernorm",
    "blk.{i}.attn_q": "model.layers.{i}.self_attn.q_proj",
    "blk.{i}.attn_k": "model.layers.{i}.self_attn.k_proj",
    "blk.{i}.attn_v": "model.layers.{i}.self_attn.v_proj",
    "blk.{i}.attn_output": "model.layers.{i}.self_attn.o_proj",
    "blk.{i}.ffn_norm": "model.layers.{i}.post_attention_layernorm",
    "blk.{i}.ffn_gate": "model.layers.{i}.mlp.gate_proj",
    "blk.{i}.ffn_up": "model.layers.{i}.mlp.up_proj",
    "blk.{i}.ffn_down": "model.layers.{i}.mlp.down_proj",
    "output_norm": "model.norm",
    "output": "lm_head",
}
EXPERTS = {
    "blk.{i}.ffn_gate_inp": "model.layers.{i}.block_sparse_moe.gate",
    **{
        f"blk.{{i}}.ffn_{gguf}{tail}": f"model.layers.{{i}}.block_sparse_moe.experts.{{e}}.{own}"
        for gguf, own in (("gate", "w1"), ("down", "w2"), ("up", "w3"))
        for tail in ("_exps", ".{e}")  # all in one tensor, or, in older files, each in its own
    },
}
HEAD_NORMS = {
    "blk.{i}.attn_q_norm": "model.layers.{i}.self_attn.q_norm",
    "blk.{i}.attn_k_norm": "model.layers.{i}.self_attn.k_norm",
}
FOUR_NORMS = {
    "blk.{i}.post_attention_norm": "model.layers.{i}.post_attention_layernorm",
    "blk.{i}.ffn_norm": "model.layers.{i}.pre_feedforward_layernorm",
    "blk.{i}.post_ffw_norm": "model.layers.{i}.post_feedforward_layernorm",
}
GPT2_NAMES = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "blk.{i}.attn_norm": "transformer.h.{i}.ln_1",
    "blk.{i}.attn_qkv": "transformer.h.{i}.attn.c_attn",
    "blk.{i}.attn_output": "transformer.h.{i}.attn.c_proj",
    "blk.{i}.ffn_norm": "transformer.h.{i}.ln_2",
    "blk.{i}.ffn_up": "transformer.h.{i}.mlp.c_fc",
    "blk.{i}.ffn_down": "transformer.h.{i}.mlp.c_proj",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
}
BERT_NAMES = {
    "token_embd": "bert.embeddings.word_embeddings",
    "position_embd": "bert.embeddings.position_embeddings",
    "token_types": "bert.embeddings.token_type_embeddings",
    "token_embd_norm": "bert.embeddings.LayerNorm",
    "blk.{i}.attn_q": "bert.encoder.layer.{i}.attention.self.query",
    "blk.{i}.attn_k": "bert.encoder.layer.{i}.attention.self.key",
    "blk.{i}.attn_v": "bert.encoder.layer.{i}.attention.self.value",
    "blk.{i}.attn_output": "bert.encoder.layer.{i}.attention.output.dense",
    "blk.{i}.attn_output_norm": "bert.encoder.layer.{i}.attention.output.LayerNorm",
    "blk.{i}.ffn_up": "bert.encoder.layer.{i}.intermediate.dense",
    "blk.{i}.ffn_down": "bert.encoder.layer.{i}.output.dense",
    "blk.{i}.layer_output_norm": "bert.encoder.layer.{i}.output.LayerNorm",
}
GPT2_KEYS = {
    "block_count": "n_layer",
    "context_length": "n_positions",
    "embedding_length": "n_embd",
    "feed_forward_length": "n_inner",
    "attention.head_count": "n_head",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
}
STARCODER2_NAMES = NAMES | {"blk.{i}.ffn_up": "model.layers.{i}.mlp.c_fc", "blk.{i}.ffn_down": "model.layers.{i}.mlp.c_proj"}
STARCODER2_KEYS = SIZES | {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_epsilon": "norm_epsilon",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
}
PHI3_KEYS = {key: own for key, own in KEYS.items() if own != "head_dim"} | {"attention.sliding_window": "sliding_window"}
PHI3_NAMES = NAMES | {
    "blk.{i}.attn_qkv": "model.layers.{i}.self_attn.qkv_proj",
    "blk.{i}.ffn_up": "model.layers.{i}.mlp.gate_up_proj",
}
ROTARY = {  # these move whole rows, so they hold for rows of blocks too
    r"\.attn_q\.(weight|bias)$": _unpermute("num_attention_heads"),
    r"\.attn_k\.(weight|bias)$": _unpermute("num_key_value_heads"),
}
GEMMA_NORMS = {r"norm\.weight$": _minus_one}


def _mixture(config: Config, file: GGUFFile) -> Config:
    """Mistral's models are written as llama; the mixture of experts among them is Mixtral."""
    experts = file.metadata.get("llama.expert_count")
    if not experts:
        return {}
    return {
        "model_type": "mixtral",
        "architectures": ["MixtralForCausalLM"],
        "num_local_experts": experts,
        "num_experts_per_tok": file.metadata.get("llama.expert_used_count", 2),
    }


def _attention_scale(largest: int) -> Callable[[Config, GGUFFile], Config]:
    """What Gemma's scores are divided by the root of: head_dim, but the width of a head in the model with so many layers."""

    def more(config: Config, file: GGUFFile) -> Config:
        wide = config["num_hidden_layers"] == largest
        head_dim = config.get("head_dim", 256)
        return {"query_pre_attn_scalar": config["hidden_size"] // config["num_attention_heads"] if wide else head_dim}

    return more


def _partial_rotation(config: Config, file: GGUFFile) -> Config:
    """Phi 3 may turn only the first part of each head."""
    turned = file.metadata.get("phi3.rope.dimension_count")
    return {"partial_rotary_factor": turned * config["num_attention_heads"] / config["hidden_size"]} if turned else {}


def _token_types(config: Config, file: GGUFFile) -> Config:
    return {"type_vocab_size": file.shape("token_types.weight")[0]} if "token_types.weight" in file.tensors else {}


ARCHITECTURES = {
    "llama": Architecture("llama", "LlamaForCausalLM", KEYS, NAMES | EXPERTS, ROTARY, _mixture),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", KEYS, NAMES),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", KEYS, NAMES | HEAD_NORMS),
    "gemma": Architecture("gemma", "GemmaForCausalLM", KEYS, NAMES, GEMMA_NORMS),
    "gemma2": Architecture("gemma2", "Gemma2ForCausalLM", GEMMA_KEYS, NAMES | FOUR_NORMS, GEMMA_NORMS, _attention_scale(46)),
    "gemma3": Architecture(
        "gemma3_text",
        "Gemma3ForCausalLM",
        GEMMA_KEYS | {"rope.freq_base_swa": "rope_local_base_freq"},
        NAMES | FOUR_NORMS | HEAD_NORMS,
        GEMMA_NORMS,
        _attention_scale(62),
    ),
    "phi3": Architecture("phi3", "Phi3ForCausalLM", PHI3_KEYS, PHI3_NAMES, more=_partial_rotation),
    "gpt2": Architecture(
        "gpt2",
        "GPT2LMHeadModel",
        GPT2_KEYS,
        GPT2_NAMES,
        {r"\.(attn_qkv|attn_output|ffn_up|ffn_down)\.weight$": _transpose},
    ),
    "starcoder2": Architecture("starcoder2", "Starcoder2ForCausalLM", STARCODER2_KEYS, STARCODER2_NAMES),
    "bert": Architecture(
        "bert", "BertModel", SIZES | {"attention.layer_norm_epsilon": "layer_norm_eps"}, BERT_NAMES, more=_token_types
    ),
}
OPTIONAL_KEYS = {
    "num_key_value_heads",
    "head_dim",
    "rope_theta",
    "sliding_window",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "rope_local_base_freq",
    "n_inner",
}
TOKENS = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "padding_token_id": "pad_token_id"}
ROPE_TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")


# ---------------------------------------------------------------- a file as a checkpoint


def _architecture(file: GGUFFile) -> Architecture:
    name = file.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise CheckpointError(f"{file.path}: GGUF of the architecture {name!r} is not supported; supported: {known}.")
    return ARCHITECTURES[name]


def config_dict(file: GGUFFile) -> Config:
    """What a config.json would say. Raises CheckpointError where the file is of another architecture or lacks a key."""
    architecture, data = _architecture(file), file.metadata
    name = data["general.architecture"]
    values = {own: data[f"{name}.{key}"] for key, own in architecture.keys.items() if f"{name}.{key}" in data}
    if lost := [own for own in architecture.keys.values() if own not in values and own not in OPTIONAL_KEYS]:
        raise CheckpointError(f"{file.path} does not say its {', '.join(lost)}.")
    if "token_embd.weight" not in file.tensors:
        raise CheckpointError(f"{file.path} has no tensor token_embd.weight.")
    values["vocab_size"] = file.shape("token_embd.weight")[0]
    for own, value in values.items():
        if type(value) not in (int, float) or not 0 < value < 1 << 40:
            raise CheckpointError(f"{file.path} says that its {own} is {value!r}, which is no sensible positive number.")
    values |= {"model_type": architecture.model_type, "architectures": [architecture.model_class]}
    values |= architecture.more(values, file)
    values |= {own: data[f"tokenizer.ggml.{key}"] for key, own in TOKENS.items() if f"tokenizer.ggml.{key}" in data}
    values["tie_word_embeddings"] = "output.weight" not in file.tensors
    if scaling := _rope_scaling(file, f"{name}.rope.scaling."):
        values["rope_scaling"] = scaling
        if "original_max_position_embeddings" in scaling:
            values["original_max_position_embeddings"] = scaling["original_max_position_embeddings"]
    return values


def _rope_scaling(file: GGUFFile, prefix: str) -> Config:
    """How rotary positions are stretched: by a rule, by factors for short and long texts, or by one set of factors (Llama 3)."""
    data = file.metadata
    names = {
        "type": "rope_type",
        "factor": "factor",
        "attn_factor": "attention_factor",
        "original_context_length": "original_max_position_embeddings",
    }
    found = {own: data[prefix + key] for key, own in names.items() if prefix + key in data}
    once, long, short = ([file.load(name).tolist()] if name in file.tensors else [] for name in ROPE_TENSORS)
    if once:
        return {"rope_type": "longrope", "short_factor": once[0], "long_factor": once[0], "attention_factor": 1.0}
    if long and short:
        return found | {"rope_type": "longrope", "short_factor": short[0], "long_factor": long[0]}
    return found if found.get("rope_type") in ("linear", "yarn") else {}


class GGUFCheckpoint:
    """The tensors of a GGUF file as the reference names and lays them out."""

    def __init__(self, file: GGUFFile) -> None:
        self._file, self._architecture, self._config = file, _architecture(file), config_dict(file)
        rules = [(_pattern(gguf), own) for gguf, own in self._architecture.names.items()]
        self._where: dict[str, tuple[str, int | None]] = {}
        for name in file.names():
            if name not in ROPE_TENSORS:
                self._place(name, rules)

    def _place(self, name: str, rules: list[tuple[re.Pattern[str], str]]) -> None:
        stem, _, kind = name.rpartition(".")
        found = next(((match, own) for pattern, own in rules if (match := pattern.fullmatch(stem))), None)
        if found is None:
            self._where[name] = name, None
            return
        own = f"{found[1]}.{kind}"
        for mark, value in found[0].groupdict().items():
            own = own.replace(f"{{{mark}}}", value)
        if "{e}" not in own:
            self._where[own] = name, None
            return
        for expert in range(self._file.shape(name)[0]):
            self._where[own.replace("{e}", str(expert))] = name, expert

    def names(self) -> list[str]:
        """Tensors by the reference's names; those that no rule knows by their own."""
        return list(self._where)

    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor; quantised blocks become float32 unless dtype says otherwise."""
        stored, expert = self._where[name]
        transform = self._transform(stored)
        if transform is None:
            return self._file.load(stored, dtype, expert)
        tensor = self._file.load(stored, None, expert)
        return self._transformed(tensor, transform, stored).to(dtype or tensor.dtype)

    def load_blocks(self, name: str) -> Blocks | None:
        """A matrix in blocks: as they are in the file, other kinds of blocks as q8_0; None where the file has plain numbers, or has
        rows where the reference has columns."""
        stored, expert = self._where[name]
        transform = self._transform(stored)
        if self._file.tensors[stored].kind.dtype is not None or transform not in (None, *ROTARY.values()):
            return None
        blocks = self._file.blocks(stored, expert)
        if blocks is None:
            tensor = self.load(name)
            return quantize(tensor, "q8_0") if tensor.dim() == 2 else None
        return blocks if transform is None else Blocks(blocks.form, self._transformed(blocks.data, transform, stored))

    def _transform(self, stored: str) -> Transform | None:
        return next((f for pattern, f in self._architecture.transforms.items() if re.search(pattern, stored)), None)

    def _transformed(self, tensor: torch.Tensor, transform: Transform, stored: str) -> torch.Tensor:
        try:
            return transform(tensor, self._config)
        except RuntimeError:
            shape = self._file.shape(stored)
            raise CheckpointError(f"{self._file.path}: '{stored}' of shape {shape} does not fit its metadata.") from None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _pattern(name: str) -> re.Pattern[str]:
    """ "blk.{i}.attn_q" -> a pattern with the group i."""
    return re.compile(re.sub(r"\\\{(\w)\\\}", r"(?P<\1>\\d+)", re.escape(name)))
