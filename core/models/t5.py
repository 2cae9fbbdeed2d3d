"""T5: encoder-decoder with relative positions learned in buckets and no scaling of the scores; every task is text to text. Raffel et
al. 2019. Its version 1.1 (also Flan-T5 and mT5: Xue et al. 2020) has a gated MLP and may have an output layer of its own."""

import math
from typing import Any

import torch
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import attend, encoder_pair, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.heads import Head, SpanHead, TokenHead
from core.modeling.layers import RMSNorm, activation
from core.modeling.masks import Mask
from core.modeling.outputs import Seq2SeqQuestionAnsweringModelOutput
from core.modeling.seq2seq import ConditionalHead, DecoderStack, EncoderDecoder, EncoderStack, LastEndHead, Seq2Seq, Stack
from core.modeling.taps import tap


class T5Config(PreTrainedConfig):
    """Keys and defaults of a t5 config.json."""

    model_type = "t5"
    attribute_map = {
        "hidden_size": "d_model",
        "head_dim": "d_kv",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
    }
    defaults = {
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_decoder_layers": None,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.1,
        "classifier_dropout": 0.0,
        "layer_norm_epsilon": 1e-6,
        "initializer_factor": 1.0,
        "feed_forward_proj": "relu",
        "scale_decoder_outputs": None,
        "is_encoder_decoder": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }

    def check(self) -> None:
        """Fill what follows from other keys: as many decoder layers as the encoder has, the parts of "gated-gelu", and that a model
        whose output layer is its embeddings scales what it reads."""
        self.num_decoder_layers = self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers
        if self.scale_decoder_outputs is None:
            self.scale_decoder_outputs = self.tie_word_embeddings
        gate, _, name = self.feed_forward_proj.rpartition("-")
        if gate not in ("", "gated"):
            raise ConfigError(
                f"feed_forward_proj '{self.feed_forward_proj}' must be an activation, or 'gated-' and an activation."
            )
        self.is_gated_act = gate == "gated"
        self.dense_act_fn = "gelu_new" if self.feed_forward_proj == "gated-gelu" else name


def buckets(distance: torch.Tensor, count: int, furthest: int, both_ways: bool) -> torch.Tensor:
    """Which of `count` buckets a key that stands `distance` (q, k) tokens after its query falls into.

    Half of the buckets of a direction hold one distance each, the others grow with the logarithm up to `furthest`.
    """
    first: torch.Tensor | int = 0
    if both_ways:
        count //= 2
        first, distance = (distance > 0) * count, distance.abs()
    else:
        distance = (-distance).clamp(min=0)
    exact = count // 2
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(furthest / exact)
    far = (exact + (growth * (count - exact)).long()).clamp(max=count - 1)
    return first + torch.where(distance < exact, distance, far)


class T5Attention(nn.Module):
    """Attention without biases and without scaling; over an encoder's states where they are given."""

    def __init__(self, config: T5Config, layer: int, relative: bool = False, cross: bool = False) -> None:
        super().__init__()
        width, inner = config.d_model, config.num_heads * config.d_kv
        self.layer, self.head_dim, self.dropout, self.prefix = layer, config.d_kv, config.dropout_rate, "cross." if cross else ""
        self.q, self.k, self.v = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, width, bias=False)
        if relative:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)

    def keys(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, tokens, width) -> k and v, each (batch, heads, tokens, head width)."""
        return split_heads(self.k(x), self.head_dim), split_heads(self.v(x), self.head_dim)

    def forward(self, x: torch.Tensor, mask: Mask, cache: Cache | None, encoded: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, tokens, width) -> the same; `encoded` (batch, source tokens, width)."""
        q = split_heads(self.q(x), self.head_dim)
        if encoded is not None:
            k, v = encoder_pair(cache, self.layer, lambda: self.keys(encoded))
        else:
            k, v = self.keys(x)
            if cache is not None:
                k, v = cache.update(self.layer, k, v)
        dropout = self.dropout if self.training else 0.0
        z = attend(q, k, v, mask, layer=self.layer, scale=1.0, dropout=dropout, prefix=self.prefix)
        return merge_heads(z, self.o, layer=self.layer, prefix=self.prefix)


