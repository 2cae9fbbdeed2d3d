"""Rows as conversations, and conversations as ids with labels on the answers."""

from typing import Any

from core.errors import DataError
from core.tokenization.readable import readable_tokens
from core.trainer.reading import place_of

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
PAIRS = [("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("input", "output")]


def detect_format(rows: list[dict[str, Any]]) -> str:
    """messages, sharegpt, alpaca, prompt_completion or text, by the first row's fields. Raises DataError for none of them."""
    fields = set(rows[0])
    if "messages" in fields:
        return "messages"
    if "conversations" in fields:
        return "sharegpt"
    if {"instruction", "output"} <= fields:
        return "alpaca"
    if any(set(pair) <= fields for pair in PAIRS):
        return "prompt_completion"
    if "text" in fields:
        return "text"
    known = "messages; conversations; instruction and output; prompt and completion; question and answer; text"
    raise DataError(f"The fields {', '.join(sorted(map(str, fields)))} are none that can be trained on: {known}.")


def to_messages(row: dict[str, Any], format: str, system: str | None = None) -> list[dict[str, str]]:
    """A row as a conversation. Raises DataError where a field is missing or no text."""
    try:
        if format == "messages":
            messages = [{"role": ROLES[m["role"]], "content": m["content"]} for m in row["messages"]]
        elif format == "sharegpt":
            messages = [{"role": ROLES[m["from"]], "content": m["value"]} for m in row["conversations"]]
        elif format == "alpaca":
            asked = f"{row['instruction']}\n\n{row['input']}" if row.get("input") else row["instruction"]
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]
            if row.get("system"):
                messages.insert(0, {"role": "system", "content": row["system"]})
        else:
            asked, answer = next(pair for pair in PAIRS if set(pair) <= set(row))
            messages = [{"role": "user", "content": row[asked]}, {"role": "assistant", "content": row[answer]}]
    except (KeyError, TypeError, StopIteration) as error:
        raise DataError(f"it lacks or misnames a field: {error}") from None
    if not messages or not all(isinstance(message["content"], str) for message in messages):
        raise DataError("a message has no text")
    if system and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return messages


def encode_row(
    tokenizer: Any, row: dict[str, Any], format: str, max_length: int, system: str | None = None
) -> dict[str, list[int]]:
    """input_ids and labels, -100 outside the answers; cut to max_length."""
    if format == "text":
        if not isinstance(row.get("text"), str):
            raise DataError("its field text is no text")
        ids = tokenizer(row["text"], add_special_tokens=True)["input_ids"]
        if tokenizer.eos_token_id is not None:
            ids = [*ids, tokenizer.eos_token_id]
        return {"input_ids": ids[:max_length], "labels": ids[:max_length]}
    from core.tokenization import assistant_spans

    ids, mask = assistant_spans(tokenizer, to_messages(row, format, system))
    labels = [token if kept else -100 for token, kept in zip(ids, mask, strict=True)]
    return {"input_ids": ids[:max_length], "labels": labels[:max_length]}


def encode_rows(
    tokenizer: Any, rows: list[dict[str, Any]], max_length: int, system: str | None = None
) -> list[dict[str, list[int]]]:
    """All rows; those whose answer lies wholly beyond max_length are left out. Raises DataError with the row's number."""
    format, found = detect_format(rows), []
    for number, row in enumerate(rows, 1):
        try:
            encoded = encode_row(tokenizer, row, format, max_length, system)
        except DataError as error:
            raise DataError(f"{place_of(row, number)}: {error}.") from error
        if any(label != -100 for label in encoded["labels"][1:]):
            found.append(encoded)
    if not found:
        raise DataError(f"No row has an answer within {max_length} tokens: raise max_length.")
    return found


def preview(
    tokenizer: Any, rows: list[dict[str, Any]], count: int, max_length: int, system: str | None = None
) -> list[list[tuple[str, bool]]]:
    """The first rows as readable tokens and whether each is learned."""
    encoded = encode_rows(tokenizer, rows[:count], max_length, system)
    return [
        list(zip(readable_tokens(tokenizer, row["input_ids"]), (label != -100 for label in row["labels"]), strict=True))
        for row in encoded
    ]
