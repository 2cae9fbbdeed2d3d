"""The names in a text, or whatever else a model labels token by token."""

from typing import Any

import numpy as np

from core.errors import ConfigError, DataError
from core.pipelines.base import Piece, Pipeline, row_of
from core.pipelines.options import Option
from core.pipelines.scores import label

STRATEGIES = ("none", "simple", "first", "average", "max")
Entity = dict[str, Any]


class TokenClassificationPipeline(Pipeline):
    """`tagger("Ada lives in Paris")` -> [{"entity", "score", "index", "word", "start", "end"}], a token each; with an aggregation_strategy
    other than "none", {"entity_group", "score", "word", "start", "end"} of tokens that belong together.

    simple joins tokens of one label; first, average and max let a word's first token, the mean of its tokens, or the surest of them
    speak for it.
    """

    task = "token-classification"
    kinds = ("TokenClassification",)
    options = (
        Option("aggregation_strategy", "none", "How tokens become entities.", choices=STRATEGIES),
        Option("ignore_labels", ("O",), "Labels to leave out."),
        Option("stride", None, "Tokens that windows of a long text share; None cuts the text instead.", 0, 4096),
        Option("is_split_into_words", False, "Whether the input is a list of words."),
        Option("delimiter", " ", "What stands between such words in the result's text."),
        Option("offset_mapping", None, "(start, end) of each token, where the tokenizer does not know."),
    )

    def is_many(self, inputs: Any, options: dict[str, Any]) -> bool:
        """A list of words is one input."""
        words = isinstance(inputs, list | tuple) and inputs and all(isinstance(word, str) for word in inputs)
        return super().is_many(inputs, options) and not (words and options["is_split_into_words"])

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """Upper case is taken too. Raises ConfigError."""
        if isinstance(strategy := given.get("aggregation_strategy"), str):
            given = {**given, "aggregation_strategy": strategy.lower()}
        values = super().settings(given)
        if values["stride"] is not None and values["aggregation_strategy"] == "none":
            raise ConfigError("stride joins entities of windows, so it needs an aggregation_strategy other than 'none'.")
        return values

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece; with a stride, as many windows as the text needs."""
        words = options["is_split_into_words"]
        if words and not (isinstance(item, list | tuple) and all(isinstance(word, str) for word in item)):
            raise DataError("With is_split_into_words, token-classification takes lists of words.")
        if not words and not isinstance(item, str):
            raise DataError(f"token-classification takes a text, not {type(item).__name__}.")
        starts, text = None, str(item)
        if words:
            text, at, starts = options["delimiter"].join(item), 0, []
            for word in item:
                starts.append(at)
                at += len(word) + len(options["delimiter"])
        if options["stride"] is None:
            encoded, cut = self.encode(item, is_split_into_words=words, return_special_tokens_mask=True)
            return [self._piece(encoded.encodings[0], row_of(encoded), text, starts, options, cut)]
        limit = self.most_tokens
        if options["stride"] >= limit - self.tokenizer.num_special_tokens_to_add():
            raise ConfigError(f"stride must be below the {limit} tokens that the model reads, not {options['stride']}.")
        rows = self.tokenizer(
            [item],
            truncation=True,
            max_length=limit,
            stride=options["stride"],
            return_overflowing_tokens=True,
            is_split_into_words=words,
        )
        return [self._piece(encoding, row_of(rows, i), text, starts, options, 0) for i, encoding in enumerate(rows.encodings)]

    def _piece(self, encoding: Any, row: Any, text: str, starts: Any, options: dict[str, Any], cut: int) -> Piece:
        offsets = list(options["offset_mapping"] or encoding.offsets)
        if starts is not None:
            shifts = [0 if word is None else starts[word] for word in encoding.word_ids]
            offsets = [(low + shift, high + shift) for (low, high), shift in zip(offsets, shifts, strict=True)]
        return Piece(row, (text, offsets, encoding.special_tokens_mask), cut)

    def finish(self, pieces: list[Piece], outputs: list[Any], options: dict[str, Any]) -> list[Entity]:
        """The entities, those of overlapping windows once."""
        found: list[Entity] = []
        strategy, ignored = options["aggregation_strategy"], options["ignore_labels"]
        for piece, logits in zip(pieces, outputs, strict=True):
            scores = logits[: piece.length].softmax(-1).numpy()
            entities = self._tokens(piece, scores, strategy)
            if strategy in STRATEGIES[2:]:
                entities = self._words_of(entities, strategy)
            else:
                entities = [self._likeliest(entity, entity["scores"]) for entity in entities]
            if strategy != "none":
                entities = self._groups(entities)
            found += [e for e in entities if e.get("entity", e.get("entity_group")) not in ignored]
        return without_overlap(found) if len(pieces) > 1 else found

    def _tokens(self, piece: Piece, scores: np.ndarray, strategy: str) -> list[Entity]:
        """Each token with all its scores, its place in the text, and whether it goes on a word."""
        text, offsets, special = piece.facts
        prefix = getattr(self.tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
        found = []
        for i, number in enumerate(piece.inputs["input_ids"].tolist()):
            if special[i]:
                continue
            word, (start, end) = self.tokenizer.convert_ids_to_tokens(number), offsets[i]
            if prefix:
                goes_on = len(word) != end - start
            else:
                goes_on = start > 0 and " " not in text[start - 1 : start + 1]
            if number == self.tokenizer.unk_token_id:
                word, goes_on = text[start:end], False
            found.append({"word": word, "scores": scores[i], "start": start, "end": end, "index": i, "goes_on": goes_on})
        return found

    def _likeliest(self, token: Entity, scores: np.ndarray) -> Entity:
        best = int(scores.argmax())
        rest = {key: token[key] for key in ("index", "word", "start", "end") if key in token}
        return {"entity": label(self.model.config, best), "score": float(scores[best]), **rest}

    def _words_of(self, tokens: list[Entity], strategy: str) -> list[Entity]:
        runs: list[list[Entity]] = []
        for token in tokens:
            if runs and token["goes_on"]:
                runs[-1].append(token)
            else:
                runs.append([token])
        return [self._word(run, strategy) for run in runs]

    def _word(self, run: list[Entity], strategy: str) -> Entity:
        """A word by its first token, by the mean of its tokens' scores, or by the surest of them."""
        scores = {
            "first": lambda: run[0]["scores"],
            "max": lambda: max(run, key=lambda token: token["scores"].max())["scores"],
            "average": lambda: np.mean([token["scores"] for token in run], axis=0),
        }[strategy]()
        text = self.tokenizer.convert_tokens_to_string([token["word"] for token in run])
        return self._likeliest({"word": text, "start": run[0]["start"], "end": run[-1]["end"]}, scores)

    def _groups(self, entities: list[Entity]) -> list[Entity]:
        """Neighbours of one label as one entity; B- begins a new one. Ramshaw and Marcus 1995."""
        runs: list[list[Entity]] = []
        for entity in entities:
            begins, tag = _tag(entity["entity"])
            if runs and not begins and tag == _tag(runs[-1][-1]["entity"])[1]:
                runs[-1].append(entity)
            else:
                runs.append([entity])
        return [
            {
                "entity_group": run[0]["entity"].split("-", 1)[-1],
                "score": float(np.mean([entity["score"] for entity in run])),
                "word": self.tokenizer.convert_tokens_to_string([entity["word"] for entity in run]),
                "start": run[0]["start"],
                "end": run[-1]["end"],
            }
            for run in runs
        ]


def _tag(name: str) -> tuple[bool, str]:
    """B-PER -> (True, PER); I-PER or PER -> (False, PER)."""
    return name.startswith("B-"), name[2:] if name.startswith(("B-", "I-")) else name


def without_overlap(entities: list[Entity]) -> list[Entity]:
    """Of entities that overlap, the longest, and of those the likeliest."""
    kept: list[Entity] = []
    for entity in sorted(entities, key=lambda e: e["start"]):
        if kept and kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            kept[-1] = max(kept[-1], entity, key=lambda e: (e["end"] - e["start"], e["score"]))
        else:
            kept.append(entity)
    return kept
