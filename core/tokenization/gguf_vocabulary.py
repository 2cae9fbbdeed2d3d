"""The vocabulary of a GGUF file as a tokenizer, with the settings that a tokenizer_config.json would hold.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Token types are SentencePiece's.
"""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, normalizers

from core.errors import TokenizerError, printable
from core.tokenization import convert
from core.tokenization.spm import BPE, CONTROL, NORMAL, UNIGRAM, UNKNOWN, USER_DEFINED, Pieces

ROLES = (
    ("bos", "bos_token"),
    ("eos", "eos_token"),
    ("padding", "pad_token"),
    ("unknown", "unk_token"),
    ("seperator", "sep_token"),  # the format's own spelling
    ("cls", "cls_token"),
    ("mask", "mask_token"),
)
# How a text is cut before merging, by GGUF's name for it: a pattern, or whether digits stand alone.
CUTS: dict[str, dict[str, Any]] = {
    name: options
    for options, names in (
        ({}, "default gpt-2 gpt2 phi-2 jina-es jina-de mpt olmo jais roberta-bpe"),
        ({"digits": True}, "smollm starcoder refact command-r codeshell exaone"),
        ({"words": convert.LLAMA3_WORDS}, "llama-bpe llama3 llama-v3 smaug-bpe falcon3 dbrx"),
        ({"words": convert.QWEN2_WORDS}, "qwen2 deepseek-r1-qwen stablelm2 megrez"),
    )
    for name in names.split()
}
BEGINS = ("llama-bpe", "llama3", "llama-v3", "falcon3")  # those whose texts begin with bos unless the file says no


def from_gguf(metadata: dict[str, Any], path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """The backend and its settings. Raises TokenizerError naming file and fault."""

    def get(key: str, default: Any = None) -> Any:
        return metadata.get(f"tokenizer.ggml.{key}", default)

    kind = get("model")
    makers = {"gpt2": _byte_bpe, "llama": _pieces, "gemma": _pieces, "t5": _pieces, "bert": _word_piece}
    if kind not in makers:
        raise TokenizerError(f"{path}: its tokenizer is {printable(repr(kind), 40)}; supported in GGUF: {', '.join(makers)}.")
    tokens = get("tokens")
    if not isinstance(tokens, list) or not tokens or not all(isinstance(token, str) for token in tokens):
        raise TokenizerError(f"{path}: its vocabulary is damaged: tokenizer.ggml.tokens is no list of texts.")
    types = get("token_type") or [NORMAL] * len(tokens)
    if not isinstance(types, list) or len(types) != len(tokens):
        raise TokenizerError(f"{path}: its vocabulary is damaged: there are {len(tokens)} tokens, and not as many types.")
    if len(set(tokens)) != len(tokens):
        raise TokenizerError(f"{path}: its vocabulary is damaged: a token stands twice.")
    settings: dict[str, Any] = {"clean_up_tokenization_spaces": kind == "bert"}
    for key, name in ROLES:
        number = get(f"{key}_token_id", get("separator_token_id") if key == "seperator" else None)
        if type(number) is int and 0 <= number < len(tokens):
            settings[name] = tokens[number]
    tokenizer, own = makers[kind](get, tokens, types, settings, path)
    settings = own | settings
    control = [token for token, number in zip(tokens, types, strict=True) if number == CONTROL]
    symbols = [token for token, number in zip(tokens, types, strict=True) if number == USER_DEFINED]
    if kind in ("gpt2", "bert"):  # the pieces' own are found already
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control if token])
        tokenizer.add_tokens([AddedToken(token, normalized=False) for token in symbols if token])
    settings["additional_special_tokens"] = [token for token in control if token and token not in settings.values()]
    for key in ("add_bos_token", "add_eos_token"):
        if isinstance(get(key), bool):
            settings[key] = get(key)
    if isinstance(template := metadata.get("tokenizer.chat_template"), str):
        settings["chat_template"] = template
    if isinstance(length := metadata.get(f"{metadata.get('general.architecture')}.context_length"), int):
        settings["model_max_length"] = length
    return tokenizer, settings


def _byte_bpe(get: Any, tokens: list[str], types: list[int], settings: dict[str, Any], path: Path) -> Any:
    """GPT-2's and its heirs'."""
    pre, merges = str(get("pre", "default")), get("merges")
    if pre not in CUTS:
        raise TokenizerError(f"{path}: its texts are cut by '{printable(pre, 40)}'; supported: {', '.join(CUTS)}.")
    if not isinstance(merges, list) or not all(isinstance(merge, str) and " " in merge[1:] for merge in merges):
        raise TokenizerError(f"{path}: its vocabulary is damaged: tokenizer.ggml.merges is no list of pairs.")
    ids = {token: i for i, token in enumerate(tokens)}
    pairs = [(merge[: (at := merge.index(" ", 1))], merge[at + 1 :]) for merge in merges]
    tokenizer = convert.byte_bpe(convert.bpe(ids, pairs, path), bool(get("add_space_prefix", False)), **CUTS[pre])
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    name = "Qwen2Tokenizer" if pre == "qwen2" else "GPT2Tokenizer"
    return tokenizer, {"tokenizer_class": name, "add_bos_token": pre in BEGINS}


def _pieces(get: Any, tokens: list[str], types: list[int], settings: dict[str, Any], path: Path) -> Any:
    """SentencePiece's: BPE for llama, unigram for t5."""
    unigram = get("model") == "t5"
    scores = get("scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise TokenizerError(f"{path}: its vocabulary is damaged: there are {len(tokens)} tokens, and not as many scores.")
    try:
        charsmap = bytes(value & 255 for value in get("precompiled_charsmap") or [])
    except TypeError:
        raise TokenizerError(f"{path}: its vocabulary is damaged: its normalisation table is no list of bytes.") from None
    if UNKNOWN not in types and settings.get("unk_token"):
        types = [UNKNOWN if token == settings["unk_token"] else number for token, number in zip(tokens, types, strict=True)]
    pieces = Pieces(
        list(tokens),
        [float(score) for score in scores],
        list(types),
        model=UNIGRAM if unigram else BPE,
        charsmap=charsmap,
        byte_fallback="<0x00>" in tokens,
        dummy_prefix=bool(get("add_space_prefix", True)),
        strip_spaces=bool(get("remove_extra_whitespaces", unigram)),
    )
    pieces.check(path)
    return convert.sentence_pieces(pieces, path), {"tokenizer_class": "T5Tokenizer" if unigram else "LlamaTokenizer"}


def _word_piece(get: Any, tokens: list[str], types: list[int], settings: dict[str, Any], path: Path) -> Any:
    """BERT's, where a file writes `▁` before what begins a word instead of `##` before what goes on."""

    def named(token: str, kind: int) -> str:
        if kind == CONTROL or (token.startswith("[") and token.endswith("]")):
            return token
        return token[1:] if token.startswith(convert.SPACE) else f"##{token}"

    marked = any(token.startswith(convert.SPACE) and len(token) > 1 for token in tokens)
    plain = [named(token, kind) for token, kind in zip(tokens, types, strict=True)] if marked else tokens
    ids = {token: i for i, token in enumerate(plain)}
    for key, name in ROLES:
        number = get(f"{key}_token_id")
        if name in settings and type(number) is int:
            settings[name] = plain[number]
    tokenizer = convert.word_piece(ids, settings, path)
    return tokenizer, {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
