"""Numbers of transformers 4.57.6 for what version 5 dropped: `head_mask` and its kin, and caches as tuples.

    python -m venv old && old/bin/pip install torch==2.13.0 transformers==4.57.6
    old/bin/python tools/freeze_reference.py

writes tests/parity/frozen/*.json. Weights are not stored: both sides fill theirs by the recipe below.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "parity" / "frozen"
LAYERS, HEADS, WIDTH = 2, 4, 16
PLAIN = {
    "vocab_size": 50,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
GPT2 = {"vocab_size": 50, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 32}
BART = {
    "vocab_size": 50,
    "d_model": WIDTH,
    "encoder_layers": LAYERS,
    "decoder_layers": LAYERS,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 32,
}
IMAGE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
}

# model_type -> configuration, and what it reads; gpt_neox is not here: there a mask of zeros and ones gives NaN
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "gpt2": (GPT2 | {"add_cross_attention": True}, "cross"),
    "gpt_bigcode": (GPT2 | {"multi_query": True}, "text"),
    "opt": (PLAIN | {"ffn_dim": 24, "word_embed_proj_dim": WIDTH}, "by layer"),
    "bloom": ({"vocab_size": 50, "hidden_size": WIDTH, "n_layer": LAYERS, "n_head": HEADS}, "text"),
    "bert": (PLAIN, "text"),
    "distilbert": (
        {"vocab_size": 50, "dim": WIDTH, "n_layers": LAYERS, "n_heads": HEADS, "hidden_dim": 24, "max_position_embeddings": 32},
        "text",
    ),
    "roberta": (PLAIN, "text"),
    "albert": (PLAIN | {"embedding_size": 12}, "text"),
    "electra": (PLAIN | {"embedding_size": 12}, "text"),
    "t5": ({"vocab_size": 50, "d_model": WIDTH, "d_kv": 4, "d_ff": 24, "num_layers": LAYERS, "num_heads": HEADS}, "seq2seq"),
    "bart": (BART, "seq2seq"),
    "mbart": (BART, "seq2seq"),
    "marian": (BART | {"pad_token_id": 49, "decoder_start_token_id": 49}, "seq2seq"),
    "whisper": (BART | {"num_mel_bins": 6, "max_source_positions": 10, "max_target_positions": 32, "pad_token_id": 0}, "speech"),
    "vit": (IMAGE, "image"),
}


def fill(model: torch.nn.Module) -> None:
    """Every parameter by its place in the order of the names; norms around one."""
    numbers = np.random.RandomState(7)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            values = torch.from_numpy(numbers.standard_normal(tuple(parameter.shape)).astype(np.float32)) * 0.3
            parameter.copy_(values + 1 if parameter.dim() == 1 and name.endswith("weight") else values)


def inputs_for(kind: str) -> dict[str, torch.Tensor]:
    """What a model of this kind reads: two rows, the second padded."""
    numbers = np.random.RandomState(8)
    ids = torch.from_numpy(numbers.randint(5, 45, (2, 7)))
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 5:] = 0
    if kind == "image":
        return {"pixel_values": torch.from_numpy(numbers.standard_normal((2, 3, 8, 8)).astype(np.float32))}
    inputs = {"input_ids": ids, "attention_mask": mask}
    if kind == "speech":
        inputs = {"input_features": torch.from_numpy(numbers.standard_normal((2, 6, 20)).astype(np.float32))}
    if kind in ("seq2seq", "speech"):
        inputs["decoder_input_ids"] = ids[:, :5].flip(0)
    if kind == "cross":
        inputs["encoder_hidden_states"] = torch.from_numpy(numbers.standard_normal((2, 3, WIDTH)).astype(np.float32))
    return inputs


def head_masks(kind: str) -> dict[str, dict[str, torch.Tensor]]:
    """The masks to try, by name."""
    by_head = torch.tensor([0.0, 1.0, 0.5, 1.0])
    by_layer = torch.stack([by_head, by_head.flip(0)])
    found = {"by head": {"head_mask": by_head}, "by layer": {"head_mask": by_layer}}
    if kind == "by layer":
        del found["by head"]
    if kind in ("seq2seq", "speech"):
        found = {
            # T5 there fails on the first without the second
            "encoder": {"head_mask": by_layer, "decoder_head_mask": torch.ones(LAYERS, HEADS)},
            "decoder": {"decoder_head_mask": by_layer},
            "cross": {"cross_attn_head_mask": by_layer.flip(0)},
        }
    return found


def caches(
    model: torch.nn.Module, inputs: dict[str, torch.Tensor], wrap: Callable[[Any], Any] = lambda past: past
) -> dict[str, torch.Tensor]:
    """Five tokens, then two more after a cache of tuples, four tensors a layer (which 4.57.6 itself only takes wrapped)."""
    ids, encoded = inputs["input_ids"], inputs["encoder_hidden_states"]
    first = model(input_ids=ids[:, :5], encoder_hidden_states=encoded, use_cache=True)
    past = tuple(tuple(tensor.clone() for tensor in layer) for layer in legacy(first.past_key_values))
    second = model(input_ids=ids[:, 5:], encoder_hidden_states=encoded, past_key_values=wrap(past), use_cache=True)
    found = {f"past {layer} {part}": tensor for layer, parts in enumerate(past) for part, tensor in enumerate(parts)}
    return found | {"first": first.last_hidden_state, "second": second.last_hidden_state}


def legacy(past: Any) -> Any:
    """A cache as tuples, whichever kind it is."""
    return past.to_legacy_cache() if hasattr(past, "to_legacy_cache") else past


def pack(tensor: torch.Tensor) -> dict[str, Any]:
    """Seven digits are more than the tolerance needs."""
    return {"shape": list(tensor.shape), "data": [float(f"{value:.7g}") for value in tensor.flatten().tolist()]}


def main() -> None:
    """Write all files."""
    import transformers

    assert transformers.__version__ == "4.57.6", transformers.__version__
    FOLDER.mkdir(parents=True, exist_ok=True)
    for model_type, (values, kind) in CASES.items():
        config = transformers.AutoConfig.for_model(model_type, **values)
        model = transformers.AutoModel.from_config(config, attn_implementation="eager").eval()
        fill(model)
        inputs = inputs_for(kind)
        results = {}
        with torch.no_grad():
            for name, masks in head_masks(kind).items():
                results[name] = pack(model(**inputs, **masks).last_hidden_state)
            if kind == "cross":
                cached = caches(model, inputs, transformers.EncoderDecoderCache.from_legacy_cache)
                results |= {f"cache {name}": pack(tensor) for name, tensor in cached.items()}
        (FOLDER / f"{model_type}.json").write_text(json.dumps(results) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
