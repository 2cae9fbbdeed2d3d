"""The launcher: pip's arguments, the environment it makes, a second start, its sentences, its commands."""

import ast
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from serving import start_server

import launch

ROOT = Path(launch.__file__).parent
PYTHON = Path(sys.base_prefix) / ("python.exe" if os.name == "nt" else "bin/python3")  # the one outside the environment
CPU = ["--index-url", launch.CPU_INDEX]


@pytest.mark.parametrize(
    ("system", "gpu", "environment", "sources", "expected"),
    [
        ("Linux", False, {}, False, CPU),
        ("Linux", True, {}, False, []),
        ("Linux", False, {}, True, []),
        ("Darwin", False, {}, False, []),
        ("Windows", False, {}, False, []),
        ("Windows", True, {}, True, []),
        ("Linux", True, {"TORCH_INDEX_URL": "https://a/b"}, True, ["--index-url", "https://a/b"]),
        ("Darwin", False, {"TORCH_INDEX_URL": "https://a/b"}, False, ["--index-url", "https://a/b"]),
    ],
)
def test_arguments_for_pytorch(system: str, gpu: bool, environment: dict, sources: bool, expected: list[str]) -> None:
    assert launch.torch_arguments(system, gpu, environment, sources) == ["torch==2.13.0", *expected]


@pytest.mark.parametrize(
    ("environment", "listing", "expected"),
    [
        ({}, "", False),
        ({}, "global.timeout='60'\n", False),
        ({}, "global.index-url='https://mirror/simple'\n", True),
        ({}, "install.find-links='/wheels'\n", True),
        ({}, "global.extra-index-url='a=b'\n", True),
        ({"PIP_INDEX_URL": "https://mirror"}, "", True),
        ({"PIP_FIND_LINKS": "/wheels"}, "", True),
        ({"PIP_INDEX_URL": ""}, "", False),
    ],
)
def test_whether_pip_has_sources(environment: dict, listing: str, expected: bool) -> None:
    assert launch.pip_has_sources(environment, listing) is expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("WARNING: Retrying … NewConnectionError: Failed to establish a new connection", "network"),
        ("ReadTimeoutError: Read timed out.", "network"),
        ("ERROR: No matching distribution found for x==9", "No matching distribution found for x==9"),
        ("Killed", "messages above"),
    ],
)
def test_why_pip_failed(text: str, word: str) -> None:
    sentence = launch.why_pip_failed(text)
    assert word in sentence and "\n" not in sentence and sentence.endswith(".")


def test_the_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready only after the end, for what was installed, until what has to be installed changes."""
    monkeypatch.setattr(launch, "VENV", tmp_path)
    assert not launch.is_ready("")
    launch.venv_python().parent.mkdir()
    launch.venv_python().touch()
    launch.write_stamp("")
    assert launch.is_ready("") and not launch.is_ready("test")
    launch.write_stamp("test")
    assert launch.is_ready("") and launch.is_ready("test")
    monkeypatch.setattr(launch, "fingerprint", lambda extra: "changed")
    assert not launch.is_ready("")
    (tmp_path / "stamp.json").write_text("{half")
    assert not launch.is_ready("")


def test_an_old_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the file can be read by one."""
    ast.parse((ROOT / "launch.py").read_text(encoding="utf-8"), feature_version=(3, 7))
    monkeypatch.setattr(sys, "version_info", (3, 8, 1))
    with pytest.raises(launch.Stop, match=r"needs Python 3\.11") as stop:
        launch.main(["doctor"])
    assert stop.value.status == 2


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "VENV", tmp_path / "venv")
    monkeypatch.setattr(launch.shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 30))
    with pytest.raises(launch.Stop, match="less than 2 GB"):
        launch.prepare("")
    assert not (tmp_path / "venv").exists()


def wheel(folder: Path, name: str) -> Path:
    """A package of one empty module."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_a_half_finished_install_goes_on(tmp_path: Path) -> None:
    """A real environment and a real pip, with packages of nothing: the second is missing at first, as with no network."""
    project, wheels = tmp_path / "project", tmp_path / "wheels"
    project.mkdir()
    wheels.mkdir()
    text = (ROOT / "launch.py").read_text(encoding="utf-8")
    assert text.count('"torch==2.13.0"') == 1
    text = text.replace('"torch==2.13.0"', '"firstpart==1.0"').replace('startswith("torch==")', 'startswith("firstpart")')
    text = text.replace(
        "def run(command, args, rest):\n", "def run(command, args, rest):\n    import firstpart, secondpart\n    return 7\n"
    )
    (project / "launch.py").write_text(text, encoding="utf-8")
    (project / "constraints.txt").write_text("secondpart==1.0\n")
    (project / "pyproject.toml").write_text(
        '[project]\ndependencies = ["firstpart==1.0", "secondpart>=1"]\noptional-dependencies.test = []\n'
    )
    wheel(wheels, "firstpart")
    environment = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONSTRAINT": "",
        "PIP_CONFIG_FILE": os.devnull,
    }

    def start() -> subprocess.CompletedProcess:
        command = [str(PYTHON), str(project / "launch.py"), "doctor"]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    first = start()
    assert first.returncode == 1 and "Start again to go on from here." in first.stderr and "Traceback" not in first.stderr
    assert "about 200 MB" in first.stdout  # the size is announced before the download
    assert not (project / ".venv" / "stamp.json").exists()
    wheel(wheels, "secondpart")
    second = start()
    assert second.returncode == 7 and "Making the environment" not in second.stdout, second.stderr
    third = start()
    assert third.returncode == 7 and third.stdout == ""


GUARD = """
import socket
_connect = socket.socket.connect
def connect(self, address):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        open(r"{log}", "a").write(str(address) + "\\n")
        raise OSError("no network in this test")
    return _connect(self, address)
