"""The Models tab: what there is to pick, what each needs, and what can be fetched."""

from collections.abc import Iterable
from types import SimpleNamespace

from app.components.models_list import models_list


def build(tasks: Iterable[str]) -> SimpleNamespace:
    """The list, with a way to a tab for models of these tasks; main wires its `pick` event."""
    return SimpleNamespace(view=models_list(tasks, elem_id="models-list"))
