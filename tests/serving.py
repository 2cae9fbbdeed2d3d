"""`launch.py` in a process of its own, for tests of the page."""

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Server:
    """`launch.py` in a process of its own; `output` grows as it prints."""

    process: subprocess.Popen
    data: Path
    output: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rstrip("/").rsplit(":", 1)[1])

    def stop(self) -> None:
        """As Ctrl-C's kinder cousin: SIGTERM."""
        self.process.terminate()
        self.process.wait(30)


def start_server(
    data: Path, *flags: str, models: Path | None = None, timeout: float = 120, command: list[str] | None = None
) -> Server:
    """A server that answers. Fails with what it printed. `command` stands in for `launch.py`."""
    from core.paths import models_dir

    environment = {
        **os.environ,
        "VITRINE_DATA_DIR": str(data),
        "VITRINE_MODELS_DIR": str(models or models_dir()),
        "PYTHONUNBUFFERED": "1",
    }
    command = [*(command or [sys.executable, str(ROOT / "launch.py")]), "--skip-install", "--no-browser", *flags]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    server = Server(process, data)

    def read() -> None:
        for line in process.stdout or ():
            server.output.append(line)

    threading.Thread(target=read, daemon=True).start()
    end = time.time() + timeout
    while time.time() < end and process.poll() is None:
        if found := re.search(r"Vitrine is at (http://\S+)", "".join(server.output)):
            server.url = found[1]
            return server
        time.sleep(0.1)
    process.kill()
    raise AssertionError("The server did not start:\n" + "".join(server.output))
