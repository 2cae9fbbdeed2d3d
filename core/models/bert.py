"""BERT: post-norm encoder with learned positions and two segments. Devlin et al. 2018."""

from typing import Any

import torch
from torch import nn

from core.modeling.attention import attend, merge_heads, split_heads
from core.modeling.configuration import PreTrainedConfig
from core.modeling.layers import activation
from core.modeling.losses import classification_loss, token_loss
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel, default_positions
from core.modeling.outputs import BaseModelOutputWithPooling, HeadOutput, QuestionAnsweringModelOutput
from core.modeling.taps import tap


class BertConfig(PreTrainedConfig):
    """Keys and defaults of a bert config.json."""

    model_type = "bert"
    defaults = {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "classifier_dropout": None,
    }


class BertEmbeddings(nn.Module):
    """norm(word + position + segment)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, words: torch.Tensor, segments: torch.Tensor | None, positions: torch.Tensor | None) -> torch.Tensor:
        """words (batch, tokens, width); segments and positions (batch, tokens)."""
        if positions is None:
            positions = default_positions(0, words.shape[1], words.device)
        if segments is None:
            segments = torch.zeros_like(positions)
        x = words + self.token_type_embeddings(segments) + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(x))


class BertSelfAttention(nn.Module):
    """Every token reads every token."""

    def __init__(self, config: BertConfig, layer: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer, self.head_dim = layer, width // config.num_attention_heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> z (batch, tokens, heads, head width)."""
        q, k, v = (split_heads(project(x), self.head_dim) for project in (self.query, self.key, self.value))
        return attend(q, k, v, mask, layer=self.layer, dropout=self.dropout.p if self.training else 0.0)


class BertResidual(nn.Module):
    """norm(residual + dropout(dense x)), after attention and after the MLP."""

    def __init__(self, config: BertConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, projected: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """`projected` is what `dense` gave."""
        return self.LayerNorm(residual + self.dropout(projected))


class BertAttention(nn.Module):
    """Self-attention with its residual."""

    def __init__(self, config: BertConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.self = BertSelfAttention(config, layer)
        self.output = BertResidual(config, config.hidden_size)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.output(merge_heads(self.self(x, mask), self.output.dense, layer=self.layer), x)


class BertIntermediate(nn.Module):
    """act(dense x)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, intermediate width)."""
        return self.act(self.dense(x))


class BertLayer(nn.Module):
    """Attention, then MLP, a norm after each."""

    def __init__(self, config: BertConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention = BertAttention(config, layer)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config, config.intermediate_size)

    def forward(self, x: torch.Tensor, mask: Mask) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = tap("resid_mid", self.layer, self.attention(tap("resid_pre", self.layer, x), mask))
        inner = tap("mlp_act", self.layer, self.intermediate(x))
        return tap("resid_post", self.layer, self.output(tap("mlp_out", self.layer, self.output.dense(inner)), x))


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config, layer) for layer in range(config.num_hidden_layers))


class BertPooler(nn.Module):
    """tanh(dense) of the first token."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, width)."""
        return torch.tanh(self.dense(x[:, 0]))


class BertPreTrainedModel(PreTrainedModel):
    """What the BERT classes share."""

    config_class = BertConfig
    base_model_prefix = "bert"


class BertModel(BertPreTrainedModel):
    """The encoder without a head."""

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of token vectors."""
        return self.embeddings.word_embeddings

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """input_ids (batch, tokens) or inputs_embeds (batch, tokens, width) -> last_hidden_state (batch, tokens, width) and
        pooler_output (batch, width)."""
        words = self.embeddings.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        x = tap("embed", None, self.embeddings(words, token_type_ids, position_ids))
        mask = make_mask(attention_mask, x, x.shape[1], causal=False)
        layers = self.encoder.layer
        with self.watching(output_attentions, output_hidden_states, head_mask, len(layers)) as seen:
            for layer in layers:
                x = self.run_block(layer, x, mask)
        fields = seen(x)
        fields.pop("cross_attentions")
        pooled = self.pooler(x) if self.pooler is not None else None
        return BaseModelOutputWithPooling(x, pooled, **fields).packed(self.wants_dict(return_dict))


class BertPredictionHeadTransform(nn.Module):
    """norm(act(dense x))."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act = activation(config.hidden_act)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        return self.LayerNorm(self.act(self.dense(x)))


class BertLMPredictionHead(nn.Module):
    """Logits over the vocabulary; the weight is the word embeddings', the bias its own."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return self.decoder(self.transform(x))


class BertOnlyMLMHead(nn.Module):
    """The name under which checkpoints keep the head."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.predictions = BertLMPredictionHead(config)


class _BertWithHead(BertPreTrainedModel):
    """BERT with one head on top: a subclass makes it and says what it does."""

    pooled = False

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=self.pooled)
        self.make_head(config)
        self.post_init()

    def make_head(self, config: BertConfig) -> None:
        """Dropout and a classifier."""
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def head(self, out: BaseModelOutputWithPooling) -> torch.Tensor:
        """Logits."""
        return self.classifier(self.dropout(out.pooler_output if self.pooled else out.last_hidden_state))

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """Cross entropy by token."""
        return token_loss(logits, labels, num_items_in_batch)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Any = None,
    ) -> Any:
        """As BertModel; logits as the head's class says, and a loss where labels are given."""
        out = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            head_mask,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
            True,
        )
        logits = tap("logits", None, self.head(out))
        loss = None if labels is None else self.loss(logits, labels, num_items_in_batch)
        output = HeadOutput(loss, logits, None, out.hidden_states, out.attentions)
        return output.packed(self.wants_dict(return_dict))


class BertForMaskedLM(_BertWithHead):
    """Logits (batch, tokens, vocabulary) for the masked words."""

    _tied_weights_keys = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def make_head(self, config: BertConfig) -> None:
        """The prediction head."""
        self.cls = BertOnlyMLMHead(config)

    def head(self, out: BaseModelOutputWithPooling) -> torch.Tensor:
        """Logits over the vocabulary."""
        return self.cls.predictions(out.last_hidden_state)

    def get_output_embeddings(self) -> nn.Module:
        """The layer that gives logits."""
        return self.cls.predictions.decoder


class BertForSequenceClassification(_BertWithHead):
    """Logits (batch, labels) for the whole text; one label regresses."""

    pooled = True

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """By `config.problem_type`."""
        return classification_loss(logits, labels, self.config)


class BertForTokenClassification(_BertWithHead):
    """Logits (batch, tokens, labels)."""


class BertForQuestionAnswering(BertPreTrainedModel):
    """Where in the text an answer begins and ends."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        start_positions: torch.LongTensor | None = None,
        end_positions: torch.LongTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """start_logits and end_logits (batch, tokens); a position past the end does not count in the loss."""
        out = self.bert(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            head_mask,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
            True,
        )
        start, end = self.qa_outputs(out.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            length = start.shape[1]
            losses = [
                nn.functional.cross_entropy(logits, where.view(-1).clamp(0, length), ignore_index=length)
                for logits, where in ((start, start_positions), (end, end_positions))
            ]
            loss = (losses[0] + losses[1]) / 2
        output = QuestionAnsweringModelOutput(loss, start, end, out.hidden_states, out.attentions)
        return output.packed(self.wants_dict(return_dict))
