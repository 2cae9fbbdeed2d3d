"""The decode loop: forward, process, pick, append; until all rows have ended."""

import warnings
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from core import kernels
from core.errors import GenerationError
from core.generation.config import FACTS, GenerationConfig
from core.generation.processors import Processor, processors_for
from core.modeling.cache import Cache
from core.modeling.model import PreTrainedModel
from core.modeling.outputs import ModelOutput
from core.modeling.seq2seq import Seq2Seq, encoder_output

# what a decoder that answers an encoder may be given besides the parameters
ANSWERED = ("input_ids", "input_features", "inputs_embeds", "encoder_outputs", "decoder_input_ids", "decoder_attention_mask")


@dataclass
class GenerateOutput(ModelOutput):
    """sequences (batch, prompt + new tokens); scores and logits a step (batch, vocabulary)."""

    sequences: torch.Tensor = None  # type: ignore[assignment]
    scores: tuple[torch.Tensor, ...] | None = None
    logits: tuple[torch.Tensor, ...] | None = None
    past_key_values: Cache | None = None


@dataclass
class Step:
    """One token for each row: (batch,), pad where the row had ended; `running` (batch,) which rows go on after it."""

    tokens: torch.Tensor
    running: torch.Tensor
    scores: torch.Tensor
    logits: torch.Tensor
    cache: Cache | None


def decode_step(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, cache: Cache | None, source: dict[str, Any] | None = None
) -> torch.Tensor:
    """Logits of the next token (batch, vocabulary) in float32: the one place where a step of the model is computed.

    ids (batch, tokens so far), mask the same shape. With a cache only the tokens it lacks are computed. `source` is what a decoder is
    told of its encoder.
    """
    past = cache.get_seq_length() if cache is not None else 0
    if source is not None:
        out = model(
            **source,
            decoder_input_ids=ids[:, past:],
            decoder_attention_mask=mask,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=1,
        )
        return out.logits[:, -1].float()
    if ids.shape[1] - past == 1 and (compiled := kernels.step_for(model, mask, cache)) is not None:
        return compiled(ids[:, past:])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, past:]
    out = model(
        input_ids=ids[:, past:],
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
        logits_to_keep=1,
    )
    return out.logits[:, -1].float()


def steps(
    model: PreTrainedModel,
    ids: torch.Tensor,
    mask: torch.Tensor,
    config: GenerationConfig,
    extra: list[Processor] | None = None,
    source: dict[str, Any] | None = None,
) -> Generator[Step, None, None]:
    """The loop. ids and mask (batch, tokens). Stops when every row has ended or the limit is reached."""
    processors = processors_for(config, ids.shape[1]) + (extra or [])
    generator = None
    if config.seed is not None:
        generator = torch.Generator(ids.device).manual_seed(config.seed)
    ends = torch.tensor(config.eos_ids, device=ids.device, dtype=torch.long)
    pad = config.pad_token_id if config.pad_token_id is not None else (config.eos_ids or [0])[0]
    running = torch.ones(ids.shape[0], dtype=torch.bool, device=ids.device)
    cache = Cache() if config.use_cache else None
    for _ in range(config.limit(ids.shape[1])):
        # each step sets and leaves inference mode itself: a generator must not hold it over a yield
        with torch.inference_mode():
            logits = scores = decode_step(model, ids, mask, cache, source)
            with kernels.quiet(model):
                for process in processors:
                    scores = process(ids, scores)
                if config.do_sample:
                    tokens = torch.multinomial(scores.softmax(-1), 1, generator=generator)[:, 0]
                else:
                    tokens = scores.argmax(-1)
            tokens = torch.where(running, tokens, pad)
            running = running & ~torch.isin(tokens, ends)
            ids = torch.cat([ids, tokens[:, None]], 1)
            mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], 1)
        yield Step(tokens, running, scores, logits, cache)
        if not running.any():
            return


def prepare(
    model: PreTrainedModel, inputs: Any, config: GenerationConfig | None, values: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, GenerationConfig, dict[str, Any] | None]:
    """ids, mask, the configuration that holds (the model's, then the caller's, then keywords) and, of an encoder-decoder, what the
    decoder is told of the encoder, which has then run. Raises GenerationError."""
    base = config or model.generation_config
    if config is not None:
        fill = {name: getattr(model.generation_config, name) for name in FACTS}
        base = base.updated(**{name: value for name, value in fill.items() if getattr(base, name) is None})
    if not model.can_generate():
        raise GenerationError(f"{type(model).__name__} has no language-modelling head; load it with AutoModelForCausalLM.")
    prompts = ANSWERED if isinstance(model, Seq2Seq) else ("input_ids",)
    given = {name: values.pop(name, None) for name in ("attention_mask", "token_type_ids", *prompts)}
    if config is None and base.num_beams > 1 and values.get("num_beams") is None:  # what a file wishes for must not stop a person
        warnings.warn(
            f"{type(model).__name__}'s files ask for {base.num_beams} beams, which are not there yet: one is used.", stacklevel=4
        )
        base = base.updated(num_beams=1)
    base = base.updated(**{name: value for name, value in values.items() if value is not None or name in FACTS})
    if isinstance(model, Seq2Seq):
        ids, mask, source = answer_prompt(model, inputs, given, base)
    else:
        ids, mask, source = (
            *text_prompt(inputs if inputs is not None else given["input_ids"], given["attention_mask"], base),
            None,
        )
    base.validate(ids.shape[1], model.config.vocab_size)
    ids, mask = ids.to(model.device), mask.to(model.device)
    if base.num_return_sequences > 1:
        ids, mask = (t.repeat_interleave(base.num_return_sequences, 0) for t in (ids, mask))
        if source is not None:
            source = {name: value.repeat_interleave(base.num_return_sequences, 0) for name, value in source.items()}
    if source is not None:
        source["encoder_outputs"] = (source["encoder_outputs"],)
    return ids, mask, base, source


