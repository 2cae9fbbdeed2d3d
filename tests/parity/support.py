"""What the parity tests share: rows, pairs of models, inputs, comparison.

Tolerance: 1e-4 * max(1, max|reference|) in float32, at the positions that are not padding.
"""

import collections
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

import core
from core.auto import ARCHITECTURES

CHECKED: collections.Counter[str] = collections.Counter()  # printed at the end of a session


@dataclass(frozen=True)
class Row:
    """One variant of one architecture with one head: a configuration, and fields that must be noticed when they change."""

    model_type: str
    head: str  # a kind of core.auto's table: "Model", "CausalLM" …
    what: str
    values: dict[str, Any] = field(hash=False)
    changes: dict[str, Any] = field(default_factory=dict, hash=False)
    family: str = "decoder"  # decoder, encoder; others bring checks of their own
    without: tuple[str, ...] = ()  # names of checks that make no sense here, each explained beside the row

    @property
    def class_name(self) -> str:
        """The same in the reference and here."""
        return ARCHITECTURES[self.model_type].class_name(self.head)

    @property
    def auto(self) -> str:
        """The auto class that loads it."""
        return "AutoModel" if self.head == "Model" else f"AutoModelFor{self.head}"

    def __str__(self) -> str:
        return f"{self.class_name} {self.what}"


def close(ours: torch.Tensor, reference: torch.Tensor, counted: str = "") -> None:
    """Assert equality within the stated tolerance."""
    assert ours.shape == reference.shape, counted
    if ours.numel():
        assert (ours - reference).abs().max() <= 1e-4 * max(1.0, reference.abs().max().item()), counted
    CHECKED["numbers compared"] += ours.numel()
    CHECKED["tensors compared"] += 1


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter random, norms around one; fixed ones stay as they are."""
    torch.manual_seed(0)
    for name, parameter in [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if n == "final_logits_bias")]:
        if isinstance(parameter, torch.nn.Parameter) and not parameter.requires_grad:
            continue
        torch.nn.init.normal_(parameter, std=0.3)
        if parameter.dim() == 1 and "weight" in name:
            parameter.data += 1
    return model.eval()


def make_reference(row: Row) -> Any:
    """The reference model of a row, every parameter random."""
    name = ARCHITECTURES[row.model_type].class_name("Config")
    config = getattr(transformers, name)(**row.values)
    config._attn_implementation = "eager"
    return randomise(getattr(transformers, row.class_name)(config))


def fresh_pair(row: Row, folder: Path) -> tuple[Any, Any]:
    """The reference model, saved into the folder, and ours loaded from there."""
    reference = make_reference(row)
    reference.save_pretrained(folder)
    return reference, getattr(core, row.class_name).from_pretrained(folder)


_last: dict[str, Any] = {}


def pair(row: Row) -> tuple[Any, Any, Path]:
    """A fresh pair and its folder, kept while the same row is asked for."""
    if _last.get("row") != row:
        folder = tempfile.TemporaryDirectory(prefix="parity")
        _last.update(row=row, models=(*fresh_pair(row, Path(folder.name)), Path(folder.name)), folder=folder)
    reference, ours, path = _last["models"]
    for model in (reference, ours):
        model.eval()
        model.zero_grad()
    return reference, ours, path


def text_batch(row: Row, length: int = 11, padding: str = "right") -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Two rows, the second padded; which positions count."""
    torch.manual_seed(1)
    ids = torch.randint(5, row.values["vocab_size"], (2, length))
    mask = torch.ones(2, length, dtype=torch.long)
    short = slice(length - 3, None) if padding == "right" else slice(0, 3)
    mask[1, short] = 0
    if (pad := row.values.get("pad_token_id")) is not None:
        ids[mask == 0] = pad
    inputs = {"input_ids": ids, "attention_mask": mask}
    if row.head == "MultipleChoice":  # the two rows are the choices of one question
        inputs = {name: value[None] for name, value in inputs.items()}
    if row.values.get("add_cross_attention"):
        inputs["encoder_hidden_states"] = torch.randn(2, 5, row.values.get("n_embd") or row.values["hidden_size"])
        inputs["encoder_attention_mask"] = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    return inputs, mask.bool()


def labels_for(row: Row, ids: torch.Tensor, real: torch.Tensor) -> dict[str, torch.Tensor]:
    """Labels of a text batch for the row's head; none where it has no loss."""
    torch.manual_seed(3)
    classes = row.values.get("num_labels", 2)
    if row.head in ("CausalLM", "MaskedLM"):
        return {"labels": ids.masked_fill(~real, -100)}
    if row.head == "SequenceClassification":
        if row.values.get("problem_type") == "multi_label_classification":
            return {"labels": torch.randint(0, 2, (ids.shape[0], classes)).float()}
        if classes == 1:
            return {"labels": torch.randn(ids.shape[0])}
        return {"labels": torch.randint(0, classes, (ids.shape[0],))}
    if row.head == "TokenClassification":
        return {"labels": torch.randint(0, classes, ids.shape).masked_fill(~real, -100)}
    if row.head in ("NextSentencePrediction", "MultipleChoice"):
        return {"labels": torch.randint(0, 2, ids.shape[:1])}
    if row.head == "PreTraining" and row.model_type == "electra":
        return {"labels": torch.randint(0, 2, ids.shape)}
    if row.head == "PreTraining":
        return {"labels": ids.masked_fill(~real, -100), "next_sentence_label": torch.randint(0, 2, ids.shape[:1])}
    if row.head == "QuestionAnswering":
        return {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([3, 20])}
    return {}
