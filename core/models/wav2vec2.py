"""Wav2Vec2: raw speech through convolutions and an encoder. Baevski et al. 2020; layers dropped: Fan et al. 2019; features masked:
Park et al. 2019."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from core.errors import ConfigError
from core.modeling.attention import SelfAttention
from core.modeling.configuration import PreTrainedConfig
from core.modeling.heads import Head
from core.modeling.layers import activation
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel
from core.modeling.outputs import HeadOutput, ModelOutput
from core.modeling.taps import tap


class Wav2Vec2Config(PreTrainedConfig):
    """Keys and defaults of a wav2vec2 config.json."""

    model_type = "wav2vec2"
    defaults = {
        "vocab_size": 32,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout": 0.1,
        "activation_dropout": 0.1,
        "attention_dropout": 0.1,
        "feat_proj_dropout": 0.0,
        "final_dropout": 0.1,
        "layerdrop": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-5,
        "feat_extract_norm": "group",
        "feat_extract_activation": "gelu",
        "conv_dim": [512] * 7,
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_bias": False,
        "num_conv_pos_embeddings": 128,
        "num_conv_pos_embedding_groups": 16,
        "do_stable_layer_norm": False,
        "apply_spec_augment": True,
        "mask_time_prob": 0.05,
        "mask_time_length": 10,
        "mask_time_min_masks": 2,
        "mask_feature_prob": 0.0,
        "mask_feature_length": 10,
        "mask_feature_min_masks": 0,
        "ctc_loss_reduction": "sum",
        "ctc_zero_infinity": False,
        "use_weighted_layer_sum": False,
        "classifier_proj_size": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "add_adapter": False,
        "adapter_kernel_size": 3,
        "adapter_stride": 2,
        "num_adapter_layers": 3,
        "output_hidden_size": None,
        "adapter_attn_dim": None,
    }

    def check(self) -> None:
        """Three lists of one length; what is not there is refused."""
        self.output_hidden_size = self.output_hidden_size or self.hidden_size
        if not len(self.conv_dim) == len(self.conv_stride) == len(self.conv_kernel):
            raise ConfigError("conv_dim, conv_stride and conv_kernel must be of one length.")
        if self.feat_extract_norm not in ("group", "layer"):
            raise ConfigError(f"feat_extract_norm '{self.feat_extract_norm}' is not known; known: group, layer.")
        if self.adapter_attn_dim is not None:
            raise ConfigError("Wav2Vec2 with adapters by language (adapter_attn_dim) is not supported.")

    def frames(self, samples: Any, adapter: bool = False) -> Any:
        """How many vectors come of so many samples."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        for _ in range(self.num_adapter_layers if adapter and self.add_adapter else 0):
            samples = (samples - 1) // self.adapter_stride + 1
        return samples


