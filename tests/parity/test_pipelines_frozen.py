"""The pipelines that version 5 of the reference dropped, against results frozen from 4.57.6 by tools/freeze_pipelines.py."""

import json
from pathlib import Path
from typing import Any

import torch
from pipeline_pairs import same

import core
from core.auto import AutoModelForQuestionAnswering, AutoModelForSeq2SeqLM
from tools.freeze_pipelines import CASES, FILE, MODELS, results, write_files
from tools.freeze_reference import fill

AUTO = {"QuestionAnswering": AutoModelForQuestionAnswering, "Seq2SeqLM": AutoModelForSeq2SeqLM}


def test_every_frozen_result(tmp_path: Path) -> None:
    expected = json.loads(FILE.read_text(encoding="utf-8"))

    def make(name: str, task: str) -> Any:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        write_files(folder, name)
        model = AUTO[MODELS[name][2]].from_config(core.AutoConfig.from_pretrained(folder)).eval()
        fill(model)
        return core.pipeline(task, model=model, tokenizer=str(folder), batch_size=3)

    found = dict(results(make))
    assert list(found) == list(expected) and len(found) == sum(len(calls) for _, _, calls in CASES)
    for case, result in found.items():
        plain = json.loads(json.dumps(result, default=torch.Tensor.tolist))
        same(plain, expected[case], case)
