"""Texts as vectors."""

from typing import Any

import torch
import torch.nn.functional as F

from core.errors import ConfigError
from core.pipelines.base import Piece, Pipeline, row_of, text_of
from core.pipelines.options import Option


class FeatureExtractionPipeline(Pipeline):
    """`extractor("text")` -> the last hidden state as nested lists [1][tokens][width]; `pooling="mean"` gives one vector a text."""

    task = "feature-extraction"
    batch_size = 32
    options = (
        Option("pooling", None, "One vector a text: the mean of its tokens' or its first token's.", choices=("mean", "cls")),
        Option("normalize", False, "Whether pooled vectors have length one."),
        Option("return_tensors", False, "Whether to give tensors instead of lists."),
        Option("truncation", None, "Accepted: texts longer than the model are cut, and the number of tokens is told."),
        Option("tokenize_kwargs", None, "More arguments for the tokenizer."),
    )

    def __call__(self, inputs: Any, *, batch_size: int | None = None, num_workers: int = 0, **given: Any) -> Any:
        """A text or several. With pooling, a tensor (texts, width) of all of them, or of a stream one of (width,) each."""
        pooled = self.settings(given)["pooling"]
        result = super().__call__(inputs, batch_size=batch_size, **given)
        if not pooled:
            return result
        if isinstance(inputs, str):
            return result[None]
        if isinstance(result, list):
            if not result:
                raise ConfigError("There is no text to embed.")
            return torch.stack(result)
        return result

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece."""
        encoded, cut = self.encode(text_of(item, self.task), **(options["tokenize_kwargs"] or {}))
        return [Piece(row_of(encoded), cut=cut)]

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """(longest, width) a row, padding included; pooled, (width,)."""
        out, mask = self.run_model(inputs), inputs.get("attention_mask")
        if options["pooling"] == "mean":
            return list(mean_vectors(out, mask, options["normalize"]).cpu())
        if options["pooling"] == "cls":
            vectors = out[0][:, 0].float()
            return list((F.normalize(vectors, dim=-1) if options["normalize"] else vectors).cpu())
        return list(out[0].float().cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> Any:
        """Without padding."""
        if options["pooling"]:
            return outputs[0]
        vectors = outputs[0][: pieces[0].length]
        return vectors[None] if options["return_tensors"] else [vectors.tolist()]


def mean_vectors(out: Any, mask: torch.Tensor | None, normalize: bool = True) -> torch.Tensor:
    """The mean of each text's tokens: (batch, tokens, width) -> (batch, width), of length one where asked for."""
    states = out[0].float()
    if mask is None:
        vectors = states.mean(1)
    else:
        vectors = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return F.normalize(vectors, dim=-1) if normalize else vectors
