"""CTranslate2's model.bin of a Whisper: a list of variables, in the terms of a checkpoint folder.

Little-endian: version, name and revision of the specification, then for each variable its name, shape, type and bytes, then aliases.
https://github.com/OpenNMT/CTranslate2/blob/master/python/ctranslate2/specs/model_spec.py
"""

import json
import mmap
import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

import torch

from core.errors import CheckpointError, printable

VERSION = 6
DTYPES = {0: torch.float32, 1: torch.int8, 2: torch.int16, 3: torch.int32, 4: torch.float16, 5: torch.bfloat16}

# A variable -> the reference's tensors, its rows in equal parts; layer norms and scopes are spelled out by NORM and SCOPES.
ATTENTION = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "ffn/layer_norm": ("final_layer_norm",),
}
OUTSIDE = {
    "conv1": "conv1",
    "conv2": "conv2",
    "layer_norm": "layer_norm",
    "embeddings": "embed_tokens",
    "position_encodings": "embed_positions",
}
LEAVES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "encodings": "weight"}


@dataclass(frozen=True)
class Variable:
    """Where one stands in the file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    offset: int


class CTranslate2File:
    """One model.bin. Raises CheckpointError naming the file and the fault; `load` gives tensors by the reference's names."""

    def __init__(self, path: Path | str) -> None:
        self.path, self._at = Path(path), 0
        try:
            with open(self.path, "rb") as file:
                self._size = file.seek(0, 2)
                if self._size < 16:
                    raise self._fault(f"it has only {self._size} bytes")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        if (version := self._number("I")) != VERSION:
            raise self._fault(f"its version is {version}, not {VERSION}")
        if (name := self._string()) != "WhisperSpec":
            raise CheckpointError(
                f"{self.path} holds a CTranslate2 model of the kind '{printable(name)}'; supported: WhisperSpec."
            )
        self._number("I")  # the specification's revision
        self.variables: dict[str, Variable] = {}
        for _ in range(self._number("I")):
            name = self._string()
            if name in self.variables:
                raise self._fault(f"the variable '{name}' stands twice")
            self.variables[name] = self._variable(name)
        for _ in range(self._number("I")):
            alias, target = self._string(), self._string()
            if target not in self.variables:
                raise self._fault(f"'{alias}' is another name of '{target}', which is not there")
        self._where = {own: place for name in self.variables for own, place in _places(name).items()}
        for own, (name, _, parts) in self._where.items():
            variable = self.variables[name]
            if not variable.dtype.is_floating_point:
                kind = str(variable.dtype).removeprefix("torch.")
                raise CheckpointError(
                    f"{self.path}: '{name}' is quantised to {kind}; supported are float32, float16 and bfloat16."
                )
            if not variable.shape or variable.shape[0] % parts:
                raise self._fault(f"'{name}' of shape {variable.shape} does not divide into {own} and its {parts - 1} neighbours")

    # ------------------------------------------------------------------ the header

    def _fault(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path} is not a whole CTranslate2 file: {printable(what)}.")

    def _skip(self, size: int) -> int:
        """Where the next `size` bytes begin."""
        at = self._at
        if size > self._size - at:
            raise self._fault(f"at byte {at} it claims {size} more, it has {self._size - at}")
        self._at += size
        return at

    def _number(self, code: str) -> int:
        return struct.unpack_from(f"<{code}", self._map, self._skip(struct.calcsize(code)))[0]

    def _string(self) -> str:
        length = self._number("H")
        at = self._skip(length)
        return self._map[at : at + length].removesuffix(b"\0").decode("utf-8", "replace")

    def _variable(self, name: str) -> Variable:
        shape = tuple(self._number("I") for _ in range(self._number("B")))
        number, size = self._number("B"), self._number("I")
        if (dtype := DTYPES.get(number)) is None:
            raise self._fault(f"'{name}' has the unknown type {number}")
        if prod(shape) * dtype.itemsize != size:
            raise self._fault(f"'{name}' of shape {shape} does not fill its {size} bytes")
        return Variable(shape, dtype, self._skip(size))

    # ------------------------------------------------------------------ tensors

    def names(self) -> list[str]:
        """Tensors by the reference's names."""
        return list(self._where)

    def load(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor; copied, as variables are not aligned."""
        stored, part, parts = self._where[name]
        variable = self.variables[stored]
        size = prod(variable.shape) * variable.dtype.itemsize // parts
        shape = (variable.shape[0] // parts, *variable.shape[1:])
        if not size:
            return torch.empty(shape, dtype=dtype or variable.dtype)
        at = variable.offset + part * size
        tensor = torch.frombuffer(bytearray(self._map[at : at + size]), dtype=variable.dtype).view(shape)
        return tensor.to(dtype) if dtype else tensor

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ------------------------------------------------------------------ the configuration

    def _shape(self, name: str, axes: int) -> tuple[int, ...]:
        shape = self.variables[name].shape if name in self.variables else ()
        if len(shape) != axes:
            raise self._fault(f"it has no '{name}' with {axes} axes")
        return shape

    def _heads(self, side: str) -> int:
        name = f"{side}/num_heads"
        variable = self.variables.get(name)
        if variable is None or variable.shape or variable.dtype.is_floating_point:
            raise self._fault(f"it has no whole number '{name}'")
        raw = self._map[variable.offset : variable.offset + variable.dtype.itemsize]
        heads = int.from_bytes(raw, "little", signed=True)
        if heads < 1:
            raise self._fault(f"its '{name}' is {heads}")
        return heads

    def _layers(self, side: str) -> int:
        return len({name.split("/")[1] for name in self.variables if name.startswith(f"{side}/layer_") and name.count("/") > 2})

    def config_dict(self) -> dict[str, Any]:
        """What a Whisper's config.json would say; ids as in the vocabulary of the shape that the file has."""
        (vocabulary, width), (targets, _) = (
            self._shape(f"decoder/{name}", 2) for name in ("embeddings/weight", "position_encodings/encodings")
        )
        end = 50256 if vocabulary == 51864 else 50257  # the English vocabulary has one token less before its special ones
        return {
            "model_type": "whisper",
            "architectures": ["WhisperForConditionalGeneration"],
            "vocab_size": vocabulary,
            "d_model": width,
            "num_mel_bins": self._shape("encoder/conv1/weight", 3)[1],
            "max_source_positions": self._shape("encoder/position_encodings/encodings", 2)[0],
            "max_target_positions": targets,
            "encoder_layers": self._layers("encoder"),
            "decoder_layers": self._layers("decoder"),
            "encoder_attention_heads": self._heads("encoder"),
            "decoder_attention_heads": self._heads("decoder"),
            "encoder_ffn_dim": self._shape("encoder/layer_0/ffn/linear_0/weight", 2)[0],
            "decoder_ffn_dim": self._shape("decoder/layer_0/ffn/linear_0/weight", 2)[0],
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
            "decoder_start_token_id": end + 1,
            "tie_word_embeddings": True,
            **self._suppressed(),
        }

    def _suppressed(self) -> dict[str, Any]:
        """Tokens never to be said, and the heads that follow the sound, from the config.json beside the file."""
        path = self.path.with_name("config.json")
        try:
            said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            names = {"suppress_ids": "suppress_tokens", "suppress_ids_begin": "begin_suppress_tokens"}
            found: dict[str, Any] = {own: [int(number) for number in said[key]] for key, own in names.items() if key in said}
            heads = [(int(layer), int(head)) for layer, head in said.get("alignment_heads") or ()]
            return found | ({"alignment_heads": heads} if heads else {})
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f"{path} cannot be read as the settings of a CTranslate2 model: {error}.") from error


def _places(name: str) -> dict[str, tuple[str, int, int]]:
    """A variable -> the reference's names: (variable, part, of so many parts)."""
    scope, _, leaf = name.rpartition("/")
    side, _, inside = scope.partition("/")
    if leaf not in LEAVES or side not in ("encoder", "decoder"):
        return {}
    if inside in OUTSIDE:
        return {f"model.{side}.{OUTSIDE[inside]}.{LEAVES[leaf]}": (name, 0, 1)}
    match = re.fullmatch(r"layer_(\d+)/(.+)", inside)
    owns = ATTENTION.get(match[2], ()) if match else ()
    found = {f"model.{side}.layers.{match[1]}.{own}.{LEAVES[leaf]}": (name, i, len(owns)) for i, own in enumerate(owns) if match}
    return {own: place for own, place in found.items() if not own.endswith(".k_proj.bias")}  # Whisper's keys have no bias
