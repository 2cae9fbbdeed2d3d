"""Learned vectors instead of changed layers. Prompt tuning (Lester et al. 2021) reads them before the text, P-tuning (Liu et al. 2021)
makes them by a small network, prefix tuning (Li & Liang 2021) is keys and values that every layer reads.

A file holds what the vectors have become (`prompt_embeddings`), not the network behind them: loaded, they are a plain table.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import nn

from core.errors import AdapterError
from core.modeling.model import PreTrainedModel
from core.modeling.seq2seq import Seq2Seq
from core.peft.config import PeftConfig, knob


class PromptEncoder(nn.Module):
    """A table of virtual tokens, and the networks that make vectors of it, one after the other, by name."""

    def __init__(self, rows: int, width: int, networks: dict[str, nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(rows, width)
        self.steps = list(networks)
        for name, network in networks.items():
            setattr(self, name, network)

    def forward(self) -> torch.Tensor:
        """(virtual tokens, width of a vector)."""
        vectors: Any = self.embedding.weight
        for name in self.steps:
            vectors = getattr(self, name)(vectors)
            vectors = vectors[0] if isinstance(vectors, tuple) else vectors  # an LSTM gives its last states too
        return vectors

    def table(self) -> torch.Tensor:
        """The table that a file's vectors go into. Raises AdapterError where networks make them."""
        if self.steps:
            raise AdapterError("The file holds a prompt, not the network that makes it: it can be used, not trained on.")
        return self.embedding.weight


@dataclass
class PromptLearningConfig(PeftConfig):
    """What methods with virtual tokens share; sizes are the model's where they are not given."""

    num_virtual_tokens: int = knob(20, "How many virtual tokens.", 1, 512)
    token_dim: int | None = knob(None, "Width of a virtual token.")
    num_transformer_submodules: int | None = knob(None, "2 for an encoder-decoder, else 1.")
    num_attention_heads: int | None = knob(None, "Heads of keys and values.")
    num_layers: int | None = knob(None, "Layers of the model.")

    is_prompt_learning: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.num_virtual_tokens, int) or self.num_virtual_tokens < 1:
            raise AdapterError(f"num_virtual_tokens must be a whole number of at least 1, not {self.num_virtual_tokens!r}.")

    def prepare(self, model: PreTrainedModel) -> None:
        """Fill in the model's sizes."""
        config = model.config
        self.num_layers = self.num_layers or _size(config, "num_hidden_layers", "num_layers", "n_layer")
        self.token_dim = self.token_dim or _size(config, "hidden_size", "n_embd", "d_model")
        heads = ("num_attention_heads", "n_head", "num_heads", "encoder_attention_heads")
        self.num_attention_heads = self.num_attention_heads or _size(config, *heads)
        if self.num_transformer_submodules is None:
            self.num_transformer_submodules = 2 if self.task_type == "SEQ_2_SEQ_LM" else 1
        if hasattr(self, "encoder_hidden_size"):
            self.encoder_hidden_size: int | None = self.encoder_hidden_size or self.token_dim

    @property
    def rows(self) -> int:
        """Of the table."""
        return self.num_virtual_tokens * (self.num_transformer_submodules or 1)

    def make_encoder(self, model: PreTrainedModel) -> PromptEncoder:
        """The table, with its network where the prompt is trained."""
        self.prepare(model)
        encoder = PromptEncoder(*self.sizes(), {} if self.inference_mode else self.networks())
        with torch.no_grad():
            if not self.inference_mode:
                self.start(encoder, model)
        return encoder.to(model.device)

    def sizes(self) -> tuple[int, int]:
        """Rows and width of the table that is kept."""
        assert self.token_dim is not None
        return self.rows, self.token_dim

    def networks(self) -> dict[str, nn.Module]:
        """What makes vectors of the table."""
        return {}

    def start(self, encoder: PromptEncoder, model: PreTrainedModel) -> None:
        """Set the first values; they are random already."""


