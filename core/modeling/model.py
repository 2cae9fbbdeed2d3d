"""PreTrainedModel: what every architecture can do besides its forward."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from core.checkpoints.blocks import Blocks
from core.errors import ConfigError
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.layers import Conv1D, RMSNorm
from core.modeling.positions import Sinusoids
from core.modeling.quantized import Quantized, quantized
from core.modeling.taps import Taps, active, head_mask_taps, tapped


class PreTrainedModel(nn.Module):
    """The base of all models.

    A subclass names its `config_class`, the attribute under which the headless model stands in it (`base_model_prefix`), where that
    keeps its table of token vectors (`embeddings_name`) and a head its layer over the vocabulary (`output_name`), parameters that
    share one tensor (`_tied_weights_keys`: own name -> name of the tensor it shares), prefixes of parameters of the trunk that a
    checkpoint may lack because only some heads use them (`_optional`), and a pattern for names that stand for others (`other_names`,
    read by `translate`).
    """

    config_class: ClassVar[type[PreTrainedConfig]] = PreTrainedConfig
    base_model_prefix: ClassVar[str] = ""
    embeddings_name: ClassVar[str] = ""
    output_name: ClassVar[str] = "lm_head"
    _tied_weights_keys: ClassVar[dict[str, str]] = {}
    _optional: ClassVar[tuple[str, ...]] = ("pooler.",)
    other_names: ClassVar[str | None] = None

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        self.config = config
        self.name_or_path = ""
        self.gradient_checkpointing = False
        self._generation_config: Any = None

    # ------------------------------------------------------------------ forward

    def __call__(self, *args: Any, taps: Taps | None = None, **kwargs: Any) -> Any:
        """Forward; `taps` records or replaces what passes inside (core.modeling.taps)."""
        if taps is None:
            return super().__call__(*args, **kwargs)
        with tapped(taps):
            return super().__call__(*args, **kwargs)

    @contextmanager
    def watching(
        self, attentions: bool | None, hidden_states: bool | None, head_mask: torch.Tensor | None, layers: int
    ) -> Iterator[Callable[[torch.Tensor], dict[str, Any]]]:
        """The taps behind `output_attentions`, `output_hidden_states` and `head_mask` of one forward.

        Yields a function from the last hidden state to the output's fields (None where not asked for).
        """
        attentions = self.config.output_attentions if attentions is None else attentions
        hidden_states = self.config.output_hidden_states if hidden_states is None else hidden_states
        record: dict[str, None] = {}
        if attentions:
            record |= {"pattern": None, "cross.pattern": None}
        if hidden_states:
            record["resid_pre"] = None
        seen = Taps(record)
        sets = [seen] if record else []
        if head_mask is not None:
            sets.append(head_mask_taps(head_mask, layers))

        def fields(last: torch.Tensor) -> dict[str, Any]:
            return {
                "hidden_states": (*seen.layers("resid_pre"), last) if hidden_states else None,
                "attentions": seen.layers("pattern") if attentions else None,
                "cross_attentions": seen.layers("cross.pattern") or None if attentions else None,
            }

        with tapped(*sets):
            yield fields

    def run_block(self, block: Callable[..., torch.Tensor], *args: Any) -> torch.Tensor:
        """One layer, computed a second time in backward where gradient checkpointing is on."""
        if not (self.gradient_checkpointing and self.training and torch.is_grad_enabled()):
            return block(*args)
        sets, first = active(), True

        def run(*args: Any) -> torch.Tensor:
            nonlocal first
            if first:
                first = False
                return block(*args)
            with tapped(*(taps.again() for taps in sets)):
                return block(*args)

        return checkpoint(run, *args, use_reentrant=False)  # type: ignore[return-value]

    def run_blocks(
        self,
        blocks: Any,
        x: torch.Tensor,
        *arguments: Any,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        head_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """x through all blocks, each told the same arguments -> what comes out, and the `hidden_states` and `attentions` asked for."""
        with self.watching(output_attentions, output_hidden_states, head_mask, len(blocks)) as seen:
            for block in blocks:
                x = self.run_block(block, x, *arguments)
        fields = seen(x)
        return x, {name: fields[name] for name in ("hidden_states", "attentions")}

    def make_cache(self, past_key_values: Any, use_cache: bool | None) -> Cache | None:
        """The cache of one forward: the caller's, a new one, or none."""
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if past_key_values is not None:
            return Cache.of(past_key_values)
        if self.gradient_checkpointing and self.training:
            return None
        return Cache() if use_cache else None

    def new_cache(self) -> Cache:
        """An empty cache for a text that grows, bounded in the layers that read a sliding window."""
        return Cache(getattr(self.base_model, "windows", None))

    def wants_dict(self, return_dict: bool | None) -> bool:
        """`return_dict`, or the configuration's."""
        return self.config.return_dict if return_dict is None else return_dict

    # ------------------------------------------------------------------ parts

    @property
    def base_model(self) -> nn.Module:
        """The model without its head."""
        return getattr(self, self.base_model_prefix, self)

    @classmethod
    def forward_names(cls) -> list[str]:
        """The inputs that `forward` knows by name."""
        return [name for name in inspect.signature(cls.forward).parameters if name != "self"]

    @classmethod
    def translate(cls, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        """A checkpoint's tensor whose name fits `other_names`, as tensors of this class by name."""
        return {name: tensor}

    def in_head(self, name: str) -> bool:
        """Whether a parameter belongs to the head, not to the trunk."""
        return self.base_model is not self and not name.startswith(f"{self.base_model_prefix}.")

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of token vectors."""
        if not self.embeddings_name:
            raise AttributeError(f"{type(self).__name__} has no table of token vectors.")
        return self.base_model.get_submodule(self.embeddings_name)  # type: ignore[return-value]

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Put another table of token vectors in its place."""
        put_module(self.base_model, self.embeddings_name, value)

    def get_output_embeddings(self) -> nn.Module | None:
        """The layer that gives logits over the vocabulary, if there is one."""
        return functools.reduce(lambda module, name: getattr(module, name, None), self.output_name.split("."), self)  # type: ignore[return-value]

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Give the vocabulary `new_num_tokens` rows (rounded up to `pad_to_multiple_of`), in the embeddings and the output layer alike.

        New rows are the mean of the old ones, so that a new token is at first neither likely nor odd; with `mean_resizing=False` they
        are random.
        """
        old = self.get_input_embeddings()
        if isinstance(old, Quantized) or isinstance(self.get_output_embeddings(), Quantized):
            raise ConfigError(
                f"{type(self).__name__}'s vocabulary is quantised and cannot be resized; load it without quantization."
            )
        rows = new_num_tokens or old.num_embeddings
        if pad_to_multiple_of:
            rows = -(-rows // pad_to_multiple_of) * pad_to_multiple_of
        if rows == old.num_embeddings:
            return old
        deviation = None if mean_resizing else getattr(self.config, "initializer_range", 0.02)
        old.weight = nn.Parameter(resized(old.weight, rows, deviation), old.weight.requires_grad)
        old.num_embeddings = rows
        if (output := self.get_output_embeddings()) is not None:
            resize_output(output, rows, deviation)
            for name, shared in self._tied_weights_keys.items():
                if name.endswith(".bias") and output.get_parameter("bias") is self.get_parameter(name):
                    module, _, leaf = shared.rpartition(".")
                    kept = nn.Parameter(resized(self.get_parameter(shared), rows, 0.0))
                    setattr(self.get_submodule(module), leaf, output.bias if self.config.tie_word_embeddings else kept)
        self.config.vocab_size = rows
        self.tie_weights()
        return old

    @property
    def width(self) -> int:
        """Of the last hidden states."""
        return self.config.hidden_size

    @property
    def device(self) -> torch.device:
        """Where the first parameter is."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the first floating-point parameter."""
        return next(p.dtype for p in self.parameters() if p.is_floating_point())

    def num_parameters(self, only_trainable: bool = False) -> int:
        """How many numbers it holds; tied tensors count once."""
        plain = sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)
        matrices = {id(module.blocks): module.count for module in self.modules() if isinstance(module, Quantized)}
        return plain + (0 if only_trainable else sum(matrices.values()))

    def tied_weights(self) -> dict[str, str]:
        """The parameters that share a tensor as this model is configured: own name -> name of the tensor it shares."""
        return self._tied_weights_keys if self.config.tie_word_embeddings else {}

    def tie_weights(self) -> None:
        """Make tied parameters one tensor, where the configuration says so."""
        for name, source in self.tied_weights().items():
            share(self, name, source)

    def init_weights(self, prefixes: tuple[str, ...] = ("",)) -> None:
        """Random weights for modules whose name begins with one of the prefixes: normal of `initializer_range`, zero
        biases, norms one."""
        deviation = getattr(self.config, "initializer_range", 0.02)
        for name, module in self.named_modules():
            if not f"{name}.".startswith(prefixes):
                continue
            if isinstance(module, Sinusoids):
                module.reset_parameters()
            elif isinstance(module, nn.Linear | nn.Embedding | Conv1D):
                nn.init.normal_(module.weight, std=deviation)
                padding = getattr(module, "padding_idx", None)
                if padding is not None:
                    nn.init.zeros_(module.weight[padding])
            elif isinstance(module, nn.LayerNorm | RMSNorm):
                module.reset_parameters()
            if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
                nn.init.zeros_(bias)

    def post_init(self) -> None:
        """To be called at the end of a subclass's __init__."""
        if not self.device.type == "meta":
            with torch.no_grad():
                self.init_weights()
        self.tie_weights()

    # ------------------------------------------------------------------ training

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        """Keep only the layers' inputs and compute their insides again in backward. Chen et al. 2016."""
        self._set_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keep everything again."""
        self._set_checkpointing(False)

    def _set_checkpointing(self, value: bool) -> None:
        for module in self.modules():
            if isinstance(module, PreTrainedModel):
                module.gradient_checkpointing = value

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether gradient checkpointing is on."""
        return self.gradient_checkpointing

    def enable_input_require_grads(self) -> None:
        """Let gradients flow into frozen embeddings' output; kept for callers who know it, nothing here needs it."""
        self.get_input_embeddings().register_forward_hook(lambda module, args, output: output.requires_grad_(True))

    # ------------------------------------------------------------------ files

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Load from a folder, a GGUF file, a starter's name or a hub name: see core.modeling.loading.load."""
        from core.modeling.loading import load

        return load(cls, pretrained_model_name_or_path, **kwargs)

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **kwargs: Any) -> Self:
        """A model with random weights."""
        return cls(config)

    def save_pretrained(self, save_directory: str | Path, max_shard_size: int | str = "5GB", **kwargs: Any) -> None:
        """Write config.json, generation_config.json and safetensors; tied tensors once."""
        from core.modeling.loading import save

        save(self, Path(save_directory), max_shard_size)

    # ------------------------------------------------------------------ generation

    @property
    def generation_config(self) -> Any:
        """The defaults of `generate`: generation_config.json's, or what the configuration says."""
        if self._generation_config is None:
            from core.generation import GenerationConfig

            names = GenerationConfig.knobs().keys() - {"use_cache", "seed"}  # these a configuration says of the training
            values = {name: getattr(self.config, name, None) for name in names}
            self._generation_config = GenerationConfig.from_dict(values)
        return self._generation_config

    @generation_config.setter
    def generation_config(self, value: Any) -> None:
        self._generation_config = value

    def generate(self, inputs: torch.Tensor | None = None, generation_config: Any = None, **kwargs: Any) -> Any:
        """Continue a prompt: core.generation.generate."""
        from core.generation import generate

        return generate(self, inputs, generation_config, **kwargs)

    def compute_transition_scores(
        self, sequences: torch.Tensor, scores: tuple[torch.Tensor, ...], beam_indices: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """The score of each token that `generate` chose: core.generation.outputs.transition_scores."""
        from core.generation.outputs import transition_scores

        return transition_scores(sequences, scores, beam_indices, **kwargs)

    def can_generate(self) -> bool:
        """Whether it has a language-modelling head to generate with."""
        return type(self).__name__.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))


