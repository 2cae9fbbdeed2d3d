"""AutoTokenizer: from a folder, a GGUF file or a name to a tokenizer."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from core.errors import TokenizerError
from core.tokenization.base import PreTrainedTokenizer
from core.tokenization.convert import from_byte_bpe, from_gguf, from_wordpiece


class BertTokenizer(PreTrainedTokenizer):
    """WordPiece, from vocab.txt or tokenizer.json."""


class GPT2Tokenizer(PreTrainedTokenizer):
    """Byte-level BPE, from vocab.json and merges.txt or tokenizer.json."""


class LlamaTokenizer(PreTrainedTokenizer):
    """From tokenizer.json."""


BertTokenizerFast, GPT2TokenizerFast, LlamaTokenizerFast = BertTokenizer, GPT2Tokenizer, LlamaTokenizer
PreTrainedTokenizerFast = PreTrainedTokenizer
CLASSES = {"Bert": BertTokenizer, "GPT2": GPT2Tokenizer, "Llama": LlamaTokenizer}


class AutoTokenizer:
    """Tokenizers by name."""

    @staticmethod
    def from_pretrained(pretrained_model_name_or_path: str | Path, **kwargs: Any) -> PreTrainedTokenizer:
        """The tokenizer of a folder, a GGUF file, a starter or a hub name. Raises TokenizerError naming file and fault."""
        return load(pretrained_model_name_or_path, None, **kwargs)


def load(
    name: str | Path,
    cls: type[PreTrainedTokenizer] | None,
    *,
    gguf_file: str | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    cache_dir: str | None = None,
    token: str | None = None,
    local_files_only: bool = False,
    use_fast: bool = True,
    **overrides: Any,
) -> Any:
    """See AutoTokenizer; `cls` None chooses by tokenizer_config.json."""
    from core.checkpoints.resolve import resolve

    where = {"revision": revision, "subfolder": subfolder, "cache_dir": cache_dir, "token": token}
    path = resolve(str(name), local_files_only=local_files_only, **where)  # type: ignore[arg-type]
    path = path / gguf_file if gguf_file else path
    backend, settings = _from_gguf_file(path) if path.suffix == ".gguf" else _from_folder(path)
    settings |= overrides
    if cls is None:
        kind = str(settings.get("tokenizer_class", ""))
        cls = next((found for prefix, found in CLASSES.items() if kind.startswith(prefix)), PreTrainedTokenizer)
    tokenizer = cls(backend, settings)
    tokenizer.name_or_path = str(name)
    return tokenizer


def _from_gguf_file(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    from core.checkpoints.gguf import GGUFFile

    with GGUFFile(path) as file:
        return from_gguf(file.metadata, path)


def _from_folder(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    settings = {**_json(path / "special_tokens_map.json"), **_json(path / "tokenizer_config.json")}
    template = path / "chat_template.jinja"
    if template.is_file():
        settings["chat_template"] = template.read_text(encoding="utf-8")
    try:
        for file, make in (
            ("tokenizer.json", lambda: Tokenizer.from_file(str(path / "tokenizer.json"))),
            ("vocab.txt", lambda: from_wordpiece(path / "vocab.txt", settings)),
            ("merges.txt", lambda: from_byte_bpe(path / "vocab.json", path / "merges.txt", settings)),
        ):
            if (path / file).is_file():
                return make(), settings if file != "vocab.txt" else {**_bert_tokens(), **settings}
    except TokenizerError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception
        raise TokenizerError(f"{path / file} is not a tokenizer file: {error}.") from error
    raise TokenizerError(f"{path} has no tokenizer: no tokenizer.json, vocab.txt, or vocab.json with merges.txt.")


def _bert_tokens() -> dict[str, str]:
    names = ("unk", "sep", "pad", "cls", "mask")
    return {"tokenizer_class": "BertTokenizer", **{f"{name}_token": f"[{name.upper()}]" for name in names}}


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise TokenizerError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise TokenizerError(f"{path} holds a {type(values).__name__}, not a JSON object.")
    return values
