"""A GGUF file of a Llama model in the terms of a checkpoint folder: its configuration, and the order of rotary rows."""

from typing import Any

import torch

from core.checkpoints.gguf import GGUFFile
from core.errors import CheckpointError

KEYS = [
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.key_length", "head_dim"),
    ("rope.freq_base", "rope_theta"),
    ("vocab_size", "vocab_size"),
]
NEEDED = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "rms_norm_eps")
TOKENS = [
    ("bos_token_id", "bos_token_id"),
    ("eos_token_id", "eos_token_id"),
    ("padding_token_id", "pad_token_id"),
]


def config_dict(file: GGUFFile) -> dict[str, Any]:
    """What a config.json would say. Raises CheckpointError where the file is of another architecture or lacks a key."""
    data = file.metadata
    architecture = data.get("general.architecture")
    if architecture != "llama":
        raise CheckpointError(f"{file.path}: GGUF of the architecture {architecture!r} is not supported yet; supported: llama.")
    values = {own: data[f"llama.{key}"] for key, own in KEYS if f"llama.{key}" in data}
    if lost := [name for name in NEEDED if name not in values]:
        raise CheckpointError(f"{file.path} does not say its {', '.join(lost)}.")
    if not all(isinstance(value, int | float) and value > 0 for value in values.values()):
        raise CheckpointError(f"{file.path} describes its model with values that are no positive numbers: {values}.")
    values |= {own: data[f"tokenizer.ggml.{key}"] for key, own in TOKENS if f"tokenizer.ggml.{key}" in data}
    if "vocab_size" not in values:
        values["vocab_size"] = len(data.get("tokenizer.ggml.tokens", ())) or file.shape("token_embd.weight")[0]
    values["tie_word_embeddings"] = "output.weight" not in file.tensors
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **values}


def unpermute(name: str, tensor: torch.Tensor, config: Any) -> torch.Tensor:
    """GGUF keeps the rows of q and k as rotary pairs (0, 1), (2, 3) …; the checkpoint's order is (0, d/2), (1, d/2 + 1) …"""
    if name.endswith(("attn_q.weight", "attn_q.bias")):
        heads = config.num_attention_heads
    elif name.endswith(("attn_k.weight", "attn_k.bias")):
        heads = config.num_key_value_heads
    else:
        return tensor
    rows = tensor.shape[0]
    return tensor.view(heads, rows // heads // 2, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
