"""Vocabularies of other files as a `tokenizers.Tokenizer`: BERT's vocab.txt, GPT-2's vocab.json with merges.txt, GGUF's."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from core.errors import TokenizerError

CONTROL = 3  # GGUF's token type of tokens that are not text


def from_wordpiece(path: Path, settings: dict[str, Any]) -> Tokenizer:
    """BERT: one token a line."""
    tokens = path.read_text(encoding="utf-8").split("\n")
    vocabulary = {token: i for i, token in enumerate(tokens) if token}
    if "[UNK]" not in vocabulary:
        raise TokenizerError(f"{path} has no token [UNK]: it is not a WordPiece vocabulary.")
    lower = settings.get("do_lower_case", True)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=lower,
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    cls, sep = vocabulary["[CLS]"], vocabulary["[SEP]"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return tokenizer


def from_byte_bpe(vocabulary: Path, merges: Path, settings: dict[str, Any]) -> Tokenizer:
    """GPT-2: byte-level BPE."""
    ids = json.loads(vocabulary.read_text(encoding="utf-8"))
    lines = merges.read_text(encoding="utf-8").split("\n")
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    tokenizer = Tokenizer(models.BPE(ids, pairs))  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=settings.get("add_prefix_space", False))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def from_gguf(metadata: dict[str, Any], path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """A byte-level BPE vocabulary and the settings a tokenizer_config.json would hold. Raises TokenizerError."""
    if metadata.get("tokenizer.ggml.model") != "gpt2":
        raise TokenizerError(
            f"{path}: its tokenizer is {metadata.get('tokenizer.ggml.model')!r}; supported in GGUF: gpt2 (byte-level BPE)."
        )
    try:
        tokens, merges = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.merges"]
        ids = {token: i for i, token in enumerate(tokens)}
        tokenizer = Tokenizer(models.BPE(ids, [tuple(merge.split(" ")) for merge in merges]))
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise TokenizerError(f"{path}: its vocabulary is damaged: {error}.") from error
    tokenizer.pre_tokenizer = _pre_tokenizer(str(metadata.get("tokenizer.ggml.pre", "default")))
    tokenizer.decoder = decoders.ByteLevel()
    kinds = metadata.get("tokenizer.ggml.token_type", [])
    control = [token for token, kind in zip(tokens, kinds, strict=False) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    settings: dict[str, Any] = {"tokenizer_class": "GPT2TokenizerFast", "clean_up_tokenization_spaces": False}
    for key, name in (("bos", "bos_token"), ("eos", "eos_token"), ("padding", "pad_token"), ("unknown", "unk_token")):
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(number, int) and number < len(tokens):
            settings[name] = tokens[number]
    settings["additional_special_tokens"] = [token for token in control if token not in settings.values()]
    if template := metadata.get("tokenizer.chat_template"):
        settings["chat_template"] = template
    if length := metadata.get(f"{metadata.get('general.architecture')}.context_length"):
        settings["model_max_length"] = length
    return tokenizer, settings


def _pre_tokenizer(kind: str) -> pre_tokenizers.PreTokenizer:
    """How a text is cut before merging, by GGUF's name for it."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if kind in ("smollm", "starcoder", "refact", "command-r"):
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    if kind == "qwen2":
        pattern = (
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return byte_level
