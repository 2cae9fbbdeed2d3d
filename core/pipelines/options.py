"""What a pipeline may be told, declared once: a call checks by it, a page builds its widgets from it."""

import math
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError


@dataclass(frozen=True)
class Option:
    """One option: its name, its default, one line of help, and what it may be: a range of numbers, or some choices.

    None may be given where it is the default, or where `nullable`.
    """

    name: str
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    nullable: bool = False

    def checked(self, value: Any) -> Any:
        """The value. Raises ConfigError where it is not one of those that the option may have."""
        if value is None and (self.nullable or self.default is None):
            return value
        if self.choices and not any(value == choice and type(value) is type(choice) for choice in self.choices):
            raise ConfigError(f"{self.name} must be one of {', '.join(map(repr, self.choices))}, not {value!r}.")
        if isinstance(self.default, bool) and not self.choices and not isinstance(value, bool):
            raise ConfigError(f"{self.name} must be True or False, not {value!r}.")
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        if (low, high) != (-math.inf, math.inf):
            number: Any = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
            if not low <= number <= high:
                upper = f" and at most {high:g}" if high < math.inf else ""
                raise ConfigError(f"{self.name} must be a number of at least {low:g}{upper}, not {value!r}.")
        return value


FUNCTION = Option(
    "function_to_apply",
    None,
    "How numbers become scores: softmax, sigmoid (each label by itself) or none; None as the model's task asks.",
    choices=("softmax", "sigmoid", "none"),
)
LABELS = Option("candidate_labels", None, "The labels to choose from, as a list or with commas between them.")
TEMPLATE_HELP = "What is said of the input, {} standing for the label."


def labels_and_template(values: dict[str, Any]) -> dict[str, Any]:
    """The options with candidate_labels as a list of texts. Raises ConfigError where hypothesis_template has no place for them."""
    labels, template = values["candidate_labels"], values["hypothesis_template"]
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split(",")]
    if not isinstance(template, str) or "{}" not in template:
        raise ConfigError("hypothesis_template needs {} where the label is to stand.")
    return {**values, "candidate_labels": [str(label) for label in labels or () if str(label).strip()]}
