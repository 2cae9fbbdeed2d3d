"""Tokens as a person can read them, where a token may be a part of a character."""

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any

SHOWN = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
JOINERS = ("Cc", "Cf", "Zl", "Zp", "Co", "Cn")  # categories of characters that show nothing of themselves
CIRCLE = "◌"  # carries a mark that has no letter of its own


def readable_tokens(tokenizer: Any, ids: list[int]) -> list[str]:
    """The tokens of a text, in their order: spaces as ·, line ends as ↵, special tokens as they are written.

    A character that several tokens make up together is shown in each of them, with which part it is: 你⟨1/3⟩ 你⟨2/3⟩ 你⟨3/3⟩.
    Bytes that make up no character are ⟨E2 82⟩.
    """
    shown = [readable_token(tokenizer, token_id) for token_id in ids]
    parts = [_part_of(tokenizer, token_id) for token_id in ids]
    begin = 0
    while begin < len(ids):
        end = begin
        while end < len(ids) and parts[end] is not None:
            end += 1
        if end > begin:
            shown[begin:end] = _joined([part for part in parts[begin:end] if part is not None])
        begin = end + 1
    return shown


def readable_token(tokenizer: Any, token_id: int) -> str:
    """A token by itself, such as one that could stand where another does."""
    token = tokenizer.convert_ids_to_tokens(token_id) or f"#{token_id}"
    if token_id in tokenizer.all_special_ids:
        return token
    if (part := _part_of(tokenizer, token_id)) is not None:
        return _joined([part])[0]
    text = token.replace("▁", " ") if "▁" in token else tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
    return _visible(text) or token


def _part_of(tokenizer: Any, token_id: int) -> bytes | None:
    """The bytes of a token that is no whole text by itself."""
    token = tokenizer.convert_ids_to_tokens(token_id) or ""
    if token_id in tokenizer.all_special_ids:
        return None
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):  # SentencePiece's fallback
        return bytes([int(token[3:5], 16)])
    if "\ufffd" in tokenizer.decode([token_id], clean_up_tokenization_spaces=False) and all(c in _byte_of() for c in token):
        return bytes(_byte_of()[c] for c in token)
    return None


def _joined(parts: list[bytes]) -> list[str]:
    """What each of these neighbours shows of the text that their bytes make up."""
    whole = b"".join(parts)
    owner = [number for number, part in enumerate(parts) for _ in part]
    shown = [""] * len(parts)
    for begin, end, text in _characters(whole, owner):
        holders = list(dict.fromkeys(owner[begin:end]))
        for place, holder in enumerate(holders, 1):
            if text is None:
                shown[holder] += f"⟨{whole[begin:end].hex(' ').upper()}⟩"
            else:
                shown[holder] += _visible(text) + (f"⟨{place}/{len(holders)}⟩" if len(holders) > 1 else "")
    return shown


def _characters(data: bytes, owner: list[int]) -> Iterator[tuple[int, int, str | None]]:
    """(begin, end, character) through UTF-8; None for bytes of one owner's that make up none."""
    lost = begin = 0
    while begin <= len(data):
        found = next((end for end in range(begin + 1, begin + 5) if _is_character(data[begin:end])), None)
        if lost < begin and (found or begin == len(data) or owner[begin] != owner[lost]):
            yield lost, begin, None
            lost = begin
        if found:
            yield begin, found, data[begin:found].decode()
            lost = found
        begin = found or begin + 1


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


def _visible(text: str) -> str:
    shown = "".join(SHOWN.get(c) or (f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in JOINERS else c) for c in text)
    return CIRCLE + shown if shown and unicodedata.category(shown[0]) in ("Mn", "Me") else shown


@cache
def _byte_of() -> dict[str, int]:
    """The characters that byte-level BPE writes for bytes. Radford et al. 2019."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(rest)}
