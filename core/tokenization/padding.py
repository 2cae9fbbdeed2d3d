"""Rows of different lengths made even or cut."""

from typing import Any

from tokenizers import Encoding

from core.errors import TokenizerError

PADDINGS = {False: None, None: None, "do_not_pad": None, True: "longest", "longest": "longest", "max_length": "max_length"}
TRUNCATIONS = {None: None, False: None, "do_not_truncate": None, True: "longest_first"} | {
    name: name for name in ("longest_first", "only_first", "only_second")
}
FILL = {"attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1, "labels": -100}


def truncation_of(truncation: Any, limit: int, stride: int, side: str) -> dict[str, Any] | None:
    """What `tokenizers` is told, or None where nothing is cut. Raises TokenizerError."""
    truncation = getattr(truncation, "value", truncation)
    if not isinstance(truncation, bool | str | None) or truncation not in TRUNCATIONS:
        raise TokenizerError(f"truncation must be True, longest_first, only_first or only_second, not {truncation!r}.")
    strategy = TRUNCATIONS[truncation]
    if strategy is None:
        return None
    if not 0 <= stride < limit:
        raise TokenizerError(f"stride must be at least 0 and below max_length ({limit}), not {stride}.")
    return {"max_length": limit, "stride": stride, "strategy": strategy, "direction": side}


def _length(tokenizer: Any, longest: int, padding: Any, limit: int | None, multiple: int | None) -> int | None:
    """Tokens a row shall have, or None where nothing is to be done. Raises TokenizerError."""
    padding = getattr(padding, "value", padding)
    if not isinstance(padding, bool | str | None) or padding not in PADDINGS:
        raise TokenizerError(f"padding must be True, longest, max_length or False, not {padding!r}.")
    strategy = PADDINGS[padding]
    if strategy is None or (strategy == "max_length" and limit is None):
        return None
    if tokenizer.pad_token_id is None:
        raise TokenizerError("This tokenizer has no padding token: set one, such as tokenizer.pad_token = tokenizer.eos_token.")
    length = limit if strategy == "max_length" and limit else longest
    return -(-length // multiple) * multiple if multiple else length


def pad_encodings(
    tokenizer: Any, encodings: list[Encoding], padding: Any, limit: int | None, multiple: int | None, side: str | None
) -> None:
    """Pad in place."""
    length = _length(tokenizer, max((len(e.ids) for e in encodings), default=0), padding, limit, multiple)
    if length is not None:
        pad, token = tokenizer._id(tokenizer.pad_token), tokenizer.pad_token
        for encoding in encodings:
            encoding.pad(length, direction=side or tokenizer.padding_side, pad_id=pad, pad_token=token)


def _plain(values: Any) -> list[Any]:
    return values.tolist() if hasattr(values, "tolist") else list(values)


def pad_rows(
    tokenizer: Any, encoded: Any, padding: Any, limit: int | None, multiple: int | None, side: str | None, mask: bool | None
) -> dict[str, list[Any]]:
    """Rows, or columns of rows, or one row -> columns of even rows."""
    columns = {key: [row[key] for row in encoded] for key in encoded[0]} if isinstance(encoded, list | tuple) else dict(encoded)
    if "input_ids" not in columns:
        raise TokenizerError(f"Rows to pad need input_ids; these have {', '.join(map(str, columns)) or 'nothing'}.")
    columns = {key: _plain(value) for key, value in columns.items()}
    single = bool(columns["input_ids"]) and isinstance(columns["input_ids"][0], int)
    columns = {key: [_plain(row) for row in ([rows] if single else rows)] for key, rows in columns.items()}
    ids = columns["input_ids"]
    if "attention_mask" in tokenizer.model_input_names if mask is None else mask:
        columns.setdefault("attention_mask", [[1] * len(row) for row in ids])
    length = _length(tokenizer, max(map(len, ids), default=0), padding, limit, multiple)
    if length is not None:
        fill = FILL | {"input_ids": tokenizer.pad_token_id}
        right = (side or tokenizer.padding_side) == "right"
        for key, rows in columns.items():
            extra = [[fill.get(key, 0)] * (length - len(row)) for row in rows]
            columns[key] = [row + more if right else more + row for row, more in zip(rows, extra, strict=True)]
    return {key: rows[0] for key, rows in columns.items()} if single else columns
