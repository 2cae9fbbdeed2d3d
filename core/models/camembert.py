"""CamemBERT: RoBERTa trained on French. Martin et al. 2019."""

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


class CamembertConfig(RobertaConfig):
    """Keys and defaults of a camembert config.json."""

    model_type = "camembert"
    defaults = RobertaConfig.defaults | {"vocab_size": 30522}


class CamembertPreTrainedModel(RobertaPreTrainedModel):
    """What its classes share."""

    config_class = CamembertConfig


class CamembertModel(CamembertPreTrainedModel, RobertaModel):
    """The encoder without a head."""


class CamembertForMaskedLM(CamembertPreTrainedModel, RobertaForMaskedLM, trunk=CamembertModel):
    """Logits (batch, tokens, vocabulary) for the masked words."""


class CamembertForSequenceClassification(CamembertPreTrainedModel, RobertaForSequenceClassification, trunk=CamembertModel):
    """Logits (batch, labels) for the whole text; one label regresses."""


class CamembertForMultipleChoice(CamembertPreTrainedModel, RobertaForMultipleChoice, trunk=CamembertModel):
    """Logits (batch, choices): which text is right."""


class CamembertForTokenClassification(CamembertPreTrainedModel, RobertaForTokenClassification, trunk=CamembertModel):
    """Logits (batch, tokens, labels)."""


class CamembertForQuestionAnswering(CamembertPreTrainedModel, RobertaForQuestionAnswering, trunk=CamembertModel):
    """Where in the text an answer begins and ends."""
