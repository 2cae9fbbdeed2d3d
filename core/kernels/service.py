"""When a compiled step computes a token, and who may ask."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn

from core.errors import one_line
from core.kernels import machine, pack
from core.kernels.crew import one_thread
from core.modeling.cache import Cache
from core.modeling.taps import active

logger = logging.getLogger(__name__)

WAYS = 8  # plans that are kept for a model, one for each set of adapters in use
LOOK_EVERY = 1.0  # seconds; also when a generation begins
Step = Callable[..., torch.Tensor]

_allowed: ContextVar[bool] = ContextVar("kernels", default=True)


@contextmanager
def off() -> Iterator[None]:
    """Plain PyTorch inside."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


@contextmanager
def quiet(model: Any) -> Iterator[None]:
    """PyTorch on one thread inside, where compiled steps serve the model (core.kernels.crew.one_thread)."""
    state = _states.get(model)
    with nullcontext() if state is None or state.way.decoder is None else one_thread():
        yield


@dataclass
class _Way:
    """A compiled step, or the reason why there is none."""

    decoder: Any = None
    reason: str | None = "it has not generated yet"


class _State:
    """What is known of one model: how it is computed now, and how it was with other adapters while its tensors were the same."""

    def __init__(self) -> None:
        self.way = _Way()
        self.ways: dict[tuple[Any, ...], _Way] = {}  # by what was in use, the newest last
        self.tensors: tuple[Any, ...] = ()
        self.cache: Callable[[], Cache | None] = lambda: None
        self.until = 0.0
        self.begun = False  # whether a prompt was read
        self.route: Callable[[], Any] = lambda: None  # adapters row by row, now
        self.routed: Any = None  # and when it was looked at


_states: "WeakKeyDictionary[nn.Module, _State]" = WeakKeyDictionary()


def step_for(model: Any, mask: torch.Tensor, cache: Cache | None) -> Step | None:
    """A function that computes the logits after the tokens that the cache lacks, or None where the plain path is to run: another device,
    gradients, taps, hooks, training, too many rows or tokens, a model that is not Llama-like.

    mask (batch, tokens) speaks of one token more than the cache holds, or of some, where there is one row: where weights are in blocks, of a
    whole text. The function takes their ids (batch, new), and how many of the last ones are to be answered (1); it puts their keys and values into the cache and returns
    (batch, kept, vocabulary) float32.
    """
    if not _allowed.get() or cache is None or cache.cross or cache.virtual or machine.reason_against():
        return None
    if torch.is_grad_enabled() or active() or model.training:
        return None
    state = _states.setdefault(model, _State())
    if not state.begun and not len(cache):  # a model's first token does not wait for copies of its weights
        state.begun = True
        return None
    if state.cache() is not cache or time.monotonic() > state.until or state.route() != state.routed:
        _look(model, state)
        state.cache, state.until = ref(cache), time.monotonic() + LOOK_EVERY
    way, decoder = state.way, state.way.decoder
    if decoder is None or cache in decoder.doubted or (positions := decoder.places(mask, cache)) is None:
        return None
    try:
        machine.compiled(decoder.tile(positions.size))
    except Exception as error:  # Numba or LLVM on a machine that nobody has tried
        way.decoder, way.reason = None, f"the step cannot be compiled here: {one_line(error)}"
        logger.warning("%s: %s", type(model).__name__, describe(model))
        return None

    def step(ids: torch.Tensor, keep: int = 1) -> torch.Tensor:
        if decoder.proven:
            return decoder.step(model, ids, positions, cache, keep)
        logits, difference = decoder.prove(model, ids, mask, positions, cache, keep)
        if difference is not None:
            way.decoder, way.reason = None, difference
            logger.warning("%s: %s", type(model).__name__, describe(model))
        return logits

    return step


