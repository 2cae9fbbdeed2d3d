"""From a checkpoint to a model and back. Weights are made on the meta device, memory-mapped and assigned; nothing half-loaded
is ever returned."""

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from core.checkpoints import Checkpoint, open_checkpoint
from core.checkpoints.blocks import Blocks
from core.checkpoints.description import read_description
from core.checkpoints.resolve import resolve
from core.errors import CheckpointError, ConfigError, one_line
from core.modeling.configuration import PreTrainedConfig
from core.modeling.devices import unfilled
from core.modeling.model import PreTrainedModel
from core.modeling.placement import Place, device_of, follow
from core.modeling.placement import device_map as map_devices
from core.modeling.positions import Sinusoids
from core.modeling.quantization import forms, in_form, install, kept_blocks, plain_state

logger = logging.getLogger(__name__)

OLD_NAMES = [
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
]
State = dict[str, torch.Tensor | Blocks]
NOT_WEIGHTS = re.compile(r"(\.attn\.(bias|masked_bias)|position_ids|rotary_emb\.inv_freq)$")


@dataclass
class LoadingInfo:
    """How a checkpoint met a model: what the model made new, what it had no place for, and shapes that differ, as (name, the
    checkpoint's, the model's)."""

    missing_keys: list[str] = field(default_factory=list)
    unexpected_keys: list[str] = field(default_factory=list)
    mismatched_keys: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    error_msgs: list[str] = field(default_factory=list)


def load(
    cls: type[PreTrainedModel],
    name: str | Path,
    *,
    config: PreTrainedConfig | None = None,
    torch_dtype: torch.dtype | str | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: Place | Mapping[str, Place] | None = None,
    max_memory: Mapping[Any, int | str] | None = None,
    ignore_mismatched_sizes: bool = False,
    output_loading_info: bool = False,
    variant: str | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    cache_dir: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
    gguf_file: str | None = None,
    attn_implementation: str | None = None,
    low_cpu_mem_usage: bool | None = None,
    use_safetensors: bool | None = None,
    quantization: str | None = None,
    **overrides: Any,
) -> Any:
    """A model of `cls` in evaluation mode; with output_loading_info, it and how the checkpoint met it.

    dtype: "auto" or None takes what config.json says, else the tensors' own; GGUF's quantised blocks become float32. device_map: a device, module names and
    their devices, or "auto", which fills the GPUs, then the CPU (max_memory: how much of each). variant "fp16" takes
    model.fp16.safetensors. ignore_mismatched_sizes makes tensors of another shape new. attn_implementation and low_cpu_mem_usage are
    accepted and change nothing. quantization "gguf", "int8" or "int4" keeps matrices in blocks (core.modeling.quantization); dtype is
    then what is computed in, bfloat16 where None. Other keywords override keys of the configuration. Raises CheckpointError naming the file and what
    is wrong with it.
    """
    path = resolve(
        str(name),
        revision=revision,
        subfolder=subfolder,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        variant=variant,
        gguf_file=gguf_file,
        use_safetensors=use_safetensors,
    )
    model, wanted, info = _empty(cls, config, path, overrides), _as_dtype(dtype or torch_dtype), LoadingInfo()
    config, blocks = model.config, forms(model, quantization)
    if wanted is None:
        wanted = torch.bfloat16 if quantization else _as_dtype(config.dtype)
    places = {"": "cpu"} if device_map is None else map_devices(model, device_map, wanted or _as_dtype(config.dtype), max_memory)
    with open_checkpoint(path, variant, use_safetensors) as file:
        state = _read(model, file, path, wanted, info, blocks)
    _assign(model, state, path, ignore_mismatched_sizes, info, wanted)
    _report(model, path, info)
    if set(places.values()) != {"cpu"}:
        _place(model, places)
    model.name_or_path = str(name)
    if (path / "generation_config.json").is_file():
        from core.generation import GenerationConfig

        model.generation_config = GenerationConfig.from_pretrained(path)
    model.eval()
    return (model, asdict(info)) if output_loading_info else model


