"""From a configuration to its processors, in the order in which they count."""

from collections.abc import Callable, Sequence

import torch

from core.generation import processors as p
from core.generation import warpers as w
from core.generation.config import GenerationConfig


def processors_for(
    config: GenerationConfig,
    prompt: int,
    *,
    source_ids: torch.Tensor | None = None,
    padding: torch.Tensor | None = None,
    prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], list[int]] | None = None,
    extra: Sequence[p.Processor] = (),
) -> p.LogitsProcessorList:
    """Those that the configuration asks for. prompt: tokens of it; source_ids: the encoder's, or the prompt itself (batch, tokens);
    padding: (batch,) tokens that stand before each prompt; extra: the caller's own, before those of sampling."""
    ends, found = config.eos_ids, p.LogitsProcessorList()
    if config.sequence_bias:
        found.append(p.SequenceBiasLogitsProcessor(config.sequence_bias))
    if source_ids is not None and config.encoder_repetition_penalty != 1.0:
        found.append(p.EncoderRepetitionPenaltyLogitsProcessor(config.encoder_repetition_penalty, source_ids))
    if config.repetition_penalty != 1.0:
        found.append(p.RepetitionPenaltyLogitsProcessor(config.repetition_penalty, padding))
    if config.presence_penalty or config.frequency_penalty:
        found.append(p.PresenceFrequencyPenaltyLogitsProcessor(config.presence_penalty, config.frequency_penalty, prompt))
    if config.no_repeat_ngram_size:
        found.append(p.NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if source_ids is not None and config.encoder_no_repeat_ngram_size:
        found.append(p.EncoderNoRepeatNGramLogitsProcessor(config.encoder_no_repeat_ngram_size, source_ids))
    if config.bad_words_ids:
        found.append(p.NoBadWordsLogitsProcessor(config.bad_words_ids, ends))
    if config.min_length and ends:
        found.append(p.MinLengthLogitsProcessor(config.min_length, ends))
    if config.min_new_tokens and ends:
        found.append(p.MinNewTokensLengthLogitsProcessor(prompt, config.min_new_tokens, ends))
    if prefix_allowed_tokens_fn is not None:
        found.append(p.PrefixConstrainedLogitsProcessor(prefix_allowed_tokens_fn, config.num_beams))
    if config.forced_bos_token_id is not None:
        found.append(p.ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        found.append(p.ForcedEOSTokenLogitsProcessor(prompt + config.limit(prompt), config.forced_eos_token_id))
    if config.remove_invalid_values:
        found.append(p.InfNanRemoveLogitsProcessor())
    if config.exponential_decay_length_penalty is not None and ends:
        found.append(p.ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, ends, prompt))
    if config.suppress_tokens:
        found.append(p.SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens:
        begin = prompt + 1 if prompt == 1 and config.forced_bos_token_id is not None else prompt
        found.append(p.SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin))
    found.extend(extra)
    if config.do_sample:
        found.extend(warpers_for(config))
    if config.renormalize_logits:
        found.append(p.LogitNormalization())
    return found


def warpers_for(config: GenerationConfig) -> p.LogitsProcessorList:
    """Those of sampling. Beams keep one token more than there are ends, to go on with."""
    found, least = p.LogitsProcessorList(), 1 if config.num_beams == 1 else len(config.eos_ids or [0]) + 1
    if config.temperature != 1.0:
        found.append(w.TemperatureLogitsWarper(config.temperature))
    if config.top_h is not None:
        found.append(w.TopHLogitsWarper(config.top_h))
    if config.top_k:
        found.append(w.TopKLogitsWarper(config.top_k, min_tokens_to_keep=least))
    if config.top_p < 1.0:
        found.append(w.TopPLogitsWarper(config.top_p, min_tokens_to_keep=least))
    if config.min_p is not None:
        found.append(w.MinPLogitsWarper(config.min_p, min_tokens_to_keep=least))
    if config.typical_p < 1.0:
        found.append(w.TypicalLogitsWarper(config.typical_p, min_tokens_to_keep=least))
    if config.epsilon_cutoff:
        found.append(w.EpsilonLogitsWarper(config.epsilon_cutoff, min_tokens_to_keep=least))
    if config.eta_cutoff:
        found.append(w.EtaLogitsWarper(config.eta_cutoff, min_tokens_to_keep=least))
    return found
