"""CLIP: a text tower and an image tower that meet in one space. Radford et al. 2021."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import SelfAttention
from core.modeling.configuration import PreTrainedConfig
from core.modeling.layers import activation
from core.modeling.losses import classification_loss
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel, default_positions
from core.modeling.outputs import BaseModelOutputWithPooling, HeadOutput, ModelOutput
from core.modeling.patches import check_size, stretched
from core.modeling.taps import tap

TOWER = {
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "initializer_factor": 1.0,
    "projection_dim": 512,
    "num_hidden_layers": 12,
}


class CLIPTextConfig(PreTrainedConfig):
    """Keys and defaults of the text tower."""

    model_type = "clip_text_model"
    defaults = TOWER | {
        "vocab_size": 49408,
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "pad_token_id": 1,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }


class CLIPVisionConfig(PreTrainedConfig):
    """Keys and defaults of the image tower."""

    model_type = "clip_vision_model"
    defaults = TOWER | {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 32,
    }


class CLIPConfig(PreTrainedConfig):
    """Keys and defaults of a clip config.json, which holds both towers'; older files state them twice, `…_config_dict` the truth."""

    model_type = "clip"
    defaults = {
        "text_config": None,
        "vision_config": None,
        "projection_dim": 512,
        "logit_scale_init_value": 2.6592,
        "initializer_factor": 1.0,
    }

    def check(self) -> None:
        """The towers' configurations become objects."""
        for name, kind in (("text_config", CLIPTextConfig), ("vision_config", CLIPVisionConfig)):
            given = getattr(self, name)
            older = vars(self).pop(f"{name}_dict", None)
            if not isinstance(given, PreTrainedConfig):
                given = kind(**{**(given or {}), **(older or {})})
            setattr(self, name, given)

    def to_dict(self) -> dict[str, Any]:
        """With both towers as dicts."""
        towers = {name: getattr(self, name) for name in ("text_config", "vision_config")}
        return {**super().to_dict(), **{name: tower.to_dict() for name, tower in towers.items()}}


class CLIPMLP(nn.Module):
    """fc2(act(fc1 x))."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.fc2(tap("mlp_act", self.layer, self.act(self.fc1(x))))


class CLIPEncoderLayer(nn.Module):
    """x + attention(norm x), then x + mlp(norm x)."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.self_attn = SelfAttention(config.hidden_size, config.num_attention_heads, layer, config.attention_dropout)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = CLIPMLP(config, layer)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_pre", self.layer, x)
        x = tap("resid_mid", self.layer, x + self.self_attn(self.layer_norm1(x), mask))
        return tap("resid_post", self.layer, x + tap("mlp_out", self.layer, self.mlp(self.layer_norm2(x))))


class CLIPEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CLIPEncoderLayer(config, layer) for layer in range(config.num_hidden_layers))


class CLIPTextEmbeddings(nn.Module):
    """word + position."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)


class CLIPVisionEmbeddings(nn.Module):
    """class token and patches, plus positions."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.class_embedding = nn.Parameter(torch.zeros(config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, config.patch_size, bias=False
        )
        self.position_embedding = nn.Embedding((config.image_size // config.patch_size) ** 2 + 1, config.hidden_size)

    def forward(self, pixels: torch.Tensor, interpolate: bool) -> torch.Tensor:
        """(batch, channels, height, width) -> (batch, 1 + patches, width)."""
        if not interpolate:
            check_size(pixels, self.config.image_size, self.config.num_channels)
        x = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype))
        rows, columns = x.shape[2:]
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x.flatten(2).transpose(1, 2)], 1)
        positions = self.position_embedding.weight[None]
        return x + (stretched(positions, rows, columns) if interpolate else positions)


class CLIPPreTrainedModel(PreTrainedModel):
    """What the CLIP classes share."""

    config_class = CLIPConfig
    base_model_prefix = "clip"


class CLIPTextModel(CLIPPreTrainedModel):
    """The text tower: a causal encoder, pooled at the end-of-text token."""

    config_class = CLIPTextConfig
    base_model_prefix = "text_model"
    embeddings_name = "embeddings.token_embedding"

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__(config)
        self.embeddings = CLIPTextEmbeddings(config)
        self.encoder = CLIPEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        head_mask: torch.Tensor | None = None,
    ) -> Any:
        """input_ids (batch, tokens) -> last_hidden_state (batch, tokens, width), pooler_output (batch, width)."""
        longest = self.config.max_position_embeddings
        if input_ids.shape[1] > longest:
            raise ConfigError(f"The text has {input_ids.shape[1]} tokens, this model reads {longest}: truncate it.")
        positions = default_positions(0, input_ids.shape[1], input_ids.device) if position_ids is None else position_ids
        x = self.embeddings.token_embedding(input_ids) + self.embeddings.position_embedding(positions)
        mask = make_mask(attention_mask, x, x.shape[1], causal=True)
        x, fields = self.run_blocks(
            self.encoder.layers,
            tap("embed", None, x),
            mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            head_mask=head_mask,
        )
        x = tap("final_norm", None, self.final_layer_norm(x))
        # files from before 2023 name a wrong end token, 2: there the end is the highest id
        end = self.config.eos_token_id
        where = input_ids.argmax(-1) if end == 2 else (input_ids == end).int().argmax(-1)
        pooled = x[torch.arange(x.shape[0], device=x.device), where]
        return BaseModelOutputWithPooling(x, pooled, **fields).packed(self.wants_dict(return_dict))


