"""Every error a person can cause or meet, as one tree. Each message says what was wrong, where, and what to do.

VitrineError
├── CheckpointError   a file or folder of weights cannot be used (also FileNotFoundError-like causes)
│   └── HubError      a name cannot be fetched: offline, missing, gated
├── ConfigError       a config.json or an argument of a model is wrong
├── TokenizerError    a tokenizer file, a chat template or a tokenizer argument is wrong
├── GenerationError   a generation parameter makes no sense (also a ValueError)
├── MediaError        an image or a clip of audio cannot be used (also a ValueError)
├── DataError         a data set or one of its rows cannot be used
├── TrainingError     a training run cannot start or go on
├── AdapterError      an adapter does not fit its base
├── StoreError        the run store cannot be read or written
└── LaunchError       the program cannot be started as asked
"""


class VitrineError(Exception):
    """The base of all our errors; `str()` is one sentence fit for a person."""


class CheckpointError(VitrineError, OSError):
    """A file or folder of weights cannot be used."""

    def __str__(self) -> str:
        return self.args[0] if self.args else ""


class HubError(CheckpointError):
    """A model name cannot be fetched."""


class ConfigError(VitrineError, ValueError):
    """A model configuration or a model argument is wrong."""


class TokenizerError(VitrineError, ValueError):
    """A tokenizer file, chat template or tokenizer argument is wrong."""


class GenerationError(VitrineError, ValueError):
    """A generation parameter makes no sense."""


class MediaError(VitrineError, ValueError):
    """An image or a clip of audio cannot be used."""


class DataError(VitrineError, ValueError):
    """A data set or one of its rows cannot be used."""


class TrainingError(VitrineError, RuntimeError):
    """A training run cannot start or go on."""


class AdapterError(VitrineError, ValueError):
    """An adapter does not fit its base."""


class StoreError(VitrineError, RuntimeError):
    """The run store cannot be read or written."""


class LaunchError(VitrineError, RuntimeError):
    """The program cannot be started as asked."""


def printable(text: str, most: int = 300) -> str:
    """A text that came from a file, fit for a sentence of ours: no control characters, and cut at `most` characters."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"


def one_line(error: Exception) -> str:
    """The first line of an error of another library, without a full stop."""
    return printable((str(error).strip() or type(error).__name__).splitlines()[0].rstrip("."))
