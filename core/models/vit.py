"""ViT: an image as a sequence of patches through a pre-norm encoder. Dosovitskiy et al. 2020."""

from typing import Any

import torch
from torch import nn

from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.configuration import PreTrainedConfig
from core.modeling.heads import Head
from core.modeling.layers import activation
from core.modeling.losses import classification_loss
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel
from core.modeling.outputs import BaseModelOutputWithPooling
from core.modeling.patches import check_size, sides, stretched
from core.modeling.taps import tap
from core.models.bert import BertIntermediate


class ViTConfig(PreTrainedConfig):
    """Keys and defaults of a vit config.json."""

    model_type = "vit"
    defaults = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "image_size": 224,
        "patch_size": 16,
        "num_channels": 3,
        "qkv_bias": True,
        "encoder_stride": 16,
        "pooler_output_size": None,
        "pooler_act": "tanh",
    }

    def check(self) -> None:
        """The pooler is as wide as the model where nothing else is said."""
        self.pooler_output_size = self.pooler_output_size or self.hidden_size


class ViTPatchEmbeddings(nn.Module):
    """One linear map of each patch, as a convolution."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        patch = sides(config.patch_size)
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, patch, patch)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) -> (batch, width, rows, columns)."""
        return self.projection(pixels.to(self.projection.weight.dtype))


class ViTEmbeddings(nn.Module):
    """class token and patches, plus positions."""

    def __init__(self, config: ViTConfig, use_mask_token: bool = False) -> None:
        super().__init__()
        self.config = config
        rows, columns = (image // patch for image, patch in zip(sides(config.image_size), sides(config.patch_size), strict=True))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size)) if use_mask_token else None
        self.patch_embeddings = ViTPatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, rows * columns + 1, config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, pixels: torch.Tensor, masked: torch.Tensor | None, interpolate: bool) -> torch.Tensor:
        """(batch, channels, height, width) -> (batch, 1 + patches, width); `masked` (batch, patches), True for a hidden patch."""
        if not interpolate:
            check_size(pixels, self.config.image_size, self.config.num_channels)
        x = self.patch_embeddings(pixels)
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        if masked is not None and self.mask_token is not None:
            x = torch.where(masked[..., None].bool(), self.mask_token, x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        positions = stretched(self.position_embeddings, rows, columns) if interpolate else self.position_embeddings
        return self.dropout(x + positions)


class ViTSelfAttention(nn.Module):
    """Every patch reads every patch."""

    def __init__(self, config: ViTConfig, layer: int) -> None:
        super().__init__()
        width, bias = config.hidden_size, config.qkv_bias
        self.layer, self.head_dim, self.dropout = layer, width // config.num_attention_heads, config.attention_probs_dropout_prob
        self.query, self.key, self.value = (nn.Linear(width, width, bias) for _ in range(3))

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> z (batch, tokens, heads, head width)."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.query, self.key, self.value))
        return attend(q, k, v, mask, layer=self.layer, dropout=self.dropout if self.training else 0.0)


class ViTDense(nn.Module):
    """The name under which checkpoints keep an output projection; its dropout."""

    def __init__(self, config: ViTConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)


class ViTAttention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention = ViTSelfAttention(config, layer)
        self.output = ViTDense(config, config.hidden_size)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.output.dropout(merge_heads(self.attention(x, mask), self.output.dense, layer=self.layer))


class ViTLayer(nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention = ViTAttention(config, layer)
        self.intermediate = BertIntermediate(config)
        self.output = ViTDense(config, config.intermediate_size)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = tap("resid_mid", self.layer, x + self.attention(self.layernorm_before(x), mask))
        inner = tap("mlp_act", self.layer, self.intermediate(self.layernorm_after(x)))
        return tap("resid_post", self.layer, x + tap("mlp_out", self.layer, self.output.dropout(self.output.dense(inner))))


class ViTEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(ViTLayer(config, layer) for layer in range(config.num_hidden_layers))


class ViTPooler(nn.Module):
    """act(dense) of the class token."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.pooler_output_size)
        self.act = activation(config.pooler_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, pooler width)."""
        return self.act(self.dense(x[:, 0]))


class ViTPreTrainedModel(PreTrainedModel):
    """What the ViT classes share."""

    config_class = ViTConfig
    base_model_prefix = "vit"
    main_input_name = "pixel_values"


class ViTModel(ViTPreTrainedModel):
    """The encoder without a head."""

    def __init__(self, config: ViTConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        super().__init__(config)
        self.embeddings = ViTEmbeddings(config, use_mask_token)
        self.encoder = ViTEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.pooler = ViTPooler(config) if add_pooling_layer else None
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        bool_masked_pos: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool | None = None,
        return_dict: bool | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> Any:
        """pixel_values (batch, channels, height, width) -> last_hidden_state (batch, 1 + patches, width), pooler_output."""
        x = tap("embed", None, self.embeddings(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding)))
        mask = make_mask(attention_mask, x, x.shape[1], causal=False)
        x, fields = self.run_blocks(
            self.encoder.layer,
            x,
            mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            head_mask=head_mask,
        )
        x = tap("final_norm", None, self.layernorm(x))
        pooled = None if self.pooler is None else self.pooler(x)
        return BaseModelOutputWithPooling(x, pooled, **fields).packed(self.wants_dict(return_dict))


class ViTForImageClassification(Head, ViTPreTrainedModel, trunk=ViTModel, add_pooling_layer=False):
    """Logits (batch, labels) for an image, from its class token."""

    def make_head(self, config: ViTConfig) -> None:
        """One layer."""
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def head(self, out: BaseModelOutputWithPooling, given: dict[str, Any]) -> torch.Tensor:
        """(batch, labels)."""
        return self.classifier(out.last_hidden_state[:, 0])

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """By `config.problem_type`."""
        return classification_loss(logits, labels, self.config)
