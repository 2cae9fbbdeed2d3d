#!/usr/bin/env python3
"""Vitrine's one command: serve (default) | test | train | bench | models | doctor.

Only the standard library until the environment is ready: a `.venv` beside this file, made and filled at the first start. A stamp
written at the end says what it was filled with, so a later start installs nothing and asks the network nothing, and one that was
interrupted goes on.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
COMMANDS = ("serve", "test", "train", "bench", "models", "doctor")


class Stop(Exception):
    """A sentence for the person and an exit status."""

    def __init__(self, sentence, status=1):
        super().__init__(sentence)
        self.status = status


# ---------------------------------------------------------------------- the environment


def torch_arguments(system, gpu, environment, pip_sources):
    """pip's arguments for PyTorch.

    system: platform.system(). gpu: whether an NVIDIA driver was found. environment: os.environ. pip_sources: whether pip has an
    index or find-links of its own configured.
    """
    if environment.get("TORCH_INDEX_URL"):
        return [TORCH, "--index-url", environment["TORCH_INDEX_URL"]]
    if pip_sources or system != "Linux" or gpu:
        return [TORCH]
    return [TORCH, "--index-url", CPU_INDEX]


def pip_has_sources(environment, listing):
    """Whether pip is told where to look, by its environment or by `pip config list`'s output."""
    if any(environment.get(name) for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")):
        return True
    keys = [line.split("=", 1)[0].split(".")[-1] for line in listing.splitlines() if "=" in line]
    return any(key in ("index-url", "extra-index-url", "find-links") for key in keys)


def has_gpu():
    """Whether an NVIDIA driver is there."""
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def venv_python():
    """The environment's interpreter."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint(extra):
    """What the environment has to be filled with."""
    parts = [platform.python_version(), extra]
    parts += [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def is_ready(extra):
    """Whether the stamp says that all of it is there; the test extra includes the plain one."""
    try:
        stamp = json.loads((VENV / "stamp.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return venv_python().exists() and stamp.get(extra) == fingerprint(extra)


def write_stamp(extra):
    """Beside, then renamed."""
    path = VENV / "stamp.json"
    done = {name: fingerprint(name) for name in ({"", extra})}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(done), encoding="utf-8")
    part.replace(path)


def requirements(extra):
    """The dependencies named in pyproject.toml, PyTorch apart."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = project["dependencies"] + (project["optional-dependencies"][extra] if extra else [])
    return [name for name in names if not name.startswith("torch==")]


def pip(*arguments):
    """Run pip in the environment, its output to the terminal; a failure becomes a sentence."""
    command = [str(venv_python()), "-m", "pip", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    lines = []
    for line in process.stderr or ():
        lines.append(line)
        if "WARNING" not in line:
            sys.stderr.write(line)
    if process.wait():
        raise Stop(why_pip_failed("".join(lines)))


def why_pip_failed(text):
    """One sentence from pip's messages."""
    low = text.lower()
    if "no space left" in low:
        return "The disk is full: free a few gigabytes and start again; what was installed is kept."
    if any(
        sign in low for sign in ("failed to establish", "connection", "timed out", "name resolution", "network is unreachable")
    ):
        return "The packages could not be downloaded: there is no network, or it refuses. Start again when it is back."
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("ERROR")]
    reason = lines[-1][len("ERROR:") :].strip() if lines else "see its messages above"
    return "Installing the packages failed: " + reason + " Start again to go on from here."


def prepare(extra):
    """Make and fill the environment where the stamp does not say it is ready."""
    if is_ready(extra):
        return
    if shutil.disk_usage(str(ROOT)).free < 2 << 30:
        raise Stop("The disk has less than 2 GB left, which the packages need: free some space and start again.")
    try:
        if not venv_python().exists():
            print("Making the environment in .venv …", flush=True)
            import venv

            venv.create(str(VENV), with_pip=True, clear=VENV.exists())
        (VENV / "stamp.json").unlink() if (VENV / "stamp.json").exists() else None
    except (OSError, subprocess.CalledProcessError) as error:
        raise Stop(f"The environment {VENV} could not be made: {error}") from error
    listing = subprocess.run(
        [str(venv_python()), "-m", "pip", "config", "list"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout
    gpu = has_gpu()
    print(f"Installing PyTorch ({'about 3 GB with CUDA' if gpu else 'about 200 MB'}) and the rest (about 300 MB) …", flush=True)
    pip("install", *torch_arguments(platform.system(), gpu, os.environ, pip_has_sources(os.environ, listing)))
    pip("install", "--constraint", str(ROOT / "constraints.txt"), TORCH, *requirements(extra))
    write_stamp(extra)


def enter(extra):
    """Go on inside the environment."""
    if Path(sys.prefix).resolve() == VENV.resolve():
        return
    prepare(extra)
    command = [str(venv_python()), str(Path(__file__).resolve()), *sys.argv[1:]]
    if os.name == "nt":
        raise SystemExit(subprocess.call(command))
    os.execv(command[0], command)


# ---------------------------------------------------------------------- the commands


def parser():
    """The flags people know."""
    p = argparse.ArgumentParser(
        prog="launch.py",
        usage="launch.py [serve|test|train|bench|models|doctor] [options]",
        description="Vitrine: try a transformer, look inside it, fine-tune it. Without a command it serves the page.",
    )
    p.add_argument("command", nargs="?", default="serve", choices=COMMANDS)
    p.add_argument("--listen", nargs="?", const="0.0.0.0", metavar="HOST", help="serve other machines too (makes a password)")
    p.add_argument("--port", type=int, help="default 7860, or the next free one")
    p.add_argument("--share", action="store_true", help="a public link through Gradio (makes a password)")
    p.add_argument("--auth", metavar="USER:PASSWORD", help="ask for this name and password")
    p.add_argument("--auto-launch", action="store_true", help="open the browser (default on a desktop)")
    p.add_argument("--no-browser", action="store_true", help="do not open the browser")
    p.add_argument("--data-dir", help="where runs and settings are kept")
    p.add_argument("--models-dir", help="where models are kept")
    p.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps or auto")
    p.add_argument("--dtype", default="auto", help="float32, bfloat16, float16 or auto")
    p.add_argument("--offline", action="store_true", help="never ask the network")
    p.add_argument("--supported", action="store_true", help="with `models`: the table of architectures and heads")
    p.add_argument("--skip-install", action="store_true", help="use this interpreter as it is")
    p.add_argument("--quiet", action="store_true", help="print the address only")
    return p


def main(argv):
    """The whole program; returns the exit status."""
    if sys.version_info < (3, 11):
        raise Stop("Vitrine needs Python 3.11 or newer; this is %s." % platform.python_version(), 2)
    command = next((word for word in argv if not word.startswith("-")), "serve")
    free = command in ("test", "train", "bench")
    p = parser()
    args, rest = p.parse_known_args(argv) if not free else (p.parse_known_args([command])[0], argv[argv.index(command) + 1 :])
    if rest and not free:
        p.error("unknown: " + " ".join(rest))
    if free:
        args.skip_install = "--skip-install" in rest
        rest = [word for word in rest if word != "--skip-install"]
    if args.data_dir:
        os.environ["VITRINE_DATA_DIR"] = str(Path(args.data_dir).expanduser().resolve())
    if args.models_dir:
        os.environ["VITRINE_MODELS_DIR"] = str(Path(args.models_dir).expanduser().resolve())
    if args.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")
    if not args.skip_install:
        enter("test" if command in ("test", "bench") else "")
    sys.path.insert(0, str(ROOT))
    return run(command, args, rest)


def run(command, args, rest):
    """The command, inside the environment."""
    if command == "test":
        return subprocess.call([sys.executable, "-m", "pytest", *rest], cwd=str(ROOT))
    if command == "models":
        return list_architectures() if args.supported else list_models()
    if command == "doctor":
        return doctor()
    if command == "bench":
        return subprocess.call([sys.executable, "-m", "tests.bench", *rest], cwd=str(ROOT))
    if command == "train":
        from core.trainer.run import main as train

        if not rest:
            raise Stop("Say which run: launch.py train CONFIG.yaml, or launch.py train RUN_ID.", 2)
        return train(rest[0], rest[1:])
    fetch_starters(args)
    from app.main import serve

    serve(args)
    return 0


def fetch_starters(args):
    """The starter models that are not there yet, with progress. One that cannot be had stops the start, with the way around it."""
    from core.checkpoints import catalogue
    from core.errors import CheckpointError

    for entry in catalogue.load_catalogue().values():
        if entry.on_demand or catalogue.installed(entry):
            continue
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            print(f"{entry.title} is not here, and the program is offline.", file=sys.stderr)
            continue
        print(f"Fetching {entry.title}, {entry.size_bytes / 1e6:.0f} MB …", flush=True)

        shown = -1

        def show(done, total):
            nonlocal shown
            if done // 1_000_000 != shown:
                shown = done // 1_000_000
                print(f"\r  {shown:4} of {total / 1e6:.0f} MB", end="", flush=True)

        try:
            catalogue.fetch(entry, None if args.quiet else show)
            print("\r  done              ", flush=True)
        except CheckpointError as error:
            raise Stop(f"\n{error} Start again to go on from there, or with --offline to open the page without it.") from error


def list_models():
    """The starters: those that are fetched, and where they are, then those that come with the program."""
    from core.checkpoints import bundled, catalogue

    for entry in catalogue.load_catalogue().values():
        here = catalogue.installed(entry)
        print(f"{entry.key:24} {entry.task:30} {entry.size_bytes / 1e6:5.1f} MB  {entry.licence:13} {here or 'not here yet'}")
    for card in bundled.cards().values():
        print(f"{card.name:24} {card.task:30} {card.size / 1e6:5.1f} MB  {card.licence:13} {card.folder}")
    return 0


def list_architectures():
    """What of the field the library knows, as a table for a README."""
    from core.auto import architectures_table

    print(architectures_table())
    return 0


def doctor():
    """What was found on this machine."""
    from importlib.metadata import PackageNotFoundError, version

    import psutil
    import torch

    from core.checkpoints import catalogue
    from core.paths import data_dir, models_dir

    memory = psutil.virtual_memory()
    data = data_dir()
    existing = next(folder for folder in (data, *data.parents) if folder.exists())
    rows = [
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("PyTorch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("CUDA", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none"),
        ("MPS", "yes" if torch.backends.mps.is_available() else "no"),
        ("Memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
        ("Disk", f"{shutil.disk_usage(str(existing)).free / 2**30:.1f} GiB free at {existing}"),
        ("Data folder", str(data)),
        ("Models folder", str(models_dir())),
    ]
    for entry in catalogue.load_catalogue().values():
        rows.append((entry.key, "here" if catalogue.installed(entry) else "not here yet"))
    for name in ("gradio", "tokenizers", "safetensors", "huggingface_hub", "sqlite-utils", "numpy"):
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "missing"))
    for name, value in rows:
        print(f"{name:24} {value}")
    return 0


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
    except Stop as stop:
        print(stop, file=sys.stderr)
        status = stop.status
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        if type(error).__module__ != "core.errors":
            raise
        print(error, file=sys.stderr)
        status = 1
    sys.exit(status)