@dataclass
class PromptTuningConfig(PromptLearningConfig, method="PROMPT_TUNING"):
    """Virtual tokens before the text."""

    prompt_tuning_init: str = knob("RANDOM", "How to start: RANDOM, SAMPLE_VOCAB (words by chance) or TEXT.")
    prompt_tuning_init_text: str | None = knob(None, "The text to start from.")
    tokenizer_name_or_path: str | None = knob(None, "The tokenizer of that text.")
    tokenizer_kwargs: dict[str, Any] | None = knob(None, "What to load it with.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.prompt_tuning_init = str(getattr(self.prompt_tuning_init, "value", self.prompt_tuning_init))
        if self.prompt_tuning_init not in ("RANDOM", "SAMPLE_VOCAB", "TEXT"):
            raise AdapterError(f"prompt_tuning_init must be RANDOM, SAMPLE_VOCAB or TEXT, not {self.prompt_tuning_init!r}.")
        if self.prompt_tuning_init == "TEXT" and not (self.tokenizer_name_or_path and self.prompt_tuning_init_text):
            raise AdapterError("prompt_tuning_init='TEXT' needs prompt_tuning_init_text and tokenizer_name_or_path.")

    def start(self, encoder: PromptEncoder, model: PreTrainedModel) -> None:
        """From words, where that is asked for; a short text is repeated, a long one cut."""
        if self.prompt_tuning_init == "RANDOM":
            return
        words: Any = model.get_input_embeddings()
        if self.prompt_tuning_init == "TEXT":
            from core.tokenization import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(str(self.tokenizer_name_or_path), **(self.tokenizer_kwargs or {}))
            text = tokenizer(self.prompt_tuning_init_text)["input_ids"]
            ids = torch.tensor((text * -(-self.rows // len(text)))[: self.rows])
        else:
            ids = torch.randint(0, words.num_embeddings, (self.rows,))
        encoder.embedding.weight.copy_(words(ids.to(model.device)))


@dataclass
class PromptEncoderConfig(PromptLearningConfig, method="P_TUNING"):
    """Virtual tokens before the text, made by a network that is trained with them."""

    encoder_reparameterization_type: str = knob("MLP", "The network: MLP or LSTM.")
    encoder_hidden_size: int | None = knob(None, "Its width.")
    encoder_num_layers: int = knob(2, "Layers of an LSTM.", 1, 8)
    encoder_dropout: float = knob(0.0, "Dropout between the layers of an LSTM.", 0, 0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = self.encoder_reparameterization_type
        self.encoder_reparameterization_type = str(getattr(kind, "value", kind))
        if self.encoder_reparameterization_type not in ("MLP", "LSTM"):
            raise AdapterError(f"encoder_reparameterization_type must be MLP or LSTM, not {kind!r}.")

    def networks(self) -> dict[str, nn.Module]:
        """Three linear layers, or an LSTM in both directions and two."""
        assert self.token_dim is not None and self.encoder_hidden_size is not None
        width, inner = self.token_dim, self.encoder_hidden_size
        if self.encoder_reparameterization_type == "LSTM":
            lstm = nn.LSTM(width, inner, self.encoder_num_layers, dropout=self.encoder_dropout, bidirectional=True)
            return {"lstm_head": lstm, "mlp_head": _layers(nn.ReLU, 2 * inner, 2 * inner, width)}
        return {"mlp_head": _layers(nn.ReLU, width, inner, inner, width)}


@dataclass
class PrefixTuningConfig(PromptLearningConfig, method="PREFIX_TUNING"):
    """Keys and values before those of the text, in every layer."""

    encoder_hidden_size: int | None = knob(None, "Width of the network, where there is one.")
    prefix_projection: bool = knob(False, "Make them by a two-layer network while training.")
    init_weights: str | None = knob(None, "'zero' starts with values that add nothing.")

    def prepare(self, model: PreTrainedModel) -> None:
        """With grouped queries the width is that of the keys."""
        fresh = self.num_layers is None or self.token_dim is None
        super().prepare(model)
        config = model.config
        groups = getattr(config, "num_key_value_heads", None)
        if fresh and groups and not isinstance(model, Seq2Seq):
            assert self.token_dim is not None and self.num_attention_heads is not None
            head = getattr(config, "head_dim", None) or self.token_dim // self.num_attention_heads
            self.token_dim, self.num_attention_heads = head * groups, groups
            if self.encoder_hidden_size == model.width:
                self.encoder_hidden_size = self.token_dim

    def sizes(self) -> tuple[int, int]:
        """A row is a virtual token: key and value of each layer; or what the network makes them of."""
        assert self.token_dim is not None and self.num_layers is not None
        projected = self.prefix_projection and not self.inference_mode
        return self.num_virtual_tokens, self.token_dim if projected else 2 * self.num_layers * self.token_dim

    def networks(self) -> dict[str, nn.Module]:
        """Two layers with tanh between, where asked for."""
        if not self.prefix_projection:
            return {}
        assert self.token_dim is not None and self.num_layers is not None and self.encoder_hidden_size is not None
        return {"transform": _layers(nn.Tanh, self.token_dim, self.encoder_hidden_size, 2 * self.num_layers * self.token_dim)}

    def start(self, encoder: PromptEncoder, model: PreTrainedModel) -> None:
        """Random, or zero."""
        if self.init_weights == "zero":
            last: Any = encoder.get_submodule("transform")[-1] if encoder.steps else encoder.embedding
            for parameter in last.parameters():
                nn.init.zeros_(parameter)


def _layers(between: type[nn.Module], *widths: int) -> nn.Sequential:
    steps = [step for inner, outer in pairwise(widths) for step in (nn.Linear(inner, outer), between())]
    return nn.Sequential(*steps[:-1])


def _size(config: Any, *names: str) -> int:
    for name in names:
        if (value := getattr(config, name, None)) is not None:
            return value
    raise AdapterError(f"The configuration of {config.model_type} has none of {', '.join(names)}: give that size yourself.")
