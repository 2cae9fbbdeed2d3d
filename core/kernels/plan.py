"""From a model to the table of operations of its decode step.

A model is read by its parts (a rotary decoder whose layers have an attention, an MLP and norms under the usual names) and by its
configuration, never by its name. Whatever does not fit raises Unfit with the reason, and the plain path runs.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from core.kernels import ops, pack
from core.modeling.decoder import SLIDING, RotaryDecoder
from core.modeling.layers import RMSNorm

ROWS = 64  # of a batch, or tokens of one text, that a step computes at the most: their numbers stay in the second cache
SLACK = 16  # numbers behind each row, so that whole vectors may be read and written
ACTIVATIONS = {
    "silu": ops.SILU,
    "swish": ops.SILU,
    "gelu_pytorch_tanh": ops.GELU_TANH,
    "gelu_new": ops.GELU_TANH,
    "gelu_fast": ops.GELU_TANH,
    "gelu": ops.GELU,
    "gelu_python": ops.GELU,
    "relu": ops.RELU,
}


class Unfit(Exception):
    """Why a model, or what is asked of it, is not for the compiled step."""


class Buffer:
    """Numbers for each row of the batch, in memory that stays where it is."""

    def __init__(self, width: int) -> None:
        self.memory = pack.room((ROWS, 4 * (-(-width // 16) * 16 + SLACK))).view(np.float32)
        self.memory[:] = 0
        self.address, self.stride = self.memory.ctypes.data, self.memory.strides[0]


class Norm:
    """A norm as data: kind, weight, bias, eps."""

    def __init__(self, module: nn.Module) -> None:
        self.bias = None
        with torch.no_grad():
            if isinstance(module, nn.LayerNorm) and module.weight is not None:
                self.kind, self.eps, weight = ops.LAYER, module.eps, module.weight
                self.bias = None if module.bias is None else module.bias.float().numpy().copy()
            elif isinstance(module, RMSNorm):  # what it does to ones is its weight, whatever it adds to it
                self.kind, self.eps = ops.RMS, module.eps
                weight = module(torch.ones(module.weight.shape)) * (1 + module.eps) ** 0.5
            else:
                raise Unfit(f"its norms are {type(module).__name__}")
            self.weight = weight.float().numpy().copy()


class Plan:
    """The operations of one model's step, their memory, and what of them changes from step to step."""

    def __init__(self, model: Any) -> None:
        self._rows: list[dict[str, Any]] = []
        self._later: list[dict[str, Any]] = []
        self._kept: list[Any] = []
        self.forms: set[int] = set()
        self._ready: tuple[Any, ...] = ()  # what the last prepared rows are, until those who read them are done
        self._prepared: dict[int, np.ndarray] = {}  # memory for them, by their columns
        self._widest = 0
        self._read(model)
        self.ops = np.zeros(len(self._rows), ops.OP)
        for op, values in zip(self.ops, self._rows, strict=True):
            for name, value in values.items():
                op[name] = value
        reading = [np.flatnonzero(self.ops["kind"] == kind) for kind in (ops.HEADS, ops.ATTEND, ops.COMBINE)]
        self.reading = np.stack(reading)  # (3, layers): the operations that are told of the cache
        reading = 8 * ops.SCORES + (ops.SCORES + 4 * ops.CHUNK) * self.head_dim + 128
        self.scratch_size = (64 * ROWS + max(4 * self._widest, reading) + 256 + 4095) // 4096 * 4096

    # ------------------------------------------------------------------ the model

    def _read(self, model: Any) -> None:
        trunk, head, config = model.base_model, model.get_output_embeddings(), model.config
        if not isinstance(trunk, RotaryDecoder) or head is None:
            raise Unfit("it is no decoder with rotary positions and a layer over the vocabulary")
        layers = trunk.get_submodule(trunk.blocks_name)
        self.layers = len(layers)  # type: ignore[arg-type]
        self.kinds, self.ropes = trunk.kinds, trunk.ropes
        self.width, self.vocabulary = config.hidden_size, config.vocab_size
        self.kv_heads, self.head_dim = config.num_key_value_heads, config.head_dim
        self.heads = config.num_attention_heads
        self.h, self.t = Buffer(self.width), Buffer(self.width)
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_at, self.k_at = 0, -(-queries // 16) * 16
        self.v_at = self.k_at + -(-keys // 16) * 16
        self.qkv, self.z = Buffer(self.v_at + keys + 16), Buffer(queries)
        self.inner = -(-config.intermediate_size // 16) * 16
        self.gate_up, self.act = Buffer(2 * self.inner + 16), Buffer(self.inner)
        self.turns = {kind: np.zeros((ROWS, 2, rope.width), np.float32) for kind, rope in self.ropes.items()}
        self.starts = np.zeros(ROWS, np.int64)
        for number, layer in enumerate(layers):  # type: ignore[arg-type]
            self._layer(layer, number, config)
        self._head(model, trunk, head, config)

    def _layer(self, layer: Any, number: int, config: Any) -> None:
        """x + m attention(norm x), then x + m mlp(norm x); or the norm of what is added, too."""
        attention, more = layer.self_attn, getattr(layer, "post_feedforward_layernorm", None)
        mlp = getattr(layer, layer.feed_forward_name)
        if hasattr(attention, "base_layer") or hasattr(mlp, "base_layer"):
            raise Unfit("an adapter stands around a part of its layers")
        multiplier = float(getattr(layer, "multiplier", 1.0))
        self._attention(attention, number, Norm(layer.input_layernorm), config)
        self._add(attention.o_proj, self.z, multiplier, more and Norm(layer.post_attention_layernorm))
        before = Norm(layer.pre_feedforward_layernorm if more else layer.post_attention_layernorm)
        self._mlp(mlp, before, config)
        self._add(self.down, self.act, multiplier, more and Norm(more))

    def _attention(self, attention: Any, number: int, norm: Norm, config: Any) -> None:
        """What each head reads, into z."""
        q_at, k_at, v_at = self.q_at, self.k_at, self.v_at
        if hasattr(attention, "qkv_proj"):
            k_at = self.heads * self.head_dim
            v_at = k_at + self.kv_heads * self.head_dim
            self._product(attention.qkv_proj, self.h, self.qkv, 0, norm=norm)
        else:
            for name, at in (("q_proj", q_at), ("k_proj", k_at), ("v_proj", v_at)):
                self._product(getattr(attention, name), self.h, self.qkv, at, norm=norm)
        self._wait()
        kind = self.kinds[number]
        common = {
            "wait": 1,
            "src": self.qkv.address,
            "src_stride": self.qkv.stride,
            "heads": self.heads,
            "kv_heads": self.kv_heads,
            "width": self.head_dim,
            "starts": self._address(self.starts),
            "window": config.sliding_window if kind == SLIDING else 0,
            "dst": self.z.address,
            "dst_stride": self.z.stride,
        }
        each = [getattr(attention, name, None) for name in ("q_norm", "k_norm")]
        q_norm, k_norm = (None if module is None else Norm(module) for module in each)
        for own in (q_norm, k_norm):
            if (own is not None and own.kind != ops.RMS) or (q_norm is None) != (k_norm is None):
                raise Unfit("its heads have norms of another kind")
        values = common | {
            "other": self.qkv.address + 4 * k_at,
            "dst": self.qkv.address + 4 * v_at,
            "turned": self.ropes[kind].width,
            "turns": self._address(self.turns[kind]),
        }
        if q_norm is not None and k_norm is not None:
            weights = {"norm_weight": self._address(q_norm.weight), "norm_bias": self._address(k_norm.weight)}
            values |= {"norm": ops.RMS, "eps": q_norm.eps} | weights
        self._op(ops.HEADS, **values)
        scale = self.head_dim**-0.5 if attention.scale is None else attention.scale
        self.tail = len(self._rows)  # the last one: from here on, rows of which nobody wants logits may be left out
        self._op(ops.ATTEND, **common, scale=scale, cap=attention.softcap or 0.0)
        self._op(ops.COMBINE, **common)

    def _mlp(self, mlp: Any, norm: Norm, config: Any) -> None:
        """act(gate x) · up x, or act(x) where there is no gate, into `act`; the layer that follows into `down`."""
        up_at, gated = self.inner, True
        if hasattr(mlp, "gate_up_proj"):
            up_at = config.intermediate_size
            self._product(mlp.gate_up_proj, self.h, self.gate_up, 0, norm=norm)
        elif hasattr(mlp, "gate_proj"):
            self._product(mlp.gate_proj, self.h, self.gate_up, 0, norm=norm)
            self._product(mlp.up_proj, self.h, self.gate_up, up_at, norm=norm)
        elif hasattr(mlp, "c_fc"):
            gated = False
            self._product(mlp.c_fc, self.h, self.gate_up, 0, norm=norm)
        else:
            raise Unfit(f"its layers have {type(mlp).__name__}")
        self._wait()
        if config.hidden_act not in ACTIVATIONS:
            raise Unfit(f"its activation is {config.hidden_act}")
        self._op(
            ops.ACTIVATE,
            wait=1,
            src=self.gate_up.address,
            src_stride=self.gate_up.stride,
            other=self.gate_up.address + 4 * up_at if gated else 0,
            dst=self.act.address,
            dst_stride=self.act.stride,
            columns=config.intermediate_size,
            form=ACTIVATIONS[config.hidden_act],
        )
        self.down = mlp.down_proj if gated else mlp.c_proj

    def _add(self, layer: nn.Module, src: Buffer, multiplier: float, norm: Norm | None) -> None:
        """What a layer makes of `src`, added to the residual stream."""
        if norm is None:
            self._product(layer, src, self.h, 0, scale=multiplier, add=True)
            self._wait()
            return
        self._product(layer, src, self.t, 0)
        self._wait()
        values = self._norm(norm) | {"columns": self.width, "scale": multiplier, "wait": 1}
        self._op(ops.ADD, src=self.t.address, src_stride=self.t.stride, dst=self.h.address, dst_stride=self.h.stride, **values)

    def _head(self, model: Any, trunk: Any, head: nn.Module, config: Any) -> None:
        """Logits: where they go is said at each step."""
        first = len(self._rows)
        norm = Norm(trunk.get_submodule(trunk.norm_name))
        nowhere = Buffer(0)
        self._product(head, self.h, nowhere, 0, norm=norm, scale=1 / (getattr(config, "logits_scaling", None) or 1.0))
        self._wait()
        if cap := getattr(config, "final_logit_softcapping", None):
            self._op(ops.CAP, wait=1, columns=self.vocabulary, cap=cap)
        self.outputs = [
            row for row in range(first, len(self._rows)) if self._rows[row].get("dst", nowhere.address) == nowhere.address
        ]

    # ------------------------------------------------------------------ operations

    def _op(self, kind: int, **values: Any) -> None:
        self._rows.append({"kind": kind} | values)

    def _address(self, array: np.ndarray) -> int:
        self._kept.append(array)
        return array.ctypes.data

    def _norm(self, norm: Norm) -> dict[str, Any]:
        values = {"norm": norm.kind, "norm_weight": self._address(norm.weight), "eps": norm.eps}
        return values if norm.bias is None else values | {"norm_bias": self._address(norm.bias)}

    def _product(
        self, layer: Any, src: Buffer, dst: Buffer, at: int, *, norm: Norm | None = None, scale: float = 1.0, add: bool = False
    ) -> None:
        """scale · layer(norm(src)) to the numbers of `dst` from `at` on, or added to them. Adapters come as two thin products: into a
        few numbers beside the layer's own, and from there when all of those are ready."""
        base = getattr(layer, "base_layer", layer)
        if not pack.readable(base):
            raise Unfit(f"{type(base).__name__} is no layer whose weights it reads")
        weight = pack.weight_of(base)
        self.forms.add(weight.form)
        place = self._prepare(src, norm, weight)
        target = {"dst": dst.address + 4 * at, "dst_stride": dst.stride}
        bias = {} if base.bias is None else {"bias": self._address(base.bias.detach().float().numpy().copy())}
        self._weight(weight, add=int(add), scale=scale, **place, **target, **bias)
        for name in () if base is layer else _adapters(layer):
            low = Buffer(layer.lora_A[name].weight.shape[0])
            self._kept.append(low)
            self._weight(pack.plain(layer.lora_A[name].weight), **place, dst=low.address, dst_stride=low.stride, scale=1.0)
            up = {"src": low.address, "src_stride": low.stride, "add": 1, "scale": scale * layer.scaling[name]}
            self._later.append(self._matrix(pack.plain(layer.lora_B[name].weight)) | target | up)

    def _prepare(self, src: Buffer, norm: Norm | None, weight: pack.Weight) -> dict[str, Any]:
        """Where a product with this weight reads its rows: where they are, or prepared, once for all products that read the same."""
        blocks, columns = weight.form > ops.F16, weight.columns
        if norm is None and not blocks:
            return {"src": src.address, "src_stride": src.stride}
        count = -(-columns // 32)
        if columns not in self._prepared:
            self._prepared[columns] = pack.room((ROWS, ops.ROW * count + 64))
            self._prepared[columns][:] = 0
        memory = self._prepared[columns]
        found = {"dst": memory.ctypes.data, "dst_stride": memory.strides[0]}
        if self._ready[:2] != (src, norm):
            own = {} if norm is None else self._norm(norm)
            self._op(ops.PREPARE, wait=1, src=src.address, src_stride=src.stride, columns=columns, **found, **own)
            self._ready = (src, norm, self._rows[-1])
        if blocks:
            kind = ops.EIGHT_BITS if weight.form == ops.Q8_0 else ops.FOUR_BITS
            self._ready[2]["blocks"] = max(kind, self._ready[2].get("blocks", 0))
        return {"src": found["dst"], "src_stride": found["dst_stride"]}

    def _matrix(self, weight: pack.Weight) -> dict[str, Any]:
        self._kept.append(weight)
        self._widest = max(self._widest, weight.columns)
        return {"weight": weight.address, "form": weight.form, "rows": weight.rows, "columns": weight.columns}

    def _weight(self, weight: pack.Weight, **values: Any) -> None:
        self._op(ops.PRODUCT, **self._matrix(weight), **values)

    def _wait(self) -> None:
        """All products so far are needed by what follows; adapters' second halves are done in turn."""
        self._rows[-1]["wait"], self._ready = 1, ()
        for values in self._later:
            self._op(ops.PRODUCT, wait=1, **values)
        self._later.clear()


def _adapters(layer: Any) -> list[str]:
    """The adapters in use beside a layer, which must be low-rank additions and the same for all rows."""
    if getattr(getattr(layer, "route", None), "names", None) is not None:
        raise Unfit("its rows have adapters of their own")
    names = [name for name in layer.active if name not in layer.merged]
    if (names and getattr(layer, "lora_A", None) is None) or any(
        name in getattr(layer, "lora_magnitude_vector", ()) for name in names
    ):
        raise Unfit("its adapters are more than low-rank additions")
    return [name for name in names if name in layer.lora_A]
