"""BERT: post-norm encoder with learned positions and two segments, or a decoder of the same layers. Devlin et al. 2018.

Its relatives (RoBERTa, ELECTRA …) are these classes with other embeddings and heads.
"""

from typing import Any

import torch
from torch import nn

from core.errors import ConfigError
from core.modeling.attention import attend, encoder_pair, merge_heads, split_heads
from core.modeling.cache import Cache
from core.modeling.configuration import PreTrainedConfig
from core.modeling.encoder import Encoder
from core.modeling.heads import CausalLMHead, ChoiceHead, MaskedHead, PooledHead, SpanHead, TokenHead, VocabularyHead
from core.modeling.layers import activation
from core.modeling.losses import token_loss
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel
from core.modeling.outputs import BaseModelOutputWithPooling, PreTrainingOutput
from core.modeling.positions import distances, read_distances
from core.modeling.taps import tap

POSITIONS = ("absolute", "relative_key", "relative_key_query")


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
        "position_embedding_type": "absolute",
    }

    def check(self) -> None:
        """Heads must divide evenly; only a decoder reads another text; positions are of a known kind."""
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(f"hidden_size {self.hidden_size} is no multiple of num_attention_heads {self.num_attention_heads}.")
        if self.add_cross_attention and not self.is_decoder:
            raise ConfigError("add_cross_attention needs is_decoder: an encoder reads no other text.")
        if self.position_embedding_type not in POSITIONS:
            raise ConfigError(f"position_embedding_type '{self.position_embedding_type}' is none of {', '.join(POSITIONS)}.")


class BertEmbeddings(nn.Module):
    """norm(word + position + segment); no position where layers read distances."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.absolute = config.position_embedding_type == "absolute"

    def forward(self, words: torch.Tensor, segments: torch.Tensor | None, positions: torch.Tensor) -> torch.Tensor:
        """words (batch, tokens, width); segments (batch, tokens), all the first where None; positions (batch or 1, tokens)."""
        x = words + self.token_type_embeddings(torch.zeros_like(positions) if segments is None else segments)
        if self.absolute:
            x = x + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(x))


class BertSelfAttention(nn.Module):
    """Every token reads every token, in a decoder those before it; or another text's (cross-attention)."""

    def __init__(self, config: Any, layer: int, cross: bool = False) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer, self.prefix, self.head_dim = layer, "cross." if cross else "", width // config.num_attention_heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)
        self.relative = None if cross or config.position_embedding_type == "absolute" else config.position_embedding_type
        if self.relative:
            self.distance_embedding = nn.Embedding(2 * config.max_position_embeddings - 1, self.head_dim)

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, tokens, width) -> k and v (batch, heads, tokens, head width)."""
        return split_heads(self.key(x), self.head_dim), split_heads(self.value(x), self.head_dim)

    def distance_bias(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """(batch, heads, q, k): what the query, or both query and key, say to their distance. Shaw et al. 2018; Huang et al. 2020."""
        table = self.distance_embedding.weight
        rows = distances(q.shape[2], k.shape[2], q.device) + table.shape[0] // 2
        bias = read_distances(q, table, rows)
        if self.relative == "relative_key_query":
            bias = bias + read_distances(k, table, rows.T).transpose(-1, -2)
        return bias * self.head_dim**-0.5

    def forward(self, x: torch.Tensor, mask: Mask, cache: Cache | None, encoded: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, tokens, width) -> z (batch, tokens, heads, head width); `encoded` is what cross-attention reads."""
        q = split_heads(self.query(x), self.head_dim)
        if encoded is not None:
            k, v = encoder_pair(cache, self.layer, lambda: self.parts(encoded))
        else:
            k, v = self.parts(x)
            if cache is not None:
                k, v = cache.update(self.layer, k, v)
        bias = self.distance_bias if self.relative else None
        dropout = self.dropout.p if self.training else 0.0
        return attend(q, k, v, mask, layer=self.layer, dropout=dropout, bias=bias, prefix=self.prefix)


