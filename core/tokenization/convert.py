"""Vocabularies of other files as a `tokenizers.Tokenizer`: WordPiece, byte-level BPE, CLIP's BPE, SentencePiece, characters."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from core.errors import TokenizerError, one_line, printable
from core.tokenization.spm import BPE, BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Pieces

SPACE = "▁"
NEVER = -1e4
GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_WORDS = LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises TokenizerError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path} cannot be read: {one_line(error)}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file. Raises TokenizerError."""
    try:
        values = json.loads(read_text(path)) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        if isinstance(error, TokenizerError):
            raise
        raise TokenizerError(f"{path} cannot be read as JSON: {one_line(error)}.") from error
    if not isinstance(values, dict):
        raise TokenizerError(f"{path} holds a {type(values).__name__}, not a JSON object.")
    return values


def read_ids(path: Path) -> dict[str, int]:
    """vocab.json: token -> id, each id used once. Raises TokenizerError."""
    ids = read_json(path)
    if not ids:
        raise TokenizerError(f"{path} is missing or holds no tokens.")
    for token, number in ids.items():
        if type(number) is not int or not 0 <= number < 1 << 31:
            raise TokenizerError(f"{path}: the token '{printable(token, 40)}' has the id {printable(repr(number), 40)}.")
    if len(set(ids.values())) != len(ids):
        raise TokenizerError(f"{path}: two tokens have the same id.")
    return ids


def read_merges(path: Path) -> list[tuple[str, str]]:
    """merges.txt: two tokens a line, the first line may name a version. Raises TokenizerError."""
    pairs = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip() and not (number == 1 and line.startswith("#version")):
            left, _, right = line.rstrip("\r").partition(" ")
            if not left or not right or " " in right:
                raise TokenizerError(f"{path}, line {number}: '{printable(line, 40)}' is not two tokens with a space between.")
            pairs.append((left, right))
    return pairs


def bpe(ids: dict[str, int], merges: Sequence[tuple[str, str]], path: Path, **options: Any) -> models.BPE:
    """The BPE model, or TokenizerError where a merge names what is no token."""
    try:
        return models.BPE(ids, list(merges), **options)
    except Exception as error:  # the tokenizers library raises plain Exception
        raise TokenizerError(f"{path}: its merges do not fit its vocabulary: {one_line(error)}.") from error


