"""Where a training's figures go besides its own history (`report_to`)."""

from pathlib import Path
from typing import Any

from core.errors import TrainingError
from core.trainer.callbacks import TrainerCallback


class StoreReporter(TrainerCallback):
    """A run of the store, as the Runs tab shows them."""

    def __init__(self, args: Any) -> None:
        self.name = args.run_name or Path(args.output_dir).name

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A new run."""
        from core.runs import Store

        self.store = Store()
        model = getattr(kwargs.get("model"), "name_or_path", "") or type(kwargs.get("model")).__name__
        self.run = self.store.create_run("training", self.name, model, args.to_dict(), state="running")
        self.store.log(self.run, 0, {"max_steps": state.max_steps})

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Its numbers."""
        if hasattr(self, "run"):
            numbers = {k: float(v) for k, v in kwargs["logs"].items() if isinstance(v, int | float)}
            self.store.log(self.run, state.global_step, numbers)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """It is over."""
        self.store.set_state(self.run, "finished")


class TensorBoardReporter(TrainerCallback):
    """Event files under output_dir/runs. Raises TrainingError where the tensorboard package is missing."""

    def __init__(self, args: Any) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise TrainingError("report_to tensorboard needs its package: pip install tensorboard.") from None
        self.writer = SummaryWriter(str(Path(args.output_dir) / "runs"))

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Scalars, as the reference names them."""
        for name, value in kwargs["logs"].items():
            if isinstance(value, int | float):
                tag = name.replace("eval_", "eval/", 1) if name.startswith("eval_") else f"train/{name}"
                self.writer.add_scalar(tag, value, state.global_step)
        self.writer.flush()


REPORTERS: dict[str, type] = {"store": StoreReporter, "tensorboard": TensorBoardReporter}


def reporters(args: Any) -> list[TrainerCallback]:
    """Those that `report_to` names. Raises TrainingError for an unknown one."""
    if unknown := [name for name in args.report_to if name not in REPORTERS]:
        raise TrainingError(f"report_to '{unknown[0]}' is not known; known: none, {', '.join(REPORTERS)}.")
    return [REPORTERS[name](args) for name in args.report_to]
