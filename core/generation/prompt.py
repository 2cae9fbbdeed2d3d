"""From what a caller gives to a job: rows to go on with, the configuration that holds, what changes scores and what ends a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.errors import GenerationError
from core.generation.config import FACTS, GenerationConfig
from core.generation.processors import LogitsProcessorList, Processor
from core.generation.selection import processors_for
from core.generation.step import Decoding, Record
from core.generation.stopping import Criterion, StoppingCriteriaList, criteria_for
from core.modeling.cache import Cache
from core.modeling.model import PreTrainedModel
from core.modeling.seq2seq import Seq2Seq, encoder_output

# what a decoder that answers an encoder may be given besides the parameters
ANSWERED = ("input_ids", "input_features", "inputs_embeds", "encoder_outputs", "decoder_input_ids", "decoder_attention_mask")
CONTINUED = ("input_ids", "inputs_embeds")


@dataclass
class Step:
    """One token for each row: (batch,), pad where the row had ended; `running` (batch,) which rows go on after it."""

    tokens: torch.Tensor
    running: torch.Tensor
    scores: torch.Tensor
    logits: torch.Tensor
    cache: Cache | None


@dataclass
class Job:
    """One generation: prompt counts the tokens before the answer, limit those of it; encoded is the encoder's output; drafted and accepted
    count the tokens of speculation."""

    decoding: Decoding
    config: GenerationConfig
    prompt: int
    limit: int
    processors: LogitsProcessorList
    criteria: StoppingCriteriaList
    generator: torch.Generator | None
    encoded: Any = None
    drafted: int = 0
    accepted: int = 0

    @property
    def pad(self) -> int:
        """What stands after a row's end."""
        config = self.config
        return config.pad_token_id if config.pad_token_id is not None else (config.eos_ids or [0])[0]


def settings(model: PreTrainedModel, config: GenerationConfig | None, values: dict[str, Any]) -> GenerationConfig:
    """The configuration that holds: the model's, or the caller's with the model's facts, then keywords."""
    base = config or model.generation_config
    if config is not None:
        fill = {name: getattr(model.generation_config, name) for name in FACTS}
        base = base.updated(**{name: value for name, value in fill.items() if getattr(base, name) is None})
    return base.updated(**{name: value for name, value in values.items() if value is not None or name in FACTS})


def prepare(
    model: PreTrainedModel,
    inputs: Any,
    config: GenerationConfig | None,
    values: dict[str, Any],
    *,
    tokenizer: Any = None,
    logits_processor: Sequence[Processor] = (),
    stopping_criteria: Sequence[Criterion] = (),
    prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], list[int]] | None = None,
) -> Job:
    """The job. The encoder of an encoder-decoder has then run. Raises GenerationError."""
    if not model.can_generate():
        raise GenerationError(f"{type(model).__name__} has no language-modelling head; load it with AutoModelForCausalLM.")
    names = ANSWERED if isinstance(model, Seq2Seq) else CONTINUED
    given = {name: values.pop(name, None) for name in ("attention_mask", "token_type_ids", "past_key_values", *names)}
    held = settings(model, config, values)
    source, encoded, embeds, source_ids = None, None, None, None
    if isinstance(model, Seq2Seq):
        ids, mask, source, encoded, source_ids = answer_prompt(model, inputs, given, held)
    elif inputs is None and given["input_ids"] is None and given["inputs_embeds"] is not None:
        ids, mask, embeds = vector_prompt(given["inputs_embeds"].to(model.device), given["attention_mask"])
    else:
        ids, mask = to_the_left(*text_prompt(inputs if inputs is not None else given["input_ids"], given["attention_mask"], held))
    prompt = ids.shape[1]
    held.validate(mask.shape[1] if source is None else prompt, model.config.vocab_size)
    ids, mask = ids.to(model.device), mask.to(model.device)
    past = given["past_key_values"]
    cache = (model.new_cache() if past is None else Cache.of(past)) if held.use_cache else None
    if (copies := held.num_beams if held.num_beams > 1 else held.num_return_sequences) > 1:
        ids, mask = (t.repeat_interleave(copies, 0) for t in (ids, mask))
        embeds = None if embeds is None else embeds.repeat_interleave(copies, 0)
        source = None if source is None else {name: value.repeat_interleave(copies, 0) for name, value in source.items()}
        if cache is not None and len(cache):
            cache.reorder(torch.arange(len(ids) // copies, device=ids.device).repeat_interleave(copies))
    if source is not None:
        source["encoder_outputs"] = (source["encoder_outputs"],)
    if cache is not None and (held_tokens := cache.get_seq_length() - cache.virtual) >= mask.shape[1]:
        raise GenerationError(
            f"past_key_values holds {held_tokens} tokens and the prompt has {mask.shape[1]}: at least one has to be new. "
            "Cache.trim shortens it."
        )
    generator = None if held.seed is None else torch.Generator(ids.device).manual_seed(held.seed)
    wants = held.return_dict_in_generate and (held.output_attentions or held.output_hidden_states)
    record = Record(held.output_attentions, held.output_hidden_states) if wants else None
    processors = processors_for(
        held,
        prompt,
        source_ids=ids if source is None and prompt else source_ids,
        padding=(mask != 0).int().argmax(1) if embeds is None else None,
        prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
        extra=logits_processor,
    )
    criteria = criteria_for(held, tokenizer, prompt, stopping_criteria)
    decoding = Decoding(model, ids, mask, cache, source, embeds, record)
    limit = held.limit(prompt if source is not None else mask.shape[1])
    return Job(decoding, held, prompt, limit, processors, criteria, generator, encoded)


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


def vector_prompt(embeds: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """No ids, a mask of the vectors (batch, places, width), and these."""
    if embeds.dim() != 3 or embeds.shape[1] == 0:
        raise GenerationError(f"inputs_embeds must have the shape (batch, tokens, width), not {tuple(embeds.shape)}.")
    mask = torch.ones(embeds.shape[:2], dtype=torch.long) if mask is None else mask
    return torch.zeros(len(embeds), 0, dtype=torch.long), mask, embeds


def to_the_left(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded at their end padded before their beginning instead, so that an answer stands behind its prompt."""
    if mask.shape != ids.shape or bool(mask[:, -1].all()):
        return ids, mask
    order = mask.bool().sort(dim=1, stable=True).indices
    return ids.gather(1, order), mask.gather(1, order)


def answer_prompt(
    model: Seq2Seq, inputs: Any, given: dict[str, Any], config: GenerationConfig
) -> tuple[torch.Tensor, torch.Tensor, dict[str, Any], Any, torch.Tensor | None]:
    """The decoder's prompt and its mask, the encoder's states (batch, source tokens, width) with their mask, computed in evaluation
    mode unless they are given, the encoder's whole output, and the source's ids where it has any."""
    encoded = None if given["encoder_outputs"] is None else encoder_output(given["encoder_outputs"])
    name, mask, source_ids = model.main_input_name, given["attention_mask"], None
    wanted = {name: True for name in ("output_attentions", "output_hidden_states") if getattr(config, name)}
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            if encoded is None:
                what = inputs if inputs is not None else given[name]
                if name == "input_ids" and given["inputs_embeds"] is None:
                    what, mask = text_prompt(what, mask, config)
                    source_ids = what.to(model.device)
                source = {name: what, "attention_mask": mask, "inputs_embeds": given["inputs_embeds"]}
                source = {key: value.to(model.device) for key, value in source.items() if value is not None}
                encoded = model.encode(**source, **wanted)
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
    return target, target_mask, told, encoded, source_ids
