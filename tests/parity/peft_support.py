"""What the tests of adapters share: tiny models with each head, one adapter sent from the reference to us and back."""

import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from rows.decoders import GPT2, LLAMA
from rows.encoders import BERT
from rows.seq2seq import T5
from safetensors.torch import load_file
from support import Row, fresh_pair

import core

LABELS = {"num_labels": 3}
ROWS = {
    "llama": Row("llama", "CausalLM", "", LLAMA),
    "llama-classes": Row("llama", "SequenceClassification", "", LLAMA | LABELS),
    "gpt2": Row("gpt2", "CausalLM", "", GPT2),
    "gpt2-tokens": Row("gpt2", "TokenClassification", "", GPT2 | LABELS),
    "bert": Row("bert", "Model", "", BERT),
    "bert-classes": Row("bert", "SequenceClassification", "", BERT | LABELS),
    "bert-tokens": Row("bert", "TokenClassification", "", BERT | LABELS),
    "bert-answers": Row("bert", "QuestionAnswering", "", BERT),
    "t5": Row("t5", "ConditionalGeneration", "", T5 | {"d_model": 40}),
}
TASKS = {
    "CausalLM": "CAUSAL_LM",
    "SequenceClassification": "SEQ_CLS",
    "TokenClassification": "TOKEN_CLS",
    "QuestionAnswering": "QUESTION_ANS",
    "ConditionalGeneration": "SEQ_2_SEQ_LM",
    "Model": "FEATURE_EXTRACTION",
}


def near(ours: torch.Tensor, reference: torch.Tensor, what: str = "") -> None:
    """Equal to 1e-5 of the largest number."""
    assert ours.shape == reference.shape, what
    assert (ours - reference).abs().max() <= 1e-5 * max(1.0, reference.abs().max().item()), what


def inputs(row: Row, labels: bool = False) -> dict[str, torch.Tensor]:
    """A batch of two texts, the second shorter."""
    torch.manual_seed(5)
    ids = torch.randint(5, 99, (2, 7))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    if row.head == "ConditionalGeneration":
        batch["decoder_input_ids"] = torch.randint(5, 99, (2, 4))
    if labels:
        kinds = {"SequenceClassification": torch.tensor([0, 2]), "TokenClassification": ids % 3, "CausalLM": ids}
        if row.head == "QuestionAnswering":
            batch |= {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 4])}
        elif row.head == "ConditionalGeneration":
            batch["labels"] = batch.pop("decoder_input_ids")
        else:
            batch["labels"] = kinds[row.head]
    return batch


def shake(model: torch.nn.Module) -> None:
    """Every trained number random."""
    torch.manual_seed(3)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)


def line(model: Any) -> str:
    """What print_trainable_parameters prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        model.print_trainable_parameters()
    return out.getvalue()


def adapters(name: str, kind: str, folder: Path, **options: Any) -> tuple[Any, Any]:
    """The reference's adapter, shaken and saved into folder/theirs, and an untrained one of ours on the same base (folder/base)."""
    row = ROWS[name]
    reference, ours = fresh_pair(row, folder / "base")
    options = {"task_type": TASKS[row.head]} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(reference, getattr(peft, kind)(**options))
    mine = core.get_peft_model(ours, getattr(core, kind)(**options))
    assert line(mine) == line(theirs)
    assert type(mine).__name__ == type(theirs).__name__
    shake(theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save_pretrained(folder / "theirs")
    return theirs.eval(), mine


def base_of(name: str, folder: Path, ours: bool = True) -> Any:
    """The base anew."""
    row = ROWS[name]
    library, auto = (core, row.class_name) if ours else (transformers, row.class_name)
    return getattr(library, auto).from_pretrained(folder / "base").eval()


def first(output: Any) -> torch.Tensor:
    """Logits, or start logits, or hidden states."""
    return next(output[key] for key in ("logits", "start_logits", "last_hidden_state") if key in output)


def same_files(a: Path, b: Path) -> None:
    """The same tensors and the same keys of the configuration."""
    one, two = (load_file(side / "adapter_model.safetensors") for side in (a, b))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        near(two[name], tensor, name)
    first_config, second = (json.loads((side / "adapter_config.json").read_text()) for side in (a, b))
    assert first_config.keys() == second.keys()
    for key in first_config.keys() - {"auto_mapping", "peft_version", "base_model_name_or_path"}:
        left, right = first_config[key], second[key]
        assert (sorted(set(left)) == sorted(set(right))) if isinstance(left, list) else left == right, key