class CLIPVisionModel(CLIPPreTrainedModel):
    """The image tower, pooled at the class token."""

    config_class = CLIPVisionConfig
    base_model_prefix = "vision_model"

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.embeddings = CLIPVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
        head_mask: torch.Tensor | None = None,
    ) -> Any:
        """pixel_values (batch, channels, height, width) -> last_hidden_state (batch, 1 + patches, width), pooler_output."""
        x = tap("embed", None, self.pre_layrnorm(self.embeddings(pixel_values, interpolate_pos_encoding)))
        x, fields = self.run_blocks(
            self.encoder.layers,
            x,
            Mask(),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            head_mask=head_mask,
        )
        pooled = self.post_layernorm(x[:, 0])
        return BaseModelOutputWithPooling(x, pooled, **fields).packed(self.wants_dict(return_dict))


@dataclass
class CLIPTextModelOutput(ModelOutput):
    """text_embeds (batch, projection width)."""

    text_embeds: torch.Tensor = None  # type: ignore[assignment]
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class CLIPVisionModelOutput(ModelOutput):
    """image_embeds (batch, projection width)."""

    image_embeds: torch.Tensor = None  # type: ignore[assignment]
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class CLIPOutput(ModelOutput):
    """logits_per_image (images, texts), its transpose, both sides' unit vectors and the towers' outputs."""

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor = None  # type: ignore[assignment]
    logits_per_text: torch.Tensor = None  # type: ignore[assignment]
    text_embeds: torch.Tensor = None  # type: ignore[assignment]
    image_embeds: torch.Tensor = None  # type: ignore[assignment]
    text_model_output: BaseModelOutputWithPooling = None  # type: ignore[assignment]
    vision_model_output: BaseModelOutputWithPooling = None  # type: ignore[assignment]

    def to_tuple(self) -> tuple[Any, ...]:
        """The towers' outputs as tuples too."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for _, value in self.items())


class CLIPTextModelWithProjection(CLIPPreTrainedModel):
    """The text tower with its projection."""

    config_class = CLIPTextConfig
    base_model_prefix = "text_model"
    embeddings_name = "embeddings.token_embedding"

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__(config)
        self.text_model = CLIPTextModel(config)
        self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        self.post_init()

    def forward(self, *inputs: Any, return_dict: bool | None = None, **named: Any) -> Any:
        """As CLIPTextModel -> text_embeds."""
        out = self.text_model(*inputs, return_dict=True, **named)
        embeds = self.text_projection(out.pooler_output)
        output = CLIPTextModelOutput(embeds, out.last_hidden_state, out.hidden_states, out.attentions)
        return output.packed(self.wants_dict(return_dict))


class CLIPVisionModelWithProjection(CLIPPreTrainedModel):
    """The image tower with its projection."""

    config_class = CLIPVisionConfig
    base_model_prefix = "vision_model"

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.vision_model = CLIPVisionModel(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        self.post_init()

    def forward(self, *inputs: Any, return_dict: bool | None = None, **named: Any) -> Any:
        """As CLIPVisionModel -> image_embeds."""
        out = self.vision_model(*inputs, return_dict=True, **named)
        embeds = self.visual_projection(out.pooler_output)
        output = CLIPVisionModelOutput(embeds, out.last_hidden_state, out.hidden_states, out.attentions)
        return output.packed(self.wants_dict(return_dict))


class CLIPModel(CLIPPreTrainedModel):
    """Both towers, and how alike texts and images are."""

    embeddings_name = "text_model.embeddings.token_embedding"

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.text_model = CLIPTextModel(config.text_config)
        self.vision_model = CLIPVisionModel(config.vision_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(config.logit_scale_init_value)))
        self.post_init()

    def get_text_features(self, *inputs: Any, **named: Any) -> torch.Tensor:
        """As CLIPTextModel -> (batch, projection width)."""
        return self.text_projection(self.text_model(*inputs, **named, return_dict=True).pooler_output)

    def get_image_features(self, *inputs: Any, **named: Any) -> torch.Tensor:
        """As CLIPVisionModel -> (batch, projection width)."""
        return self.visual_projection(self.vision_model(*inputs, **named, return_dict=True).pooler_output)

    def forward(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        return_loss: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> Any:
        """input_ids (texts, tokens), pixel_values (images, channels, height, width) -> logits_per_image (images, texts); the loss
        takes text i to belong to image i."""
        inner = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states, "return_dict": True}
        image = self.vision_model(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, **inner)
        text = self.text_model(input_ids, attention_mask, position_ids, **inner)
        image_embeds = F.normalize(self.visual_projection(image.pooler_output), dim=-1)
        text_embeds = F.normalize(self.text_projection(text.pooler_output), dim=-1)
        per_text = tap("logits", None, text_embeds @ image_embeds.T * self.logit_scale.exp())
        loss = None
        if return_loss:
            pairs = torch.arange(per_text.shape[0], device=per_text.device)
            loss = (F.cross_entropy(per_text, pairs) + F.cross_entropy(per_text.T, pairs)) / 2
        output = CLIPOutput(loss, per_text.T, per_text, text_embeds, image_embeds, text, image)
        return output.packed(self.wants_dict(return_dict))


class CLIPForImageClassification(CLIPPreTrainedModel):
    """Logits (batch, labels) for an image, from the mean of its patches."""

    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__(config)
        self.vision_model = CLIPVisionModel(config.vision_config)
        self.classifier = nn.Linear(config.vision_config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        *inputs: Any,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **named: Any,
    ) -> Any:
        """As CLIPVisionModel, and labels (batch,) -> logits (batch, labels)."""
        out = self.vision_model(pixel_values, *inputs, return_dict=True, **named)
        logits = tap("logits", None, self.classifier(out.last_hidden_state[:, 1:].mean(1)))
        loss = None if labels is None else classification_loss(logits, labels, self.config)
        output = HeadOutput(loss, logits, None, out.hidden_states, out.attentions)
        return output.packed(self.wants_dict(return_dict))
