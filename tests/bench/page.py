"""The page as a person starts it."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request

import psutil

from tests.bench.harness import ROOT

PORT = 7980


def second_start() -> dict[str, float]:
    """`python launch.py` where all is installed: seconds to an answering page, the memory of it (MB, shared pages in parts), and how
    much of a core it takes when nobody asks for anything (per cent)."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, str(ROOT / "launch.py"), "--no-browser", "--quiet", "--offline", "--port", str(PORT)]
        begun = time.perf_counter()
        environment = {**os.environ, "VITRINE_DATA_DIR": data}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not _answers():
                if process.poll() is not None or time.perf_counter() - begun > 120:
                    raise RuntimeError("The page did not start.")
                time.sleep(0.02)
            seconds = time.perf_counter() - begun
            time.sleep(5)
            return {"seconds": seconds, "memory": _memory(process.pid), "busy": _busy(process.pid)}
        finally:
            process.terminate()
            process.wait(30)


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=5) as answer:
            return b"gradio" in answer.read()
    except OSError:
        return False


def _memory(pid: int) -> float:
    own = psutil.Process(pid)
    total = 0
    for process in [own, *own.children(recursive=True)]:
        info = process.memory_full_info()
        total += getattr(info, "pss", info.uss)
    return total / 1e6


def _busy(pid: int) -> float:
    def used() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    own = psutil.Process(pid)
    processes = [own, *own.children(recursive=True)]
    before = used()
    time.sleep(5)
    return 100 * (used() - before) / 5