def word_piece(ids: dict[str, int], settings: dict[str, Any], path: Path) -> Tokenizer:
    """BERT's: longest piece first, `##` before what continues a word. Devlin et al. 2018."""
    unknown = token_text(settings.get("unk_token")) or "[UNK]"
    if unknown not in ids:
        raise TokenizerError(f"{path} has no token {printable(unknown, 40)}: it is not a WordPiece vocabulary.")
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=bool(settings.get("do_lower_case", True)),
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def byte_bpe(model: models.BPE, prefix_space: bool = False, words: str | None = None, digits: bool = False) -> Tokenizer:
    """GPT-2's: bytes as printable characters, merged within the words that the pattern cuts. Radford et al. 2019."""
    tokenizer = Tokenizer(model)
    if words:
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), bytes_only])
    elif digits:
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def clip_bpe(model: models.BPE) -> Tokenizer:
    """CLIP's: lower case, byte-level, `</w>` at the end of words. Radford et al. 2021."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    cut = pre_tokenizers.Split(Regex(CLIP_WORDS), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def characters(ids: dict[str, int], settings: dict[str, Any]) -> Tokenizer:
    """Wav2Vec2's: one character a token, a delimiter between words. Tokens of several characters are found whole."""
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=token_text(settings.get("unk_token")) or "<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", str(settings.get("word_delimiter_token") or "|"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    long = sorted((number, token) for token, number in ids.items() if len(token) > 1)
    tokenizer.add_tokens([AddedToken(token, lstrip=True, rstrip=True, normalized=False) for _, token in long])
    return tokenizer


def sentence_pieces(
    pieces: Pieces, path: Path, *, before: Sequence[Any] = (), punctuation: bool = False, first_only: bool = False
) -> Tokenizer:
    """SentencePiece's, unigram or BPE, with its own normalisation: charsmap, spaces joined and stripped, `▁` for a space.

    before: normalizers of the architecture; first_only: the prefix space stands before the text only, not after special tokens.
    Kudo and Richardson 2018.
    """
    try:
        tokenizer = Tokenizer(_piece_model(pieces))
        steps = [*before, *([normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else [])]
    except Exception as error:  # the tokenizers library raises plain Exception
        raise TokenizerError(f"{path}: no tokenizer can be made of its pieces: {one_line(error)}.") from error
    if pieces.strip_spaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    symbols = [token for token, kind in zip(pieces.tokens, pieces.types, strict=True) if kind == USER_DEFINED]
    cuts: list[Any] = [pre_tokenizers.Punctuation("isolated")] if punctuation else []
    whole = any(SPACE in token[1:] for token, kind in zip(pieces.tokens, pieces.types, strict=True) if kind == NORMAL)
    if pieces.dummy_prefix and (first_only or punctuation):
        cuts.append(pre_tokenizers.Metaspace(SPACE, "first" if first_only else "always", split=not whole))
    else:
        steps += [normalizers.Prepend(SPACE)] if pieces.dummy_prefix else []
        steps.append(normalizers.Replace(" ", SPACE))
        cuts += [] if whole else [pre_tokenizers.Split(SPACE, "merged_with_next")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    if symbols and pieces.dummy_prefix:  # as added tokens they would put a prefix space behind themselves
        longest_first = "|".join(re.escape(token) for token in sorted(symbols, key=len, reverse=True))
        cuts.append(pre_tokenizers.Split(Regex(longest_first), "isolated"))
    if cuts:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    parts = [decoders.Replace(SPACE, " "), *([decoders.ByteFallback()] if pieces.byte_fallback else []), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*parts, *([decoders.Strip(" ", 1, 0)] if pieces.dummy_prefix else [])])
    if not pieces.dummy_prefix:  # raw text holds spaces, so a symbol with ▁ is only found after normalisation
        tokenizer.add_tokens([AddedToken(token, normalized=SPACE in token) for token in symbols])
    special = [token for token, kind in zip(pieces.tokens, pieces.types, strict=True) if kind in (CONTROL, UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def _piece_model(pieces: Pieces) -> Any:
    if pieces.model != BPE:
        # a text that spells out such a token is text: the token must never be worth its score
        scores = [NEVER if kind in (BYTE, UNUSED) else score for score, kind in zip(pieces.scores, pieces.types, strict=True)]
        scored = list(zip(pieces.tokens, scores, strict=True))
        return models.Unigram(scored, unk_id=pieces.unknown, byte_fallback=pieces.byte_fallback)
    ids = {token: i for i, token in enumerate(pieces.tokens)}
    options = {"fuse_unk": True, "byte_fallback": pieces.byte_fallback, "unk_token": pieces.tokens[pieces.unknown]}
    options["ignore_merges"] = USER_DEFINED in pieces.types  # such a symbol is whole without merges
    return models.BPE(ids, merges_of(pieces, ids), **options)


def merges_of(pieces: Pieces, ids: dict[str, int]) -> list[tuple[str, str]]:
    """The merges that make each piece of two others, best score first: how SentencePiece itself merges."""
    usable = {
        token for token, kind in zip(pieces.tokens, pieces.types, strict=True) if kind not in (CONTROL, UNKNOWN, UNUSED, BYTE)
    }
    found = []
    for token, score in zip(pieces.tokens, pieces.scores, strict=True):
        if token in usable:
            for cut in range(1, len(token)):
                left, right = token[:cut], token[cut:]
                if left in usable and right in usable:
                    found.append((-score, ids[token], ids[left], ids[right], (left, right)))
    found.sort()
    return [pair for *_, pair in found]


def token_text(token: Any) -> str | None:
    """The text of a special token, which files write as a text or as an object with its flags."""
    text = token.get("content") if isinstance(token, dict) else getattr(token, "content", token)
    if text is not None and not isinstance(text, str):
        raise TokenizerError(f"A special token is a text, not {printable(repr(text), 60)}.")
    return text or None
