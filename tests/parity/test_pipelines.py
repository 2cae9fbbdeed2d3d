"""Pipelines on the starter models."""

from pathlib import Path

import pytest
import torch
import transformers

import core
from core.errors import ConfigError, GenerationError
from core.generation import Finished, TextDelta


@pytest.fixture(scope="module")
def generator(smollm2: Path) -> core.TextGenerationPipeline:
    return core.pipeline("text-generation", model=str(smollm2))


def test_text_and_chat(generator: core.TextGenerationPipeline) -> None:
    out = generator("The capital of France is", max_length=12)
    assert out[0]["generated_text"].startswith("The capital of France is") and "Paris" in out[0]["generated_text"]
    messages = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    answer = generator(messages, max_new_tokens=10)[0]["generated_text"]
    assert answer[:-1] == messages and answer[-1]["role"] == "assistant" and "Paris" in answer[-1]["content"]
    both = generator(["The capital of France is", "Two and two make"], max_new_tokens=6, batch_size=2)
    alone = [generator(text, max_new_tokens=6) for text in ("The capital of France is", "Two and two make")]
    assert both == alone


def test_stream_equals_generate(generator: core.TextGenerationPipeline) -> None:
    prompt = "Write one emoji of a cat, then 你好:"
    whole = generator(prompt, max_new_tokens=24, return_full_text=False)[0]["generated_text"]
    *deltas, end = generator.stream(prompt, max_new_tokens=24)
    assert all(isinstance(delta, TextDelta) and "\ufffd" not in delta.text for delta in deltas[:-1])
    assert isinstance(end, Finished) and end.text == whole == "".join(delta.text for delta in deltas)
    assert end.prompt_tokens > 5 and end.tokens_per_second > 0


def test_stop_strings_never_leak(generator: core.TextGenerationPipeline) -> None:
    plain = generator("Count: 1, 2, 3, 4,", max_new_tokens=20, return_full_text=False)[0]["generated_text"]
    stop = plain[6:9]
    *deltas, end = generator.stream("Count: 1, 2, 3, 4,", max_new_tokens=20, stop_strings=[stop])
    assert end.reason == "stop" and end.text == plain[: plain.find(stop)] == "".join(d.text for d in deltas)


def test_seed_and_cancel(generator: core.TextGenerationPipeline) -> None:
    options = {"do_sample": True, "temperature": 1.2, "max_new_tokens": 12, "return_full_text": False}
    first, again, other = (generator("Once", seed=seed, **options) for seed in (1, 1, 2))
    assert first == again != other
    asked = iter([False, False, True])
    end = list(generator.stream("Once", max_new_tokens=50, cancelled=lambda: next(asked)))[-1]
    assert end.reason == "cancelled" and len(end.token_ids) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0, "do_sample": True},
        {"top_p": 2.0},
        {"top_k": -1},
        {"num_beams": 0},
        {"max_length": 2},
        {"eos_token_id": 10**6},
        {"max_new_tokens": 0},
        {"temprature": 1.0},
    ],
    ids=str,
)
def test_nonsense_gets_a_sentence(generator: core.TextGenerationPipeline, options: dict) -> None:
    with pytest.raises(GenerationError, match=next(iter(options))):
        generator("The capital of France is", **options)


def test_seeded_sample_equals_the_reference(tmp_path: Path) -> None:
    from rows.decoders import GPT2, LLAMA
    from support import Row, fresh_pair

    for model_type, values in (("llama", LLAMA), ("gpt2", GPT2)):
        reference, ours = fresh_pair(Row(model_type, "CausalLM", "", values), tmp_path / model_type)
        ids = torch.randint(5, 99, (3, 6))
        mask = torch.ones_like(ids)
        mask[0, :2] = 0
        common = {"attention_mask": mask, "max_new_tokens": 20, "pad_token_id": 0}
        modes = [
            {"do_sample": False},
            {"do_sample": False, "repetition_penalty": 1.7, "min_new_tokens": 5},
            {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8},
            {"do_sample": True, "temperature": 1.3, "top_k": 0, "min_p": 0.05},
        ]
        for mode in modes:
            results = []
            for model in (reference, ours):
                torch.manual_seed(5)
                results.append(model.generate(ids, eos_token_id=[2, 7], **common, **mode).tolist())
            assert results[0] == results[1], mode


def test_embeddings(minilm: Path) -> None:
    extractor = core.pipeline("feature-extraction", model=str(minilm))
    texts = ["A cat sat.", "The weather is lovely today, is it not?", "cats"]
    tokenizer, reference = (c.from_pretrained(minilm) for c in (transformers.AutoTokenizer, transformers.AutoModel))
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = reference(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
    assert (extractor(texts, pooling="mean", normalize=True) - expected).abs().max() < 1e-5
    nested = extractor("cats")
    assert len(nested) == 1 and len(nested[0]) == 3 and len(nested[0][0]) == 384


def test_unknown_task() -> None:
    with pytest.raises(ConfigError, match="text-generation"):
        core.pipeline("make-coffee")
