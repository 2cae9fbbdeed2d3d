"""Beam search: the sentences that are likeliest as a whole, several kept on the way. Sutskever et al. 2014; Wu et al. 2016, 7."""

from dataclasses import dataclass, field

import torch

from core.generation.prompt import Job

NEVER = -1.0e9


@dataclass
class Beams:
    """sequences (batch x returned, tokens) with their scores (batch x returned,), and for each new token the row of the step's scores
    that it was chosen from; scores and logits a step."""

    sequences: torch.Tensor
    sequences_scores: torch.Tensor
    beam_indices: torch.Tensor
    scores: list[torch.Tensor] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)


@torch.inference_mode()
def beam_search(job: Job) -> Beams:
    """The best `num_return_sequences` of each prompt. Where `do_sample`, what a beam goes on with is drawn, not the likeliest.

    Of every beam and token the best few are kept: enough that `num_beams` go on even where all the others end. One that ends competes by
    its score over length ** length_penalty for the places of the finished, which `early_stopping` True closes when they are all taken,
    False when no running one would be better if it ended now, "never" when none could become better.
    """
    config, rows = job.config, job.decoding
    beams, ends = config.num_beams, len(config.eos_ids)
    prompt, batch = rows.ids.shape[1], rows.ids.shape[0] // beams
    limit = job.limit
    kept = max(2, 1 + ends) * beams
    # what stands after an end: the padding, unless that is token 0, which the reference takes for none
    fill = (config.pad_token_id or config.eos_ids[0]) if ends else -1
    running = torch.full((batch, beams, prompt + limit), fill, dtype=torch.long, device=rows.ids.device)
    running[:, :, :prompt] = rows.ids.view(batch, beams, prompt)
    running_scores = running.new_zeros(batch, beams, dtype=torch.float)
    running_scores[:, 1:] = NEVER  # at first all beams are the same
    running_trail = running.new_full((batch, beams, limit), -1)
    ended, ended_trail = running.clone(), running_trail.clone()
    ended_scores = torch.full_like(running_scores, NEVER)
    taken = torch.zeros_like(running_scores, dtype=torch.bool)
    open_ = taken.new_ones(batch, 1)
    first_row = torch.arange(batch, device=running.device)[:, None] * beams
    result = Beams(running, ended_scores, running_trail)
    for written in range(1, limit + 1):
        here = prompt + written
        logits = rows.logits()
        scores = job.processors(rows.ids, logits.log_softmax(-1))
        if config.output_logits:
            result.logits.append(logits)
        if config.output_scores:
            result.scores.append(scores)
        vocabulary = scores.shape[1]
        total = (scores.view(batch, beams, vocabulary) + running_scores[:, :, None]).view(batch, -1)
        if config.do_sample:
            picked = torch.multinomial(total.softmax(-1), kept, generator=job.generator)
            best = total.gather(1, picked)
        else:
            best, picked = total.topk(kept)
        parent = picked // vocabulary
        found, trail = _rows(running, parent), _rows(running_trail, parent)
        found[:, :, here - 1] = picked % vocabulary
        trail[:, :, written - 1] = parent + first_row
        over = job.criteria(found[:, :, :here].flatten(0, 1), result.scores) | (written == limit)
        over = over.view(batch, kept)

        order = (best + over * NEVER).topk(beams).indices
        running, running_trail = _rows(found, order), _rows(trail, order)
        running_scores = (best + over * NEVER).gather(1, order)

        now = over & (torch.arange(kept, device=over.device) < beams)
        closed = ~open_ | (taken.all(1, keepdim=True) & (config.early_stopping is True))
        value = best / written**config.length_penalty + closed * NEVER + ~now * NEVER
        value, order = torch.cat([ended_scores, value], 1).topk(beams)
        ended, ended_trail = _rows(torch.cat([ended, found], 1), order), _rows(torch.cat([ended_trail, trail], 1), order)
        ended_scores, taken = value, torch.cat([taken, now], 1).gather(1, order)

        rows.take(running[:, :, :here].flatten(0, 1), running_trail[:, :, written - 1].flatten())
        length = limit if config.early_stopping == "never" and config.length_penalty > 0 else written
        worst = torch.where(taken, ended_scores.amin(1, keepdim=True), NEVER)
        open_ = open_ & (running_scores[:, :1] / length**config.length_penalty > worst).any(1, keepdim=True)
        if not open_.any() or over.all() or (config.early_stopping is True and taken.all()):
            break
    best_of = slice(config.num_return_sequences)
    result.beam_indices = ended_trail[:, best_of].flatten(0, 1)
    longest = int((result.beam_indices >= 0).sum(1).max())
    result.beam_indices = result.beam_indices[:, :longest]
    result.sequences = ended[:, best_of].flatten(0, 1)[:, : prompt + longest]
    result.sequences_scores = ended_scores[:, best_of].flatten()
    return result


def _rows(x: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """(batch, beams, length) -> those beams (batch, chosen, length)."""
    return x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))
