"""mBART: BART with the norms before attention and MLP, for many languages. Liu et al. 2020."""

import torch

from core.modeling.seq2seq import DecoderStack, EncoderStack
from core.models.bart import (
    BartConfig,
    BartForQuestionAnswering,
    BartForSequenceClassification,
    BartLayer,
    BartModel,
    BartPreTrainedModel,
    BartStack,
    BiasedConditionalHead,
)


class MBartConfig(BartConfig):
    """Keys and defaults of an mbart config.json."""

    model_type = "mbart"
    default_labels = 2
    defaults = BartConfig.defaults | {"decoder_start_token_id": None}


class MBartLayer(BartLayer):
    """x + part(norm x)."""

    pre_norm = True


class MBartPreTrainedModel(BartPreTrainedModel):
    """What the mBART classes share."""

    config_class = MBartConfig

    def shift_right(self, ids: torch.Tensor) -> torch.Tensor:
        """The last token that is no padding, which names the language, comes first; the others follow."""
        pad = self.config.pad_token_id
        ids = ids.masked_fill(ids == -100, pad)
        language = ids.gather(1, ((ids != pad).sum(1, keepdim=True) - 1).clamp(min=0))
        return torch.cat([language, ids[:, :-1]], 1)


class MBartStack(BartStack):
    """What encoder and decoder share."""

    block = MBartLayer
    norm_last = True


class MBartEncoder(MBartStack, EncoderStack, MBartPreTrainedModel):
    """The stack that reads."""


class MBartDecoder(MBartStack, DecoderStack, MBartPreTrainedModel):
    """The stack that writes."""

    decoder = True


class MBartModel(MBartPreTrainedModel, BartModel):
    """Encoder and decoder without a head."""

    stacks = (MBartEncoder, MBartDecoder)


class MBartForConditionalGeneration(BiasedConditionalHead, MBartPreTrainedModel, trunk=MBartModel):
    """With a layer that predicts the next token."""


class MBartForSequenceClassification(MBartPreTrainedModel, BartForSequenceClassification, trunk=MBartModel):
    """A label for the whole text."""


class MBartForQuestionAnswering(MBartPreTrainedModel, BartForQuestionAnswering, trunk=MBartModel):
    """Where in the text an answer begins and ends."""
