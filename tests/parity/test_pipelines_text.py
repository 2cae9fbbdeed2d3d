"""Pipelines of text against the reference's, on random models through saved files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pipeline_pairs import LONG, TEXTS, both, same, text_folder
from rows.decoders import GPT2
from rows.encoders import BERT, ROBERTA
from support import Row

import core
from core.pipelines import KeyDataset

TAGS = {str(i): tag for i, tag in enumerate(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))}
NLI = {"0": "CONTRADICTION", "1": "neutral", "2": "Entailment"}


def bert(head: str, folder: Path, **values: Any) -> Path:
    return text_folder(
        Row("bert", head, "", BERT | {"max_position_embeddings": 128} | values), "BertTokenizer", folder, model_max_length=128
    )


def roberta(head: str, folder: Path, **values: Any) -> Path:
    return text_folder(
        Row("roberta", head, "", ROBERTA | {"max_position_embeddings": 130} | values),
        "RobertaTokenizer",
        folder,
        model_max_length=128,
    )


@pytest.mark.parametrize(
    "values",
    [
        {"id2label": {"0": "bad", "1": "fair", "2": "good"}},
        {"num_labels": 1, "problem_type": "regression"},
        {"num_labels": 4, "problem_type": "multi_label_classification"},
        {"num_labels": 1},
    ],
    ids=["three", "regression", "multi", "one"],
)
def test_text_classification(values: dict, tmp_path: Path) -> None:
    reference, ours = both("sentiment-analysis", bert("SequenceClassification", tmp_path, **values))
    for inputs in (TEXTS[0], TEXTS, {"text": TEXTS[0], "text_pair": TEXTS[1]}, [{"text": TEXTS[2], "text_pair": "x"}]):
        for options in (
            {},
            {"top_k": 1},
            {"top_k": 2},
            {"top_k": None},
            {"function_to_apply": "sigmoid"},
            {"function_to_apply": "none"},
        ):
            same(ours(inputs, **options), reference(inputs, **options), str(options))
    same(ours(TEXTS, batch_size=3), reference(TEXTS))


@pytest.mark.parametrize("make", [bert, roberta])
def test_token_classification(make: Any, tmp_path: Path) -> None:
    reference, ours = both("ner", make("TokenClassification", tmp_path, id2label=TAGS))
    for strategy in ("none", "simple", "first", "average", "max"):
        for text in TEXTS:
            same(ours(text, aggregation_strategy=strategy), reference(text, aggregation_strategy=strategy), strategy)
        same(ours(LONG, aggregation_strategy=strategy), reference(LONG, aggregation_strategy=strategy), strategy)
        everything: dict[str, Any] = {"aggregation_strategy": strategy, "ignore_labels": []}
        same(ours(TEXTS, **everything, batch_size=4), reference(TEXTS, **everything), strategy)
        words = TEXTS[0].split()
        split = {"aggregation_strategy": strategy, "is_split_into_words": True}
        same([ours(words, **split)], reference([words], **split), strategy)
        if strategy != "none":
            for stride in (0, 20):
                windows = {"aggregation_strategy": strategy, "stride": stride}
                same(ours(LONG, **windows, batch_size=5), reference(LONG, **windows), f"{strategy} {stride}")


@pytest.mark.parametrize("make", [bert, roberta])
def test_fill_mask(make: Any, tmp_path: Path) -> None:
    reference, ours = both("fill-mask", make("MaskedLM", tmp_path))
    mask = ours.tokenizer.mask_token
    one, two = f"The weather in {mask} is lovely.", f"The {mask} in Paris is {mask} today"
    for inputs in (one, two, [one], [one, two, one]):
        for options in ({}, {"top_k": 2}, {"targets": ["the", "a", "weather"]}, {"targets": "in", "top_k": 3}):
            same(ours(inputs, **options), reference(inputs, **options), str(options))
    same(ours([one, two, one], batch_size=3), reference([one, two, one]))


@pytest.mark.parametrize("labels", [NLI, {"0": "entailment", "1": "not"}], ids=["last", "first"])
def test_zero_shot_by_entailment(labels: dict, tmp_path: Path) -> None:
    reference, ours = both(
        "zero-shot-classification",
        bert("SequenceClassification", tmp_path, id2label=labels, label2id={label: int(i) for i, label in labels.items()}),
    )
    for inputs in (TEXTS[0], TEXTS, LONG):
        for options in ({}, {"multi_label": True}, {"hypothesis_template": "It is about {}"}):
            same(
                ours(inputs, ["sport", "the weather", "art"], **options),
                reference(inputs, ["sport", "the weather", "art"], **options),
            )
    same(ours(TEXTS[0], candidate_labels="sport, art"), reference(TEXTS[0], candidate_labels="sport, art"))
    same(ours(TEXTS[0], "sport"), reference(TEXTS[0], "sport"))


def test_features(tmp_path: Path) -> None:
    reference, ours = both("feature-extraction", bert("Model", tmp_path))
    same(ours(TEXTS[0]), reference(TEXTS[0]))
    same(ours(TEXTS), reference(TEXTS))
    found = ours(TEXTS, return_tensors=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, reference(TEXTS, return_tensors=True), strict=True))


def test_text_generation(tmp_path: Path) -> None:
    folder = text_folder(Row("gpt2", "CausalLM", "", GPT2), "GPT2Tokenizer", tmp_path)
    reference, ours = both("text-generation", folder)
    common: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
    short = [text[:20] for text in TEXTS]
    for options in (
        {},
        {"return_full_text": False},
        {"return_tensors": True},
        {"prefix": "so "},
        {"skip_special_tokens": False},
        {"repetition_penalty": 1.4},
    ):
        same(ours(short[0], **common, **options), reference(short[0], **common, **options), str(options))
        same(ours(short, **common, **options), reference(short, **common, **options), str(options))
    same(ours(short, **common, batch_size=3), reference(short, **common))
    sampled = []
    for pipe in (reference, ours):
        torch.manual_seed(3)
        sampled.append(pipe(short[0], max_new_tokens=6, do_sample=True, temperature=0.9, num_return_sequences=3))
    same(sampled[1], sampled[0])
    template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + ' ' }}{% endfor %}{{ 'a:' if add_generation_prompt else '' }}"
    for pipe in (reference, ours):
        pipe.tokenizer.chat_template = template
    asked = [{"role": "user", "content": "Hi"}]
    for chat in (asked, [*asked, {"role": "assistant", "content": "Well"}], [asked, asked]):
        for options in ({}, {"return_full_text": False}):
            same(ours(chat, **common, **options), reference(chat, **common, **options))


def test_streams_and_data_sets(tmp_path: Path) -> None:
    """Generators give generators, lazily; batches and their order change nothing."""
    ours = core.pipeline("text-classification", bert("SequenceClassification", tmp_path))
    one_by_one = [ours(text)[0] for text in TEXTS]
    rows = [{"text": text} for text in TEXTS * 50]
    read = []

    def texts() -> Any:
        for row in rows:
            read.append(row)
            yield row["text"]

    stream = ours(texts(), batch_size=2)
    same(next(stream), one_by_one[0])
    assert len(read) < len(rows)
    same([one_by_one[0], *stream], one_by_one * 50)
    same(list(ours(KeyDataset(rows, "text"), batch_size=16, num_workers=2)), one_by_one * 50)
