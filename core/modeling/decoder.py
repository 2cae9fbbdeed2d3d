"""The trunk of a decoder: tokens in, each reading those before it, layer upon layer. Vaswani et al. 2017, 3.1."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from core.errors import ConfigError
from core.modeling.masks import make_mask
from core.modeling.model import PreTrainedModel, default_positions
from core.modeling.outputs import BaseModelOutputWithPastAndCrossAttentions
from core.modeling.positions import Rope, rope_settings
from core.modeling.taps import tap

FULL, SLIDING = "full_attention", "sliding_attention"


class Decoder(PreTrainedModel):
    """A subclass makes the modules, says where they stand (`embeddings_name`, `blocks_name`, `norm_name`) and, where it differs,
    what a layer is told besides the hidden states (`context`), how tokens become vectors (`embed`), where they stand (`place`) and
    what comes after the last layer (`finish`).

    A layer's forward takes the hidden states, what `context` gives for it, and the cache.
    """

    blocks_name: ClassVar[str] = "layers"
    norm_name: ClassVar[str] = "norm"

    def place(self, attention_mask: torch.Tensor | None, past: int, length: int, device: torch.device) -> torch.Tensor:
        """Positions (batch or 1, length) of tokens that nobody gave positions."""
        return default_positions(past, length, device)

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """words (batch, tokens, width), positions (batch or 1, tokens) -> what the first layer reads."""
        return words

    def context(
        self, x: torch.Tensor, positions: torch.Tensor, attention_mask: torch.Tensor | None, keys: int
    ) -> Callable[[int], tuple[Any, ...]]:
        """From a layer's number to its further arguments; here the mask."""
        mask = make_mask(attention_mask, x, keys, causal=True)
        return lambda layer: (mask,)

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the last hidden state."""
        return self.get_submodule(self.norm_name)(x)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        head_mask: torch.Tensor | None = None,
    ) -> Any:
        """input_ids (batch, tokens) or inputs_embeds (batch, tokens, width) -> last_hidden_state (batch, tokens, width)."""
        words = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        cache = self.make_cache(past_key_values, use_cache)
        past, length = cache.get_seq_length() if cache is not None else 0, words.shape[1]
        positions = self.place(attention_mask, past, length, words.device) if position_ids is None else position_ids
        x = tap("embed", None, self.embed(words, positions))
        context = self.context(x, positions, attention_mask, past + length)
        blocks = self.get_submodule(self.blocks_name)
        with self.watching(output_attentions, output_hidden_states, head_mask, len(blocks)) as seen:  # type: ignore[arg-type]
            for layer, block in enumerate(blocks):  # type: ignore[arg-type]
                x = self.run_block(block, x, *context(layer), cache)
            x = tap("final_norm", None, self.finish(x))
        return BaseModelOutputWithPastAndCrossAttentions(x, cache, **seen(x)).packed(self.wants_dict(return_dict))


def layer_kinds(config: Any) -> list[str]:
    """For each layer whether it reads the whole text or a sliding window, as `layer_types` says; without it all are alike, sliding
    where the configuration names a window."""
    alike = SLIDING if getattr(config, "sliding_window", None) else FULL
    kinds = list(getattr(config, "layer_types", None) or [alike] * config.num_hidden_layers)
    if unknown := set(kinds) - {FULL, SLIDING}:
        raise ConfigError(f"layer_types names {', '.join(sorted(unknown))}; known are {FULL} and {SLIDING}.")
    if len(kinds) != config.num_hidden_layers:
        raise ConfigError(f"layer_types speaks of {len(kinds)} layers, num_hidden_layers of {config.num_hidden_layers}.")
    return kinds


class RotaryDecoder(Decoder):
    """A decoder whose layers turn queries and keys by their positions; some may slide a window over the text, with a rotation of
    their own. A subclass calls `make_ropes`; a layer is told the rotation (cos, sin) and the mask."""

    def make_ropes(self, config: Any) -> None:
        """The rotations of heads of `head_dim` numbers."""
        self.kinds = layer_kinds(config)
        window = getattr(config, "sliding_window", None)
        self.windows = {layer: window for layer, kind in enumerate(self.kinds) if kind == SLIDING and window}
        self.ropes = {kind: Rope(config.head_dim, rope_settings(config, kind)) for kind in set(self.kinds)}

    def context(
        self, x: torch.Tensor, positions: torch.Tensor, attention_mask: torch.Tensor | None, keys: int
    ) -> Callable[[int], tuple[Any, ...]]:
        """Rotation and mask; those of a layer that slides are its own."""
        windows = {FULL: None, SLIDING: getattr(self.config, "sliding_window", None)}
        turns = {kind: rope(positions, x) for kind, rope in self.ropes.items()}
        masks = {kind: make_mask(attention_mask, x, keys, causal=True, window=windows[kind]) for kind in self.ropes}
        return lambda layer: (turns[self.kinds[layer]], masks[self.kinds[layer]])
