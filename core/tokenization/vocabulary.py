"""What every tokenizer knows of its tokens: ids, the special ones and their roles, and how both are added to."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer

from core.errors import TokenizerError, printable
from core.tokenization.convert import token_text
from core.tokenization.layout import Layout

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def added_token(token: Any, special: bool = True) -> AddedToken:
    """A text, an object with flags as files write it, or an AddedToken."""
    if isinstance(token, AddedToken):
        token.special = special or token.special
        return token
    flags = {name: bool(token[name]) for name in FLAGS if name in token} if isinstance(token, dict) else {}
    text = token_text(token)
    if not text:
        raise TokenizerError("A special token needs a text of at least one character.")
    return AddedToken(text, **({"normalized": not special, "special": special} | flags))


class Vocabulary:
    """Tokens and ids of one `tokenizers.Tokenizer`; `settings` are the keys of tokenizer_config.json."""

    layout: ClassVar[Layout] = Layout()
    backend_tokenizer: Tokenizer
    settings: dict[str, Any]
    additional_special_tokens: list[str]

    def _take_special_tokens(self) -> None:
        """Roles from the settings; the layout's defaults where the vocabulary has them. Tokens that are new are added."""
        there = {token.content for token in self.backend_tokenizer.get_added_tokens_decoder().values()}
        new: list[AddedToken] = []
        for name in SPECIAL:
            value = self.settings.get(name)
            if value is None and name not in self.settings:
                default = self.layout.defaults.get(name)
                value = default if self._id(token_text(default)) is not None else None
            setattr(self, name, token_text(value))
            new += [added_token(value)] if value else []
        extra = self.settings.get("additional_special_tokens") or self.settings.get("extra_special_tokens") or []
        extra = list(extra.values()) if isinstance(extra, dict) else extra
        if not isinstance(extra, list):
            raise TokenizerError(f"additional_special_tokens is a list of tokens, not {printable(repr(extra), 60)}.")
        self.additional_special_tokens = [text for token in extra if (text := token_text(token))]
        new += [added_token(token) for token in extra if token_text(token)]
        self.backend_tokenizer.add_special_tokens([token for token in new if token.content not in there])

    # ------------------------------------------------------------------ sizes and tables

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
    def vocab(self) -> dict[str, int]:
        """Token -> id."""
        return self.get_vocab()

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """id -> token, of those that are matched whole before the model sees a text."""
        return dict(sorted(self.backend_tokenizer.get_added_tokens_decoder().items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Their texts -> id."""
        return {token.content: number for number, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """Their texts -> id."""
        return self.added_tokens_encoder

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Role -> token, as special_tokens_map.json has them."""
        roles: dict[str, Any] = {name: getattr(self, name) for name in SPECIAL if getattr(self, name)}
        return roles | ({"additional_special_tokens": self.additional_special_tokens} if self.additional_special_tokens else {})

    @property
    def all_special_tokens(self) -> list[str]:
        """The tokens that are not text."""
        tokens = [*(getattr(self, name) for name in SPECIAL), *self.additional_special_tokens]
        return list(dict.fromkeys(token for token in tokens if token))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [number for token in self.all_special_tokens if (number := self._id(token)) is not None]

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """The ids of those without a role."""
        return self.convert_tokens_to_ids(self.additional_special_tokens)

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    def _token(self, number: int) -> str | None:
        return self.backend_tokenizer.id_to_token(number) if 0 <= number < 1 << 32 else None

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_token_id") and name.removesuffix("_id") in SPECIAL:
            return self._id(getattr(self, name.removesuffix("_id")))
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        if name.endswith("_token_id") and name.removesuffix("_id") in SPECIAL:
            name, value = name.removesuffix("_id"), None if value is None else self.convert_ids_to_tokens(value)
        elif name in SPECIAL:
            value = token_text(value)
        object.__setattr__(self, name, value)

    # ------------------------------------------------------------------ adding

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add tokens, texts or AddedTokens, to the vocabulary; how many were new."""
        given = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens]
        before = self.get_vocab()
        tokens = [added_token(token, special_tokens) for token in given]
        (self.backend_tokenizer.add_special_tokens if special_tokens else self.backend_tokenizer.add_tokens)(tokens)
        return len({token.content for token in tokens} - set(before))

    def add_special_tokens(
        self, special_tokens_dict: dict[str, Any], replace_additional_special_tokens: bool = True, **kwargs: Any
    ) -> int:
        """{"pad_token": "<pad>", "additional_special_tokens": […]}; how many were new."""
        count = 0
        for name, value in special_tokens_dict.items():
            if name in ("additional_special_tokens", "extra_special_tokens"):
                kept = [] if replace_additional_special_tokens else self.additional_special_tokens
                texts = [text for token in value if (text := token_text(token))]
                self.additional_special_tokens = list(dict.fromkeys([*kept, *texts]))
            elif name in SPECIAL:
                setattr(self, name, value)
            else:
                raise TokenizerError(f"'{name}' is no kind of special token; kinds: {', '.join(SPECIAL)}.")
            count += self.add_tokens(value, special_tokens=True)
        return count

    # ------------------------------------------------------------------ one by one

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Token or tokens -> id or ids, unknown ones as the unknown token."""
        if tokens is None:
            return None
        if isinstance(tokens, str):
            found = self._id(tokens)
            return self._id(self.unk_token) if found is None else found
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Id or ids -> token or tokens."""
        if isinstance(ids, int | np.integer) or (isinstance(ids, torch.Tensor) and ids.dim() == 0):
            return self._token(int(ids))
        skip = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token(int(i)) for i in ids if int(i) not in skip]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Tokens -> text."""
        decoder = self.backend_tokenizer.decoder
        return decoder.decode(list(tokens)) if decoder else " ".join(tokens)

    def get_special_tokens_mask(
        self, token_ids_0: Iterable[int], token_ids_1: Any = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 on the special tokens of ids that have them already."""
        if not already_has_special_tokens or token_ids_1 is not None:
            raise TokenizerError(
                "Give the whole row with already_has_special_tokens=True, or call with return_special_tokens_mask."
            )
        special = set(self.all_special_ids)
        return [int(number in special) for number in token_ids_0]
