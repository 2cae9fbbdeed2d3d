"""Encoder-decoders: an encoder reads one sequence, a decoder writes another and reads the encoder's states at every layer.
Sutskever et al. 2014; Vaswani et al. 2017, 3.1."""

from typing import Any, ClassVar

import torch
from torch import nn

from core.errors import ConfigError
from core.modeling.heads import Head, inner
from core.modeling.losses import classification_loss, token_loss, unseen_loss
from core.modeling.masks import Mask, make_mask
from core.modeling.model import PreTrainedModel, default_positions, keep_logits
from core.modeling.outputs import (
    BaseModelOutputWithPastAndCrossAttentions,
    BaseModelOutputWithPooling,
    ModelOutput,
    Seq2SeqLMOutput,
    Seq2SeqModelOutput,
)
from core.modeling.taps import head_mask_taps, tap, tapped, under, wanted


class Seq2Seq(PreTrainedModel):
    """What all classes of an encoder-decoder share: the tables of token vectors (`shared`, and `embed_tokens` of each stack), where
    a decoder begins, and the encoder run by itself."""

    main_input_name = "input_ids"
    embeddings_name = "shared"
    tables_always_shared: ClassVar[bool] = False

    def get_encoder(self) -> "Stack":
        """The stack that reads the source."""
        return self.base_model.encoder  # type: ignore[return-value]

    def get_decoder(self) -> "Stack":
        """The stack that writes the target."""
        return self.base_model.decoder  # type: ignore[return-value]

    def encode(self, **source: Any) -> Any:
        """The encoder's output for its inputs; its places stand under `encoder.` for the taps in force."""
        with under("encoder."):
            return self.get_encoder()(**source, return_dict=True)

    def shift_right(self, ids: torch.Tensor) -> torch.Tensor:
        """Labels (batch, tokens) -> what the decoder reads to predict them: the start token before them, the last one gone."""
        start, pad = getattr(self.config, "decoder_start_token_id", None), self.config.pad_token_id
        if start is None or pad is None:
            raise ConfigError("The configuration names no decoder_start_token_id or no pad_token_id: pass decoder_input_ids.")
        shifted = torch.cat([ids.new_full((ids.shape[0], 1), start), ids[:, :-1]], 1)
        return shifted.masked_fill(shifted == -100, pad)

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """The same under the name that collators ask for."""
        return self.shift_right(labels)

    def decoder_prompt(self, encoded: Any, config: Any, given: torch.Tensor | None = None) -> torch.Tensor:
        """What the decoder goes on from (batch, tokens): the start token that the generation config names, then what the caller gave,
        unless that begins so itself."""
        start = config.decoder_start_token_id if config.decoder_start_token_id is not None else config.bos_token_id
        if start is None:
            raise ConfigError("Neither decoder_start_token_id nor bos_token_id is set: pass decoder_input_ids.")
        states = encoded.last_hidden_state
        begin = torch.full((states.shape[0], 1), start, dtype=torch.long, device=states.device)
        if given is None:
            return begin
        return given if bool((given[:, 0] == start).any()) else torch.cat([begin, given.to(begin.device)], 1)

    def tied_weights(self) -> dict[str, str]:
        """The stacks' tables are `shared` where there is one, the layer over the vocabulary is the decoder's table."""
        trunk = self.base_model
        base = "" if trunk is self else f"{self.base_model_prefix}."
        shared = hasattr(trunk, "shared")
        stacks = [name for name in ("encoder", "decoder") if shared and hasattr(trunk, name)]
        source = f"{base}shared.weight" if shared else f"{base}decoder.embed_tokens.weight"
        tables = {f"{base}{name}.embed_tokens.weight": source for name in stacks}
        output = {f"{self.output_name}.weight": source} if hasattr(self, self.output_name) else {}
        return tables | output if self.config.tie_word_embeddings else tables if self.tables_always_shared else {}

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Put another table in its place, for both stacks."""
        super().set_input_embeddings(value)
        for name in ("encoder", "decoder"):
            if isinstance(getattr(stack := getattr(self.base_model, name, None), "embed_tokens", None), nn.Embedding):
                stack.embed_tokens = value  # type: ignore[union-attr]

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Both stacks' tables too."""
        table = super().resize_token_embeddings(*args, **kwargs)
        self.set_input_embeddings(table)
        return table


