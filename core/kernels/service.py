"""When a compiled step computes a token, and who may ask."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import nn

from core.errors import one_line
from core.kernels import machine, pack
from core.modeling.cache import Cache
from core.modeling.taps import active

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds; also when a generation begins
Step = Callable[[torch.Tensor], torch.Tensor]

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
    """PyTorch on one thread inside, where compiled steps serve the model: after work on several, PyTorch's threads stay awake for a while
    and take the processor from the next step (measured: less than half the tokens a second)."""
    state, threads = _states.get(model), torch.get_num_threads()
    if state is None or state.decoder is None or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _State:
    """What is known of one model: its compiled step or the reason why there is none, and what it looked like then."""

    def __init__(self) -> None:
        self.looked: tuple[Any, ...] = ()
        self.cache: Callable[[], Cache | None] = lambda: None
        self.until = 0.0
        self.route: Callable[[], Any] = lambda: None  # adapters row by row, now
        self.routed: Any = None  # and when it was looked at
        self.decoder: Any = None
        self.reason: str | None = "it has not generated yet"


_states: "WeakKeyDictionary[nn.Module, _State]" = WeakKeyDictionary()


def step_for(model: Any, mask: torch.Tensor, cache: Cache | None) -> Step | None:
    """A function that computes the next token's logits of every row, or None where the plain path is to run: another device, gradients,
    taps, hooks, training, too many rows, a model that is not Llama-like.

    mask (batch, tokens) speaks of one token more than the cache holds. The function takes that token's ids (batch, 1), puts its keys
    and values into the cache and returns (batch, vocabulary) float32.
    """
    if not _allowed.get() or cache is None or not len(cache) or cache.cross or machine.reason_against():
        return None
    if torch.is_grad_enabled() or active() or model.training:
        return None
    state = _states.setdefault(model, _State())
    if state.cache() is not cache or time.monotonic() > state.until or state.route() != state.routed:
        _look(model, state)
        state.cache, state.until = ref(cache), time.monotonic() + LOOK_EVERY
    decoder = state.decoder
    if decoder is None or (positions := decoder.places(mask, cache)) is None:
        return None
    try:
        machine.compiled(machine.tile_for(len(mask)))
    except Exception as error:  # Numba or LLVM on a machine that nobody has tried
        state.decoder, state.reason = None, f"the step cannot be compiled here: {one_line(error)}"
        logger.warning("%s: %s", type(model).__name__, describe(model))
        return None

    def step(ids: torch.Tensor) -> torch.Tensor:
        if decoder.proven:
            return decoder.step(model, ids, positions, cache)
        logits, difference = decoder.prove(model, ids, mask, positions, cache)
        if difference is not None:
            state.decoder, state.reason = None, difference
            logger.warning("%s: %s", type(model).__name__, describe(model))
        return logits

    return step


def _look(model: Any, state: _State) -> None:
    looks, route = _looks(model), next((module.route for module in model.modules() if hasattr(module, "route")), None)
    state.route = lambda: getattr(route, "names", None)
    state.routed = state.route()
    if looks == state.looked:
        return
    state.looked, state.decoder, state.reason = looks, None, _against(model)
    if state.reason is not None:
        return
    from core.kernels.decode import Decoder
    from core.kernels.plan import Unfit

    try:
        state.decoder = Decoder(model)
    except Unfit as reason:
        state.reason = str(reason)
    except AttributeError as error:  # parts under other names
        state.reason = f"it has other parts ({error})"
    logger.info("%s: %s", type(model).__name__, describe(model))


def _looks(model: nn.Module) -> tuple[Any, ...]:
    """What must stay as it is for a compiled step to hold: modules, adapters in use, every tensor's place and the writes to it."""
    found: list[Any] = []
    for module in model.modules():
        adapters = (
            [str(getattr(module, name, "")) for name in ("active", "merged", "scaling")] if hasattr(module, "active") else []
        )
        found.append((id(module), module.training, bool(module._forward_hooks or module._forward_pre_hooks), adapters))
        routed = getattr(getattr(module, "route", None), "names", None)
        found.append(routed and tuple(routed))
        tensors = [*module._parameters.values(), *module._buffers.values()]
        found += [(tensor.data_ptr(), pack.version(tensor)) for tensor in tensors if tensor is not None]
    return tuple(found)


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


def describe(model: Any) -> str:
    """One line: which path computes this model's next tokens, and why."""
    if reason := machine.reason_against():
        return f"plain PyTorch: {reason}"
    state = _states.get(model) or _State()
    if state.decoder is None:
        return f"plain PyTorch: {state.reason}"
    forms = ("fp32", "bf16", "fp16", "Q4_0", "Q4_1", "Q8_0")
    weights = ", ".join(forms[form] for form in sorted(state.decoder.plan.forms))
    threads = state.decoder.team or state.decoder.pace.most
    from core.kernels.integers import CHOSEN
    from core.kernels.ops import F16

    how = CHOSEN if CHOSEN and max(state.decoder.plan.forms) > F16 else "float32"
    return f"compiled step: {weights} weights, {how} products, {threads} thread{'s' * (threads > 1)}"


def warm_up(rows: int = 1) -> str | None:
    """Compile what `rows` rows need, if that was never done on this machine; None, or why it cannot be."""
    if (reason := machine.reason_against()) is None:
        machine.compiled(machine.tile_for(rows))
    return reason
