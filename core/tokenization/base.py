"""PreTrainedTokenizer: the reference's interface over one `tokenizers.Tokenizer`."""

import copy
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tokenizers import Encoding, Tokenizer

from core.errors import TokenizerError, one_line, printable
from core.tokenization.backend import guarded
from core.tokenization.batch import BatchEncoding
from core.tokenization.chat import Chat
from core.tokenization.convert import token_text
from core.tokenization.padding import pad_encodings, pad_rows, truncation_of
from core.tokenization.vocabulary import SPECIAL, Vocabulary

NO_LIMIT = int(1e30)
SIDES = ("right", "left")


class PreTrainedTokenizer(Chat, Vocabulary):
    """Text to ids and back.

    `tokenizer` does the work; `settings` are the keys of tokenizer_config.json, kept and written back.
    """

    is_fast = True
    padding_side: str = "right"
    truncation_side: str = "right"

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any] | None = None, *, complete: bool = True) -> None:
        """complete: the backend has its post-processor already, as a tokenizer.json has; else the layout's is set."""
        self.backend_tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.settings = dict(settings or {})
        self._take_special_tokens()
        self._take_chat_templates(self.settings.get("chat_template"))
        limit = self.settings.get("model_max_length")
        self.model_max_length = int(min(limit, NO_LIMIT)) if isinstance(limit, int | float) and limit >= 1 else NO_LIMIT
        for name in ("padding_side", "truncation_side"):
            setattr(self, name, self.settings.get(name) or getattr(type(self), name))
            if getattr(self, name) not in SIDES:
                raise TokenizerError(f"{name} must be right or left, not '{printable(str(getattr(self, name)), 60)}'.")
        names = self.settings.get("model_input_names")
        self.model_input_names = names if isinstance(names, list) and names else list(self.layout.inputs)
        self.name_or_path = ""
        if not complete:
            self.update_post_processor()

    def update_post_processor(self) -> None:
        """Set what stands around a text from the layout and the settings."""
        roles = {name.removesuffix("_token"): getattr(self, name) for name in SPECIAL}
        found = self.layout.post_processor(self.backend_tokenizer, self.settings, roles)
        if found is not None:
            self.backend_tokenizer.post_processor = found

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = copy.copy(self)
        memo[id(self)] = new
        for name, value in vars(self).items():
            again = Tokenizer.from_str(value.to_str()) if isinstance(value, Tokenizer) else copy.deepcopy(value, memo)
            object.__setattr__(new, name, again)
        return new

    # ------------------------------------------------------------------ from and to files

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **overrides: Any) -> Self:
        """Load as AutoTokenizer does."""
        from core.tokenization.auto import load

        return load(pretrained_model_name_or_path, cls, **overrides)

    def save_pretrained(self, save_directory: str | Path) -> tuple[str, ...]:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json, as the reference reads them."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        special = self.special_tokens_map
        settings = {**self.settings, **special, "padding_side": self.padding_side, "truncation_side": self.truncation_side}
        for name in set(SPECIAL) - set(special):
            settings.pop(name, None)
        settings["model_max_length"] = self.model_max_length
        settings.pop("chat_template", None)
        if self.chat_templates:
            only = self.chat_templates.get("default") if len(self.chat_templates) == 1 else None
            named = [{"name": name, "template": text} for name, text in self.chat_templates.items()]
            settings["chat_template"] = only or named
        if type(self) is not PreTrainedTokenizer:
            settings["tokenizer_class"] = type(self).__name__
        settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
        texts = {
            **self._vocabulary_files(),
            "tokenizer_config.json": _json(settings),
            "special_tokens_map.json": _json(special),
        }
        for name, text in texts.items():
            part = folder / f"{name}.part"
            part.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
            part.replace(folder / name)
        return tuple(str(folder / name) for name in texts)

    def _vocabulary_files(self) -> dict[str, str | bytes]:
        """Name -> content of the files that hold the vocabulary."""
        return {"tokenizer.json": self.backend_tokenizer.to_str(pretty=True)}

    # ------------------------------------------------------------------ text -> ids

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        text_target: Any = None,
        text_pair_target: Any = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """A text, a pair, a batch of either, or words -> input_ids, attention_mask and what else was asked for.

        padding: True or "longest", "max_length", False. truncation: True or "longest_first", "only_first", "only_second", False.
        text_target: what a sequence-to-sequence model shall answer; beside a text its ids are `labels`.
        """
        options = {name: value for name, value in locals().items() if name not in ("self", "kwargs", "__class__")}
        target, target_pair = options.pop("text_target"), options.pop("text_pair_target")
        if target is not None:
            with self.as_target_tokenizer():
                answer = self(**{**options, "text": target, "text_pair": target_pair})
            if text is None:
                return answer
            encoded = self(**options)
            encoded["labels"] = answer["input_ids"]
            return encoded
        single, items = _items(text, text_pair, is_split_into_words)
        if max_length is not None and padding is False and truncation is None:
            truncation = True
        limit = max_length or self.model_max_length
        options = truncation_of(truncation, limit, stride, self.truncation_side)
        encodings = self._encode(items, add_special_tokens, is_split_into_words, options if limit < NO_LIMIT else None)
        sample = list(range(len(encodings)))
        if return_overflowing_tokens:
            sample = [i for i, encoding in enumerate(encodings) for _ in range(1 + len(encoding.overflowing))]
            encodings = [part for encoding in encodings for part in (encoding, *encoding.overflowing)]
        pad_encodings(self, encodings, padding, limit if limit < NO_LIMIT else None, pad_to_multiple_of, padding_side)
        data: dict[str, Any] = {"input_ids": [self._ids(e) for e in encodings]}
        if "token_type_ids" in self.model_input_names if return_token_type_ids is None else return_token_type_ids:
            data["token_type_ids"] = [e.type_ids for e in encodings]
        if "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask:
            data["attention_mask"] = [e.attention_mask for e in encodings]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [e.special_tokens_mask for e in encodings]
        if return_offsets_mapping:
            data["offset_mapping"] = [e.offsets for e in encodings]
        if return_length:
            data["length"] = [len(e.ids) for e in encodings]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = sample
        if single and return_tensors is None and not return_overflowing_tokens:
            data = {key: value[0] if key != "length" else value for key, value in data.items()}
        return BatchEncoding(data, encodings, return_tensors)

    def _encode(self, items: list[Any], special: bool, words: bool, truncation: dict[str, Any] | None) -> list[Encoding]:
        backend = self.backend_tokenizer

        def refused(error: BaseException) -> TokenizerError:
            if truncation and "runcation" in str(error):
                limit = f"{truncation['max_length']} tokens by truncation='{truncation['strategy']}'"
                return TokenizerError(f"A pair cannot be cut to {limit}: the text that would be cut is too short.")
            if isinstance(error, TypeError | UnicodeError):
                return TokenizerError(f"That is no text to tokenize: {one_line(error)}.")
            return TokenizerError(
                f"The tokenizer of {self.name_or_path} fails on a text; its files do not fit: {one_line(error)}."
            )

        try:
            if truncation:
                backend.enable_truncation(**truncation)
            return guarded(lambda: backend.encode_batch(items, is_pretokenized=words, add_special_tokens=special), refused)
        finally:
            backend.no_truncation()

    def _ids(self, encoding: Encoding) -> list[int]:
        """The model's ids, where the backend counts otherwise."""
        return encoding.ids

    def encode(self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **kwargs: Any) -> Any:
        """The ids alone."""
        return self(text, text_pair, add_special_tokens, **kwargs)["input_ids"]

    encode_plus = batch_encode_plus = __call__

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """The tokens of a text, without special ones."""
        return self(text, pair, add_special_tokens).tokens()

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many tokens stand around a text or a pair."""
        return self.backend_tokenizer.num_special_tokens_to_add(pair)

    @contextmanager
    def as_target_tokenizer(self) -> Iterator[None]:
        """Within it, texts are answers: of the target language, where a tokenizer makes a difference."""
        yield

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Rows of input_ids and their masks, as a list of dictionaries or a dictionary of lists, made even."""
        data = pad_rows(self, encoded_inputs, padding, max_length, pad_to_multiple_of, padding_side, return_attention_mask)
        return BatchEncoding(data, None, return_tensors)

    # ------------------------------------------------------------------ ids -> text

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None, **kwargs: Any
    ) -> Any:
        """The text of ids (tokens,), or of each row of (batch, tokens)."""
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        ids = [ids] if isinstance(ids, int) else [row.tolist() if hasattr(row, "tolist") else row for row in ids]
        if ids and isinstance(ids[0], list | tuple):
            return self.batch_decode(ids, skip_special_tokens, clean_up_tokenization_spaces, **kwargs)

        def refused(error: BaseException) -> TokenizerError:
            if isinstance(error, TypeError | OverflowError):
                return TokenizerError(f"Only ids from 0 on can be decoded: {one_line(error)}.")
            return TokenizerError(f"The tokenizer of {self.name_or_path} fails on ids; its files do not fit: {one_line(error)}.")

        text = guarded(lambda: self._text_of(ids, skip_special_tokens, **kwargs), refused)
        clean = self.settings.get("clean_up_tokenization_spaces", False)
        return _tidy(text) if (clean if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces) else text

    def _text_of(self, ids: list[int], skip_special_tokens: bool) -> str:
        return self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)

    def batch_decode(self, sequences: Iterable[Any], skip_special_tokens: bool = False, *args: Any, **kwargs: Any) -> list[str]:
        """The text of each row."""
        return [self.decode(row, skip_special_tokens, *args, **kwargs) for row in sequences]

    @staticmethod
    def clean_up_tokenization(out_string: str) -> str:
        """Without spaces before punctuation and English contractions."""
        return _tidy(out_string)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, chat={bool(self.chat_template)})"


def _items(text: Any, text_pair: Any, words: bool) -> tuple[bool, list[Any]]:
    """Whether it is one text, and the texts or pairs as the backend takes them."""
    single = isinstance(text, str) or (words and isinstance(text, list | tuple) and (not text or isinstance(text[0], str)))
    if not single and not isinstance(text, list | tuple):
        raise TokenizerError(f"A tokenizer takes a text or a list of texts, not {type(text).__name__}.")
    texts = [text] if single else list(text)
    if text_pair is None:
        return single, [tuple(item) if isinstance(item, tuple | list) and not words else item for item in texts]
    if not single and isinstance(text_pair, str):
        raise TokenizerError("A list of texts needs a list of second texts, not one text.")
    pairs = [text_pair] if single else list(text_pair)
    if len(pairs) != len(texts):
        raise TokenizerError(f"There are {len(texts)} texts and {len(pairs)} second texts: each needs its own.")
    return single, list(zip(texts, pairs, strict=True))


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False, default=token_text) + "\n"


def _tidy(text: str) -> str:
    """Spaces before punctuation and English contractions removed, in the reference's order."""
    for mark in (".", "?", "!", ","):
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'")
    for mark in ("n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {mark}", mark)
    return text
