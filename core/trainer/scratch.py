"""Models that begin from nothing: a folder like any checkpoint's, with random weights and, for texts, a vocabulary of the rows'."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.errors import TrainingError
from core.trainer.config import RunConfig

SPECIAL = ("<pad>", "</s>", "<unk>")  # 0, 1, 2


def begin(config: RunConfig, auto: str, rows: list[dict[str, Any]], folder: Path, seed: int) -> RunConfig:
    """The configuration with a folder as its model: made once, so that a run that goes on finds its tokenizer again.

    `config.scratch` holds `config` (config.json's keys), and where they are needed `preprocessor` (preprocessor_config.json's) and
    `texts`, which say what the vocabulary is learned from ("{column}" is a row's); its size is the configuration's vocab_size. Raises
    TrainingError.
    """
    plan, made = config.scratch or {}, folder / "scratch"
    if unknown := sorted(set(plan) - {"config", "preprocessor", "texts"}):
        raise TrainingError(f"scratch has no key {', '.join(unknown)}: it has config, preprocessor, texts.")
    if "model_type" not in (plan.get("config") or {}):
        raise TrainingError("scratch.config must say the model_type of the model to begin.")
    if not made.is_dir():
        part = folder / "scratch.part"
        shutil.rmtree(part, ignore_errors=True)
        _make(plan, auto, rows, part, seed)
        part.replace(made)
    return replace(config, model=str(made), scratch=None)


def _make(plan: dict[str, Any], auto: str, rows: list[dict[str, Any]], folder: Path, seed: int) -> None:
    import torch

    import core
    from core.processing.settings import PREPROCESSOR, write_json

    torch.manual_seed(seed)
    values = plan["config"]
    config = core.AutoConfig.for_model(**values)
    getattr(core, auto).from_config(config).save_pretrained(folder)
    if plan.get("preprocessor"):
        write_json(folder / PREPROCESSOR, plan["preprocessor"])
    if templates := plan.get("texts"):
        size = values.get("vocab_size") or values["text_config"]["vocab_size"]
        texts = [template.format(**row) for row in rows for template in templates]
        learn_vocabulary(texts, size).save(str(folder / "tokenizer.json"))
        pad, end, unknown = SPECIAL
        named = {"pad_token": pad, "eos_token": end, "unk_token": unknown, "model_max_length": _longest(values)}
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **named})


def _longest(values: dict[str, Any]) -> int:
    return int((values.get("text_config") or values).get("max_position_embeddings", 512))


def learn_vocabulary(texts: list[str], size: int) -> Any:
    """A tokenizer of `size` pieces at most, joined pair by pair (Sennrich et al. 2016), that ends each text with </s>."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    _, end, unknown = SPECIAL
    made = Tokenizer(models.BPE(unk_token=unknown))
    made.normalizer = normalizers.NFKC()  # type: ignore[assignment]
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])  # type: ignore[assignment]
    made.decoder = decoders.Metaspace()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"$A {end}", pair=f"$A $B {end}", special_tokens=[(end, 1)]
    )
    return made
