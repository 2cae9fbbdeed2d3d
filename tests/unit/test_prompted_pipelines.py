"""A chat model that does a task since its configuration says what to ask it."""

import logging
from pathlib import Path
from typing import Any

import pytest

from core import AutoModelForCausalLM, AutoTokenizer, pipeline
from core.errors import ConfigError, DataError

TEXT = "The ferry from Dover to Calais was late on Tuesday, as a storm had closed the harbour for six hours. Nobody was hurt."
PROMPT = "Say in one sentence what this text tells.\n\n{text}"


@pytest.fixture(scope="module")
def asked(smollm2: Path) -> tuple[Any, Any]:
    """SmolLM2 with a prompt for summaries, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    model.config.task_specific_params = {"summarization": {"prompt": PROMPT, "max_new_tokens": 20, "do_sample": False}}
    return model, AutoTokenizer.from_pretrained(smollm2)


def test_a_summary_is_the_answer_to_the_prompt(asked: tuple[Any, Any]) -> None:
    model, tokenizer = asked
    found = pipeline("summarization", model, tokenizer)(TEXT)
    chat = pipeline("text-generation", model, tokenizer)
    talk = chat([{"role": "user", "content": PROMPT.replace("{text}", TEXT)}], max_new_tokens=20, do_sample=False)
    assert found == [{"summary_text": talk[0]["generated_text"][-1]["content"]}] and "ferry" in found[0]["summary_text"].lower()
    both = pipeline("summarization", model, tokenizer)([TEXT, TEXT[:60]], max_new_tokens=8)
    assert len(both) == 2 and all(answer["summary_text"] for answer in both)


def test_too_long_a_text_is_cut_and_said(asked: tuple[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    model, tokenizer = asked
    reach, model.config.max_position_embeddings = model.config.max_position_embeddings, 400
    try:
        with caplog.at_level(logging.WARNING):
            assert pipeline("summarization", model, tokenizer)(TEXT * 20, max_new_tokens=2)[0]["summary_text"]
    finally:
        model.config.max_position_embeddings = reach
    assert "tokens" in caplog.text and "cut" in caplog.text


def test_without_a_prompt_and_without_a_text(asked: tuple[Any, Any]) -> None:
    model, tokenizer = asked
    with pytest.raises(ConfigError, match="cannot do translation"):
        pipeline("translation", model, tokenizer)
    with pytest.raises(DataError, match="empty"):
        pipeline("summarization", model, tokenizer)(" ")
