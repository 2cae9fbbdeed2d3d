"""Which tokens of a conversation the assistant wrote, for training on its answers only."""

from typing import Any

from core.errors import TokenizerError


def assistant_spans(tokenizer: Any, messages: list[dict[str, Any]]) -> tuple[list[int], list[int]]:
    """ids of the whole conversation and a mask of the same length: 1 on each answer and the token that ends it.

    Works for any template that renders a beginning of the conversation as a beginning of the whole. Raises TokenizerError for one
    that does not.
    """
    whole, spans = assistant_characters(tokenizer, messages)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    mask = [int(any(start >= low and end <= high and end > start for low, high in spans)) for start, end in offsets]
    return list(encoded["input_ids"]), mask


def assistant_characters(tokenizer: Any, messages: list[dict[str, Any]]) -> tuple[str, list[tuple[int, int]]]:
    """The whole text, and from where to where each answer with its end stands in it."""
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    spans = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = tokenizer.apply_chat_template(messages[:i], tokenize=False, add_generation_prompt=True) if i else ""
        after = tokenizer.apply_chat_template(messages[: i + 1], tokenize=False)
        if not whole.startswith(before) or not whole.startswith(after):
            raise TokenizerError("The chat template rewrites earlier turns, so the assistant's tokens cannot be told apart.")
        spans.append((len(before), len(before) + len(after[len(before) :].rstrip())))
    return whole, spans
