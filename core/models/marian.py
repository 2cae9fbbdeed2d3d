"""Marian: BART with fixed positions and no norm over the embeddings, for translation. Junczys-Dowmunt et al. 2018."""

from typing import Any

from torch import nn

from core.errors import ConfigError
from core.modeling.positions import Sinusoids
from core.modeling.seq2seq import DecoderStack, EncoderStack
from core.models.bart import BartConfig, BartModel, BartPreTrainedModel, BartStack, BiasedConditionalHead, token_table


class MarianConfig(BartConfig):
    """Keys and defaults of a marian config.json."""

    model_type = "marian"
    default_labels = 2
    defaults = BartConfig.defaults | {
        "vocab_size": 58101,
        "decoder_vocab_size": None,
        "share_encoder_decoder_embeddings": True,
        "pad_token_id": 58100,
        "bos_token_id": None,
        "eos_token_id": 0,
        "decoder_start_token_id": 58100,
        "forced_eos_token_id": 0,
    }

    def check(self) -> None:
        """One vocabulary where nothing else is said."""
        self.decoder_vocab_size = self.decoder_vocab_size or self.vocab_size


class MarianPreTrainedModel(BartPreTrainedModel):
    """What the Marian classes share."""

    config_class = MarianConfig

    def get_input_embeddings(self) -> nn.Embedding:
        """The shared table, or the encoder's where each language has its own."""
        return super().get_input_embeddings() if hasattr(self.base_model, "shared") else self.get_encoder().embed_tokens  # type: ignore[return-value]

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """One vocabulary only."""
        if not self.config.share_encoder_decoder_embeddings:
            raise ConfigError("This model has a vocabulary a language: it cannot be resized as one.")
        table = super().resize_token_embeddings(*args, **kwargs)
        self.config.decoder_vocab_size = table.num_embeddings
        return table


class MarianStack(BartStack):
    """What encoder and decoder share."""

    norm_embedding = False

    def make_tables(self, config: MarianConfig) -> None:
        """Token vectors of its own language, and fixed positions."""
        self.embed_tokens = token_table(config, config.decoder_vocab_size if self.decoder else config.vocab_size)
        self.embed_positions = Sinusoids(config.max_position_embeddings, config.d_model)


class MarianEncoder(MarianStack, EncoderStack, MarianPreTrainedModel):
    """The stack that reads."""


class MarianDecoder(MarianStack, DecoderStack, MarianPreTrainedModel):
    """The stack that writes."""

    decoder = True


class MarianModel(MarianPreTrainedModel, BartModel):
    """Encoder and decoder without a head."""

    stacks = (MarianEncoder, MarianDecoder)


class MarianMTModel(BiasedConditionalHead, MarianPreTrainedModel, trunk=MarianModel):
    """With a layer that predicts the next token."""
