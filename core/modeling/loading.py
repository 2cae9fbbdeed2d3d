"""From a checkpoint to a model and back. Weights are made on the meta device, memory-mapped and assigned; nothing half-loaded
is ever returned."""

import logging
import re
from pathlib import Path
from typing import Any

import torch

from core.checkpoints import open_checkpoint
from core.checkpoints.resolve import resolve
from core.errors import CheckpointError, ConfigError
from core.modeling.configuration import PreTrainedConfig, read_config
from core.modeling.devices import usable_device
from core.modeling.model import PreTrainedModel

logger = logging.getLogger(__name__)

OLD_NAMES = [(r"\.gamma$", ".weight"), (r"\.beta$", ".bias")]
NOT_WEIGHTS = re.compile(r"(\.attn\.(bias|masked_bias)|position_ids|rotary_emb\.inv_freq)$")


def load(
    cls: type[PreTrainedModel],
    name: str | Path,
    *,
    config: PreTrainedConfig | None = None,
    torch_dtype: torch.dtype | str | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: str | int | torch.device | dict[str, Any] | None = None,
    ignore_mismatched_sizes: bool = False,
    revision: str | None = None,
    subfolder: str | None = None,
    cache_dir: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
    gguf_file: str | None = None,
    attn_implementation: str | None = None,
    low_cpu_mem_usage: bool | None = None,
    use_safetensors: bool | None = None,
    **overrides: Any,
) -> Any:
    """A model of `cls` in evaluation mode.

    dtype: "auto" or None takes the checkpoint's; GGUF's quantised blocks become float32. device_map: a device, or "auto" for the
    best there is. attn_implementation, low_cpu_mem_usage and use_safetensors are accepted and change nothing. Other keywords
    override keys of the configuration. Raises CheckpointError naming the file and what is wrong with it.
    """
    path = resolve(
        str(name),
        revision=revision,
        subfolder=subfolder,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
    )
    if gguf_file:
        path = path / gguf_file
    if config is None:
        config = cls.config_class.from_dict(read_config(path), **overrides)
    with torch.device("meta"):
        model = cls(config)
    with open_checkpoint(path) as file:
        state = _read(model, file, path, _as_dtype(dtype or torch_dtype))
    fresh = _assign(model, state, path, ignore_mismatched_sizes)
    if fresh:
        logger.warning("%s: not in %s, made new and still to be trained: %s", cls.__name__, path, ", ".join(fresh))
    model.name_or_path = str(name)
    if (path / "generation_config.json").is_file():
        from core.generation import GenerationConfig

        model.generation_config = GenerationConfig.from_pretrained(path)
    if device_map is not None:
        place = device_map.get("", "auto") if isinstance(device_map, dict) else device_map
        model = model.to(usable_device(place))
    return model.eval()


def _as_dtype(value: torch.dtype | str | None) -> torch.dtype | None:
    """None stands for the checkpoint's own."""
    if value is None or value == "auto" or isinstance(value, torch.dtype):
        return value if isinstance(value, torch.dtype) else None
    found = getattr(torch, value.removeprefix("torch."), None)
    if not isinstance(found, torch.dtype):
        raise ConfigError(f"dtype '{value}' is not one of torch's; try float32, bfloat16, float16 or auto.")
    return found


def _read(model: PreTrainedModel, file: Any, path: Path, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors under the model's names."""
    expected = model.state_dict().keys()
    state = {}
    unexpected = []
    for name in file.names():
        own = _gguf_name(model, name) if file.format == "gguf" else _own_name(model, name, expected)
        if own not in expected:
            if not NOT_WEIGHTS.search(name):
                unexpected.append(name)
            continue
        tensor = file.load(name, dtype)
        if file.format == "gguf":
            from core.checkpoints.gguf_llama import unpermute

            tensor = unpermute(name, tensor, model.config)
        state[own] = tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
    if unexpected:
        logger.info("%s: tensors of %s not used: %s", type(model).__name__, path, ", ".join(unexpected))
    return state


def _own_name(model: PreTrainedModel, name: str, expected: Any) -> str:
    """A checkpoint's name as the model has it: old spellings, and the base model's prefix present or absent."""
    for pattern, new in OLD_NAMES:
        name = re.sub(pattern, new, name)
    prefix = f"{model.base_model_prefix}."
    if name not in expected:
        if prefix + name in expected:
            return prefix + name
        return name.removeprefix(prefix)
    return name


def _gguf_name(model: PreTrainedModel, name: str) -> str | None:
    for pattern, own in model.gguf_names:
        if match := re.fullmatch(re.escape(pattern).replace(r"\{i\}", r"(\d+)"), name):
            found = own.replace("{i}", match[1]) if match.groups() else own
            base = f"{model.base_model_prefix}."
            return found if model.base_model is not model else found.removeprefix(base)
    return None


def _assign(model: PreTrainedModel, state: dict[str, torch.Tensor], path: Path, ignore_sizes: bool) -> list[str]:
    """Put the tensors into the model; the names of heads that were made new."""
    tied = model.tied_weights()
    for name, source in tied.items():
        if source not in state and name in state:
            state[source] = state[name]
        state.pop(name, None)
    own = model.state_dict()
    for name in [n for n, tensor in state.items() if tensor.shape != own[n].shape]:
        if not ignore_sizes:
            raise CheckpointError(
                f"{path}: tensor '{name}' has shape {tuple(state[name].shape)}, the configuration asks for {tuple(own[name].shape)}."
            )
        del state[name]
    missing = [name for name in own if name not in state and name not in tied]
    # a checkpoint that was saved as this class must hold its head; one of another class may lack it
    complete = type(model).__name__ in (model.config.architectures or ())
    base = "" if model.base_model is model else f"{model.base_model_prefix}."
    optional = tuple(base + prefix for prefix in model._optional)
    buffers = {name for name, _ in model.named_buffers()}
    lost = [n for n in missing if not (n.startswith(optional) or n in buffers or (model.in_head(n) and not complete))]
    if lost and not ignore_sizes:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise CheckpointError(
            f"{path}: {len(lost)} of the {len(own)} tensors of {type(model).__name__} are missing: {', '.join(lost[:3])}{more}."
        )
    model.load_state_dict(state, strict=False, assign=True)
    if missing:
        like = next(iter(state.values())).dtype if state else torch.float32
        for name in missing:
            module, _, leaf = name.rpartition(".")
            fresh = torch.zeros(own[name].shape, dtype=like)
            setattr(model.get_submodule(module), leaf, fresh if name in buffers else torch.nn.Parameter(fresh))
        with torch.no_grad():
            model.init_weights(tuple({f"{name.rpartition('.')[0]}." for name in missing}))
    model.tie_weights()
    return missing


def save(model: PreTrainedModel, folder: Path, max_shard_size: int | str) -> None:
    """Write the model so that we, and the reference library, can load it."""
    from core.checkpoints.safetensors_io import save as save_tensors

    folder.mkdir(parents=True, exist_ok=True)
    tied = model.tied_weights()
    tensors = {name: t.detach().contiguous() for name, t in model.state_dict().items() if name not in tied}
    model.config.architectures = [type(model).__name__]
    model.config.dtype = str(model.dtype).removeprefix("torch.")
    save_tensors(tensors, folder, max_shard_size=max_shard_size, metadata={"format": "pt"})
    model.config.save_pretrained(folder)
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
