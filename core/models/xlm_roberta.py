"""XLM-RoBERTa: RoBERTa trained on a hundred languages. Conneau et al. 2019."""

from core.models.roberta import (
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForMultipleChoice,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
    RobertaPreTrainedModel,
)


class XLMRobertaConfig(RobertaConfig):
    """Keys and defaults of an xlm-roberta config.json."""

    model_type = "xlm-roberta"
    defaults = RobertaConfig.defaults | {"vocab_size": 30522}


class XLMRobertaPreTrainedModel(RobertaPreTrainedModel):
    """What its classes share."""

    config_class = XLMRobertaConfig


class XLMRobertaModel(XLMRobertaPreTrainedModel, RobertaModel):
    """The encoder without a head."""


class XLMRobertaForMaskedLM(XLMRobertaPreTrainedModel, RobertaForMaskedLM, trunk=XLMRobertaModel):
    """Logits (batch, tokens, vocabulary) for the masked words."""


class XLMRobertaForSequenceClassification(XLMRobertaPreTrainedModel, RobertaForSequenceClassification, trunk=XLMRobertaModel):
    """Logits (batch, labels) for the whole text; one label regresses."""


class XLMRobertaForMultipleChoice(XLMRobertaPreTrainedModel, RobertaForMultipleChoice, trunk=XLMRobertaModel):
    """Logits (batch, choices): which text is right."""


class XLMRobertaForTokenClassification(XLMRobertaPreTrainedModel, RobertaForTokenClassification, trunk=XLMRobertaModel):
    """Logits (batch, tokens, labels)."""


class XLMRobertaForQuestionAnswering(XLMRobertaPreTrainedModel, RobertaForQuestionAnswering, trunk=XLMRobertaModel):
    """Where in the text an answer begins and ends."""