class Stack(PreTrainedModel):
    """The encoder or the decoder. A subclass makes the modules, says where they stand and, where it differs, how tokens become
    vectors (`embed`) and what a layer is told besides the hidden states (`masks`)."""

    embed_tokens: nn.Embedding
    embeddings_name = "embed_tokens"
    blocks_name: ClassVar[str] = "layers"
    norm_name: ClassVar[str] = "layer_norm"  # a stack without one ends where its last layer does
    layerdrop: float = 0.0
    longest: int | None = None  # tokens, where positions come from a table

    def embed(self, words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """words (batch, tokens, width), positions (batch or 1, tokens) -> what the first layer reads."""
        return words

    def check_length(self, tokens: int) -> None:
        """Raise ConfigError for a text that the table of positions does not reach."""
        if self.longest is not None and tokens > self.longest:
            raise ConfigError(
                f"The text has {tokens} tokens, {type(self).__name__} has positions for {self.longest}: shorten it."
            )

    def masks(self, mask: Mask, queries: int, keys: int) -> Mask:
        """The mask of self-attention with a position scheme's bias on top."""
        return mask

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """What comes after the last layer."""
        return tap("final_norm", None, getattr(self, self.norm_name)(x)) if hasattr(self, self.norm_name) else x

    def run(self, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        """All layers; in training each is skipped with the probability `layerdrop` (Fan et al. 2019)."""
        for block in getattr(self, self.blocks_name):
            if not (self.training and self.layerdrop and torch.rand(()) < self.layerdrop):
                x = self.run_block(block, x, *arguments)
        return self.finish(x)


class EncoderStack(Stack):
    """Every token of the source reads every other. A layer's forward takes the hidden states and the mask."""

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """input_ids (batch, tokens) or inputs_embeds (batch, tokens, width) -> last_hidden_state (batch, tokens, width)."""
        words = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        self.check_length(words.shape[1])
        x = tap("embed", None, self.embed(words, default_positions(0, words.shape[1], words.device)))
        mask = self.masks(make_mask(attention_mask, x, x.shape[1], causal=False), x.shape[1], x.shape[1])
        layers = len(getattr(self, self.blocks_name))
        with self.watching(output_attentions, output_hidden_states, head_mask, layers) as seen:
            x = self.run(x, mask)
        fields = seen(x)
        out = BaseModelOutputWithPooling(x, hidden_states=fields["hidden_states"], attentions=fields["attentions"])
        return out.packed(self.wants_dict(return_dict))


class DecoderStack(Stack):
    """Every token of the target reads those before it and the encoder's states. A layer's forward takes the hidden states, the mask,
    the cache, the encoder's states and their mask."""

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        cross_attn_head_mask: torch.Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        position_ids: torch.LongTensor | None = None,
    ) -> Any:
        """input_ids (batch, tokens) or inputs_embeds (batch, tokens, width), encoder_hidden_states (batch, source tokens, width) ->
        last_hidden_state (batch, tokens, width)."""
        words = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        cache = self.make_cache(past_key_values, use_cache)
        past, length = cache.get_seq_length() if cache is not None else 0, words.shape[1]
        self.check_length(past + length)
        positions = default_positions(past, length, words.device) if position_ids is None else position_ids
        x = tap("embed", None, self.embed(words, positions))
        mask = self.masks(make_mask(attention_mask, x, past + length, causal=True), length, past + length)
        encoded = encoder_hidden_states
        encoded_mask = Mask() if encoded is None else make_mask(encoder_attention_mask, x, encoded.shape[1], causal=False)
        layers = len(getattr(self, self.blocks_name))
        given = (("pattern", head_mask), ("cross.pattern", cross_attn_head_mask))
        masks = [head_mask_taps(own, layers, (place,)) for place, own in given if own is not None]
        with self.watching(output_attentions, output_hidden_states, None, layers) as seen, tapped(*masks):
            x = self.run(x, mask, cache, encoded, encoded_mask)
        return BaseModelOutputWithPastAndCrossAttentions(x, cache, **seen(x)).packed(self.wants_dict(return_dict))


class EncoderDecoder(Seq2Seq):
    """The trunk: `encoder` and `decoder`, made by a subclass."""

    encoder: EncoderStack
    decoder: DecoderStack

    def default_target(self, input_ids: torch.Tensor | None) -> torch.Tensor:
        """What the decoder reads where nobody says."""
        raise ConfigError(
            f"{type(self).__name__} needs decoder_input_ids or decoder_inputs_embeds (a head makes them from labels)."
        )

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        decoder_head_mask: torch.Tensor | None = None,
        cross_attn_head_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """The source as input_ids (batch, source tokens), inputs_embeds (batch, source tokens, width) or encoder_outputs (states first),
        the target as decoder_input_ids (batch, tokens) or decoder_inputs_embeds -> last_hidden_state (batch, tokens, width)."""
        source = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "head_mask": head_mask,
            "inputs_embeds": inputs_embeds,
        }
        target = {
            "input_ids": decoder_input_ids,
            "attention_mask": decoder_attention_mask,
            "encoder_attention_mask": attention_mask,
            "head_mask": decoder_head_mask,
            "cross_attn_head_mask": cross_attn_head_mask,
            "past_key_values": past_key_values,
            "inputs_embeds": decoder_inputs_embeds,
            "use_cache": use_cache,
        }
        inside = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self.run(encoder_outputs, source, target, inside).packed(self.wants_dict(return_dict))

    def run(
        self, encoder_outputs: Any, source: dict[str, Any], target: dict[str, Any], inside: dict[str, Any]
    ) -> Seq2SeqModelOutput:
        """Both stacks with their inputs; `inside` is what to show of either."""
        if target["input_ids"] is None and target["inputs_embeds"] is None:
            target["input_ids"] = self.default_target(source.get("input_ids"))
        encoded = self.encode(**source, **inside) if encoder_outputs is None else encoder_output(encoder_outputs)
        decoded: Any = self.decoder(encoder_hidden_states=encoded.last_hidden_state, return_dict=True, **target, **inside)
        return Seq2SeqModelOutput(
            decoded.last_hidden_state,
            decoded.past_key_values,
            decoded.hidden_states,
            decoded.attentions,
            decoded.cross_attentions,
            encoded.last_hidden_state,
            encoded.get("hidden_states"),
            encoded.get("attentions"),
        )


