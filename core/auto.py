"""Auto classes: from a configuration's `model_type` to its classes, by one literal table; modules are imported when first needed."""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from core.errors import ConfigError
from core.modeling.configuration import PreTrainedConfig, read_config


@dataclass(frozen=True)
class Architecture:
    """One architecture: the beginning of its classes' names, its heads, its module in core.models (the model_type where
    not given), and class names that do not follow from these."""

    prefix: str
    heads: tuple[str, ...]
    module: str = ""
    names: dict[str, str] = field(default_factory=dict)

    def class_name(self, kind: str) -> str:
        """The class for a kind: "Config", "Model", or one of `heads`."""
        return self.names.get(kind) or (f"{self.prefix}{kind}" if kind in ("Config", "Model") else f"{self.prefix}For{kind}")

    def class_names(self) -> list[str]:
        """All its public classes."""
        return [self.class_name(kind) for kind in ("Config", "Model", *self.heads)]


DECODER = ("CausalLM", "SequenceClassification", "TokenClassification")
ENCODER = ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering")
SEQ2SEQ = ("ConditionalGeneration", "SequenceClassification", "QuestionAnswering")

ARCHITECTURES: dict[str, Architecture] = {
    # encoders
    "bert": Architecture(
        "Bert",
        (*ENCODER, "MultipleChoice", "NextSentencePrediction", "PreTraining", "CausalLM"),
        names={"CausalLM": "BertLMHeadModel"},
    ),
    "roberta": Architecture("Roberta", (*ENCODER, "MultipleChoice")),
    "xlm-roberta": Architecture("XLMRoberta", (*ENCODER, "MultipleChoice"), module="xlm_roberta"),
    "camembert": Architecture("Camembert", (*ENCODER, "MultipleChoice")),
    "electra": Architecture("Electra", (*ENCODER, "MultipleChoice", "PreTraining")),
    "albert": Architecture("Albert", (*ENCODER, "MultipleChoice")),
    "distilbert": Architecture("DistilBert", (*ENCODER, "MultipleChoice")),
    "deberta-v2": Architecture("DebertaV2", (*ENCODER, "MultipleChoice"), module="deberta_v2"),
    # decoders
    "bloom": Architecture("Bloom", DECODER),
    "gemma": Architecture("Gemma", DECODER),
    "gemma2": Architecture("Gemma2", DECODER),
    "gemma3": Architecture("Gemma3Text", DECODER, "gemma3", {"CausalLM": "Gemma3ForCausalLM"}),  # its text part
    "gemma3_text": Architecture("Gemma3Text", DECODER, "gemma3", {"CausalLM": "Gemma3ForCausalLM"}),
    "gpt2": Architecture("GPT2", DECODER, names={"CausalLM": "GPT2LMHeadModel"}),
    "gpt_bigcode": Architecture("GPTBigCode", DECODER),
    "gpt_neox": Architecture("GPTNeoX", DECODER),
    "granite": Architecture("Granite", ("CausalLM",)),
    "llama": Architecture("Llama", DECODER),
    "mistral": Architecture("Mistral", DECODER),
    "mixtral": Architecture("Mixtral", DECODER),
    "opt": Architecture("OPT", DECODER),
    "phi3": Architecture("Phi3", DECODER),
    "qwen2": Architecture("Qwen2", DECODER),
    "qwen3": Architecture("Qwen3", DECODER),
    "starcoder2": Architecture("Starcoder2", DECODER),
    # encoder-decoders
    "t5": Architecture("T5", (*SEQ2SEQ, "TokenClassification", "Encoder"), names={"Encoder": "T5EncoderModel"}),
    "mt5": Architecture("MT5", (*SEQ2SEQ, "TokenClassification", "Encoder"), "t5", {"Encoder": "MT5EncoderModel"}),
    "bart": Architecture("Bart", SEQ2SEQ),
    "mbart": Architecture("MBart", SEQ2SEQ),
    "marian": Architecture("Marian", ("ConditionalGeneration",), names={"ConditionalGeneration": "MarianMTModel"}),
    # images
    "vit": Architecture("ViT", ("ImageClassification",)),
    "clip": Architecture(
        "CLIP", ("ImageClassification", "ZeroShotImageClassification"), names={"ZeroShotImageClassification": "CLIPModel"}
    ),
    "clip_text_model": Architecture("CLIPText", ("TextProjection",), "clip", {"TextProjection": "CLIPTextModelWithProjection"}),
    "clip_vision_model": Architecture(
        "CLIPVision", ("ImageProjection",), "clip", {"ImageProjection": "CLIPVisionModelWithProjection"}
    ),
    # speech
    "whisper": Architecture(
        "Whisper", ("SpeechSeq2Seq", "AudioClassification"), names={"SpeechSeq2Seq": "WhisperForConditionalGeneration"}
    ),
    "wav2vec2": Architecture(
        "Wav2Vec2", ("CTC", "AudioClassification"), names={"AudioClassification": "Wav2Vec2ForSequenceClassification"}
    ),
}


