"""What a model answers while it is trained: greedy, so that the training's random numbers stay."""

from typing import Any

import torch

from core.trainer.data import detect_format, to_messages
from core.trainer.metrics import rouge_1


def answers(model: Any, tokenizer: Any, conversations: list[list[dict[str, str]]], size: int = 16) -> list[str]:
    """The greedy answers of up to 64 tokens, a few at a time, rows of like length together."""
    prompts = [tokenizer.apply_chat_template(talk, add_generation_prompt=True) for talk in conversations]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = [""] * len(prompts)
    training = model.training
    model.eval()
    for begin in range(0, len(order), size):
        own = order[begin : begin + size]
        width = max(len(prompts[i]) for i in own)
        pad = tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (width - len(prompts[i])) + list(prompts[i]) for i in own])
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in own])
        place = {"inputs": ids.to(model.device), "attention_mask": mask.to(model.device)}
        out = model.generate(**place, max_new_tokens=64, do_sample=False)
        for i, row in zip(own, out[:, width:], strict=True):
            found[i] = tokenizer.decode(row, skip_special_tokens=True)
    model.train(training)
    return found


def judge(model: Any, tokenizer: Any, rows: list[dict[str, Any]], system: str | None = None) -> dict[str, float]:
    """Of the model's own answers to instruction rows: the share that is word for word the row's, and the mean ROUGE-1 with it; a row's
    `references`, a list of texts, are as right as its answer."""
    talks = [to_messages(row, detect_format([row]), system) for row in rows]
    places = [next(i for i, message in enumerate(talk) if message["role"] == "assistant") for talk in talks]
    given = answers(model, tokenizer, [talk[:place] for talk, place in zip(talks, places, strict=True)])
    right = [talk[place]["content"].strip() for talk, place in zip(talks, places, strict=True)]
    truths = [[wanted, *(row.get("references") or [])] for wanted, row in zip(right, rows, strict=True)]
    pairs = list(zip(given, truths, strict=True))
    return {
        "exact_match": sum(answer.strip() in wanted for answer, wanted in pairs) / len(rows),
        "rouge_1": sum(max(rouge_1(answer, text) for text in wanted) for answer, wanted in pairs) / len(rows),
    }
