"""Texts as vectors."""

from typing import Any

import torch
import torch.nn.functional as F

from core.errors import ConfigError
from core.pipelines.base import Pipeline
from core.pipelines.packing import batches


class FeatureExtractionPipeline(Pipeline):
    """`extractor("text")` -> the last hidden state as nested lists [1][tokens][width]; `pooling="mean"` gives one vector a text."""

    task = "feature-extraction"

    @torch.inference_mode()
    def __call__(
        self,
        inputs: str | list[str],
        return_tensors: bool = False,
        pooling: str | None = None,
        normalize: bool = False,
        batch_size: int | None = None,
    ) -> Any:
        """A text or a list of texts.

        pooling: None for every token's vector; "mean" over the text's tokens or "cls", its first, for a tensor (texts, width), of length
        one where `normalize`. Texts longer than the model are cut. batch_size: the most texts computed at once; as many as suit the
        machine where None.
        """
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        if not texts:
            raise ConfigError("There is no text to embed.")
        if pooling not in (None, "mean", "cls"):
            raise ConfigError(f"pooling must be None, 'mean' or 'cls', not {pooling!r}.")
        found: list[Any] = [None] * len(texts)
        limit = min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)
        encoded = self.tokenizer(texts, truncation=True, max_length=limit)
        for rows in batches([len(ids) for ids in encoded["input_ids"]], batch_size):
            batch = self.tokenizer.pad([{name: column[i] for name, column in encoded.items()} for i in rows], return_tensors="pt")
            batch = batch.to(self.model.device)
            hidden = self.model(**batch).last_hidden_state.float()
            for i, vectors, mask in zip(rows, hidden, batch["attention_mask"].bool(), strict=True):
                found[i] = vectors[mask]
        if pooling:
            pooled = torch.stack([vectors.mean(0) if pooling == "mean" else vectors[0] for vectors in found])
            return F.normalize(pooled, dim=-1) if normalize else pooled
        found = [vectors[None] if return_tensors else [vectors.tolist()] for vectors in found]
        return found[0] if isinstance(inputs, str) else found
