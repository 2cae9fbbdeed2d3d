"""Generation: pick a token, append it, ask again, until all rows have ended."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

import torch

from core import kernels
from core.generation.beams import beam_search
from core.generation.config import GenerationConfig
from core.generation.outputs import (
    GenerateBeamDecoderOnlyOutput,
    GenerateBeamEncoderDecoderOutput,
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
    GenerateOutput,
)
from core.generation.processors import Processor
from core.generation.prompt import Job, Step, prepare
from core.generation.speculative import drafter_for, speculative_steps
from core.generation.step import likeliest
from core.generation.stopping import Criterion
from core.modeling.model import PreTrainedModel


def steps(job: Job) -> Generator[Step, None, None]:
    """The likeliest token of each row, or one drawn, a step at a time. Stops when every row has ended or the limit is reached."""
    rows, running = job.decoding, torch.ones(len(job.decoding.ids), dtype=torch.bool, device=job.decoding.ids.device)
    for _ in range(job.limit):
        # each step sets and leaves inference mode itself: a generator must not hold it over a yield
        with torch.inference_mode():
            logits = rows.logits()
            with kernels.quiet(rows.model):
                scores = job.processors(rows.ids, logits)
                if job.config.do_sample:
                    tokens = torch.multinomial(scores.softmax(-1), 1, generator=job.generator)[:, 0]
                else:
                    tokens = likeliest(scores)
                tokens = torch.where(running, tokens, job.pad)
                rows.append(tokens)
                running = running & ~job.criteria(rows.ids, scores)
        yield Step(tokens, running, scores, logits, rows.cache)
        if not running.any():
            return


def steps_of(job: Job, assistant: PreTrainedModel | None = None) -> Generator[Step, None, None]:
    """Plain steps, or those of speculation where it is asked for."""
    drafter = drafter_for(job, assistant)
    return steps(job) if drafter is None else speculative_steps(job, drafter)


def generate(
    model: PreTrainedModel,
    inputs: torch.Tensor | None = None,
    generation_config: GenerationConfig | None = None,
    *,
    streamer: Any = None,
    tokenizer: Any = None,
    logits_processor: Sequence[Processor] | None = None,
    stopping_criteria: Sequence[Criterion] | None = None,
    prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], list[int]] | None = None,
    assistant_model: PreTrainedModel | None = None,
    **values: Any,
) -> torch.Tensor | GenerateOutput:
    """Continue prompts.

    inputs: (batch, tokens), padded on the left where rows differ (attention_mask says where); or inputs_embeds (batch, tokens, width),
    whose answers come without a prompt. Returns (batch, prompt + new tokens), or a GenerateOutput with `return_dict_in_generate`.
    Keywords are those of GenerationConfig; stop_strings needs the tokenizer; past_key_values is the cache of a text that this one
    begins with. Of an encoder-decoder the inputs are the encoder's (input_ids, input_features, inputs_embeds or encoder_outputs), padded
    on either side, and the prompt is the decoder's: decoder_input_ids, or what the model begins with.
    Raises GenerationError for parameters that make no sense.
    """
    job = prepare(
        model,
        inputs,
        generation_config,
        values,
        tokenizer=tokenizer,
        logits_processor=logits_processor or (),
        stopping_criteria=stopping_criteria or (),
        prefix_allowed_tokens_fn=prefix_allowed_tokens_fn,
    )
    config = job.config
    training = model.training
    if any(module.training for module in model.modules()):  # an adapter that was just put on may be, where the model is not
        model.eval()
    if streamer is not None:
        streamer.put(job.decoding.ids)
    try:
        if config.num_beams > 1:
            beams = beam_search(job)
            if streamer is not None:
                streamer.put(beams.sequences[:, job.prompt :])
            found: dict[str, Any] = {
                "sequences": beams.sequences.clone(),
                "sequences_scores": beams.sequences_scores if config.output_scores else None,
                "scores": tuple(beams.scores) or None,
                "logits": tuple(beams.logits) or None,
                "beam_indices": beams.beam_indices,
            }
        else:
            scores, logits = [], []
            with closing(steps_of(job, assistant_model)) as loop:
                for step in loop:
                    if config.output_scores:
                        scores.append(step.scores)
                    if config.output_logits:
                        logits.append(step.logits)
                    if streamer is not None:
                        streamer.put(step.tokens)
            found = {"sequences": job.decoding.ids.clone(), "scores": tuple(scores) or None, "logits": tuple(logits) or None}
            if job.drafted:
                found |= {"drafted_tokens": job.drafted, "accepted_tokens": job.accepted}
    finally:
        if training:
            model.train()
        if streamer is not None:
            streamer.end()
    return _output(job, found) if config.return_dict_in_generate else found["sequences"]


def _output(job: Job, found: dict[str, Any]) -> GenerateOutput:
    record, beams = job.decoding.record, job.config.num_beams > 1
    found |= {"past_key_values": job.decoding.cache}
    if job.decoding.source is None:
        names, kind = ("attentions", "hidden_states"), GenerateBeamDecoderOnlyOutput if beams else GenerateDecoderOnlyOutput
    else:
        names = ("decoder_attentions", "cross_attentions", "decoder_hidden_states")
        kind = GenerateBeamEncoderDecoderOutput if beams else GenerateEncoderDecoderOutput
        found |= {f"encoder_{name}": getattr(job.encoded, name, None) for name in ("attentions", "hidden_states")}
    found |= {name: None if record is None else record.all(name) for name in names}
    return kind(**found)
