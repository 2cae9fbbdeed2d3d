"""A process of its own for tests of compiled steps: `python -m tests.kernels_child MODE …` prints what it found as JSON.

Modes: run (both paths over one text), cores (one processor only), busy (other processes at work on all of them), fork (steps in a
child process), team (one thread and two), compile ROWS OTHERS (what so many rows need, after so many functions of somebody else).
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import torch

import core
from core import kernels
from core.generation.step import decode_step
from core.modeling.cache import Cache

SIZES: dict[str, Any] = {
    "vocab_size": 117,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "rms_norm_eps": 0.1,
}


def make(form: str | None, window: int | None = None) -> Any:
    """A random model, its matrices in blocks where a form is named, which reads the last `window` tokens."""
    torch.manual_seed(0)
    model = core.MistralForCausalLM(core.MistralConfig(**SIZES, sliding_window=window))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if form is None:
        return model.eval()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return core.MistralForCausalLM.from_pretrained(folder, quantization=form, dtype="float32")


@torch.inference_mode()
def logits(model: Any, batch: int, length: int = 12, prompt: int = 6) -> torch.Tensor:
    """(steps, batch, vocabulary) over one text."""
    ids, mask = torch.arange(batch * length).view(batch, length) * 37 % 117, torch.ones(batch, length, dtype=torch.long)
    mask[1:, :2] = 0
    cache = Cache()
    return torch.stack([decode_step(model, ids[:, :end], mask[:, :end], cache) for end in range(prompt, length + 1)])


def difference(model: Any) -> float:
    """How far the paths are apart, of the largest logit, with one row and with three."""
    found = []
    for batch in (1, 3):
        with kernels.off():
            plain = logits(model, batch)
        for _ in range(2):
            ours = logits(model, batch)
        found.append(((ours - plain).abs().max() / plain.abs().max()).item())
    return torch.tensor(found).max().item()  # nan, if there is one


def run() -> dict[str, Any]:
    """Both paths, weights plain and in blocks."""
    models = {form or "plain": make(form) for form in (None, "int4", "int8")}
    return {name: [difference(model), kernels.describe(model)] for name, model in models.items()}


def cores() -> dict[str, Any]:
    """On one processor."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return run()


def busy() -> dict[str, Any]:
    """With every processor taken by somebody else; and a long text, so that a stall would show."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        model = make(None)
        logits(model, 1, 300)
        return run()
    finally:
        for other in others:
            other.kill()
            other.wait()


def fork() -> dict[str, Any]:
    """The same steps before a fork, in the child, and in the parent afterwards."""
    model = make(None)
    logits(model, 1)
    cache, ids, mask = Cache(), torch.arange(9)[None], torch.ones(1, 9, dtype=torch.long)
    with torch.inference_mode():
        decode_step(model, ids[:, :8], mask[:, :8], cache)
        before = decode_step(model, ids, mask, copy.deepcopy(cache))
        child = os.fork()
        if child == 0:
            same = all(torch.equal(before, decode_step(model, ids, mask, copy.deepcopy(cache))) for _ in range(20))
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
        after = decode_step(model, ids, mask, copy.deepcopy(cache))
    return {"child": os.waitstatus_to_exitcode(status), "after": torch.equal(before, after), "path": kernels.describe(model)}


def team() -> dict[str, Any]:
    """One thread and two: the same bits, of single tokens and of a prompt. A thread that comes late is not waited for, so two are asked for
    until they are two."""
    from core.kernels import crew

    model, asked = make("int4", 70), 1
    logits(model, 3)

    def found() -> list[torch.Tensor]:
        return [logits(model, 3, 200), logits(model, 1, 300, 280)]

    crew.Pace.team = crew.Pace.best = lambda self: asked  # type: ignore[method-assign]
    alone, teams = found(), set()
    asked = 2
    step = crew.Crew.step
    crew.Crew.step = lambda *given: teams.add(came := step(*given)) or came  # type: ignore[method-assign]
    for _ in range(20):
        same = all(map(torch.equal, alone, found()))
        if not same or 2 in teams:
            break
    return {"same": same, "teams": sorted(teams)}


def compile(rows: str, others: str) -> str | None:
    """A step for so many rows, in a process that has compiled other things before."""
    import numba

    for _ in range(int(others)):
        numba.njit(lambda x: x)(1)
    return kernels.warm_up(int(rows))


if __name__ == "__main__":
    modes: dict[str, Any] = {"run": run, "cores": cores, "busy": busy, "fork": fork, "team": team, "compile": compile}
    print(json.dumps(modes[sys.argv[1]](*sys.argv[2:])))
