"""Parameter-efficient fine-tuning: a few trained numbers beside a frozen model."""

from core.peft.config import LoraConfig, PeftConfig, TaskType
from core.peft.model import PeftModel, PeftModelForCausalLM, get_peft_model

__all__ = ["LoraConfig", "PeftConfig", "PeftModel", "PeftModelForCausalLM", "TaskType", "get_peft_model"]