def text_prompt(
    ids: torch.Tensor | None, mask: torch.Tensor | None, config: GenerationConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """The prompt (batch, tokens) and its mask; without a prompt the token that begins a text."""
    if ids is None:
        if config.bos_token_id is None:
            raise GenerationError("There is no prompt, and the model names no token to begin with.")
        ids = torch.tensor([[config.bos_token_id]])
    if ids.dim() != 2 or ids.shape[1] == 0:
        raise GenerationError(f"The prompt must have the shape (batch, tokens) with at least one token, not {tuple(ids.shape)}.")
    if mask is None:
        mask = torch.ones_like(ids)
        pad = config.pad_token_id
        if pad is not None and pad not in config.eos_ids and bool((ids == pad).any()):
            mask = (ids != pad).long()
    return ids, mask


def answer_prompt(
    model: Seq2Seq, inputs: Any, given: dict[str, Any], config: GenerationConfig
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any]]:
    """The decoder's prompt and its mask, and the encoder's states (batch, source tokens, width) with their mask, computed in evaluation
    mode unless they are given."""
    encoded = None if given["encoder_outputs"] is None else encoder_output(given["encoder_outputs"])
    name, mask = model.main_input_name, given["attention_mask"]
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            if encoded is None:
                what = inputs if inputs is not None else given[name]
                if name == "input_ids" and given["inputs_embeds"] is None:
                    what, mask = text_prompt(what, mask, config)
                source = {name: what, "attention_mask": mask, "inputs_embeds": given["inputs_embeds"]}
                encoded = model.encode(**{key: value.to(model.device) for key, value in source.items() if value is not None})
            target = given["decoder_input_ids"]
            if target is not None and (target.dim() != 2 or target.shape[1] == 0):
                raise GenerationError(f"decoder_input_ids must have the shape (batch, tokens), not {tuple(target.shape)}.")
            target = model.decoder_prompt(encoded, config, target)
    finally:
        model.train(training)
    target_mask = torch.ones_like(target)
    if (own := given["decoder_attention_mask"]) is not None:
        target_mask[:, -own.shape[1] :] = own
    told = {"encoder_outputs": encoded.last_hidden_state} | ({} if mask is None else {"attention_mask": mask.to(model.device)})
    return target, target_mask, told


def generate(
    model: PreTrainedModel,
    inputs: torch.Tensor | None = None,
    generation_config: GenerationConfig | None = None,
    *,
    streamer: Any = None,
    tokenizer: Any = None,
    logits_processor: list[Processor] | None = None,
    stopping_criteria: list[Callable[[torch.Tensor, Any], Any]] | None = None,
    **values: Any,
) -> torch.Tensor | GenerateOutput:
    """Continue prompts.

    inputs: (batch, tokens), padded on the left where rows differ (attention_mask says where). Returns (batch, prompt + new tokens), or
    a GenerateOutput with `return_dict_in_generate`. Keywords are those of GenerationConfig; stop_strings needs the tokenizer.
    Of an encoder-decoder the inputs are the encoder's (input_ids, input_features, inputs_embeds or encoder_outputs), padded on either
    side, and the prompt is the decoder's: decoder_input_ids, or what the model begins with.
    Raises GenerationError for parameters that make no sense.
    """
    ids, mask, config, source = prepare(model, inputs, generation_config, values)
    if config.stop_strings and tokenizer is None:
        raise GenerationError("stop_strings needs the tokenizer: generate(…, tokenizer=tokenizer).")
    stops = [config.stop_strings] if isinstance(config.stop_strings, str) else config.stop_strings or []
    prompt, kept_scores, kept_logits, cache = ids.shape[1], [], [], None
    stopped = torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)
    pad = config.pad_token_id if config.pad_token_id is not None else (config.eos_ids or [0])[0]
    training = model.training
    model.eval()
    if streamer is not None:
        streamer.put(ids)
    try:
        with closing(steps(model, ids, mask, config, logits_processor, source)) as loop:
            for step in loop:
                ids = torch.cat([ids, step.tokens.masked_fill(stopped, pad)[:, None]], 1)
                if config.output_scores:
                    kept_scores.append(step.scores)
                if config.output_logits:
                    kept_logits.append(step.logits)
                cache = step.cache
                if streamer is not None:
                    streamer.put(step.tokens)
                for row in range(ids.shape[0]) if stops else ():
                    text = tokenizer.decode(ids[row, prompt:])
                    stopped[row] |= any(stop in text for stop in stops)
                if stopping_criteria and all(bool(torch.as_tensor(rule(ids, step.scores)).all()) for rule in stopping_criteria):
                    break
                if not (step.running & ~stopped).any():
                    break
    finally:
        model.train(training)
        if streamer is not None:
            streamer.end()
    ids = ids.clone()
    if not config.return_dict_in_generate:
        return ids
    return GenerateOutput(ids, tuple(kept_scores) or None, tuple(kept_logits) or None, cache)
