"""A text in another language."""

from typing import Any

import torch

from core.errors import ConfigError
from core.pipelines.base import Piece
from core.pipelines.options import Option
from core.pipelines.text2text_generation import Text2TextGenerationPipeline


class TranslationPipeline(Text2TextGenerationPipeline):
    """`pipeline("translation_en_to_fr", model)("Hello")` -> [{"translation_text": …}].

    A model of several languages needs src_lang and tgt_lang, as its tokenizer names them; the task's name may say them too.
    """

    task = "translation"
    name = "translation"
    options = (
        *Text2TextGenerationPipeline.options,
        Option("src_lang", None, "The language of the text, for a model of several."),
        Option("tgt_lang", None, "The language to translate to, for a model of several."),
    )

    def settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """With the languages that the task's name says."""
        values = super().settings(given)
        named = self.asked.split("_")
        if len(named) == 4 and values["src_lang"] is None and values["tgt_lang"] is None:
            values |= {"src_lang": named[1], "tgt_lang": named[3]}
        return values

    def _code(self, language: str | None) -> str:
        """The tokenizer's code of a language, which may be given by its beginning: en -> en_XX. Raises ConfigError."""
        codes = list(self.tokenizer.lang_code_to_id)
        fitting = [code for code in codes if language and (code == language or code.split("_")[0] == language)]
        if not fitting:
            raise ConfigError(f"src_lang and tgt_lang must be languages of this model, not {language!r}: {', '.join(codes)}.")
        return fitting[0]

    @property
    def _several(self) -> bool:
        return hasattr(self.tokenizer, "lang_code_to_id")

    def prepare(self, item: Any, options: dict[str, Any]) -> list[Piece]:
        """One piece, in its language."""
        if self._several:
            self.tokenizer.src_lang = self._code(options["src_lang"])
        return super().prepare(item, options)

    def forward(self, inputs: dict[str, torch.Tensor], options: dict[str, Any]) -> list[Any]:
        """(answers, tokens) a row, beginning with the language."""
        if self._several:
            options = {"forced_bos_token_id": self.tokenizer.lang_code_to_id[self._code(options["tgt_lang"])], **options}
        return super().forward(inputs, options)