socket.socket.connect = connect
_look = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    if host not in (None, "127.0.0.1", "::1", "localhost", "0.0.0.0", ""):
        open(r"{log}", "a").write(str(host) + "\\n")
        raise socket.gaierror("no network in this test")
    return _look(host, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
"""


def test_a_second_start_asks_the_network_nothing(tmp_path: Path, smollm2: Path, minilm: Path) -> None:
    """From outside the environment, every look at the network written down; a busy port is passed over."""
    log = tmp_path / "network.txt"
    (tmp_path / "sitecustomize.py").write_text(GUARD.format(log=log))
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        environment = {
            **os.environ,
            "PYTHONPATH": str(tmp_path),
            "VITRINE_DATA_DIR": str(tmp_path / "data"),
            "VITRINE_MODELS_DIR": str(minilm.parent),
            "GRADIO_SERVER_PORT": str(port),
            "PYTHONUNBUFFERED": "1",
        }
        command = [str(PYTHON), str(ROOT / "launch.py"), "--no-browser"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
        reader.start()
        try:
            end = time.time() + 60
            while not any("Vitrine is at" in line for line in lines) and time.time() < end and process.poll() is None:
                time.sleep(0.1)
            text = "".join(lines)
            assert "Vitrine is at http://127.0.0.1:" in text, text
            url = text.split("Vitrine is at ")[1].split()[0]
            assert f":{port}/" not in url
            assert "Installing" not in text and "Fetching" not in text
            for word in ("cpu", str(tmp_path / "data")):  # device and data folder are said
                assert word in text.lower() or word in text
            with urllib.request.urlopen(url, timeout=30) as page:
                assert b"<html" in page.read()
        finally:
            process.terminate()
            process.wait(30)
    assert not log.exists(), log.read_text()


def test_the_environment_says_where(tmp_path: Path) -> None:
    """GRADIO_SERVER_NAME is heard, and what it opens to others asks for a password."""
    os.environ["GRADIO_SERVER_NAME"] = "0.0.0.0"
    try:
        server = start_server(tmp_path / "data", "--port", "7940", "--quiet")
    finally:
        del os.environ["GRADIO_SERVER_NAME"]
    try:
        assert "assword" in "".join(server.output)
    finally:
        server.stop()


def ask(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """launch.py in this environment."""
    command = [sys.executable, str(ROOT / "launch.py"), *arguments, "--skip-install"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)


def test_doctor_and_models(tmp_path: Path, smollm2: Path, minilm: Path) -> None:
    done = ask("doctor", VITRINE_DATA_DIR=str(tmp_path))
    assert done.returncode == 0
    for word in ("Python", "PyTorch", "CUDA", "Memory", "Disk", str(tmp_path), "gradio", "SmolLM2-135M-Instruct", "here"):
        assert word in done.stdout, word
    listed = ask("models").stdout
    assert str(minilm) in listed and "Apache-2.0" in listed and "98.4 MB" in listed
    elsewhere = ask("models", VITRINE_MODELS_DIR=str(tmp_path)).stdout
    assert "not here yet" in elsewhere


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (("train",), 2, "Say which run"),
        (("train", "no-such-run"), 1, "no-such-run"),
        (("doctor", "--prot", "1"), 2, "unknown: --prot"),
        (("dance",), 2, "invalid choice"),
        (("--no-browser", "--port", "7941"), 1, "with --offline to open the page without it"),
        (("--auth", "nocolon", "--no-browser", "--offline"), 1, "USER:PASSWORD"),
    ],
)
def test_sentences(arguments: tuple[str, ...], status: int, word: str, tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    done = ask(*arguments, VITRINE_DATA_DIR=str(tmp_path), **nowhere)
    assert done.returncode == status and word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_run_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("model: [unclosed")
    (tmp_path / "wrong.yaml").write_text("model: x\nlearning_rat: 3\n")
    for name in ("bad.yaml", "wrong.yaml"):
        done = ask("train", str(tmp_path / name), VITRINE_DATA_DIR=str(tmp_path / "data"))
        assert done.returncode == 1 and name in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_the_hub_cache_is_heard(tmp_path: Path) -> None:
    """HF_HOME's cache, offline: a name that is there loads, one that is not is told."""
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "gpt2", "n_embd": 24}')
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    script = "import core, sys; print(core.AutoConfig.from_pretrained(sys.argv[1]).n_embd)"
    for name, expected in (("someone/tiny", "24"), ("someone/other", "")):
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run([sys.executable, "-c", script, name], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == expected, done.stderr
    assert "someone/other" in done.stderr and "offline" in done.stderr
