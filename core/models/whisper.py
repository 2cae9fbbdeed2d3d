"""Whisper: an encoder of sound and a decoder of text, pre-norm; one model transcribes, translates and tells the language, as the
tokens before the text say. Radford et al. 2022."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from core.errors import ConfigError, GenerationError
from core.modeling.outputs import HeadOutput
from core.modeling.positions import Sinusoids
from core.modeling.seq2seq import ConditionalHead, DecoderStack, EncoderDecoder, EncoderStack
from core.modeling.taps import tap
from core.models.bart import BartConfig, BartLayer, BartPreTrainedModel, BartStack
from core.models.whisper_times import transcribe
from core.tokenization.languages import WHISPER, WHISPER_CODES


class WhisperConfig(BartConfig):
    """Keys and defaults of a whisper config.json."""

    model_type = "whisper"
    default_labels = 2
    defaults = BartConfig.defaults | {
        "vocab_size": 51865,
        "num_mel_bins": 80,
        "d_model": 384,
        "encoder_layers": 4,
        "encoder_attention_heads": 6,
        "encoder_ffn_dim": 1536,
        "decoder_layers": 4,
        "decoder_attention_heads": 6,
        "decoder_ffn_dim": 1536,
        "dropout": 0.0,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "max_length": 448,
        "pad_token_id": 50256,
        "bos_token_id": 50256,
        "eos_token_id": 50256,
        "decoder_start_token_id": 50257,
        "forced_eos_token_id": None,
        "suppress_tokens": None,
        "begin_suppress_tokens": [220, 50256],
        "use_weighted_layer_sum": False,
        "classifier_proj_size": 256,
    }


class WhisperLayer(BartLayer):
    """x + part(norm x); keys have no bias."""

    pre_norm = True
    key_bias = False


class WhisperPreTrainedModel(BartPreTrainedModel):
    """What the Whisper classes share."""

    config_class = WhisperConfig
    main_input_name = "input_features"
    embeddings_name = "decoder.embed_tokens"
    output_name = "proj_out"


class WhisperStack(BartStack):
    """What encoder and decoder share."""

    block = WhisperLayer
    norm_embedding = False
    norm_last = True


class WhisperEncoder(WhisperStack, EncoderStack, WhisperPreTrainedModel):
    """Two convolutions halve the frames; then every frame reads every other."""

    def make_tables(self, config: WhisperConfig) -> None:
        """The convolutions, and fixed positions."""
        self.conv1 = nn.Conv1d(config.num_mel_bins, config.d_model, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.d_model, config.d_model, kernel_size=3, stride=2, padding=1)
        self.embed_positions = Sinusoids(config.max_source_positions, config.d_model, last=True)
        self.longest = config.max_source_positions

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """(batch, mels, 2 * max_source_positions) -> last_hidden_state (batch, max_source_positions, width). Silence is read as it
        is: attention_mask changes nothing."""
        wanted = (self.config.num_mel_bins, 2 * self.config.max_source_positions)
        if input_features.dim() != 3 or tuple(input_features.shape[1:]) != wanted:
            raise ConfigError(
                f"input_features have the shape {tuple(input_features.shape)}, this model reads (batch, {wanted[0]} mels, {wanted[1]} "
                "frames): pad the clip to 30 seconds."
            )
        x = F.gelu(self.conv2(F.gelu(self.conv1(input_features.to(self.conv1.weight.dtype))))).transpose(1, 2)
        return super().forward(None, None, head_mask, x, output_attentions, output_hidden_states, return_dict)  # type: ignore[arg-type]


class WhisperDecoder(WhisperStack, DecoderStack, WhisperPreTrainedModel):
    """The stack that writes."""

    decoder = True

    def make_tables(self, config: WhisperConfig) -> None:
        """Token vectors, and learned positions."""
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model, config.pad_token_id)
        self.embed_positions = nn.Embedding(config.max_target_positions, config.d_model)
        self.longest = config.max_target_positions


class WhisperModel(EncoderDecoder, WhisperPreTrainedModel):
    """Encoder and decoder without a head."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.encoder, self.decoder = WhisperEncoder(config), WhisperDecoder(config)
        self.post_init()

    def forward(
        self,
        input_features: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        head_mask: torch.Tensor | None = None,
        decoder_head_mask: torch.Tensor | None = None,
        cross_attn_head_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        decoder_position_ids: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """input_features (batch, mels, frames) of 10 ms or encoder_outputs, and decoder_input_ids (batch, tokens) -> last_hidden_state
        (batch, tokens, width)."""
        target = {
            "input_ids": decoder_input_ids,
            "attention_mask": decoder_attention_mask,
            "head_mask": decoder_head_mask,
            "cross_attn_head_mask": cross_attn_head_mask,
            "past_key_values": past_key_values,
            "inputs_embeds": decoder_inputs_embeds,
            "position_ids": decoder_position_ids,
            "use_cache": use_cache,
        }
        source = {"input_features": input_features, "head_mask": head_mask}
        inside = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self.run(encoder_outputs, source, target, inside).packed(self.wants_dict(return_dict))


class WhisperForConditionalGeneration(ConditionalHead, WhisperPreTrainedModel, trunk=WhisperModel):
    """With a layer that predicts the next token.

    `generate(input_features, language="en", task="transcribe" or "translate")` writes down a clip of 30 seconds, or a longer one window by
    window; a language that is not given is told from the clip.
    """

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: Any = None,
        *,
        return_timestamps: bool | None = None,
        return_token_timestamps: bool = False,
        return_segments: bool = False,
        attention_mask: torch.Tensor | None = None,
        monitor_progress: Callable[[torch.Tensor], None] | None = None,
        **values: Any,
    ) -> Any:
        """As every model's. return_timestamps: with the times at which segments begin and end, as tokens; recordings of more than a window
        always have them. attention_mask (batch, frames): the frames that are sound.

        return_token_timestamps and return_segments give a dictionary: sequences (batch, tokens) without the prompt, prompts, segments a row
        of {"start", "end", "tokens"} in seconds, and token_timestamps (batch, tokens).
        """
        features = inputs if inputs is not None else values.get("input_features")
        said = special_tokens(self.config) | self.generation_config.extra
        timed = bool(said.get("return_timestamps") if return_timestamps is None else return_timestamps)
        long = features is not None and features.shape[-1] > 2 * self.config.max_source_positions
        if features is None or not (timed or long or return_token_timestamps or return_segments):
            return super().generate(inputs, generation_config, **values)
        values.pop("input_features", None)
        config = generation_config or self.generation_config
        knobs = {name: values[name] for name in ("language", "task") if name in values}
        ends = config.eos_ids or self.generation_config.eos_ids
        said |= {"end": ends[0], "pad": config.pad_token_id if config.pad_token_id is not None else ends[0]}
        given, rules = values.pop("decoder_input_ids", None), values.pop("logits_processor", None) or []

        def write(encoded: Any, prompt: torch.Tensor, rule: list[Any]) -> torch.Tensor:
            states = (encoded.last_hidden_state,)
            options = {**values, "decoder_input_ids": prompt, "logits_processor": [*rules, *rule]}
            out = super(WhisperForConditionalGeneration, self).generate(
                None, generation_config, encoder_outputs=states, **options
            )
            return out if isinstance(out, torch.Tensor) else out.sequences

        def prompt_of(encoded: Any) -> torch.Tensor:
            return self.decoder_prompt(encoded, config.updated(**knobs), given)

        lengths = None if attention_mask is None else attention_mask.sum(-1)
        found = transcribe(
            self, features, lengths, said, write, prompt_of, timed or long, return_token_timestamps, monitor_progress
        )
        return found if return_segments or return_token_timestamps else found["sequences"]

    def decoder_prompt(self, encoded: Any, config: Any, given: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, tokens): the caller's; or the start, the language and the task, where the model knows several, and that no times are
        to be written. Where neither is asked for, older files say them, as forced_decoder_ids: [[place, token], …]."""
        if given is not None:
            return given
        start = super().decoder_prompt(encoded, config)
        said = special_tokens(self.config) | self.generation_config.extra | config.extra
        asked = config.language or config.task
        forced = dict(said.get("forced_decoder_ids") or getattr(self.config, "forced_decoder_ids", None) or ())
        forced = {place: token for place, token in forced.items() if token is not None and not asked}
        columns = [start]
        if said["is_multilingual"]:
            tasks, task = said["task_to_id"], config.task or "transcribe"
            if task not in tasks:
                raise GenerationError(f"task must be one of {', '.join(tasks)}, not '{task}'.")
            spoken = forced.get(1)
            columns += [
                self.language(encoded, start, said, config.language) if spoken is None else torch.full_like(start, spoken),
                torch.full_like(start, forced.get(2, tasks[task])),
            ]
        elif asked:
            raise GenerationError("This model only writes down English: leave out language and task.")
        return torch.cat([*columns, torch.full_like(start, said["no_timestamps_token_id"])], 1)

    def language(self, encoded: Any, start: torch.Tensor, said: dict[str, Any], language: str | list[str] | None) -> torch.Tensor:
        """(batch, 1): the token of the language that was asked for, for all clips or for each, or of the likeliest one."""
        if language is None:
            logits = self(encoder_outputs=encoded, decoder_input_ids=start, use_cache=False).logits[:, -1]
            ids = torch.tensor(
                said["language_ids"] if "lang_to_id" not in said else list(said["lang_to_id"].values()), device=logits.device
            )
            return ids[logits[:, ids].argmax(-1)][:, None]
        known = said.get("lang_to_id") or dict(zip((f"<|{code}|>" for code in WHISPER), said["language_ids"], strict=False))
        each = [language] * len(start) if isinstance(language, str) else list(language)
        if len(each) != len(start):
            raise GenerationError(
                f"language names {len(each)} languages for {len(start)} clips: give one for all, or one for each."
            )
        codes = [str(one).lower().strip("<|>") for one in each]
        tokens = [known.get(f"<|{WHISPER_CODES.get(code, code)}|>") for code in codes]
        if None in tokens:
            names = ", ".join(name.strip("<|>") for name in known)
            raise GenerationError(f"language must be one of {names}, not '{each[tokens.index(None)]}'.")
        return start.new_tensor(tokens)[:, None]


def special_tokens(config: Any) -> dict[str, Any]:
    """Where the published vocabularies keep their special tokens, for checkpoints that do not say: the start, a token a language, translate,
    transcribe, three more, no timestamps."""
    first, multilingual = config.decoder_start_token_id + 1, config.vocab_size >= 51865
    after = first + config.vocab_size - 51765 - int(multilingual)
    return {
        "is_multilingual": multilingual,
        "language_ids": list(range(first, after)),
        "task_to_id": {"translate": after, "transcribe": after + 1},
        "no_timestamps_token_id": after + 5,
    }


class WhisperForAudioClassification(WhisperPreTrainedModel):
    """The encoder with a label for the clip, from the mean of its frames."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        if config.use_weighted_layer_sum:
            count = config.encoder_layers + 1
            self.layer_weights = nn.Parameter(torch.ones(count) / count)
        self.projector = nn.Linear(config.d_model, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)
        self.post_init()

    def in_head(self, name: str) -> bool:
        """Whether a parameter belongs to the head."""
        return not name.startswith("encoder.")

    def forward(
        self,
        input_features: torch.FloatTensor | None = None,
        head_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        labels: torch.LongTensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """input_features (batch, mels, frames) -> logits (batch, labels); labels (batch,) -> loss."""
        every = self.config.use_weighted_layer_sum
        states = True if every else output_hidden_states
        out = encoder_outputs
        if out is None:
            out = self.encoder(input_features, None, head_mask, output_attentions, states, return_dict=True)
        x = out[0]
        if every:
            x = (torch.stack(out.hidden_states, 1) * self.layer_weights.softmax(-1)[:, None, None]).sum(1)
        logits = tap("logits", None, self.classifier(self.projector(x).mean(1)))
        loss = None if labels is None else F.cross_entropy(logits, labels.view(-1))
        return HeadOutput(loss, logits, None, out.hidden_states, out.attentions).packed(self.wants_dict(return_dict))