def encoder_output(given: Any) -> Any:
    """An encoder's output as it is, or made of a tuple: states, hidden states, attentions."""
    if isinstance(given, ModelOutput):
        return given
    return BaseModelOutputWithPooling(**dict(zip(("last_hidden_state", "hidden_states", "attentions"), given, strict=False)))


class ConditionalHead(Head, Seq2Seq):
    """Logits (batch, target tokens, vocabulary) for the next token of the target, of the last `logits_to_keep` where that is not 0;
    labels (batch, target tokens), -100 not counted, are what the decoder is to write: it reads them shifted to the right."""

    output = Seq2SeqLMOutput
    accepts_loss_kwargs = True

    def make_head(self, config: Any) -> None:
        """One layer over the vocabulary, of the decoder's table's size."""
        rows = self.get_decoder().embed_tokens.num_embeddings
        setattr(self, self.output_name, nn.Linear(config.hidden_size, rows, bias=False))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width) -> (batch, tokens, vocabulary)."""
        return getattr(self, self.output_name)(hidden)

    def forward(
        self,
        *inputs: Any,
        labels: torch.Tensor | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: Any = None,
        skip_logits: bool = False,
        **named: Any,
    ) -> Any:
        """The trunk's inputs; logits, and a loss where labels are given. skip_logits: the loss alone, in less memory."""
        given = dict(zip(self.trunk.forward_names(), inputs, strict=False)) | named
        if labels is not None:  # nobody goes on from there
            given.setdefault("use_cache", False)
        if labels is not None and given.get("decoder_input_ids") is None and given.get("decoder_inputs_embeds") is None:
            given["decoder_input_ids"] = self.shift_right(labels)
        out, _ = self.run_trunk((), given)
        if skip_logits and labels is not None and not wanted("logits", None):
            trained = [parameter for parameter in getattr(self, self.output_name).parameters() if parameter.requires_grad]
            loss = unseen_loss(self.logits, out.last_hidden_state, labels, trained, False, num_items_in_batch)
            return self.output(loss, None, **inner(out, self.output)).packed(self.wants_dict(return_dict))
        logits = tap("logits", None, self.logits(keep_logits(out.last_hidden_state, logits_to_keep)))
        loss = None if labels is None else token_loss(logits, labels, num_items_in_batch)
        return self.output(loss, logits, **inner(out, self.output)).packed(self.wants_dict(return_dict))

    def can_generate(self) -> bool:
        """It can."""
        return True


class LastEndHead(Head, Seq2Seq):
    """Logits (batch, labels) for a whole text, from the decoder's state at its last end-of-text token; one label regresses."""

    output = Seq2SeqLMOutput

    def make_head(self, config: Any) -> None:
        """Two layers with tanh between."""
        self.classification_head = ClassificationHead(config.hidden_size, config.num_labels, config.classifier_dropout)

    def head(self, out: Any, given: dict[str, Any]) -> torch.Tensor:
        """(batch, labels)."""
        ids = given.get("input_ids")
        if ids is None:
            raise ConfigError(f"{type(self).__name__} needs input_ids: it reads the state at the end-of-text token.")
        if out.last_hidden_state.shape[1] != ids.shape[1]:
            raise ConfigError(f"{type(self).__name__}: the decoder must read as many tokens as input_ids has, {ids.shape[1]}.")
        ends = ids == self.config.eos_token_id
        if not bool(ends.any(1).all()):
            raise ConfigError(f"{type(self).__name__}: every text must hold the end-of-text token {self.config.eos_token_id}.")
        last = (torch.arange(ids.shape[1], device=ids.device) * ends).argmax(-1)
        return self.classification_head(out.last_hidden_state[torch.arange(ids.shape[0], device=ids.device), last])

    def loss(self, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        """By `config.problem_type`."""
        return classification_loss(logits, labels, self.config)


class ClassificationHead(nn.Module):
    """out_proj(tanh(dense x)), with dropout before each."""

    def __init__(self, width: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.dense, self.out_proj = nn.Linear(width, width), nn.Linear(width, labels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, width) -> (batch, labels)."""
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(x)))))
