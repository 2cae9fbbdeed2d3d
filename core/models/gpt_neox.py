"""GPT-NeoX: rotary positions on part of each head, and an MLP beside the attention rather than after it. Black et al. 2022."""

import torch
from torch import nn

from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.decoder import RotaryDecoder
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import activation
from core.modeling.masks import Mask
from core.modeling.model import PreTrainedModel
from core.modeling.positions import rotate
from core.modeling.taps import tap
from core.models.llama import Turn


class GPTNeoXConfig(PreTrainedConfig):
    """Keys and defaults of a gpt_neox config.json."""

    model_type = "gpt_neox"
    defaults = {
        "vocab_size": 50432,
        "hidden_size": 6144,
        "num_hidden_layers": 44,
        "num_attention_heads": 64,
        "intermediate_size": 24576,
        "hidden_act": "gelu",
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "classifier_dropout": 0.1,
        "max_position_embeddings": 2048,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-5,
        "use_parallel_residual": True,
        "attention_bias": True,
        "rotary_pct": 0.25,
        "rotary_emb_base": 10000.0,
        "rope_scaling": None,
        "rope_parameters": None,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "tie_word_embeddings": False,
    }

    def check(self) -> None:
        """Older files have names of their own for rotary positions."""
        self.head_dim = self.hidden_size // self.num_attention_heads
        old = {"rope_theta": self.rotary_emb_base, "partial_rotary_factor": self.rotary_pct}
        self.rope_parameters = old | (self.rope_scaling or self.rope_parameters or {})


class GPTNeoXAttention(nn.Module):
    """Self-attention with one projection for q, k and v, head by head."""

    def __init__(self, config: GPTNeoXConfig, layer: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer, self.head_dim, self.dropout = layer, config.head_dim, config.attention_dropout
        self.query_key_value = nn.Linear(width, 3 * width, config.attention_bias)
        self.dense = nn.Linear(width, width, config.attention_bias)

    def forward(self, x: torch.Tensor, turn: Turn, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = split_heads(self.query_key_value(x), 3 * self.head_dim).chunk(3, -1)
        q, k = rotate(q, *turn), rotate(k, *turn)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        z = attend(q, k, v, mask, layer=self.layer, dropout=self.dropout if self.training else 0.0)
        return merge_heads(z, self.dense, layer=self.layer)


class GPTNeoXMLP(nn.Module):
    """dense_4h_to_h(act(dense_h_to_4h x))."""

    def __init__(self, config: GPTNeoXConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return tap("mlp_out", self.layer, self.dense_4h_to_h(tap("mlp_act", self.layer, self.act(self.dense_h_to_4h(x)))))


class GPTNeoXLayer(nn.Module):
    """x + attention(norm x) + mlp(norm x), both reading x; or without `use_parallel_residual` one after the other.

    `resid_mid` is x + attention in both; side by side, the MLP does not see it.
    """

    def __init__(self, config: GPTNeoXConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.parallel = layer, config.use_parallel_residual
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = GPTNeoXAttention(config, layer)
        self.mlp = GPTNeoXMLP(config, layer)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor, turn: Turn, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        middle = tap("resid_mid", self.layer, x + self.dropout(self.attention(self.input_layernorm(x), turn, mask, cache)))
        mlp = self.dropout(self.mlp(self.post_attention_layernorm(x if self.parallel else middle)))
        return tap("resid_post", self.layer, middle + mlp)


class GPTNeoXPreTrainedModel(PreTrainedModel):
    """What the GPT-NeoX classes share."""

    config_class = GPTNeoXConfig
    base_model_prefix = "gpt_neox"
    embeddings_name = "embed_in"
    output_name = "embed_out"


class GPTNeoXModel(RotaryDecoder, GPTNeoXPreTrainedModel):
    """The decoder without a head."""

    norm_name = "final_layer_norm"

    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__(config)
        self.embed_in = nn.Embedding(config.vocab_size, config.hidden_size)
        self.emb_dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(GPTNeoXLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.make_ropes(config)
        self.post_init()

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.emb_dropout(words)


class GPTNeoXForCausalLM(CausalLMHead, GPTNeoXPreTrainedModel, trunk=GPTNeoXModel):
    """The decoder with a layer that predicts the next token."""


class GPTNeoXForSequenceClassification(LastTokenHead, GPTNeoXPreTrainedModel, trunk=GPTNeoXModel):
    """The decoder with a label for the whole text."""


class GPTNeoXForTokenClassification(TokenHead, GPTNeoXPreTrainedModel, trunk=GPTNeoXModel):
    """The decoder with a label for each token."""
