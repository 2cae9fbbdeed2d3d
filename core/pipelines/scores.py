"""Logits of a classifier as labels with scores."""

from typing import Any

import torch

from core.errors import printable


def score(logits: torch.Tensor, config: Any, function: str | None, one_label: str = "sigmoid") -> torch.Tensor:
    """(labels,) -> (labels,). function: softmax, sigmoid, none; or by what the model was trained for: none for regression, sigmoid for
    several labels at once, and `one_label` for a single one."""
    if function is None:
        by_problem = {"regression": "none", "multi_label_classification": "sigmoid"}
        function = by_problem.get(str(config.problem_type)) or ("softmax" if config.num_labels > 1 else one_label)
    return {"softmax": lambda x: x.softmax(-1), "sigmoid": torch.sigmoid, "none": lambda x: x}[function](logits)


def ranked(scores: torch.Tensor, config: Any, top_k: int | None) -> list[dict[str, Any]]:
    """(labels,) -> [{"label", "score"}], the highest first."""
    values = scores.tolist()
    order = sorted(range(len(values)), key=lambda i: -values[i])[:top_k]
    return [{"label": label(config, i), "score": values[i]} for i in order]


def label(config: Any, number: int) -> str:
    """The name of a label; its number's where the configuration has none."""
    return printable(str(config.id2label.get(number, f"LABEL_{number}")), 200)