class T5MLP(nn.Module):
    """wo(act(wi x)), or wo(act(wi_0 x) * wi_1 x) where it is gated."""

    def __init__(self, config: T5Config, layer: int) -> None:
        super().__init__()
        self.layer, self.names = layer, ("wi_0", "wi_1") if config.is_gated_act else ("wi",)
        for name in self.names:
            setattr(self, name, nn.Linear(config.d_model, config.d_ff, bias=False))
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.act = activation(config.dense_act_fn)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        first, *second = (getattr(self, name)(x) for name in self.names)
        inner = self.act(first) * second[0] if second else self.act(first)
        return tap("mlp_out", self.layer, self.wo(self.dropout(tap("mlp_act", self.layer, inner))))


class T5Residual(nn.Module):
    """x + dropout(part(norm x)); checkpoints name the part by what it is."""

    def __init__(self, config: T5Config, name: str, part: nn.Module) -> None:
        super().__init__()
        setattr(self, name, part)
        self.name = name
        self.layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return x + self.dropout(getattr(self, self.name)(self.layer_norm(x), *arguments))


class T5Block(nn.Module):
    """Self-attention, cross-attention where there is an encoder to read, MLP; the first layer keeps the positions of all."""

    def __init__(self, config: T5Config, layer: int, decoder: bool) -> None:
        super().__init__()
        self.index = layer
        self.layer = nn.ModuleList([T5Residual(config, "SelfAttention", T5Attention(config, layer, relative=layer == 0))])
        if decoder:
            self.layer.append(T5Residual(config, "EncDecAttention", T5Attention(config, layer, cross=True)))
        self.layer.append(T5Residual(config, "DenseReluDense", T5MLP(config, layer)))

    def forward(
        self,
        x: torch.Tensor,
        mask: Mask,
        cache: Cache | None = None,
        encoded: torch.Tensor | None = None,
        encoded_mask: Mask | None = None,
    ) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = self.layer[0](tap("resid_pre", self.index, x), mask, cache)
        if encoded is not None:
            x = self.layer[1](x, encoded_mask, cache, encoded)
        return tap("resid_post", self.index, self.layer[-1](tap("resid_mid", self.index, x)))


class T5PreTrainedModel(Seq2Seq):
    """What the T5 classes share."""

    config_class = T5Config
    base_model_prefix = "transformer"
    tables_always_shared = True


class T5Stack(Stack):
    """What encoder and decoder share."""

    blocks_name = "block"
    norm_name = "final_layer_norm"
    decoder = False

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        layers = config.num_decoder_layers if self.decoder else config.num_layers
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.block = nn.ModuleList(T5Block(config, layer, self.decoder) for layer in range(layers))
        self.final_layer_norm = RMSNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Positions are not added: they are in the scores."""
        return self.dropout(words)

    def masks(self, mask: Mask, queries: int, keys: int) -> Mask:
        """With a bias a head for the bucket of each distance."""
        table = self.block[0].layer[0].SelfAttention.relative_attention_bias  # type: ignore[union-attr]
        places = torch.arange(keys, device=table.weight.device)
        distance = places[None, :] - places[keys - queries :, None]
        settings = self.config.relative_attention_num_buckets, self.config.relative_attention_max_distance
        return mask.plus(table(buckets(distance, *settings, both_ways=not self.decoder)).permute(2, 0, 1)[None])

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """Norm and dropout."""
        return self.dropout(super().finish(x))


class T5Encoder(T5Stack, EncoderStack, T5PreTrainedModel):
    """The stack that reads."""


class T5Decoder(T5Stack, DecoderStack, T5PreTrainedModel):
    """The stack that writes."""

    decoder = True


class T5Model(EncoderDecoder, T5PreTrainedModel):
    """Encoder and decoder without a head."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder, self.decoder = T5Encoder(config), T5Decoder(config)
        self.post_init()

    def run(self, encoder_outputs: Any, source: dict[str, Any], target: dict[str, Any], inside: dict[str, Any]) -> Any:
        """A head_mask alone holds for the decoder too, where it has as many layers."""
        if target["head_mask"] is None and self.config.num_layers == self.config.num_decoder_layers:
            target["head_mask"] = source["head_mask"]
        return super().run(encoder_outputs, source, target, inside)


