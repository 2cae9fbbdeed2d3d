"""OPT: learned positions that count only real tokens, norms before or after, a ReLU. Zhang et al. 2022."""

import torch
from torch import nn

from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.decoder import Decoder
from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.modeling.layers import activation
from core.modeling.masks import Mask, whole_mask
from core.modeling.model import PreTrainedModel
from core.modeling.taps import tap

OFFSET = 2  # rows of the table of positions that come before the first position


class OPTConfig(PreTrainedConfig):
    """Keys and defaults of an opt config.json."""

    model_type = "opt"
    attribute_map = {"initializer_range": "init_std"}
    defaults = {
        "vocab_size": 50272,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "ffn_dim": 3072,
        "max_position_embeddings": 2048,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
        "word_embed_proj_dim": None,
        "activation_function": "relu",
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "init_std": 0.02,
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "pad_token_id": 1,
        "bos_token_id": 2,
        "eos_token_id": 2,
    }

    def check(self) -> None:
        """Token vectors are as wide as hidden states unless the file says otherwise."""
        self.word_embed_proj_dim = self.word_embed_proj_dim or self.hidden_size


class OPTAttention(nn.Module):
    """Self-attention."""

    def __init__(self, config: OPTConfig, layer: int) -> None:
        super().__init__()
        width, bias = config.hidden_size, config.enable_bias
        self.layer, self.head_dim, self.dropout = layer, width // config.num_attention_heads, config.attention_dropout
        self.k_proj, self.v_proj = nn.Linear(width, width, bias), nn.Linear(width, width, bias)
        self.q_proj, self.out_proj = nn.Linear(width, width, bias), nn.Linear(width, width, bias)

    def forward(self, x: torch.Tensor, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.q_proj, self.k_proj, self.v_proj))
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        z = attend(q, k, v, mask, layer=self.layer, dropout=self.dropout if self.training else 0.0)
        return merge_heads(z, self.out_proj, layer=self.layer)


class OPTDecoderLayer(nn.Module):
    """x + attention(norm x), then x + mlp(norm x); or norm(x + attention x), then norm(x + mlp x)."""

    def __init__(self, config: OPTConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.before = layer, config.do_layer_norm_before
        width, affine = config.hidden_size, config.layer_norm_elementwise_affine
        self.self_attn = OPTAttention(config, layer)
        self.self_attn_layer_norm = nn.LayerNorm(width, elementwise_affine=affine)
        self.fc1 = nn.Linear(width, config.ffn_dim, config.enable_bias)
        self.fc2 = nn.Linear(config.ffn_dim, width, config.enable_bias)
        self.final_layer_norm = nn.LayerNorm(width, elementwise_affine=affine)
        self.activation_fn = activation(config.activation_function)
        self.dropout = nn.Dropout(config.dropout)

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        inner = tap("mlp_act", self.layer, self.activation_fn(self.fc1(x)))
        return tap("mlp_out", self.layer, self.dropout(self.fc2(inner)))

    def forward(self, x: torch.Tensor, mask: Mask, cache: Cache | None) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        first, second = self.self_attn_layer_norm, self.final_layer_norm
        x = tap("resid_pre", self.layer, x)
        x = x + self.dropout(self.self_attn(first(x) if self.before else x, mask, cache))
        x = tap("resid_mid", self.layer, x if self.before else first(x))
        x = x + self.mlp(second(x) if self.before else x)
        return tap("resid_post", self.layer, x if self.before else second(x))


class OPTPreTrainedModel(PreTrainedModel):
    """What the OPT classes share."""

    config_class = OPTConfig
    base_model_prefix = "model"
    embeddings_name = "decoder.embed_tokens"

    @property
    def width(self) -> int:
        """Of the last hidden states."""
        return self.config.word_embed_proj_dim


class OPTDecoder(nn.Module):
    """The modules of the trunk, which stand one level deeper than elsewhere."""

    def __init__(self, config: OPTConfig) -> None:
        super().__init__()
        width, narrow = config.hidden_size, config.word_embed_proj_dim
        self.embed_tokens = nn.Embedding(config.vocab_size, narrow, config.pad_token_id)
        self.embed_positions = nn.Embedding(config.max_position_embeddings + OFFSET, width)
        self.project_in = nn.Linear(narrow, width, bias=False) if narrow != width else None
        self.project_out = nn.Linear(width, narrow, bias=False) if narrow != width else None
        self.final_layer_norm = None
        if config.do_layer_norm_before and not config._remove_final_layer_norm:
            self.final_layer_norm = nn.LayerNorm(width, elementwise_affine=config.layer_norm_elementwise_affine)
        self.layers = nn.ModuleList(OPTDecoderLayer(config, layer) for layer in range(config.num_hidden_layers))


class OPTModel(Decoder, OPTPreTrainedModel):
    """The decoder without a head."""

    blocks_name = "decoder.layers"

    def __init__(self, config: OPTConfig) -> None:
        super().__init__(config)
        self.decoder = OPTDecoder(config)
        self.post_init()

    def place(self, attention_mask: torch.Tensor | None, past: int, length: int, device: torch.device) -> torch.Tensor:
        """Positions (batch or 1, length); those of padding are -1."""
        if attention_mask is None or attention_mask.dim() > 2:
            return super().place(attention_mask, past, length, device)
        real = whole_mask(attention_mask, past + length).long()
        return (real.cumsum(1) * real - 1)[:, past:]

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """words (batch, tokens, narrow), positions (batch or 1, tokens) -> (batch, tokens, width)."""
        wide = words if self.decoder.project_in is None else self.decoder.project_in(words)
        return wide + self.decoder.embed_positions(positions + OFFSET)

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, narrow)."""
        x = x if self.decoder.final_layer_norm is None else self.decoder.final_layer_norm(x)
        return x if self.decoder.project_out is None else self.decoder.project_out(x)


class OPTForCausalLM(CausalLMHead, OPTPreTrainedModel, trunk=OPTModel):
    """The decoder with a layer that predicts the next token."""


class OPTForSequenceClassification(LastTokenHead, OPTPreTrainedModel, trunk=OPTModel):
    """The decoder with a label for the whole text."""


class OPTForTokenClassification(TokenHead, OPTPreTrainedModel, trunk=OPTModel):
    """The decoder with a label for each token."""

    classifier_name = "score"
