"""GPT-2: pre-norm decoder with learned positions, optionally attending to an encoder. Radford et al. 2019."""

from typing import Any, ClassVar

import torch
from torch import nn

from core.modeling.attention import attend, encoder_pair, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import Conv1D, activation
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel, default_positions
from core.modeling.outputs import BaseModelOutputWithPastAndCrossAttentions
from core.modeling.taps import tap


class GPT2Config(PreTrainedConfig):
    """Keys and defaults of a gpt2 config.json."""

    model_type = "gpt2"
    attribute_map = {
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    }
    defaults = {
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 12,
        "n_head": 12,
        "n_inner": None,
        "activation_function": "gelu_new",
        "resid_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "attn_pdrop": 0.1,
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "reorder_and_upcast_attn": False,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
    }


class GPT2Attention(nn.Module):
    """Self-attention with one projection for q, k and v; or cross-attention with one for q, one for k and v."""

    linear: ClassVar[Any] = Conv1D  # what makes a layer of (to, from)

    def __init__(self, config: GPT2Config, layer: int, cross: bool = False) -> None:
        super().__init__()
        width = config.n_embd
        self.layer, self.cross = layer, cross
        self.head_dim, self.dropout = width // config.n_head, config.attn_pdrop
        self.scale = self.head_dim**-0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= layer + 1
        keys = self.key_width(config)
        self.sizes = [keys, keys] if cross else [width, keys, keys]
        self.c_attn = self.linear(sum(self.sizes), width)
        if cross:
            self.q_attn = self.linear(width, width)
        self.c_proj = self.linear(width, width)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def key_width(self, config: Any) -> int:
        """How many numbers all heads' keys have together."""
        return config.n_embd

    def parts(self, x: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        """(batch, tokens, width) -> q, k and v, or k and v, each (batch, heads, tokens, head width)."""
        return tuple(split_heads(part, self.head_dim) for part in self.c_attn(x).split(self.sizes, -1))

    def forward(self, x: torch.Tensor, mask: Mask, cache: Cache | None, encoded: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, tokens, width) -> the same; `encoded` (batch, encoder tokens, width) for cross-attention."""
        if self.cross:
            q = split_heads(self.q_attn(x), self.head_dim)
            k, v = encoder_pair(cache, self.layer, lambda: self.parts(encoded))
        else:
            q, k, v = self.parts(x)
            if cache is not None:
                k, v = cache.update(self.layer, k, v)
        prefix, dropout = "cross." if self.cross else "", self.dropout if self.training else 0.0
        z = attend(q, k, v, mask, layer=self.layer, scale=self.scale, dropout=dropout, prefix=prefix)
        return self.resid_dropout(merge_heads(z, self.c_proj, layer=self.layer, prefix=prefix))


class GPT2MLP(nn.Module):
    """c_proj(act(c_fc x))."""

    linear: ClassVar[Any] = Conv1D  # what makes a layer of (to, from)

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.layer = layer
        self.c_fc = self.linear(inner, config.n_embd)
        self.c_proj = self.linear(config.n_embd, inner)
        self.act = activation(config.activation_function)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.dropout(self.c_proj(tap("mlp_act", self.layer, self.act(self.c_fc(x)))))


class GPT2Block(nn.Module):
    """x + attention(norm x), x + cross-attention(norm x) where there is an encoder, x + mlp(norm x)."""

    attention: ClassVar[type[GPT2Attention]] = GPT2Attention
    feed_forward: ClassVar[type[GPT2MLP]] = GPT2MLP

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.ln_1 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = self.attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        if config.add_cross_attention:
            self.crossattention = self.attention(config, layer, cross=True)
            self.ln_cross_attn = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = self.feed_forward(config, layer)

    def forward(
        self, x: torch.Tensor, mask: Mask, cache: Cache | None, encoded: torch.Tensor | None, encoded_mask: Mask
    ) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = x + self.attn(self.ln_1(x), mask, cache)
        if encoded is not None:
            x = x + self.crossattention(self.ln_cross_attn(x), encoded_mask, cache, encoded)
        x = tap("resid_mid", self.layer, x)
        return tap("resid_post", self.layer, x + tap("mlp_out", self.layer, self.mlp(self.ln_2(x))))


class GPT2PreTrainedModel(PreTrainedModel):
    """What the GPT-2 classes share."""

    config_class = GPT2Config
    base_model_prefix = "transformer"
    embeddings_name = "wte"


class GPT2Model(GPT2PreTrainedModel):
    """The decoder without a head."""

    block: ClassVar[type[GPT2Block]] = GPT2Block

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(self.block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        past_key_values: Any = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """input_ids (batch, tokens) or inputs_embeds (batch, tokens, width) -> last_hidden_state (batch, tokens, width)."""
        x = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        cache = self.make_cache(past_key_values, use_cache)
        past = cache.get_seq_length() if cache is not None else 0
        if position_ids is None:
            position_ids = default_positions(past, x.shape[1], x.device)  # type: ignore[assignment]
        x = x + self.wpe(position_ids)
        if token_type_ids is not None:
            x = x + self.wte(token_type_ids)
        x = tap("embed", None, self.drop(x))
        mask = make_mask(attention_mask, x, past + x.shape[1], causal=True)
        encoded = encoder_hidden_states if self.config.add_cross_attention else None
        encoded_mask = Mask() if encoded is None else make_mask(encoder_attention_mask, x, encoded.shape[1], causal=False)
        with self.watching(output_attentions, output_hidden_states, head_mask, len(self.h)) as seen:
            for block in self.h:
                x = self.run_block(block, x, mask, cache, encoded, encoded_mask)
            x = tap("final_norm", None, self.ln_f(x))
        return BaseModelOutputWithPastAndCrossAttentions(x, cache, **seen(x)).packed(self.wants_dict(return_dict))


class GPT2LMHeadModel(CausalLMHead, GPT2PreTrainedModel, trunk=GPT2Model):
    """The decoder with a layer that predicts the next token, tied to the input embeddings."""


class GPT2ForSequenceClassification(LastTokenHead, GPT2PreTrainedModel, trunk=GPT2Model):
    """The decoder with a label for the whole text."""


class GPT2ForTokenClassification(TokenHead, GPT2PreTrainedModel, trunk=GPT2Model):
    """The decoder with a label for each token."""