class BertResidual(nn.Module):
    """norm(residual + dropout(dense x)), after attention and after the MLP."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, projected: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """`projected` is what `dense` gave."""
        return self.LayerNorm(residual + self.dropout(projected))


class BertAttention(nn.Module):
    """Attention with its residual."""

    def __init__(self, config: Any, layer: int, cross: bool = False) -> None:
        super().__init__()
        self.layer = layer
        self.self = BertSelfAttention(config, layer, cross)
        self.output = BertResidual(config, config.hidden_size)

    def forward(self, x: torch.Tensor, *read: Any) -> torch.Tensor:
        """(batch, tokens, width) -> the same; `read` is what BertSelfAttention takes besides."""
        z = self.self(x, *read)
        return self.output(merge_heads(z, self.output.dense, layer=self.layer, prefix=self.self.prefix), x)


class BertIntermediate(nn.Module):
    """act(dense x)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act = activation(config.hidden_act)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, intermediate width)."""
        return self.act(self.dense(x))


class BertLayer(nn.Module):
    """Attention, cross-attention where there is another text, MLP; a norm after each."""

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attention = BertAttention(config, layer)
        if config.add_cross_attention:
            self.crossattention = BertAttention(config, layer, cross=True)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config, config.intermediate_size)

    def forward(
        self, x: torch.Tensor, mask: Mask, cache: Cache | None, encoded: torch.Tensor | None, encoded_mask: Mask
    ) -> torch.Tensor:
        """(batch, tokens, width) -> the same."""
        x = self.attention(tap("resid_pre", self.layer, x), mask, cache)
        if encoded is not None:
            x = self.crossattention(x, encoded_mask, cache, encoded)
        x = tap("resid_mid", self.layer, x)
        inner = tap("mlp_act", self.layer, self.intermediate(x))
        return tap("resid_post", self.layer, self.output(tap("mlp_out", self.layer, self.output.dense(inner)), x))


class BertEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config, layer) for layer in range(config.num_hidden_layers))


class BertPooler(nn.Module):
    """tanh(dense) of the first token."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, width)."""
        return torch.tanh(self.dense(x[:, 0]))


class BertPreTrainedModel(PreTrainedModel):
    """What the BERT classes share."""

    config_class = BertConfig
    base_model_prefix = "bert"
    embeddings_name = "embeddings.word_embeddings"


