"""Parameter-efficient fine-tuning: a few trained numbers beside a frozen model. A method is one file; it is known once it is imported."""

from core.peft.bottleneck import BottleneckConfig
from core.peft.config import PeftConfig, TaskType, get_peft_config
from core.peft.ia3 import IA3Config
from core.peft.lora import LoraConfig
from core.peft.model import PeftModel, get_peft_model
from core.peft.prompt import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig
from core.peft.saving import get_peft_model_state_dict, set_peft_model_state_dict
from core.peft.tasks import (
    AutoPeftModel,
    AutoPeftModelForCausalLM,
    AutoPeftModelForFeatureExtraction,
    AutoPeftModelForQuestionAnswering,
    AutoPeftModelForSeq2SeqLM,
    AutoPeftModelForSequenceClassification,
    AutoPeftModelForTokenClassification,
    PeftModelForCausalLM,
    PeftModelForFeatureExtraction,
    PeftModelForQuestionAnswering,
    PeftModelForSeq2SeqLM,
    PeftModelForSequenceClassification,
    PeftModelForTokenClassification,
)

__all__ = [
    "AutoPeftModel",
    "AutoPeftModelForCausalLM",
    "AutoPeftModelForFeatureExtraction",
    "AutoPeftModelForQuestionAnswering",
    "AutoPeftModelForSeq2SeqLM",
    "AutoPeftModelForSequenceClassification",
    "AutoPeftModelForTokenClassification",
    "BottleneckConfig",
    "IA3Config",
    "LoraConfig",
    "PeftConfig",
    "PeftModel",
    "PeftModelForCausalLM",
    "PeftModelForFeatureExtraction",
    "PeftModelForQuestionAnswering",
    "PeftModelForSeq2SeqLM",
    "PeftModelForSequenceClassification",
    "PeftModelForTokenClassification",
    "PrefixTuningConfig",
    "PromptEncoderConfig",
    "PromptTuningConfig",
    "TaskType",
    "get_peft_config",
    "get_peft_model",
    "get_peft_model_state_dict",
    "set_peft_model_state_dict",
]
