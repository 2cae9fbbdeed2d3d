"""Decoding on a CPU at the speed of its memory: one token a row, or some of one text, computed by compiled code (Numba) in place of the
model's forward.

    step = kernels.step_for(model, mask, cache)      # None where the plain path is to run
    logits = step(ids)                               # (batch, new) -> (batch, 1, vocabulary)

What it computes equals the plain path: each model's first step is computed on both and compared. `describe` says which path runs
and why; `off()`, or VITRINE_KERNELS=0, turns compiled steps off; `warm_up` compiles them ahead. Read plan.py (a model as a table of
operations), step.py (threads going through it), products.py and attention.py (the arithmetic), vec.py (vectors).
"""

from core.kernels.machine import is_compiled, reason_against
from core.kernels.service import describe, off, quiet, step_for, unpacked, warm_up

__all__ = ["describe", "is_compiled", "off", "quiet", "reason_against", "step_for", "unpacked", "warm_up"]
