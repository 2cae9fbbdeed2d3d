"""Mistral: LLaMA whose layers read a sliding window of the text. Jiang et al. 2023."""

from core.modeling.heads import CausalLMHead, LastTokenHead, TokenHead
from core.models.llama import LlamaConfig, LlamaModel, LlamaPreTrainedModel


class MistralConfig(LlamaConfig):
    """Keys and defaults of a mistral config.json."""

    model_type = "mistral"
    defaults = LlamaConfig.defaults | {
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


class MistralPreTrainedModel(LlamaPreTrainedModel):
    """What the Mistral classes share."""

    config_class = MistralConfig


class MistralModel(LlamaModel, MistralPreTrainedModel):
    """The decoder without a head."""


class MistralForCausalLM(CausalLMHead, MistralPreTrainedModel, trunk=MistralModel):
    """The decoder with a layer that predicts the next token."""


class MistralForSequenceClassification(LastTokenHead, MistralPreTrainedModel, trunk=MistralModel):
    """The decoder with a label for the whole text."""


class MistralForTokenClassification(TokenHead, MistralPreTrainedModel, trunk=MistralModel):
    """The decoder with a label for each token."""

    classifier_name = "score"