class Wav2Vec2ConvLayer(nn.Module):
    """act(norm(conv x)): a LayerNorm over channels, a GroupNorm of one channel a group, or none."""

    def __init__(self, config: Wav2Vec2Config, index: int) -> None:
        super().__init__()
        before, width = config.conv_dim[index - 1] if index else 1, config.conv_dim[index]
        self.conv = nn.Conv1d(before, width, config.conv_kernel[index], config.conv_stride[index], bias=config.conv_bias)
        self.layer_norm: nn.Module | None = None
        if config.feat_extract_norm == "layer":
            self.layer_norm = nn.LayerNorm(width)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(width, width)
        self.act = activation(config.feat_extract_activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, time) -> (batch, channels, less time)."""
        x = self.conv(x)
        if isinstance(self.layer_norm, nn.LayerNorm):
            x = self.layer_norm(x.transpose(1, 2)).transpose(1, 2)
        elif self.layer_norm is not None:
            x = self.layer_norm(x)
        return self.act(x)


class Wav2Vec2FeatureEncoder(nn.Module):
    """The stack of convolutions over the wave."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(Wav2Vec2ConvLayer(config, index) for index in range(len(config.conv_dim)))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, frames, channels)."""
        x = wave[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class Wav2Vec2FeatureProjection(nn.Module):
    """projection(norm x)."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.conv_dim[-1], config.layer_norm_eps)
        self.projection = nn.Linear(config.conv_dim[-1], config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, frames, channels) -> (batch, frames, width), and the normed channels."""
        normed = self.layer_norm(x)
        return self.dropout(self.projection(normed)), normed


class Wav2Vec2PositionalConvEmbedding(nn.Module):
    """Positions as a wide grouped convolution over the frames, its weight normed."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        kernel, groups = config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
        conv = nn.Conv1d(config.hidden_size, config.hidden_size, kernel, padding=kernel // 2, groups=groups)
        self.conv = weight_norm(conv, dim=2)
        self.act = activation(config.feat_extract_activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, frames, width) -> the same."""
        return self.act(self.conv(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)


class Wav2Vec2FeedForward(nn.Module):
    """output(act(intermediate x))."""

    def __init__(self, config: Wav2Vec2Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.intermediate_dropout, self.output_dropout = nn.Dropout(config.activation_dropout), nn.Dropout(config.hidden_dropout)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, frames, width) -> the same."""
        inner = self.intermediate_dropout(tap("mlp_act", self.layer, self.act(self.intermediate_dense(x))))
        return tap("mlp_out", self.layer, self.output_dropout(self.output_dense(inner)))


class Wav2Vec2EncoderLayer(nn.Module):
    """Attention, then MLP; norms after each, or before with `do_stable_layer_norm`."""

    def __init__(self, config: Wav2Vec2Config, layer: int) -> None:
        super().__init__()
        self.layer, self.stable, self.layerdrop = layer, config.do_stable_layer_norm, config.layerdrop
        self.attention = SelfAttention(config.hidden_size, config.num_attention_heads, layer, config.attention_dropout)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.feed_forward = Wav2Vec2FeedForward(config, layer)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, frames, width) -> the same; skipped in training with the probability `layerdrop`."""
        x = tap("resid_pre", self.layer, x)
        if self.training and self.layerdrop and torch.rand(()) < self.layerdrop:
            return x
        if self.stable:
            x = tap("resid_mid", self.layer, x + self.dropout(self.attention(self.layer_norm(x), mask)))
            return tap("resid_post", self.layer, x + self.feed_forward(self.final_layer_norm(x)))
        x = tap("resid_mid", self.layer, self.layer_norm(x + self.dropout(self.attention(x, mask))))
        return tap("resid_post", self.layer, self.final_layer_norm(x + self.feed_forward(x)))


class Wav2Vec2Encoder(nn.Module):
    """Positions and the stack of layers."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.pos_conv_embed = Wav2Vec2PositionalConvEmbedding(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(Wav2Vec2EncoderLayer(config, layer) for layer in range(config.num_hidden_layers))


class Wav2Vec2AdapterLayer(nn.Module):
    """A gated convolution that shortens."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        width = config.output_hidden_size
        self.conv = nn.Conv1d(width, 2 * width, config.adapter_kernel_size, config.adapter_stride, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width, frames) -> (batch, width, less frames)."""
        return F.glu(self.conv(x), dim=1)


class Wav2Vec2Adapter(nn.Module):
    """Fewer frames, perhaps of another width, for what comes after."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.proj = self.proj_layer_norm = None
        if config.output_hidden_size != config.hidden_size:
            self.proj = nn.Linear(config.hidden_size, config.output_hidden_size)
            self.proj_layer_norm = nn.LayerNorm(config.output_hidden_size)
        self.layers = nn.ModuleList(Wav2Vec2AdapterLayer(config) for _ in range(config.num_adapter_layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, frames, width) -> (batch, less frames, output width)."""
        if self.proj is not None and self.proj_layer_norm is not None:
            x = self.proj_layer_norm(self.proj(x))
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return x.transpose(1, 2)


@dataclass
class Wav2Vec2BaseModelOutput(ModelOutput):
    """last_hidden_state (batch, frames, width); extract_features (batch, frames, channels), the normed output of the convolutions."""

    last_hidden_state: torch.Tensor = None  # type: ignore[assignment]
    extract_features: torch.Tensor = None  # type: ignore[assignment]
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class Wav2Vec2PreTrainedModel(PreTrainedModel):
    """What the Wav2Vec2 classes share."""

    config_class = Wav2Vec2Config
    base_model_prefix = "wav2vec2"
    main_input_name = "input_values"

    def frame_mask(self, attention_mask: torch.Tensor, frames: int, adapter: bool = True) -> torch.Tensor:
        """(batch, samples) of ones and zeros -> (batch, frames) booleans: which frames come of samples that count."""
        lengths = self.config.frames(attention_mask.sum(-1), adapter)
        return torch.arange(frames, device=attention_mask.device) < lengths[:, None]

    def freeze_feature_encoder(self) -> None:
        """Train everything but the convolutions."""
        self.base_model.feature_extractor.requires_grad_(False)  # type: ignore[union-attr]


class Wav2Vec2Model(Wav2Vec2PreTrainedModel):
    """The encoder without a head."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__(config)
        self.feature_extractor = Wav2Vec2FeatureEncoder(config)
        self.feature_projection = Wav2Vec2FeatureProjection(config)
        if config.mask_time_prob > 0 or config.mask_feature_prob > 0:
            self.masked_spec_embed = nn.Parameter(torch.zeros(config.hidden_size))
        self.encoder = Wav2Vec2Encoder(config)
        self.adapter = Wav2Vec2Adapter(config) if config.add_adapter else None
        self.post_init()

    def augment(self, x: torch.Tensor, time: torch.Tensor | None, real: torch.Tensor | None) -> torch.Tensor:
        """Hide spans of frames and channels in training; `time` (batch, frames), True where a caller hides them."""
        config = self.config
        if not config.apply_spec_augment:
            return x
        if time is None and self.training and config.mask_time_prob > 0:
            lengths = torch.full(x.shape[:1], x.shape[1]) if real is None else real.sum(1).cpu()
            time = spans(lengths, x.shape[1], config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks)
        if time is not None:
            x = torch.where(time.to(x.device)[..., None], self.masked_spec_embed.to(x.dtype), x)
        if self.training and config.mask_feature_prob > 0:
            widths = torch.full(x.shape[:1], x.shape[2])
            hidden = spans(
                widths, x.shape[2], config.mask_feature_prob, config.mask_feature_length, config.mask_feature_min_masks
            )
            x = x.masked_fill(hidden.to(x.device)[:, None], 0)
        return x

    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        head_mask: torch.Tensor | None = None,
    ) -> Any:
        """input_values (batch, samples), attention_mask likewise -> last_hidden_state (batch, frames, width)."""
        if self.config.frames(input_values.shape[1]) < 1:
            raise ConfigError(f"The clip has {input_values.shape[1]} samples: too few for one frame of this model.")
        x, features = self.feature_projection(self.feature_extractor(input_values))
        real = None if attention_mask is None else self.frame_mask(attention_mask, x.shape[1], adapter=False)
        x = self.augment(x, mask_time_indices, real)
        if real is not None:
            x = x * real[..., None]
        encoder, stable = self.encoder, self.config.do_stable_layer_norm
        x = x + encoder.pos_conv_embed(x)
        x = tap("embed", None, encoder.dropout(x if stable else encoder.layer_norm(x)))
        x, fields = self.run_blocks(
            encoder.layers,
            x,
            make_mask(real, x, x.shape[1], causal=False),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            head_mask=head_mask,
        )
        if stable:
            x = tap("final_norm", None, encoder.layer_norm(x))
        if self.adapter is not None:
            x = self.adapter(x)
        return Wav2Vec2BaseModelOutput(x, features, **fields).packed(self.wants_dict(return_dict))


def spans(lengths: torch.Tensor, size: int, share: float, length: int, least: int) -> torch.Tensor:
    """(batch, size) booleans: in each row random spans of `length` that cover up to `share` of its first `lengths` places."""
    hidden = torch.zeros(len(lengths), size, dtype=torch.bool)
    extra = torch.rand(()).item()
    for row, places in enumerate(lengths.tolist()):
        count = min(max(int(share * places / length + extra), least), size // length, max(places - length + 1, 0))
        for start in torch.randperm(max(places - length + 1, 0))[:count].tolist():
            hidden[row, start : start + length] = True
    return hidden


class Wav2Vec2ForCTC(Head, Wav2Vec2PreTrainedModel, trunk=Wav2Vec2Model):
    """Logits (batch, frames, vocabulary) whose best path, repeats and blanks removed, spells the text. Graves et al. 2006."""

    def make_head(self, config: Wav2Vec2Config) -> None:
        """Dropout and one layer."""
        self.dropout = nn.Dropout(config.final_dropout)
        self.lm_head = nn.Linear(config.output_hidden_size if config.add_adapter else config.hidden_size, config.vocab_size)

    def forward(self, *inputs: Any, labels: torch.LongTensor | None = None, return_dict: bool | None = None, **named: Any) -> Any:
        """As Wav2Vec2Model; labels (batch, letters), -100 not counted -> loss."""
        out, given = self.run_trunk(inputs, named)
        logits = tap("logits", None, self.lm_head(self.dropout(out.last_hidden_state)))
        loss = None
        if labels is not None:
            if int(labels.max()) >= self.config.vocab_size:
                raise ConfigError(f"Labels must be below vocab_size {self.config.vocab_size}.")
            wave, mask = given["input_values"], given.get("attention_mask")
            samples = torch.full((wave.shape[0],), wave.shape[1]) if mask is None else mask.sum(-1)
            counted = labels >= 0
            with torch.backends.cudnn.flags(enabled=False):
                loss = F.ctc_loss(
                    logits.float().log_softmax(-1).transpose(0, 1),
                    labels.masked_select(counted),
                    self.config.frames(samples, adapter=True),
                    counted.sum(-1),
                    blank=self.config.pad_token_id,
                    reduction=self.config.ctc_loss_reduction,
                    zero_infinity=self.config.ctc_zero_infinity,
                )
        return HeadOutput(loss, logits, None, out.hidden_states, out.attentions).packed(self.wants_dict(return_dict))


class Wav2Vec2ForSequenceClassification(Head, Wav2Vec2PreTrainedModel, trunk=Wav2Vec2Model):
    """Logits (batch, labels) for a clip, from the mean of its frames."""

    def make_head(self, config: Wav2Vec2Config) -> None:
        """A projection and a classifier; `layer_weights` where all layers are read."""
        if config.use_weighted_layer_sum:
            count = config.num_hidden_layers + 1
            self.layer_weights = nn.Parameter(torch.ones(count) / count)
        self.projector = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)

    def forward(self, *inputs: Any, labels: torch.LongTensor | None = None, return_dict: bool | None = None, **named: Any) -> Any:
        """As Wav2Vec2Model; labels (batch,) -> loss."""
        asked = named.get("output_hidden_states")
        asked = self.config.output_hidden_states if asked is None else asked
        if self.config.use_weighted_layer_sum:
            named["output_hidden_states"] = True
        out, given = self.run_trunk(inputs, named)
        x = out.last_hidden_state
        if self.config.use_weighted_layer_sum:
            weights = self.layer_weights.softmax(-1)
            x = (torch.stack(out.hidden_states, 1) * weights[:, None, None]).sum(1)
        x = self.projector(x)
        if (mask := given.get("attention_mask")) is not None:
            real = self.frame_mask(mask, x.shape[1])[..., None]
            pooled = (x * real).sum(1) / real.sum(1)
        else:
            pooled = x.mean(1)
        logits = tap("logits", None, self.classifier(pooled))
        loss = None if labels is None else F.cross_entropy(logits, labels.view(-1))
        states = out.hidden_states if asked else None
        return HeadOutput(loss, logits, None, states, out.attentions).packed(self.wants_dict(return_dict))
