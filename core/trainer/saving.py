"""Checkpoints: what a training writes, and how it goes on from there."""

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from core.errors import TrainingError
from core.trainer import checkpoints
from core.trainer.distributed import gathered, wait, world
from core.trainer.parts import Shared


class Saving(Shared):
    """The part of a Trainer that writes and reads checkpoints."""

    _order: list[int] | None
    _position: tuple[int, int]
    _loss_since: float
    _last_logged: int

    def save_checkpoint(self, tidy: bool = True) -> None:
        """All that the next step depends on, into output_dir/checkpoint-STEP; tidy: then remove those beyond the limit. Raises
        TrainingError where it cannot be written."""
        args, state = self.args, self.state
        folder = self._folder()
        if state.best_global_step is not None:
            best = folder.with_name(f"checkpoint-{state.best_global_step}")
            state.best_model_checkpoint = str(best) if best.is_dir() or best == folder else state.best_model_checkpoint
        state.stateful_callbacks = self.callback_handler.states()
        order = None if self._order is None else torch.tensor(self._order)
        place = {"position": self._position, "order": order, "loss_since": self._loss_since, "last_logged": self._last_logged}
        parts: dict[str, Any] = {}
        if not args.save_only_model:
            spread = self._sharded
            parts = {
                "optimizer.pt": self.optimizer.state_dict() if spread is None else spread.states(self.optimizer),
                "scheduler.pt": self.lr_scheduler.state_dict(),  # type: ignore[union-attr]
                **({"scaler.pt": self.scaler.state_dict()} if args.fp16 else {}),
                checkpoints.own_file(world()[0]): {**checkpoints.random_states(), **place},
            }
        documents = {"trainer_state.json": asdict(state), "training_args.json": args.to_dict()}
        model = self.whole_model(for_file=True)
        checkpoints.save_checkpoint(folder, parts, documents, lambda part: self._write_model(model, part))
        if tidy and self.is_world_process_zero():
            checkpoints.keep_newest(Path(args.output_dir), args.save_total_limit, state.best_model_checkpoint)
        wait()
        self.tell("on_save", folder=folder)

    def _keep_before_failure(self) -> str:
        """A checkpoint of the last step, where its weights are numbers and none is there yet; a sentence of which one there is."""
        own = (p.detach() if self._sharded is None else p.detach().to_local() for p in self.model.parameters())
        step, sound = self.state.global_step, all(gathered(all(bool(p.isfinite().all()) for p in own)))
        if sound and step and self.args.save_strategy != "no" and not self._folder().is_dir():
            self.save_checkpoint(tidy=False)
        last = checkpoints.last_checkpoint(Path(self.args.output_dir))
        return f"The state after step {last.name.split('-')[1]} is kept in {last}." if last else "Nothing was saved before."

    def _folder(self) -> Path:
        return Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"

    def _resume(self, source: bool | str | Path | None) -> tuple[int, list[int] | None, int]:
        """The epoch, its order and how many of its batches are done."""
        source = {"true": True, "false": False}.get(str(source).lower(), source)
        if not source:
            return 0, None, 0
        folder = checkpoints.last_checkpoint(Path(self.args.output_dir)) if source is True else Path(str(source))
        if folder is None or not folder.is_dir():
            raise TrainingError(f"There is no checkpoint to resume from in {self.args.output_dir if folder is None else folder}.")
        self._read_model(folder)
        states = checkpoints.load_part(folder, "optimizer.pt")
        if self._sharded is not None:
            self._sharded.take_states(self.optimizer, states)
        else:
            self.optimizer.load_state_dict(states)
        self.lr_scheduler.load_state_dict(checkpoints.load_part(folder, "scheduler.pt"))  # type: ignore[union-attr]
        if self.args.fp16:
            self.scaler.load_state_dict(checkpoints.load_part(folder, "scaler.pt"))
        ends = self.state.max_steps, self.state.num_train_epochs
        self.state.take(checkpoints.load_document(folder, "trainer_state.json"))
        self.state.max_steps, self.state.num_train_epochs = ends
        self.callback_handler.take(self.state.stateful_callbacks)
        states = checkpoints.load_part(folder, checkpoints.own_file(world()[0]))
        checkpoints.restore(states)
        (epoch, done), order = states["position"], states["order"]
        self._loss_since, self._last_logged = states["loss_since"], states["last_logged"]
        if self.args.ignore_data_skip:
            return epoch, None, 0
        return epoch, None if order is None else order.tolist(), done

    def save_model(self, output_dir: str | Path | None = None, _internal_call: bool = False) -> None:
        """Weights or adapter, and the tokenizer, into output_dir."""
        model = self.whole_model(for_file=True)
        if self.is_world_process_zero():
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            self._write_model(model, folder)
        wait()

    def _write_model(self, model: Any, folder: Path) -> None:
        write_model(model, self.processing_class, folder)

    def whole_model(self, for_file: bool = False) -> Any:
        """The model; where its weights are spread, put together in the first process and None in the others. All must call it.
        for_file: as far as its files need it."""
        return self.model if self._sharded is None else self._sharded.whole(for_file)

    def _read_model(self, folder: Path) -> None:
        if self._sharded is None:
            checkpoints.load_weights(self.model, folder)
        else:
            self._sharded.read(folder)

    def save_state(self) -> None:
        """trainer_state.json into output_dir."""
        if self.is_world_process_zero():
            Path(self.args.output_dir).mkdir(parents=True, exist_ok=True)
            path = Path(self.args.output_dir) / "trainer_state.json"
            path.write_text(json.dumps(asdict(self.state), indent=1), encoding="utf-8")


def write_model(model: Any, processing: Any, folder: Path) -> None:
    """Weights or adapter, what prepares its inputs, and beside an adapter a config.json with what its own file does not say: the head
    it was trained with, and the names of its classes."""
    if not hasattr(model, "save_pretrained"):
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder)
        if hasattr(model, "peft_config"):
            config = copy.copy(model.config)
            config.architectures = [type(model.get_base_model()).__name__]
            config.save_pretrained(folder)
    if hasattr(processing, "save_pretrained"):
        processing.save_pretrained(folder)