def _look(model: Any, state: _State) -> None:
    route = next((vars(module)["route"] for module in model.modules() if "route" in vars(module)), None)
    state.route = lambda: getattr(route, "names", None)
    state.routed = state.route()
    used, tensors = _looks(model)
    if tensors != state.tensors:
        state.tensors, state.ways = tensors, {}
    if used in state.ways:
        state.way = state.ways[used] = state.ways.pop(used)
        return
    state.way = state.ways[used] = _way(model)
    if len(state.ways) > WAYS:
        del state.ways[next(iter(state.ways))]
    logger.info("%s: %s", type(model).__name__, describe(model))


def _way(model: nn.Module) -> _Way:
    if (reason := _against(model)) is not None:
        return _Way(None, reason)
    from core.kernels.decode import Decoder
    from core.kernels.plan import Unfit

    try:
        return _Way(Decoder(model), None)
    except Unfit as reason:
        return _Way(None, str(reason))
    except AttributeError as error:  # parts under other names
        return _Way(None, f"it has other parts ({error})")


def _looks(model: nn.Module) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What must stay as it is for a compiled step to hold: modules and adapters in use; every tensor's place and the writes to it."""
    used: list[Any] = []
    places: list[tuple[int, int]] = []
    for module in model.modules():
        own = vars(module)  # PyTorch takes a microsecond to say that an attribute is not there
        adapters = [str(getattr(module, name, "")) for name in ("active", "merged", "scaling")] if "active" in own else []
        routed = getattr(own.get("route"), "names", None)
        hooked = bool(module._forward_hooks or module._forward_pre_hooks)
        used.append((id(module), module.training, hooked, *adapters, routed and tuple(routed)))
        tensors = [*module._parameters.values(), *module._buffers.values()]
        places += [(tensor.data_ptr(), pack.version(tensor)) for tensor in tensors if tensor is not None]
    return tuple(used), tuple(places)


def _against(model: nn.Module) -> str | None:
    """Why this model, as it is, is left to the plain path, as far as one sees from outside."""
    for module in model.modules():
        if module._forward_hooks or module._forward_pre_hooks:
            return "hooks are set on it"
        if module.training:
            return "it is in training mode"
    if any(tensor.device.type != "cpu" for tensor in model.parameters()):
        return "it is not on the CPU"
    return None


def unpacked(blocks: torch.Tensor, form: str, dtype: torch.dtype, passing: bool = False) -> torch.Tensor | None:
    """A matrix in blocks (rows, columns / 32, bytes) as plain numbers (rows, columns), or None where compiled code cannot do it. A passing
    one holds until this thread asks for the next."""
    fits = blocks.device.type == "cpu" and blocks.is_contiguous() and dtype in (torch.float32, torch.bfloat16)
    if not fits or form not in pack.BLOCKS or not _allowed.get() or machine.reason_against():
        return None
    from core.kernels.unpack import unpack

    return unpack(blocks, form, dtype, passing)


def describe(model: Any) -> str:
    """One line: which path computes this model's next tokens, and why."""
    if reason := machine.reason_against():
        return f"plain PyTorch: {reason}"
    way = (_states.get(model) or _State()).way
    if way.decoder is None:
        return f"plain PyTorch: {way.reason}"
    forms = ("fp32", "bf16", "fp16", "Q4_0", "Q4_1", "Q8_0")
    weights = ", ".join(forms[form] for form in sorted(way.decoder.plan.forms))
    threads = way.decoder.team or way.decoder.pace.most
    from core.kernels.integers import CHOSEN
    from core.kernels.ops import F16

    how = CHOSEN if CHOSEN and max(way.decoder.plan.forms) > F16 else "float32"
    return f"compiled step: {weights} weights, {how} products, {threads} thread{'s' * (threads > 1)}"


def warm_up(*rows: int) -> str | None:
    """Compile what so many rows need, or else one row and a prompt, if that was never done on this machine; None, or why it cannot be."""
    if (reason := machine.reason_against()) is None:
        from core.kernels.integers import WIDE
        from core.kernels.plan import ROWS

        for count in rows or (1, ROWS):
            machine.compiled(machine.tile_for(count, WIDE))
    return reason
