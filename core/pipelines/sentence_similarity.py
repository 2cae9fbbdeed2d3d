"""How alike sentences are in what they say."""

from typing import Any

import torch

from core.errors import DataError
from core.pipelines.base import Piece, Pipeline, is_stream, row_of
from core.pipelines.feature_extraction import mean_vectors


class SentenceSimilarityPipeline(Pipeline):
    """`alike({"source_sentence": "A cat.", "sentences": ["A kitten.", "Rain."]})` -> [0.8, 0.1], cosines of the sentences' vectors;
    `alike(["A cat.", "A kitten.", "Rain."])` -> each with each, as lists."""

    task = "sentence-similarity"

    def is_many(self, inputs: Any, options: dict[str, Any]) -> bool:
        """A list of texts is one input: they are compared with each other."""
        texts = isinstance(inputs, list | tuple) and all(isinstance(text, str) for text in inputs)
        return not texts and (is_stream(inputs) or isinstance(inputs, list | tuple))

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """A piece a sentence, the source before the others."""
        texts = [item.get("source_sentence"), *(item.get("sentences") or ())] if isinstance(item, dict) else item
        if not isinstance(texts, list | tuple) or len(texts) < 2 or not all(isinstance(t, str) and t.strip() for t in texts):
            raise DataError('Give two or more sentences, or {"source_sentence": text, "sentences": [texts]}, none of them empty.')
        found = [self.encode(text) for text in texts]
        return [Piece(row_of(encoded), isinstance(item, dict), cut) for encoded, cut in found]

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """A vector of length one for each sentence."""
        return list(mean_vectors(self.run_model(inputs), inputs.get("attention_mask")).cpu())

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> list[Any]:
        """Cosines with the source, or of each with each."""
        vectors = torch.stack(outputs)
        return (vectors[1:] @ vectors[0] if pieces[0].facts else vectors @ vectors.T).tolist()