def default_positions(past: int, length: int, device: torch.device) -> torch.Tensor:
    """(1, length): the positions after `past` tokens."""
    return torch.arange(past, past + length, device=device)[None]


def keep_logits(hidden: torch.Tensor, logits_to_keep: int) -> torch.Tensor:
    """The last `logits_to_keep` positions of (batch, tokens, width); 0 keeps all."""
    return hidden[:, -logits_to_keep:] if logits_to_keep else hidden


def share(model: nn.Module, name: str, source: str) -> None:
    """Let a parameter be the tensor of another; where that stands in blocks, the layer it belongs to computes with them too."""
    (path, _, leaf), (there, _, other) = name.rpartition("."), source.rpartition(".")
    layer, giver = model.get_submodule(path), model.get_submodule(there)
    if not isinstance(giver, Quantized) or other != "weight":
        setattr(layer, leaf, model.get_parameter(source))
    elif isinstance(layer, Quantized):
        layer.blocks, layer.form = giver.blocks, giver.form
    else:
        put_module(model, path, quantized(layer, Blocks(giver.form, giver.blocks), getattr(giver, "dtype", torch.float32)))


def put_module(parent: nn.Module, name: str, value: nn.Module) -> None:
    """Set the submodule of a dotted name."""
    path, _, leaf = name.rpartition(".")
    setattr(parent.get_submodule(path), leaf, value)


def resized(old: torch.Tensor, rows: int, deviation: float | None = None) -> torch.Tensor:
    """(old rows, …) -> (rows, …): cut, or longer by rows that are the mean of the old ones, or random of this deviation."""
    new = old.detach().new_empty(rows, *old.shape[1:])
    kept = min(rows, old.shape[0])
    new[:kept] = old.detach()[:kept]
    if deviation is None:
        new[kept:] = old.detach().mean(0)
    else:
        new[kept:].normal_(std=deviation)
    return new


def resize_output(output: nn.Module, rows: int, deviation: float | None = None) -> None:
    """Give a layer over the vocabulary so many rows."""
    for name, parameter in list(output.named_parameters(recurse=False)):
        value = nn.Parameter(resized(parameter, rows, deviation if name == "weight" else 0.0), parameter.requires_grad)
        setattr(output, name, value)
    if isinstance(output, nn.Linear):
        output.out_features = rows
