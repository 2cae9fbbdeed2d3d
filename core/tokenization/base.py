"""PreTrainedTokenizer: the reference's interface over one `tokenizers.Tokenizer`."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from tokenizers import AddedToken, Encoding, Tokenizer

from core.errors import TokenizerError
from core.tokenization.batch import BatchEncoding
from core.tokenization.templates import render

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
NO_LIMIT = int(1e30)


class PreTrainedTokenizer:
    """Text to ids and back.

    `tokenizer` does the work; `settings` are the keys of tokenizer_config.json, kept and written back.
    """

    padding_side: str = "right"
    truncation_side: str = "right"
    model_input_names: ClassVar[tuple[str, ...]] = ("input_ids", "token_type_ids", "attention_mask")

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any] | None = None) -> None:
        self.backend_tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.settings = dict(settings or {})
        for name in SPECIAL:
            value = self.settings.get(name)
            setattr(self, name, value["content"] if isinstance(value, dict) else value)
        self.additional_special_tokens = [
            token["content"] if isinstance(token, dict) else token
            for token in self.settings.get("additional_special_tokens") or []
        ]
        self.chat_template: str | None = _default_template(self.settings.get("chat_template"))
        self.model_max_length = int(min(self.settings.get("model_max_length") or NO_LIMIT, NO_LIMIT))
        self.padding_side = self.settings.get("padding_side", self.padding_side)
        self.truncation_side = self.settings.get("truncation_side", self.truncation_side)
        self.input_names = self.settings.get("model_input_names") or self._guess_input_names()
        self.name_or_path = ""
        known = [token for token in (*(getattr(self, n) for n in SPECIAL), *self.additional_special_tokens) if token]
        there = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
        tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in known if t not in there])

    def _guess_input_names(self) -> list[str]:
        if str(self.settings.get("tokenizer_class", "")).startswith("Bert"):
            return ["input_ids", "token_type_ids", "attention_mask"]
        return ["input_ids", "attention_mask"]

    # ------------------------------------------------------------------ from and to files

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **overrides: Any) -> Self:
        """Load as AutoTokenizer does."""
        from core.tokenization.auto import load

        return load(name_or_path, cls, **overrides)

    def save_pretrained(self, folder: str | Path) -> tuple[str, ...]:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json, as the reference reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        special = {name: getattr(self, name) for name in SPECIAL if getattr(self, name)}
        if self.additional_special_tokens:
            special["additional_special_tokens"] = self.additional_special_tokens
        settings = {**self.settings, **special, "padding_side": self.padding_side, "truncation_side": self.truncation_side}
        settings["model_max_length"] = self.model_max_length
        if self.chat_template:
            settings["chat_template"] = self.chat_template
        settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
        texts = {
            "tokenizer.json": self.backend_tokenizer.to_str(pretty=True),
            "tokenizer_config.json": json.dumps(settings, indent=2, ensure_ascii=False) + "\n",
            "special_tokens_map.json": json.dumps(special, indent=2, ensure_ascii=False) + "\n",
        }
        for name, text in texts.items():
            part = folder / f"{name}.part"
            part.write_text(text, encoding="utf-8")
            part.replace(folder / name)
        return tuple(str(folder / name) for name in texts)

    # ------------------------------------------------------------------ vocabulary

    @property
    def vocab_size(self) -> int:
        """Tokens without the added ones."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def get_vocab(self) -> dict[str, int]:
        """Token -> id."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    @property
    def all_special_tokens(self) -> list[str]:
        """The tokens that are not text."""
        tokens = [*(getattr(self, name) for name in SPECIAL), *self.additional_special_tokens]
        return list(dict.fromkeys(token for token in tokens if token))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [self._id(token) for token in self.all_special_tokens]  # type: ignore[misc]

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_token_id") and name.removesuffix("_id") in SPECIAL:
            return self._id(getattr(self, name.removesuffix("_id")))
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.endswith("_token_id") and name.removesuffix("_id") in SPECIAL:
            name, value = name.removesuffix("_id"), None if value is None else self.convert_ids_to_tokens(value)
        object.__setattr__(self, name, value)

    def add_tokens(self, tokens: str | Sequence[str], special_tokens: bool = False) -> int:
        """Add tokens to the vocabulary; how many were new."""
        new = [tokens] if isinstance(tokens, str) else list(tokens)
        add = self.backend_tokenizer.add_special_tokens if special_tokens else self.backend_tokenizer.add_tokens
        return add(new)  # type: ignore[arg-type]

    def add_special_tokens(self, tokens: dict[str, Any]) -> int:
        """{"pad_token": "<pad>", "additional_special_tokens": […]}; how many were new."""
        count = 0
        for name, value in tokens.items():
            if name not in (*SPECIAL, "additional_special_tokens"):
                raise TokenizerError(f"'{name}' is no kind of special token; kinds: {', '.join(SPECIAL)}.")
            count += self.add_tokens(value, special_tokens=True)
            setattr(self, name, list(value) if name == "additional_special_tokens" else value)
        return count

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Token or tokens -> id or ids, unknown ones as the unknown token."""
        if isinstance(tokens, str):
            found = self.backend_tokenizer.token_to_id(tokens)
            return self._id(self.unk_token) if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Id or ids -> token or tokens."""
        if isinstance(ids, int | np.integer) or (isinstance(ids, torch.Tensor) and ids.dim() == 0):
            return self.backend_tokenizer.id_to_token(int(ids))
        skip = set(self.all_special_ids) if skip_special_tokens else set()
        return [self.backend_tokenizer.id_to_token(int(i)) for i in ids if int(i) not in skip]

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        """The tokens of a text, without special ones."""
        return self.backend_tokenizer.encode(text, add_special_tokens=False).tokens

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
        **kwargs: Any,
    ) -> BatchEncoding:
        """A text, a pair, a batch of either, or words -> input_ids, attention_mask and what else was asked for.

        padding: True or "longest", "max_length", False. truncation: True or "longest_first", "only_first", "only_second", False.
        """
        single = isinstance(text, str) or (is_split_into_words and bool(text) and isinstance(text[0], str))
        if not single and not isinstance(text, list | tuple):
            raise TokenizerError(f"A tokenizer takes a text or a list of texts, not {type(text).__name__}.")
        texts = [text] if single else list(text)
        if text_pair is None:
            items = [tuple(item) if isinstance(item, tuple | list) and not is_split_into_words else item for item in texts]
        else:
            pairs = [text_pair] if single else list(text_pair)
            if len(pairs) != len(texts):
                raise TokenizerError(f"There are {len(texts)} texts and {len(pairs)} second texts: each needs its own.")
            items = list(zip(texts, pairs, strict=True))
        self._set_truncation(truncation, max_length, stride)
        try:
            encodings = self.backend_tokenizer.encode_batch(
                items, is_pretokenized=is_split_into_words, add_special_tokens=add_special_tokens
            )
        except (TypeError, ValueError) as error:
            raise TokenizerError(f"That is no text to tokenize: {error}.") from None
        finally:
            self.backend_tokenizer.no_truncation()
        sample = list(range(len(encodings)))
        if return_overflowing_tokens:
            sample = [i for i, encoding in enumerate(encodings) for _ in range(1 + len(encoding.overflowing))]
            encodings = [part for encoding in encodings for part in (encoding, *encoding.overflowing)]
        self._pad_encodings(encodings, padding, max_length, pad_to_multiple_of, padding_side)
        data: dict[str, Any] = {"input_ids": [e.ids for e in encodings]}
        if "token_type_ids" in self.input_names if return_token_type_ids is None else return_token_type_ids:
            data["token_type_ids"] = [e.type_ids for e in encodings]
        if return_attention_mask is not False:
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
            data = {key: value[0] for key, value in data.items()}
        return BatchEncoding(data, encodings, return_tensors)

    def _set_truncation(self, truncation: bool | str | None, max_length: int | None, stride: int) -> None:
        if truncation in (None, False, "do_not_truncate"):
            return
        length = max_length or self.model_max_length
        if length < NO_LIMIT:
            strategy = "longest_first" if truncation is True else str(truncation)
            if strategy not in ("longest_first", "only_first", "only_second"):
                raise TokenizerError(f"truncation must be True, longest_first, only_first or only_second, not {strategy!r}.")
            self.backend_tokenizer.enable_truncation(length, stride=stride, strategy=strategy, direction=self.truncation_side)

    def _pad_encodings(
        self, encodings: list[Encoding], padding: Any, max_length: int | None, multiple: int | None, side: str | None
    ) -> None:
        if padding in (False, "do_not_pad") or not encodings:
            return
        if self.pad_token is None:
            raise TokenizerError(
                "This tokenizer has no padding token: set one, such as tokenizer.pad_token = tokenizer.eos_token."
            )
        length = max(len(e.ids) for e in encodings)
        if padding == "max_length":
            length = max_length or (self.model_max_length if self.model_max_length < NO_LIMIT else length)
        if multiple:
            length = -(-length // multiple) * multiple
        for encoding in encodings:
            encoding.pad(length, direction=side or self.padding_side, pad_id=self.pad_token_id, pad_token=self.pad_token)

    def encode(self, text: Any, text_pair: Any = None, add_special_tokens: bool = True, **kwargs: Any) -> Any:
        """The ids alone."""
        return self(text, text_pair, add_special_tokens, **kwargs)["input_ids"]

    def pad(
        self,
        encoded: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Rows of input_ids and their masks, as a list of dictionaries or a dictionary of lists, made even."""
        rows = (
            encoded
            if isinstance(encoded, list)
            else [dict(zip(encoded, values, strict=True)) for values in zip(*encoded.values(), strict=True)]
        )
        rows = [{k: v.tolist() if hasattr(v, "tolist") else list(v) for k, v in row.items()} for row in rows]
        length = max(len(row["input_ids"]) for row in rows)
        if padding == "max_length" and max_length:
            length = max_length
        if pad_to_multiple_of:
            length = -(-length // pad_to_multiple_of) * pad_to_multiple_of
        fill = {
            "input_ids": self.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": 0,
            "special_tokens_mask": 1,
            "labels": -100,
        }
        data: dict[str, list] = {}
        for row in rows:
            row.setdefault("attention_mask", [1] * len(row["input_ids"]))
            for key, value in row.items():
                extra = [fill.get(key, 0)] * (length - len(value))
                data.setdefault(key, []).append(value + extra if self.padding_side == "right" else extra + value)
        return BatchEncoding(data, None, return_tensors)

    # ------------------------------------------------------------------ ids -> text

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None, **kwargs: Any
    ) -> Any:
        """The text of ids (tokens,), or of each row of (batch, tokens)."""
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        ids = [ids] if isinstance(ids, int) else list(ids)
        if ids and isinstance(ids[0], list):
            return self.batch_decode(ids, skip_special_tokens, clean_up_tokenization_spaces)
        text = self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        clean = self.settings.get("clean_up_tokenization_spaces", False)
        return _tidy(text) if (clean if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces) else text

    def batch_decode(self, sequences: Iterable[Any], skip_special_tokens: bool = False, *args: Any, **kwargs: Any) -> list[str]:
        """The text of each row."""
        return [self.decode(row, skip_special_tokens, *args, **kwargs) for row in sequences]

    # ------------------------------------------------------------------ chat

    def apply_chat_template(
        self,
        conversation: Any,
        tools: list[Any] | None = None,
        documents: list[dict[str, str]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        padding: bool | str = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_dict: bool = False,
        return_assistant_tokens_mask: bool = False,
        **values: Any,
    ) -> Any:
        """Messages [{"role", "content"}], or a batch of such, -> text (tokenize=False), ids, or a BatchEncoding (return_dict).

        Raises TokenizerError where there is no template or it refuses the messages.
        """
        template = chat_template or self.chat_template
        if not template:
            raise TokenizerError("This tokenizer has no chat template: give chat_template, or use a model made for chat.")
        if not isinstance(conversation, list | tuple) or not conversation:
            raise TokenizerError("A conversation is a list of messages with at least one message.")
        batched = isinstance(conversation[0], list | tuple)
        texts, spans = [], []
        for messages in conversation if batched else [conversation]:
            for message in messages:
                if not isinstance(message, dict) or "role" not in message:
                    raise TokenizerError(f"A message is a dictionary with role and content, not {message!r}.")
            special = {name: getattr(self, name) for name in SPECIAL if getattr(self, name)}
            given = {"tools": tools, "documents": documents, "add_generation_prompt": add_generation_prompt}
            text = render(template, messages=messages, **special, **given, **values)
            if continue_final_message:
                last = str(messages[-1]["content"]).strip()
                text = text[: text.rindex(last) + len(last)]
            texts.append(text)
            spans.append(messages)
        if not tokenize:
            return texts if batched else texts[0]
        options = {"padding": padding, "truncation": truncation, "max_length": max_length, "return_tensors": return_tensors}
        out = self(texts if batched or return_tensors else texts[0], add_special_tokens=False, **options)
        if return_assistant_tokens_mask:
            from core.tokenization.loss_mask import assistant_spans

            masks = [assistant_spans(self, messages)[1] for messages in spans]
            out["assistant_masks"] = masks if batched else masks[0]
        return out if return_dict else out["input_ids"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, chat={bool(self.chat_template)})"


def _default_template(value: Any) -> str | None:
    """A template, or the default one of several named ones."""
    if isinstance(value, list):
        value = {entry.get("name"): entry.get("template") for entry in value}
    return value.get("default") if isinstance(value, dict) else value


def _tidy(text: str) -> str:
    """Spaces before punctuation and English contractions removed."""
    for mark in (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {mark}", mark)
    return text.replace(" ' ", "'")