def _as_dtype(value: torch.dtype | str | None) -> torch.dtype | None:
    """None stands for the checkpoint's own."""
    if value is None or value == "auto" or isinstance(value, torch.dtype):
        return value if isinstance(value, torch.dtype) else None
    found = getattr(torch, value.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise ConfigError(f"dtype '{value}' is not one of torch's; try float32, bfloat16, float16 or auto.")
    return found


def _empty(cls: type[PreTrainedModel], config: PreTrainedConfig | None, path: Path, overrides: dict[str, Any]) -> PreTrainedModel:
    """The model as its configuration says, without memory for its tensors."""
    values = {} if config is not None else read_description(path)
    try:
        with unfilled():
            return cls(cls.config_class.from_dict(values, **overrides) if config is None else config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except Exception as error:  # values of the wrong kind, which each architecture meets in its own way
        raise ConfigError(f"{path}: no {cls.__name__} can be made as its configuration says: {one_line(error)}.") from error


def _read(
    model: PreTrainedModel, file: Checkpoint, path: Path, dtype: torch.dtype | None, info: LoadingInfo, blocks: dict[str, str]
) -> State:
    """The checkpoint's tensors under the model's names, as blocks where `blocks` names a form; only those that the model has a place
    for are touched."""
    expected = model.state_dict().keys()
    state: State = {}
    for name in file.names():
        if model.other_names and re.search(model.other_names, name):
            parts = _translated(model, name, file.load(name, dtype), path, dtype)
            state |= {part: in_form(tensor, blocks.get(part)) for part, tensor in parts.items()}
            continue
        own = own_name(name, f"{model.base_model_prefix}.", expected)
        if own is None:
            if not NOT_WEIGHTS.search(name):
                info.unexpected_keys.append(name)
            continue
        if own in blocks and (kept := kept_blocks(file, name, blocks[own], path)) is not None:
            state[own] = kept
            continue
        tensor = file.load(name, dtype)
        state[own] = tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
    return state


def _translated(
    model: PreTrainedModel, name: str, tensor: torch.Tensor, path: Path, dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    """What the model makes of a tensor whose name stands for others, as far as it has a place for it."""
    expected = model.state_dict().keys()
    try:
        parts = model.translate(name, tensor if dtype is None else tensor.to(dtype))
    except (IndexError, ValueError) as error:
        shape = tuple(tensor.shape)
        raise CheckpointError(f"{path}: tensor '{name}' has shape {shape}, which cannot be what its name says.") from error
    own = {own_name(part, f"{model.base_model_prefix}.", expected): value for part, value in parts.items()}
    return {part: value for part, value in own.items() if part is not None}


def own_name(name: str, prefix: str, expected: Collection[str]) -> str | None:
    """A checkpoint's name as the model has it: old spellings, and the base model's prefix present or absent."""
    renamed = name
    for pattern, new in OLD_NAMES:
        renamed = re.sub(pattern, new, renamed)
    for spelled in dict.fromkeys((name, renamed)):
        for candidate in (spelled, prefix + spelled, spelled.removeprefix(prefix)):
            if candidate in expected:
                return candidate
    return None


def _assign(
    model: PreTrainedModel, state: State, path: Path, ignore_sizes: bool, info: LoadingInfo, dtype: torch.dtype | None
) -> None:
    """Put the tensors into the model; what it lacks is made new where it belongs to a head."""
    tied = model.tied_weights()
    for name, source in tied.items():
        if source not in state and name in state:
            state[source] = state[name]
        state.pop(name, None)
    own = model.state_dict()
    for name in [n for n, tensor in state.items() if tensor.shape != own[n].shape]:
        info.mismatched_keys.append((name, tuple(state.pop(name).shape), tuple(own[name].shape)))
    if info.mismatched_keys and not ignore_sizes:
        name, there, here = info.mismatched_keys[0]
        raise CheckpointError(f"{path}: tensor '{name}' has shape {there}, the configuration asks for {here}.")
    odd = {name for name, _, _ in info.mismatched_keys}
    new = [name for name in own if name not in state and name not in tied]
    # what is computed, and constants, which are zero where a file says nothing
    buffers = {name for name, _ in model.named_buffers()}
    computed = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Sinusoids)}
    info.missing_keys = [name for name in new if name not in odd | buffers | computed]
    # a checkpoint that was saved as this class must hold its head; one of another class may lack it
    complete = type(model).__name__ in (model.config.architectures or ())
    base = "" if model.base_model is model else f"{model.base_model_prefix}."
    optional = tuple(base + prefix for prefix in model._optional)
    lost = [n for n in info.missing_keys if not (n.startswith(optional) or (model.in_head(n) and not complete))]
    if lost and not ignore_sizes:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise CheckpointError(
            f"{path}: {len(lost)} of the {len(own)} tensors of {type(model).__name__} are missing: {', '.join(lost[:3])}{more}."
        )
    install(model, {name: blocks for name, blocks in state.items() if isinstance(blocks, Blocks)}, dtype or torch.float32)
    plain = {name: tensor for name, tensor in state.items() if not isinstance(tensor, Blocks)}
    model.load_state_dict(plain, strict=False, assign=True)
    if new:
        like = next((tensor.dtype for tensor in plain.values() if tensor.is_floating_point()), dtype or torch.float32)
        for name in new:
            module, _, leaf = name.rpartition(".")
            fresh = torch.zeros(own[name].shape, dtype=like)
            setattr(model.get_submodule(module), leaf, fresh if name in buffers else torch.nn.Parameter(fresh))
        with torch.no_grad():
            model.init_weights(tuple({f"{name.rpartition('.')[0]}." for name in new}))
    model.tie_weights()


def _report(model: PreTrainedModel, path: Path, info: LoadingInfo) -> None:
    """Say what was not used and what was made new, in the words that people search for."""
    kind = type(model).__name__
    if info.unexpected_keys:
        logger.warning("Some weights of %s were not used by %s: %s", path, kind, info.unexpected_keys)
    if info.missing_keys:
        text = (
            "Some weights of %s are not in %s and are newly initialized: %s. Train the model before you trust what it predicts."
        )
        logger.warning(text, kind, path, info.missing_keys)
    if info.mismatched_keys:
        shapes = [f"{name}: {there} in the checkpoint, {here} in the model" for name, there, here in info.mismatched_keys]
        logger.warning("Some weights of %s are newly initialized, as their shapes differ: %s", kind, shapes)


def _place(model: PreTrainedModel, places: dict[str, str]) -> None:
    """Move each parameter to its device, shared ones once, and let activations follow."""
    done: dict[int, torch.nn.Parameter] = {}
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        if id(parameter) not in done:
            done[id(parameter)] = torch.nn.Parameter(parameter.data.to(device_of(name, places)), parameter.requires_grad)
        module, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(module), leaf, done[id(parameter)])
    moved: dict[tuple[int, str], torch.Tensor] = {}
    for name, buffer in list(model.named_buffers(remove_duplicate=False)):
        module, _, leaf = name.rpartition(".")
        place = device_of(name, places)
        model.get_submodule(module)._buffers[leaf] = moved.setdefault((id(buffer), place), buffer.to(place))
    model.hf_device_map = places  # type: ignore[assignment]
    follow(model, places)


def save(model: PreTrainedModel, folder: Path, max_shard_size: int | str) -> None:
    """Write the model so that we, and the reference library, can load it: matrices in blocks unpacked, exactly."""
    from core.checkpoints.safetensors_io import save as save_tensors

    folder.mkdir(parents=True, exist_ok=True)
    tied = model.tied_weights()
    tensors = {name: t.contiguous() for name, t in plain_state(model).items() if name not in tied}
    model.config.architectures = [type(model).__name__]
    dtype = next((t.dtype for t in tensors.values() if t.is_floating_point()), model.dtype)
    model.config.dtype = str(dtype).removeprefix("torch.")
    save_tensors(tensors, folder, max_shard_size=max_shard_size, metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
