"""The state of a training run and the checkpoint file that stores it."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from ..errors import DamagedFileError, DeepSeekLearnError
from ..files import atomic_write
from .recipe import Limits, Recipe


class CheckpointError(DeepSeekLearnError, OSError):
    """Raised if a checkpoint cannot be written, for example because the disk is full."""


class RunState:
    """The state that is needed to resume a run.

    It includes the weights, the optimizer, the schedule, the history and the best
    weights.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler,
        run: dict,
    ):
        shapes = {name: list(v.shape) for name, v in model.state_dict().items()}
        self.run = _plain(run | {"weights": shapes})
        self.parts: dict[str, Any] = {
            "model": model,
            "optimizer": optimizer,
            "scheduler": scheduler,
        }
        self.history: list[dict] = []
        self.best_epoch, self.cpu_seconds = 0, 0.0
        self.best: dict[str, Tensor] = {}

    def record(self, row: dict, cpu_seconds: float) -> None:
        self.history.append(row)
        self.cpu_seconds += cpu_seconds
        best = math.nan
        if self.best_epoch:
            best = self.history[self.best_epoch - 1].get("metric", math.nan)
        # without a metric, the last epoch is the best; NaN never beats a number
        if "metric" not in row or row["metric"] > best or math.isnan(best):
            self.best_epoch = len(self.history)
            weights = self.parts["model"].state_dict()
            self.best = {k: v.detach().clone() for k, v in weights.items()}

    def stop(self, epochs: int, limits: Limits) -> str | None:
        """Return the reason the run ends after this epoch, or None if it continues."""
        patience, seconds = limits.patience, limits.seconds
        if patience and len(self.history) - self.best_epoch >= patience:
            return "patience"
        if seconds and sum(row["seconds"] for row in self.history) >= seconds:
            return "seconds"
        return "epochs" if len(self.history) >= epochs else None

    def restore_best(self) -> None:
        self.parts["model"].load_state_dict(self.best)

    def save(self, path: Path) -> None:
        """Write the checkpoint atomically.

        Raises:
            CheckpointError: if the operating system refuses; the message says why.
        """
        content = {name: part.state_dict() for name, part in self.parts.items()}
        content |= {
            "run": self.run,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "cpu_seconds": self.cpu_seconds,
        }
        try:
            # given a path, PyTorch would not say why a write fails
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                torch.save(_plain(content), file)
        except (OSError, RuntimeError) as error:
            cause = _os_error(error)
            if cause is None:
                raise
            raise CheckpointError(
                f"checkpoint {path} cannot be written after epoch {len(self.history)}: "
                f"{cause.strerror or cause}. A previous checkpoint is unchanged; free "
                f"some space or correct the path, then call `fit` again to resume."
            ) from cause

    FIELDS = ("history", "best_epoch", "best", "cpu_seconds")

    def read(self, path: Path) -> dict | None:
        """Return the contents of the checkpoint, or None if the file does not exist."""
        if not path.exists():
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            parts = {k: content[k] for k in (*self.FIELDS, *self.parts)}
            return parts | {"run": dict(content["run"])}
        except Exception as error:  # an unrelated file can raise any exception
            raise DamagedFileError(
                f"checkpoint {path} is not a complete checkpoint of `fit` "
                f"({type(error).__name__}); move it away to start over."
            ) from error

    def resume(self, content: dict, path: Path) -> None:
        """Restore the state from the contents of a checkpoint.

        A checkpoint from a different run is rejected before anything is changed.
        """
        saved_run = content["run"]
        for key, value in self.run.items():
            if saved_run.get(key) != value:
                long = key in ("weights", "schedule", "options")
                values = "" if long else f" ({saved_run.get(key)}, not {value})"
                raise DamagedFileError(
                    f"checkpoint {path} is from another run, with different "
                    f"{key}{values}; move it away to start over."
                )
        try:
            self.parts["optimizer"].load_state_dict(content["optimizer"])
        except ValueError as error:  # raised before anything is changed
            raise DamagedFileError(
                f"checkpoint {path} is from another run: {error} Move it away to start "
                f"over."
            ) from error
        for name in ("scheduler", "model"):
            self.parts[name].load_state_dict(content[name])
        for name in self.FIELDS:
            setattr(self, name, content[name])


def identity(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int
) -> dict[str, Any]:
    """Return the settings that a resumed run must share with the interrupted one.

    Functions are compared by name.
    """
    schedule, groups = recipe.schedule, optimizer.param_groups
    samples = range(0, steps, max(steps // 100, 1))
    # after an interrupted run, "lr" is its last rate
    rates = [group.get("initial_lr", group["lr"]) for group in groups]
    return {
        "optimizer": type(optimizer).__name__,
        "learning rates": rates,
        "options": [_options(group, optimizer.defaults) for group in groups],
        "schedule": [schedule(step, steps) for step in samples],
        "loss": _name(recipe.loss),
        "metric": _name(recipe.metric),
        "augment": _name(recipe.augment),
    }


# an interrupted run leaves its last rate in a group; DeepOpt's groups count their steps
CHANGING = ("lr", "step", "skipped")


def _options(group: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the plain options of a parameter group that training does not change."""
    plain = bool | int | float | str | tuple | list
    options = {name: group[name] for name in names if name not in CHANGING}
    return {k: v for k, v in options.items() if isinstance(v, plain)}


def _name(function: Callable | None) -> str | None:
    """Return the name of a function, or of the type of any other callable."""
    if function is None:
        return None
    function = getattr(function, "func", function)  # of functools.partial
    return getattr(function, "__qualname__", type(function).__qualname__)


def _os_error(error: BaseException | None) -> OSError | None:
    """Return the `OSError` that led to the error, which may be the error itself."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def _plain(value: Any) -> Any:
    """Convert NumPy scalars to Python numbers.

    Checkpoints cannot contain NumPy scalars.
    """
    if type(value) is dict:  # a model's state dict is an OrderedDict, and already plain
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value
