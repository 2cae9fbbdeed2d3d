"""Compiled steps on other machines and among other processes: the same answers, no crash, no stall, and a line that says what ran."""

import gc
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core import kernels

ROOT = Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(kernels.reason_against() is not None, reason=str(kernels.reason_against()))
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for processors and for a fork")
V3 = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"


def child(mode: str, *arguments: str, **environment: str) -> Any:
    """What tests/kernels_child.py reports, in a process of its own, which has five minutes."""
    command = [sys.executable, "-m", "tests.kernels_child", mode, *arguments]
    values = os.environ | {"OMP_NUM_THREADS": "2"} | environment
    done = subprocess.run(command, cwd=ROOT, env=values, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def check(found: dict[str, tuple[float, str]], path: str, within: float) -> None:
    """Every form was computed on this path and is as near."""
    for form, (off, line) in found.items():
        assert line.startswith(path), line
        assert off <= (1e-4 if form == "plain" else within), (form, off)


@needs_compiler
@needs_linux
def test_one_thread_and_two_give_the_same_bits() -> None:
    found = child("team")
    assert found["same"]
    if len(os.sched_getaffinity(0)) > 1:
        assert 2 in found["teams"]


@needs_compiler
@needs_linux
@pytest.mark.parametrize("mode", ["cores", "busy"])
def test_few_processors(mode: str) -> None:
    """One processor; all of them taken by others."""
    found = child(mode)
    check(found, "compiled step", 1e-3)
    if mode == "cores":
        assert found["plain"][1].endswith("1 thread")


@needs_compiler
@needs_linux
def test_after_a_fork() -> None:
    """Threads do not survive a fork; steps do."""
    found = child("fork")
    assert found["child"] == 0 and found["after"] and found["path"].startswith("compiled step")


@needs_compiler
def test_steps_kept_by_two_processes_meet_in_a_third(tmp_path: Path) -> None:
    """Numba counts functions from one in each process, so the numbers that the linker sees mean different functions in each: with ten others
    compiled before, attention over float32 had the number that attention over bfloat16 had elsewhere, and four rows read wrong values."""
    kept = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert child("compile", "1", "0", **kept) is None and child("compile", "4", "10", **kept) is None
    assert len(list(tmp_path.rglob("step.run*.nbc"))) == 2
    check(child("run", **kept), "compiled step", 1e-3)


@needs_compiler
def test_compiled_functions_have_names_of_their_own() -> None:
    """See core.kernels.products.jit_for."""
    from numba.core.dispatcher import Dispatcher

    import core.kernels.step  # noqa: F401

    functions = [found.py_func for found in gc.get_objects() if issubclass(type(found), Dispatcher)]
    names = Counter(f"{function.__module__}.{function.__qualname__}" for function in functions)
    ours = {name: count for name, count in names.items() if name.startswith("core.kernels.")}
    assert len(ours) > 20 and set(ours.values()) == {1}, ours


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names features of x86")
def test_a_processor_with_avx2_only() -> None:
    """AVX-512 and VNNI are not used where they are not there; nor are products of bytes, where exact ones are asked for."""
    older = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": V3}
    found = child("run", **older)
    check(found, "compiled step", 1e-3)
    assert "avx2 products" in found["int4"][1]
    check(child("run", VITRINE_KERNELS="float", **older), "compiled step", 1e-4)


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names features of x86")
def test_a_processor_that_cannot_widen_halves() -> None:
    """LLVM would end the process: nothing is compiled, and the line says why."""
    found = child("run", NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="+avx2,+fma")
    check(found, "plain PyTorch: this processor lacks f16c", 0)


def test_without_numba(tmp_path: Path) -> None:
    """Everything works, and the line says what is missed."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['numba'] = None\n")
    found = child("run", PYTHONPATH=str(tmp_path))
    check(found, "plain PyTorch: numba is not installed", 0)


def test_the_switch() -> None:
    check(child("run", VITRINE_KERNELS="0"), "plain PyTorch: VITRINE_KERNELS=0 turns them off", 0)
