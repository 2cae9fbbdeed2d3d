"""Whisper as CTranslate2's converter stores it: the writer that the tests read back. Format: version 6, little-endian."""

import struct
from pathlib import Path

import numpy as np
import torch

NUMBERS = {torch.float32: 0, torch.float16: 4}


def text(value: str) -> bytes:
    """A string with its length and a final NUL."""
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def variable(name: str, shape: tuple[int, ...], kind: int, raw: bytes) -> bytes:
    """Name, rank, axes, type, size, bytes."""
    return text(name) + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, len(raw)) + raw


def write_whisper(path: Path, state: dict[str, torch.Tensor], heads: int) -> None:
    """A reference Whisper's state (its names) -> model.bin, with q, k, v joined and zeros for the keys' bias."""
    found: dict[str, torch.Tensor] = {}

    def put(scope: str, own: list[str]) -> None:
        for leaf, mark in (("weight", "gamma" if "norm" in scope else "weight"), ("bias", "beta" if "norm" in scope else "bias")):
            parts = []
            for name in own:
                if (tensor := state.get(f"{name}.{leaf}")) is not None:
                    parts.append(tensor)
                elif leaf == "bias" and name.endswith("k_proj"):
                    parts.append(torch.zeros_like(state[f"{name}.weight"][:, 0]))
            if parts:
                found[f"{scope}/{mark}"] = torch.cat(parts)

    layers = sorted({tuple(name.split(".")[1:4:2]) for name in state if ".layers." in name})
    for side, i in layers:
        own, scope = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
        put(f"{scope}/self_attention/linear_0", [f"{own}.self_attn.{x}_proj" for x in "qkv"])
        put(f"{scope}/self_attention/linear_1", [f"{own}.self_attn.out_proj"])
        put(f"{scope}/self_attention/layer_norm", [f"{own}.self_attn_layer_norm"])
        if side == "decoder":
            put(f"{scope}/attention/linear_0", [f"{own}.encoder_attn.q_proj"])
            put(f"{scope}/attention/linear_1", [f"{own}.encoder_attn.{x}_proj" for x in "kv"])
            put(f"{scope}/attention/linear_2", [f"{own}.encoder_attn.out_proj"])
            put(f"{scope}/attention/layer_norm", [f"{own}.encoder_attn_layer_norm"])
        put(f"{scope}/ffn/linear_0", [f"{own}.fc1"])
        put(f"{scope}/ffn/linear_1", [f"{own}.fc2"])
        put(f"{scope}/ffn/layer_norm", [f"{own}.final_layer_norm"])
    for side in ("encoder", "decoder"):
        put(f"{side}/layer_norm", [f"model.{side}.layer_norm"])
        found[f"{side}/position_encodings/encodings"] = state[f"model.{side}.embed_positions.weight"]
    put("encoder/conv1", ["model.encoder.conv1"])
    put("encoder/conv2", ["model.encoder.conv2"])
    put("decoder/embeddings", ["model.decoder.embed_tokens"])
    body = [variable(n, tuple(t.shape), NUMBERS[t.dtype], t.contiguous().numpy().tobytes()) for n, t in sorted(found.items())]
    for side in ("encoder", "decoder"):
        body.append(variable(f"{side}/num_heads", (), 2, np.int16(heads).tobytes()))
    body.append(variable("decoder/pre_norm", (), 1, b"\1"))
    head = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(body))
    aliases = struct.pack("<I", 1) + text("decoder/projection/weight") + text("decoder/embeddings/weight")
    path.write_bytes(head + b"".join(body) + aliases)


def tiny_state() -> dict[str, torch.Tensor]:
    """The tensors of a Whisper of one layer a side, width 8, by the reference's names."""
    torch.manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.conv1.weight": (8, 4, 3),
        "encoder.conv2.weight": (8, 8, 3),
        "encoder.conv1.bias": (8,),
        "encoder.conv2.bias": (8,),
        "encoder.embed_positions.weight": (6, 8),
        "decoder.embed_positions.weight": (5, 8),
        "decoder.embed_tokens.weight": (30, 8),
    }
    for side in ("encoder", "decoder"):
        shapes |= {f"{side}.layer_norm.{leaf}": (8,) for leaf in ("weight", "bias")}
        for attention in ("self_attn", "encoder_attn")[: 1 if side == "encoder" else 2]:
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                shapes |= {f"{side}.layers.0.{attention}.{part}.weight": (8, 8)}
                shapes |= {f"{side}.layers.0.{attention}.{part}.bias": (8,)} if part != "k_proj" else {}
            shapes |= {f"{side}.layers.0.{attention}_layer_norm.{leaf}": (8,) for leaf in ("weight", "bias")}
        shapes |= {f"{side}.layers.0.final_layer_norm.{leaf}": (8,) for leaf in ("weight", "bias")}
        shapes |= {f"{side}.layers.0.fc1.weight": (16, 8), f"{side}.layers.0.fc1.bias": (16,)}
        shapes |= {f"{side}.layers.0.fc2.weight": (8, 16), f"{side}.layers.0.fc2.bias": (8,)}
    return {f"model.{name}": torch.randn(shape) for name, shape in shapes.items()}
