"""Writes tests/parity/frozen/bert_relative.json: what transformers 4.57.6 computes for BERT with positions by distance, which 5.x
dropped. `pip install --target DIR transformers==4.57.6 tokenizers==0.22.2 "huggingface_hub<1.0"`, then
`PYTHONPATH=DIR python tools/freeze_bert_relative.py`.
"""

import json
import math
import zlib
from pathlib import Path
from typing import Any

import torch

TARGET = Path(__file__).resolve().parent.parent / "tests" / "parity" / "frozen" / "bert_relative.json"
VALUES: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "layer_norm_eps": 0.1,
    "max_position_embeddings": 16,
}
CASES: list[dict[str, Any]] = [
    {"position_embedding_type": "relative_key"},
    {"position_embedding_type": "relative_key_query"},
    {"position_embedding_type": "relative_key_query", "is_decoder": True},
]


def fill(model: torch.nn.Module) -> torch.nn.Module:
    """Numbers that follow from a parameter's name alone, so that every version of every library has the same."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            start = zlib.crc32(name.encode()) % 1000
            values = [0.5 * math.sin(start + 1.7 * i) for i in range(parameter.numel())]
            parameter.copy_(torch.tensor(values).view_as(parameter))
    return model.eval()


def inputs() -> dict[str, torch.Tensor]:
    """Two rows, the second padded."""
    ids = torch.arange(18).view(2, 9) * 7 % 29 + 1
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def freeze() -> list[dict[str, Any]]:
    """Each case with its last hidden state, attentions, and last hidden state with two heads silenced."""
    import transformers

    assert transformers.__version__ == "4.57.6"
    head_mask = torch.tensor([[1.0, 0.0, 1.0], [0.5, 1.0, 0.0]])
    found = []
    for case in CASES:
        config = transformers.BertConfig(**VALUES, **case, attn_implementation="eager")
        model = fill(transformers.BertModel(config))
        with torch.no_grad():  # with its cache the reference measures all distances from the last token
            out = model(**inputs(), output_attentions=True, use_cache=False)
            masked = model(**inputs(), head_mask=head_mask, use_cache=False)
        tensors = {"last_hidden_state": out[0], "masked_hidden_state": masked[0]}
        tensors |= {f"attention {i}": a for i, a in enumerate(out.attentions)}
        numbers = {name: [float(f"{x:.7g}") for x in tensor.flatten().tolist()] for name, tensor in tensors.items()}
        found.append(
            {
                "config": VALUES | case,
                "head_mask": head_mask.tolist(),
                "shapes": {n: t.shape for n, t in tensors.items()},
                "numbers": numbers,
            }
        )
    return found


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(freeze()) + "\n", encoding="utf-8")
