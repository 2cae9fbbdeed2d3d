"""Whether this machine can run compiled steps, and the compiled step itself: made once, kept beside the data folder."""

import hashlib
import importlib.util
import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from core.paths import data_dir

logger = logging.getLogger(__name__)

SWITCH = "VITRINE_KERNELS"
OFF, EXACT = "0", "float"  # values of the switch: plain PyTorch; products of blocks in float32
# Without these LLVM has no instruction for what the steps do (halves to floats) and ends the process
NEEDED = {"x86_64": ("avx2", "fma", "f16c"), "AMD64": ("avx2", "fma", "f16c"), "arm64": (), "aarch64": ()}
WIDE, NARROW = 8, 4  # rows that a product serves at once

_making = threading.Lock()


@cache
def reason_against() -> str | None:
    """Why compiled steps cannot run here, None where they can. Nothing is compiled to find out."""
    if os.environ.get(SWITCH) == OFF:
        return f"{SWITCH}={OFF} turns them off"
    if sys.modules.get("numba", 0) is None or importlib.util.find_spec("numba") is None:
        return "numba is not installed; with it (pip install numba) tokens come several times as fast on this processor"
    try:
        import numba  # noqa: F401
    except Exception as error:  # a version that does not fit Python or NumPy
        return f"numba cannot be imported: {error}"
    machine = platform.machine()
    if machine not in NEEDED:
        return f"there is no list of what a processor of the kind '{machine}' must have"
    features = cpu_features()
    if lacking := [name for name in NEEDED[machine] if name not in features]:
        return f"this processor lacks {', '.join(lacking)}"
    return None


def cpu_features() -> set[str]:
    """What LLVM will be told of the processor."""
    import llvmlite.binding as llvm
    from numba import config as settings

    config: Any = settings
    if config.CPU_FEATURES is not None:
        return {name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")}
    return {name for name, there in llvm.get_host_cpu_features().items() if there}


def cache_dir() -> Path:
    """Where compiled code is kept: NUMBA_CACHE_DIR, else the data folder; in it a folder for each state of these sources and of the switch,
    which Numba does not look at."""
    root = os.environ.get("NUMBA_CACHE_DIR")
    digest = hashlib.sha256(os.environ.get(SWITCH, "").encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return (Path(root) if root else data_dir() / "kernels") / digest.hexdigest()[:16]


@cache
def kept(function: Callable[..., Any]) -> Any:
    """A function of this package as Numba has it: compiled when first called, kept on disk."""
    from numba import config as settings
    from numba import njit

    config: Any = settings
    before, config.CACHE_DIR = config.CACHE_DIR, str(cache_dir())
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except (OSError, RuntimeError) as error:  # a folder that cannot be written: compiled anew in each process
        logger.warning("Compiled code cannot be kept in %s: %s", cache_dir(), error)
        return njit(nogil=True, error_model="numpy")(function)
    finally:
        config.CACHE_DIR = before


def is_compiled() -> bool:
    """Whether there is nothing to wait for: a step was compiled on this machine before, or none can run here."""
    return reason_against() is not None or any(cache_dir().rglob("step.*.nbi"))


@cache
def compiled(tile: int) -> Any:
    """The step for tiles of so many rows: run(gate, leads, wanted, ops, batch, rows, scratch, scratch_size)."""
    import numba

    from core.kernels.ops import OP
    from core.kernels.step import run

    function = kept(run)
    record, integer = numba.from_dtype(OP), numba.int64
    signature = (
        integer,
        numba.boolean,
        integer,
        numba.types.Array(record, 1, "C"),
        integer,
        numba.types.UniTuple(integer, tile),
        integer,
        integer,
    )
    with _making:
        if signature not in function.overloads:
            known = is_compiled()
            if not known:
                logger.info("Compiling the decode step for this processor, once; it takes some seconds.")
            began = time.perf_counter()
            function.compile(signature)
            logger.info(
                "The decode step for %d row%s is ready after %.1f s.", tile, "s" * (tile > 1), time.perf_counter() - began
            )
        return function


def tile_for(rows: int, wide: bool) -> int:
    """How many of so many rows a product serves at once. wide: whether the registers are enough for the larger tile."""
    if rows == 1:
        return 1
    return WIDE if wide and rows > NARROW else NARROW
