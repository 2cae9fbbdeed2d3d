"""A text's label out of labels that no model was trained for."""

from typing import Any

import torch

from core.errors import ConfigError, DataError
from core.pipelines.base import Piece, Pipeline, row_of, text_of
from core.pipelines.feature_extraction import mean_vectors
from core.pipelines.options import LABELS, TEMPLATE_HELP, Option, labels_and_template

SCALE = 20.0  # what sentence models multiply cosines by when they are trained (Reimers and Gurevych, Sentence Transformers)


class ZeroShotClassificationPipeline(Pipeline):
    """`choose("I love this film", ["praise", "blame"])` -> {"sequence", "labels", "scores"}, the likeliest label first.

    A model of entailment says of each label whether the text entails "This example is …" (Yin et al. 2019). A model without such
    a head compares the sentences' vectors instead; these results say {"method": "similarity"}.
    """

    task = "zero-shot-classification"
    kinds = ("SequenceClassification", "Model")
    options = (
        LABELS,
        Option("hypothesis_template", "This example is {}.", TEMPLATE_HELP),
        Option("multi_label", False, "Whether several labels may be right: each is scored by itself."),
    )

    def __call__(self, sequences: Any, *labels: Any, batch_size: int | None = None, num_workers: int = 0, **given: Any) -> Any:
        """A text or several, and the labels."""
        if labels:
            given["candidate_labels"] = labels[0]
        return super().__call__(sequences, batch_size=batch_size, **given)

    @property
    def entails(self) -> bool:
        """Whether the model has a head, and so is one of entailment."""
        model = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        return model.base_model is not model

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """With the labels as a list."""
        return labels_and_template(super().settings(given))

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """A piece for each label; by similarity, one more for the text."""
        text, labels = text_of(item, self.task), options["candidate_labels"]
        if not text.strip():
            raise DataError("The text is empty: there is nothing to choose a label for.")
        if not labels:
            raise DataError("zero-shot-classification needs labels to choose from: candidate_labels.")
        said = [options["hypothesis_template"].replace("{}", label) for label in labels]
        if self.entails:
            self._entailment()
            found = [self.encode(text, hypothesis, "only_first") for hypothesis in said]
        else:
            found = [self.encode(sentence) for sentence in (text, *said)]
        pieces = [Piece(row_of(encoded), text) for encoded, _ in found]
        pieces[0].cut = found[0][1]
        return pieces

    def _entailment(self) -> int:
        """The number of the label that says so. Raises ConfigError."""
        for name, number in self.model.config.label2id.items():
            if str(name).lower().startswith("entail"):
                return int(number)
        raise ConfigError(
            "No label of this model is called entailment, so it cannot choose among labels: use one trained on entailment (NLI)."
        )

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """The logits of entailment, or the sentences' vectors."""
        if self.entails:
            return super().forward(inputs, options)
        return list(mean_vectors(self.run_model(inputs), inputs.get("attention_mask")).cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> dict[str, Any]:
        """The labels by their scores."""
        labels, several = options["candidate_labels"], options["multi_label"]
        if self.entails:
            logits, entailed = torch.stack(outputs), self._entailment()
            against = logits.shape[1] - 1 if entailed == 0 else 0
            if several or len(labels) == 1:
                scores = logits[:, [against, entailed]].softmax(-1)[:, 1]
            else:
                scores = logits[:, entailed].softmax(-1)
            method = {}
        else:
            cosines = torch.stack(outputs[1:]) @ outputs[0]
            scores = cosines.clamp(min=0) if several or len(labels) == 1 else (SCALE * cosines).softmax(-1)
            method = {"method": "similarity"}
        order = scores.argsort(stable=True).flip(0).tolist()
        result = {"sequence": pieces[0].facts, "labels": [labels[i] for i in order], "scores": scores[order].tolist()}
        return result | method