class BertModel(Encoder, BertPreTrainedModel):
    """The encoder without a head; a decoder where the configuration says `is_decoder`, which reads another text too with
    `add_cross_attention`."""

    def __init__(self, config: Any, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        self.embeddings = self.make_embeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()

    def make_embeddings(self, config: Any) -> BertEmbeddings:
        """What turns tokens into vectors."""
        return BertEmbeddings(config, config.hidden_size)

    def embed(self, words: torch.Tensor, segments: Any, positions: torch.Tensor, attention_mask: Any) -> torch.Tensor:
        """norm(word + position + segment)."""
        return self.embeddings(words, segments, positions)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """input_ids (batch, tokens) or inputs_embeds (batch, tokens, width) -> last_hidden_state (batch, tokens, width) and
        pooler_output (batch, width)."""
        words = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds
        decoder, length = self.config.is_decoder, words.shape[1]
        cache = self.make_cache(past_key_values, use_cache) if decoder else None
        past = cache.get_seq_length() if cache is not None else 0
        positions = self.place(input_ids, past, length, words.device) if position_ids is None else position_ids
        x = tap("embed", None, self.embed(words, token_type_ids, positions, attention_mask))
        mask = make_mask(attention_mask, x, past + length, causal=decoder)
        encoded = encoder_hidden_states if self.config.add_cross_attention else None
        encoded_mask = Mask() if encoded is None else make_mask(encoder_attention_mask, x, encoded.shape[1], causal=False)
        read = (mask, cache, encoded, encoded_mask)
        return self.run(x, lambda layer: read, head_mask, output_attentions, output_hidden_states, return_dict, cache)


class BertPredictionHeadTransform(nn.Module):
    """norm(act(dense x))."""

    def __init__(self, config: Any, width: int, act: str) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, width)
        self.act = activation(act)
        self.LayerNorm = nn.LayerNorm(width, config.layer_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, width of the embeddings)."""
        return self.LayerNorm(self.act(self.dense(x)))


class BertLMPredictionHead(nn.Module):
    """Logits over the vocabulary; the weight is the word embeddings', the bias its own."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config, width, config.hidden_act)
        self.decoder = nn.Linear(width, config.vocab_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return self.decoder(self.transform(x))


class BertHeads(nn.Module):
    """The names under which checkpoints keep the heads of the pre-training: words, whose vectors have `words` numbers, and whether a
    sentence follows another."""

    def __init__(self, config: Any, words: int | None = None, sentences: bool = False) -> None:
        super().__init__()
        if words:
            self.predictions = BertLMPredictionHead(config, words)
        if sentences:
            self.seq_relationship = nn.Linear(config.hidden_size, 2)


class BertForMaskedLM(MaskedHead, BertPreTrainedModel, trunk=BertModel, add_pooling_layer=False):
    """Logits (batch, tokens, vocabulary) for the masked words."""

    output_name = "cls.predictions.decoder"

    def make_head(self, config: Any) -> None:
        """The prediction head."""
        self.cls = BertHeads(config, config.hidden_size)

    def head(self, out: BaseModelOutputWithPooling, given: dict[str, Any]) -> torch.Tensor:
        """Logits over the vocabulary."""
        return self.cls.predictions(out.last_hidden_state)


class BertLMHeadModel(CausalLMHead, BertPreTrainedModel, trunk=BertModel, add_pooling_layer=False):
    """Logits (batch, tokens, vocabulary) for the next token, of a configuration with `is_decoder`."""

    output_name = "cls.predictions.decoder"

    def make_head(self, config: Any) -> None:
        """The prediction head."""
        self.cls = BertHeads(config, config.hidden_size)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return self.cls.predictions(hidden)


class BertForNextSentencePrediction(PooledHead, BertPreTrainedModel, trunk=BertModel):
    """Logits (batch, 2): the second sentence follows the first, or it is any; labels (batch,)."""

    def make_head(self, config: Any) -> None:
        """One layer."""
        self.cls = BertHeads(config, sentences=True)

    def head(self, out: BaseModelOutputWithPooling, given: dict[str, Any]) -> torch.Tensor:
        """(batch, 2)."""
        return self.cls.seq_relationship(out.pooler_output)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """Cross entropy."""
        return token_loss(logits, labels)


class BertForPreTraining(VocabularyHead, BertPreTrainedModel, trunk=BertModel):
    """Both heads of the pre-training."""

    output_name = "cls.predictions.decoder"

    def make_head(self, config: Any) -> None:
        """Words and sentences."""
        self.cls = BertHeads(config, config.hidden_size, sentences=True)

    def forward(
        self,
        *inputs: Any,
        labels: torch.Tensor | None = None,
        next_sentence_label: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **named: Any,
    ) -> Any:
        """The trunk's inputs; labels (batch, tokens) with next_sentence_label (batch,) give the sum of both losses."""
        out, _ = self.run_trunk(inputs, named)
        words = tap("logits", None, self.cls.predictions(out.last_hidden_state))
        sentences = self.cls.seq_relationship(out.pooler_output)
        loss = None
        if labels is not None and next_sentence_label is not None:
            loss = token_loss(words, labels) + token_loss(sentences, next_sentence_label)
        return PreTrainingOutput(loss, words, sentences, out.hidden_states, out.attentions).packed(self.wants_dict(return_dict))


class BertForSequenceClassification(PooledHead, BertPreTrainedModel, trunk=BertModel):
    """Logits (batch, labels) for the whole text; one label regresses."""


class BertForMultipleChoice(ChoiceHead, BertPreTrainedModel, trunk=BertModel):
    """Logits (batch, choices): which text is right."""


class BertForTokenClassification(TokenHead, BertPreTrainedModel, trunk=BertModel, add_pooling_layer=False):
    """Logits (batch, tokens, labels)."""


class BertForQuestionAnswering(SpanHead, BertPreTrainedModel, trunk=BertModel, add_pooling_layer=False):
    """Where in the text an answer begins and ends."""