def architectures_table() -> str:
    """The table as Markdown: what each architecture is called and what its heads are."""
    lines = ["| model_type | class names begin with | heads |", "| --- | --- | --- |"]
    for model_type, architecture in ARCHITECTURES.items():
        heads = [
            f"{kind} ({architecture.names[kind]})" if kind in architecture.names else kind
            for kind in ("Model", *architecture.heads)
        ]
        lines.append(f"| {model_type} | {architecture.prefix} | {', '.join(heads)} |")
    return "\n".join(lines)


def has_head(model_type: str | None, kind: str) -> bool:
    """Whether this architecture is known and has a head of this kind, such as "CausalLM"."""
    return model_type in ARCHITECTURES and kind in ARCHITECTURES[model_type].heads


def find_class(model_type: str, kind: str) -> Any:
    """The class of an architecture for "Config", "Model" or a head. Raises ConfigError saying which there are."""
    if model_type not in ARCHITECTURES:
        raise ConfigError(f"architecture '{model_type}' is not supported; supported: {', '.join(sorted(ARCHITECTURES))}.")
    architecture = ARCHITECTURES[model_type]
    if kind not in ("Config", "Model", *architecture.heads):
        have = sorted(name for name in ARCHITECTURES if has_head(name, kind))
        raise ConfigError(f"architecture '{model_type}' has no head for {kind}; those that have: {', '.join(have) or 'none'}.")
    module = importlib.import_module(f"core.models.{architecture.module or model_type}")
    return getattr(module, architecture.class_name(kind))


def count_parameters(values: dict[str, Any]) -> int:
    """How many numbers the model of a config.json holds, without making room for them; tied tensors count once."""
    from core.modeling.devices import unfilled

    model_type = _model_type(values, "config.json")
    named = [str(name) for name in values.get("architectures") or ()]
    config = find_class(model_type, "Config").from_dict(values)
    architecture = ARCHITECTURES[model_type]
    kind = next((kind for kind in architecture.heads if architecture.class_name(kind) in named), "Model")
    with unfilled():
        return find_class(model_type, kind)(config).num_parameters()


def _model_type(values: dict[str, Any], name: Any) -> str:
    if not (found := values.get("model_type")):
        raise ConfigError(f"{name}: config.json does not say its model_type.")
    if found not in ARCHITECTURES:
        raise ConfigError(f"{name}: architecture '{found}' is not supported; supported: {', '.join(sorted(ARCHITECTURES))}.")
    return found


WHERE = ("revision", "subfolder", "cache_dir", "token", "local_files_only", "gguf_file")


class AutoConfig:
    """Configurations by name."""

    @staticmethod
    def from_pretrained(name_or_path: str | Path, **overrides: Any) -> PreTrainedConfig:
        """The configuration of a folder, a GGUF file, a starter or a hub name."""
        values = read_config(name_or_path, **{key: overrides.pop(key) for key in WHERE if key in overrides})
        return find_class(_model_type(values, name_or_path), "Config").from_dict(values, **overrides)

    @staticmethod
    def for_model(model_type: str, **values: Any) -> PreTrainedConfig:
        """A configuration of this architecture."""
        return find_class(model_type, "Config")(**values)


class AutoModel:
    """The model without a head; each subclass is the one with that head."""

    kind: ClassVar[str] = "Model"

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """The model of a folder, a GGUF file, a starter or a hub name, in this class's kind: core.modeling.loading.load."""
        config = kwargs.get("config")
        name = pretrained_model_name_or_path
        if config is not None:
            model_type = config.model_type
        else:
            model_type = _model_type(read_config(name, **{key: kwargs[key] for key in WHERE if kwargs.get(key)}), name)
        return find_class(model_type, cls.kind).from_pretrained(name, **kwargs)

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **kwargs: Any) -> Any:
        """A model with random weights."""
        return find_class(config.model_type, cls.kind)(config)


class AutoModelForCausalLM(AutoModel):
    """Predicts the next token."""

    kind = "CausalLM"


class AutoModelForMaskedLM(AutoModel):
    """Predicts masked tokens."""

    kind = "MaskedLM"


class AutoModelForSeq2SeqLM(AutoModel):
    """Writes a text that answers a text."""

    kind = "ConditionalGeneration"


class AutoModelForSequenceClassification(AutoModel):
    """Labels a text."""

    kind = "SequenceClassification"


class AutoModelForTokenClassification(AutoModel):
    """Labels each token."""

    kind = "TokenClassification"


class AutoModelForQuestionAnswering(AutoModel):
    """Finds an answer in a text."""

    kind = "QuestionAnswering"


class AutoModelForMultipleChoice(AutoModel):
    """Picks one of several continuations."""

    kind = "MultipleChoice"


class AutoModelForNextSentencePrediction(AutoModel):
    """Says whether one text follows another."""

    kind = "NextSentencePrediction"


class AutoModelForImageClassification(AutoModel):
    """Labels an image."""

    kind = "ImageClassification"


class AutoModelForZeroShotImageClassification(AutoModel):
    """Compares images with texts."""

    kind = "ZeroShotImageClassification"


class AutoModelForSpeechSeq2Seq(AutoModel):
    """Writes down speech."""

    kind = "SpeechSeq2Seq"


class AutoModelForCTC(AutoModel):
    """Spells out speech, a letter a frame."""

    kind = "CTC"


class AutoModelForAudioClassification(AutoModel):
    """Labels a clip."""

    kind = "AudioClassification"
