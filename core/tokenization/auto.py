"""AutoTokenizer: from a folder, a GGUF file or a name to a tokenizer."""

from pathlib import Path
from typing import Any

from core.checkpoints.bundled import base_of
from core.checkpoints.checkpoint import CTRANSLATE2, is_ctranslate2
from core.errors import TokenizerError
from core.tokenization import named, speech, translation
from core.tokenization.backend import read_backend
from core.tokenization.base import PreTrainedTokenizer
from core.tokenization.convert import read_json, read_text
from core.tokenization.gguf_vocabulary import from_gguf
from core.tokenization.vocabulary import added_token

CLASSES: dict[str, type[PreTrainedTokenizer]] = {
    name: found
    for module in (named, translation, speech)
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, PreTrainedTokenizer)
}
# config.json's model_type, where tokenizer_config.json names no class
BY_MODEL = {
    "albert": "AlbertTokenizer",
    "bart": "BartTokenizer",
    "bert": "BertTokenizer",
    "camembert": "CamembertTokenizer",
    "clip": "CLIPTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "gpt2": "GPT2Tokenizer",
    "gpt_bigcode": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "llama": "LlamaTokenizer",
    "marian": "MarianTokenizer",
    "mbart": "MBartTokenizer",
    "mistral": "LlamaTokenizer",
    "mixtral": "LlamaTokenizer",
    "mt5": "T5Tokenizer",
    "opt": "GPT2Tokenizer",
    "phi3": "LlamaTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "roberta": "RobertaTokenizer",
    "starcoder2": "GPT2Tokenizer",
    "t5": "T5Tokenizer",
    "wav2vec2": "Wav2Vec2CTCTokenizer",
    "whisper": "WhisperTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
# the files of a folder, where nothing names a class; the first match counts
BY_FILE = (
    ("source.spm", "MarianTokenizer"),
    ("vocab.txt", "BertTokenizer"),
    ("merges.txt", "GPT2Tokenizer"),
    ("spiece.model", "T5Tokenizer"),
    ("sentencepiece.bpe.model", "XLMRobertaTokenizer"),
    ("spm.model", "DebertaV2Tokenizer"),
    ("tokenizer.model", "LlamaTokenizer"),
    ("vocab.json", "Wav2Vec2CTCTokenizer"),
)


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
    """See AutoTokenizer; `cls` None chooses by tokenizer_config.json, then config.json, then the files."""
    from core.checkpoints.resolve import resolve

    where = {"revision": revision, "subfolder": subfolder, "cache_dir": cache_dir, "token": token}
    path = resolve(str(name), weights=False, local_files_only=local_files_only, **where)  # type: ignore[arg-type]
    path = path / gguf_file if gguf_file else path
    if not (path / "tokenizer_config.json").is_file() and (base := base_of(path)):  # an adapter reads as its base does
        path = resolve(base, weights=False)
    try:
        tokenizer = _from_gguf_file(path, cls, overrides) if path.suffix == ".gguf" else _from_folder(path, cls, overrides)
    except TokenizerError as error:
        if str(path) in str(error):
            raise
        config = path / "tokenizer_config.json"  # what is wrong there is found where it is used
        raise TokenizerError(f"{config if config.is_file() else path}: {error}") from error
    tokenizer.name_or_path = str(name)
    return tokenizer


def _from_gguf_file(path: Path, cls: type[PreTrainedTokenizer] | None, overrides: dict[str, Any]) -> PreTrainedTokenizer:
    from core.checkpoints.gguf import GGUFFile

    with GGUFFile(path) as file:
        backend, settings = from_gguf(file.metadata, path)
    settings |= overrides
    return (cls or CLASSES[settings["tokenizer_class"]])(backend, settings, complete=False)


def _from_folder(path: Path, cls: type[PreTrainedTokenizer] | None, overrides: dict[str, Any]) -> PreTrainedTokenizer:
    settings = {**read_json(path / "special_tokens_map.json"), **read_json(path / "tokenizer_config.json")}
    settings |= _chat_templates(path) | overrides
    whole = path / "tokenizer.json"
    if cls is None or cls is PreTrainedTokenizer:
        cls = _class(path, settings)
    ready = whole.is_file() and not any((path / file).is_file() for file in ("source.spm",))
    if ready:
        backend = read_backend(whole)
        if cls is speech.WhisperTokenizer:  # CTranslate2 leaves the settings out
            settings = {**cls.layout.defaults, **settings}
    elif cls.layout.build:
        settings = {**cls.layout.defaults, **settings}
        backend = cls.layout.build(path, settings)
        backend.add_tokens(_added_tokens(path, settings))
    else:
        raise TokenizerError(f"{path} has no tokenizer: no tokenizer.json, and no vocabulary file of those known.")
    if cls is translation.MarianTokenizer:
        settings["folder"] = str(path)
    tokenizer = cls(backend, settings, complete=ready)
    if ready and {"add_bos_token", "add_eos_token"} & set(overrides):
        tokenizer.update_post_processor()
    return tokenizer


def _class(path: Path, settings: dict[str, Any]) -> type[PreTrainedTokenizer]:
    """By the class's name, the model's type, or the files that there are."""
    kind = str(settings.get("tokenizer_class") or "")
    if found := CLASSES.get(kind) or CLASSES.get(kind.removesuffix("Fast")):
        return found
    if (path / CTRANSLATE2).is_file() and is_ctranslate2(path / CTRANSLATE2):  # of such files only Whisper's are read
        return speech.WhisperTokenizer
    if (path / "tokenizer.json").is_file():
        return PreTrainedTokenizer
    model_type = read_json(path / "config.json").get("model_type")
    names = [BY_MODEL[model_type]] if isinstance(model_type, str) and model_type in BY_MODEL else []
    names += [name for file, name in BY_FILE if (path / file).is_file()]
    return next((CLASSES[n] for n in names if any((path / f).is_file() for f in CLASSES[n].layout.files)), PreTrainedTokenizer)


def _added_tokens(path: Path, settings: dict[str, Any]) -> list[Any]:
    """Those beside the vocabulary file, in the order of their ids."""
    found: dict[int, Any] = {}
    for token, number in read_json(path / "added_tokens.json").items():
        found[_number(number, path / "added_tokens.json")] = added_token(token, special=False)
    listed = settings.get("added_tokens_decoder") or {}
    if not isinstance(listed, dict):
        raise TokenizerError(f"{path / 'tokenizer_config.json'}: added_tokens_decoder is no object.")
    for number, token in listed.items():
        found[_number(number, path / "tokenizer_config.json")] = added_token(token, special=False)
    return [found[number] for number in sorted(found)]


def _number(value: Any, path: Path) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise TokenizerError(f"{path}: an added token has the id {value!r}.") from None


def _chat_templates(path: Path) -> dict[str, Any]:
    """chat_template.jinja, and those by name beside it; nothing where there are none."""
    named = {file.stem: read_text(file) for file in sorted((path / "additional_chat_templates").glob("*.jinja"))}
    if (path / "chat_template.jinja").is_file():
        named["default"] = read_text(path / "chat_template.jinja")
    return {"chat_template": named} if named else {}
