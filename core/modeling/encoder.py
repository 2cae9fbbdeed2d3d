"""The trunk of an encoder: every token reads every token, layer upon layer. Vaswani et al. 2017, 3.1; Devlin et al. 2018."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import nn

from core.modeling.cache import Cache
from core.modeling.masks import make_mask
from core.modeling.model import PreTrainedModel, default_positions
from core.modeling.outputs import BaseModelOutputWithPooling
from core.modeling.taps import tap


class Encoder(PreTrainedModel):
    """A subclass makes the modules, says where they stand (`embeddings_name`, `blocks_name`), how tokens become vectors (`embed`) and,
    where it differs, where in the text they are (`place`), what a layer is told besides the hidden states (`context`), which module
    computes each layer (`blocks`) and what stands for the whole text (`pool`).

    A layer's forward takes the hidden states and what `context` gives for it.
    """

    blocks_name: ClassVar[str] = "encoder.layer"

    def place(self, input_ids: torch.Tensor | None, past: int, length: int, device: torch.device) -> torch.Tensor:
        """Positions (batch or 1, length) of tokens that nobody gave positions."""
        return default_positions(past, length, device)

    def embed(
        self,
        words: torch.Tensor,
        segments: torch.Tensor | None,
        positions: torch.Tensor,
        attention_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """words (batch, tokens, width); segments, positions and mask (batch, tokens) -> what the first layer reads."""
        return words

    def context(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> Callable[[int], tuple[Any, ...]]:
        """From a layer's number to its further arguments; here the mask."""
        mask = make_mask(attention_mask, x, x.shape[1], causal=False)
        return lambda layer: (mask,)

    def blocks(self) -> Iterable[nn.Module]:
        """The module of each layer, from the first to the last."""
        return self.get_submodule(self.blocks_name).children()

    def pool(self, x: torch.Tensor) -> torch.Tensor | None:
        """(batch, tokens, width) -> what stands for the whole text (batch, width); None where there is no pooler."""
        pooler = getattr(self, "pooler", None)
        return None if pooler is None else pooler(x)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """input_ids (batch, tokens) or inputs_embeds (batch, tokens, width) -> last_hidden_state (batch, tokens, width) and,
        where there is a pooler, pooler_output (batch, width)."""
        words = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        positions = self.place(input_ids, 0, words.shape[1], words.device) if position_ids is None else position_ids
        x = tap("embed", None, self.embed(words, token_type_ids, positions, attention_mask))
        context = self.context(x, attention_mask)
        return self.run(x, context, head_mask, output_attentions, output_hidden_states, return_dict)

    def run(
        self,
        x: torch.Tensor,
        context: Callable[[int], tuple[Any, ...]],
        head_mask: torch.Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
        return_dict: bool | None,
        cache: Cache | None = None,
    ) -> Any:
        """All layers over the embedded text (batch, tokens, width), and the pooler. `cache` is passed on."""
        blocks = list(self.blocks())
        with self.watching(output_attentions, output_hidden_states, head_mask, len(blocks)) as seen:
            for layer, block in enumerate(blocks):
                x = self.run_block(block, x, *context(layer))
        out = BaseModelOutputWithPooling(x, self.pool(x), past_key_values=cache, **seen(x))
        return out.packed(self.wants_dict(return_dict))
