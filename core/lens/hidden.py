"""Hidden states as pictures: the plane in which tokens differ most, layer by layer; tokens as readable strings."""

import unicodedata
from functools import cache
from typing import Any

import numpy as np

SHOWN = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}


def plane(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal components of the tokens' directions. (layers, tokens, width) -> points (layers, tokens, 2), each layer scaled to
    a largest coordinate of 1, and the share of variance in the plane (layers,).

    Vectors are scaled to length 1 first: one token of a decoder often has a norm a hundred times the others' and would be
    the whole picture. A plane is known only up to turning and mirroring: each layer is laid on the one before it
    (orthogonal Procrustes: Schönemann 1966), so that points move as little as they can.
    """
    layers, tokens, _ = states.shape
    points, share = np.zeros((layers, tokens, 2), np.float32), np.zeros(layers, np.float32)
    for layer in range(layers):
        x = states[layer].astype(np.float64)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        x -= x.mean(0)
        total = float((x**2).sum())
        if total < 1e-12:
            continue
        variances, vectors = np.linalg.eigh(x @ x.T)  # the tokens' scores without the (larger) decomposition of x
        flat = np.zeros((tokens, 2))
        rank = min(2, tokens)
        largest = np.maximum(variances[::-1][:rank], 0)
        flat[:, :rank] = vectors[:, ::-1][:, :rank] * np.sqrt(largest)
        share[layer] = float(largest.sum()) / total
        if layer and points[layer - 1].any():
            a, _, b = np.linalg.svd(flat.T @ points[layer - 1])
            flat = flat @ (a @ b)
        else:
            flat *= np.where(flat[np.abs(flat).argmax(0), [0, 1]] < 0, -1, 1)
        points[layer] = flat / max(np.abs(flat).max(), 1e-12)
    return points, share


@cache
def _byte_of() -> dict[str, int]:
    """The characters that byte-level BPE writes for bytes. Radford et al. 2019."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(rest)}


def readable_tokens(tokenizer: Any, ids: list[int]) -> list[str]:
    """Each token as a person can read it: spaces as ·, line ends as ↵, parts of characters as bytes ⟨E2 82⟩, special tokens
    as they are written."""
    special = set(tokenizer.all_special_ids)
    return [_readable(tokenizer, i, i in special) for i in ids]


def _readable(tokenizer: Any, token_id: int, special: bool) -> str:
    token = tokenizer.convert_ids_to_tokens(token_id) or f"#{token_id}"
    if special:
        return token
    if token.startswith("<0x") and token.endswith(">"):
        return f"⟨{token[3:-1]}⟩"
    text = token.replace("▁", " ") if "▁" in token else tokenizer.decode([token_id])
    if "\ufffd" in text and all(c in _byte_of() for c in token):
        return "⟨" + " ".join(f"{_byte_of()[c]:02X}" for c in token) + "⟩"
    return "".join(_visible(c) for c in text) or token


def _visible(c: str) -> str:
    if c in SHOWN:
        return SHOWN[c]
    return f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Co", "Cn") else c
