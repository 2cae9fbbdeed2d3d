"""A training process killed at any moment goes on as if nothing had happened. Real processes, real kills."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import core
from core.runs import Store, is_held
from core.trainer.run import RunConfig, write

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
STEPS = 24


@pytest.fixture(scope="module")
def model_and_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, its tokenizer and a data set."""
    folder = tmp_path_factory.mktemp("tiny")
    special = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(special + letters)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    settings = {
        "chat_template": TEMPLATE,
        "eos_token": "<|end|>",
        "pad_token": "<|end|>",
        "additional_special_tokens": special[:3],
    }
    core.PreTrainedTokenizer(backend, settings).save_pretrained(folder)
    torch.manual_seed(0)
    config = core.LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        eos_token_id=3,
        pad_token_id=3,
    )
    core.LlamaForCausalLM(config).save_pretrained(folder)
    rows = [{"prompt": f"What is {i} plus {i}?", "completion": f"It is {2 * i}."} for i in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def start(run: str, data: Path) -> subprocess.Popen:
    """The process that `Resume` starts."""
    environment = {**os.environ, "VITRINE_DATA_DIR": str(data), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "launch.py"), "train", run, "--skip-install"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def submit(folder: Path, data: Path) -> tuple[Store, str]:
    """A queued run of STEPS steps, over an epoch's end, with dropout."""
    store = Store(data / "vitrine.db")
    run = store.create_run("training", "tiny", str(folder), {})
    training = {
        "max_steps": STEPS,
        "save_steps": 3,
        "save_total_limit": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
    }
    lora = {"r": 4, "lora_dropout": 0.2}
    config = RunConfig(
        str(folder), str(folder / "rows.jsonl"), lora=lora, training=training, sample_prompts=["What is 1 plus 1?"]
    )
    write(config, data / "runs" / run / "config.yaml")
    return store, run


def losses(store: Store, run: str) -> dict[int, float]:
    return {row["step"]: row["value"] for row in store.metrics(run)[0] if row["name"] == "loss"}


def killed_runs(folder: Path, tmp_path: Path, kills: int) -> None:
    """Undisturbed once; then killed so often at random moments, resumed each time; the same losses at every step."""
    store, run = submit(folder, tmp_path / "whole")
    process = start(run, tmp_path / "whole")
    began = time.time()
    _, errors = process.communicate()
    seconds = time.time() - began
    assert process.returncode == 0, errors
    expected = losses(store, run)
    assert sorted(expected) == list(range(1, STEPS + 1)) and expected[STEPS] < expected[1]
    chance = random.Random(7)
    done = attempt = 0
    while done < kills:
        data = tmp_path / f"killed-{attempt}"
        attempt += 1
        store, run = submit(folder, data)
        while store.run(run)["state"] != "finished":
            fresh, began, process = not losses(store, run), time.time(), start(run, data)
            try:
                process.wait(chance.uniform(0.4, 1.0) * seconds if done < kills else None)
                seconds = min(seconds, time.time() - began) if fresh else seconds  # others may have slowed the first
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                done += 1
                assert not is_held(data / "runs" / run / "lock")
        assert losses(store, run) == expected
        assert (data / "runs" / run / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.timeout(300)
def test_five_kills(model_and_data: Path, tmp_path: Path) -> None:
    killed_runs(model_and_data, tmp_path, 5)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_hundred_kills(model_and_data: Path, tmp_path: Path) -> None:
    killed_runs(model_and_data, tmp_path, 100)


def test_stop_and_resume(model_and_data: Path, tmp_path: Path) -> None:
    """The stop file ends a run after a step, saved; the next start goes on; an unknown run is one sentence."""
    store, run = submit(model_and_data, tmp_path)
    process = start(run, tmp_path)
    while len(losses(store, run)) < 2 and process.poll() is None:
        time.sleep(0.02)
    (tmp_path / "runs" / run / "stop").touch()
    assert process.wait(60) == 0
    state = store.run(run)["state"]
    assert state == "stopped" and 2 <= max(losses(store, run)) < STEPS
    assert start(run, tmp_path).wait(60) == 0
    assert store.run(run)["state"] == "finished" and len(losses(store, run)) == STEPS
    assert [sample["step"] for sample in store.samples(run)] == [0, STEPS]
    wrong = start("nothing", tmp_path)
    assert wrong.wait(60) == 1 and "no run 'nothing'" in wrong.stderr.read()  # type: ignore[union-attr]
