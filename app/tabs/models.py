"""The Models tab: what there is to pick, what each needs, and what can be fetched."""

from types import SimpleNamespace
from typing import Any

from app.components.models_list import models_list


def build(workbench: Any) -> SimpleNamespace:
    """The list; main wires its `chat` event."""
    return SimpleNamespace(view=models_list(elem_id="models-list"))