class T5EncoderModel(T5PreTrainedModel):
    """The encoder alone."""

    def __init__(self, config: T5Config) -> None:
        super().__init__(config)
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Encoder(config)
        self.post_init()

    @classmethod
    def forward_names(cls) -> list[str]:
        """The encoder's."""
        return T5Encoder.forward_names()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The encoder's."""
        return self.encoder(*inputs, **named)


class T5Beside(Head, Seq2Seq):
    """Heads that stand beside encoder and decoder, not above a trunk with a prefix."""

    def __init__(self, config: T5Config) -> None:
        T5Model.__init__(self, config)  # type: ignore[arg-type]
        self.make_head(config)
        self.post_init()

    def in_head(self, name: str) -> bool:
        """Whether a parameter belongs to neither."""
        return not name.startswith(("shared.", "encoder.", "decoder."))

    def run_trunk(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The output of encoder and decoder, and the inputs by name."""
        given = dict(zip(T5Model.forward_names(), inputs, strict=False)) | named
        return T5Model.forward(self, **given, return_dict=True), given  # type: ignore[arg-type]


class T5SourceAgain(Seq2Seq):
    """Heads for which the decoder reads the source once more, shifted to the right, where it is given nothing else."""

    def run_trunk(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The trunk's output, and the inputs by name."""
        given = dict(zip(T5Model.forward_names(), inputs, strict=False)) | named
        if given.get("decoder_input_ids") is None and given.get("decoder_inputs_embeds") is None:
            if given.get("input_ids") is None:
                raise ConfigError(f"{type(self).__name__} needs input_ids, or decoder_input_ids or decoder_inputs_embeds.")
            given["decoder_input_ids"] = self.shift_right(given["input_ids"])
        return super().run_trunk((), given)  # type: ignore[misc]


class T5ForConditionalGeneration(T5Beside, ConditionalHead, T5Model, trunk=T5Model):
    """Encoder and decoder with a layer that predicts the next token."""

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return super().logits(hidden * self.config.d_model**-0.5 if self.config.scale_decoder_outputs else hidden)


class T5ForSequenceClassification(T5SourceAgain, LastEndHead, T5PreTrainedModel, trunk=T5Model):
    """A label for the whole text."""


class T5ForTokenClassification(TokenHead, T5PreTrainedModel, trunk=T5EncoderModel):
    """The encoder with a label for each token."""


class T5ForQuestionAnswering(T5SourceAgain, T5Beside, SpanHead, T5Model, trunk=T5Model):
    """Where in the text an answer begins and ends."""

    output = Seq2SeqQuestionAnsweringModelOutput


class MT5Config(T5Config):
    """Keys and defaults of an mt5 config.json."""

    model_type = "mt5"
    defaults = T5Config.defaults | {
        "vocab_size": 250112,
        "d_ff": 1024,
        "num_layers": 8,
        "num_heads": 6,
        "feed_forward_proj": "gated-gelu",
        "scale_decoder_outputs": False,
        "tie_word_embeddings": False,
    }


class MT5Model(T5Model):
    """T5 for a hundred languages."""

    config_class = MT5Config


class MT5EncoderModel(T5EncoderModel):
    """Its encoder alone."""

    config_class = MT5Config


class MT5ForConditionalGeneration(T5ForConditionalGeneration, trunk=MT5Model):
    """With a layer that predicts the next token."""

    config_class = MT5Config


class MT5ForSequenceClassification(T5ForSequenceClassification, trunk=MT5Model):
    """A label for the whole text."""

    config_class = MT5Config


class MT5ForTokenClassification(T5ForTokenClassification, trunk=MT5EncoderModel):
    """A label for each token."""

    config_class = MT5Config


class MT5ForQuestionAnswering(T5ForQuestionAnswering, trunk=MT5Model):
    """Where in the text an answer begins and ends."""

    config_class = MT5Config
