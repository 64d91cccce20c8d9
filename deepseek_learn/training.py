"""One small training loop, used by every lesson, zoo script and benchmark.

The default recipe: `DeepOpt`, a learning rate that warms up, stays constant and decays
(`wsd`), and a forward pass in bfloat16 where the processor supports it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from .bar import Bar
from .batching import Indexed, Loaded, batched
from .catalog import text
from .errors import DamagedFileError, check_count
from .files import atomic_write
from .machine import multiplies_bfloat16
from .optim import DeepOpt
from .processes import Team
from .report import Report


@dataclass(frozen=True)
class Fit(Report):
    """The result of a training run.

    Attributes:
        history: one row per epoch: `loss`, `lr`, `seconds`, and `metric` on validation.
        best_epoch: the epoch (from 1) with the best metric; the model holds its weights.
        stopped: why the run ended: `"epochs"`, `"patience"` or `"seconds"`.
        cpu_seconds: CPU time of the whole run (all threads), including resumed parts.
    """

    history: pd.DataFrame
    best_epoch: int
    stopped: str
    cpu_seconds: float

    def to_frame(self) -> pd.DataFrame:
        return self.history

    def plot(self):
        """Loss and validation metric by epoch."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name in ("loss", "metric"):
            if name in self.history:
                figure.add_scatter(
                    x=self.history.index, y=self.history[name], name=name
                )
        return figure.update_layout(xaxis_title="epoch", template="plotly_white")

    def why(self) -> str:
        facts = {"epochs": len(self.history), "loss": self.history["loss"].iloc[-1]}
        facts["reason"] = text(f"stopped.{self.stopped}")
        if "metric" not in self.history:
            return text("fit.why", **facts)
        metric = self.history["metric"][self.best_epoch]
        return text("fit.why_kept", best=self.best_epoch, metric=metric, **facts)


def cosine(step: int, steps: int, warmup: float = 0.1) -> float:
    """Learning-rate factor: linear warm-up over `warmup`, then a half cosine to 0."""
    progress = (step + 1) / max(steps, 1)
    if progress < warmup or warmup >= 1:
        return min(progress / warmup, 1.0)
    return 0.5 * (1 + math.cos(math.pi * min((progress - warmup) / (1 - warmup), 1)))


def wsd(step: int, steps: int, warmup: float = 0.05, decay: float = 0.5) -> float:
    """Learning-rate factor: linear rise over `warmup`, 1, linear fall over `decay`.

    Warm-up, stable, decay: Hu et al. 2024, "MiniCPM", arXiv 2404.06395.
    """
    steps = max(steps, 1)
    up = (step + 1) / (warmup * steps) if warmup else 1.0
    down = (1 - step / steps) / decay if decay else 1.0
    return max(min(up, 1.0, down), 0.0)


def constant(step: int, steps: int) -> float:
    """Learning-rate factor 1."""
    return 1.0


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Fraction of correct predictions."""
    return (logits.argmax(1) == labels).float().mean().item()


def fit(
    model: nn.Module,
    train: Dataset | DataLoader,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    epochs: int,
    batch_size: int | None = None,
    epoch_batches: int | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    validation: Dataset | DataLoader | None = None,
    metric: Callable[[Tensor, Tensor], float] = accuracy,
    schedule: Callable[[int, int], float] = wsd,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    autocast: torch.dtype | str | None = "auto",
    patience: int | None = None,
    seconds: float | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Fit:
    """Train `model` in place; afterwards it holds the best epoch's weights.

    Under `torchrun` each process takes its part of every batch, and all end with the
    same weights; the process of rank 0 writes the checkpoint.

    Args:
        train, validation: datasets with `batch(index)`, PyTorch's map-style datasets
            of pairs (input, label) such as `TensorDataset`, or a `DataLoader`, which is
            read in its own order. Without `validation` the last epoch counts as best.
        batch_size: batch size for a dataset, 64 by default; a loader has its own.
        epoch_batches: batches per epoch, a new random subset of `train` each time (a
            loader's first ones); by default all of it. A checkpoint is written after
            each epoch.
        optimizer: over the model's parameters; by default `DeepOpt(model)`. Its learning
            rates are multiplied by `schedule(step, steps)`, steps counted from 0 over
            all epochs.
        loss: `(logits [B, K], labels [B]) -> scalar`, mean over the batch.
        metric: `(logits [N, K], labels [N]) -> float` on validation, higher is better.
        augment: `(images [B, C, H, W], generator) -> images`; draws from the generator.
        autocast: `torch.bfloat16` runs the forward pass in mixed precision, "auto" does
            so where the device multiplies bfloat16 faster than float32, None never.
        patience: stop after this many epochs without a better metric.
        seconds: stop after the epoch in which the training time reaches this many s.
        checkpoint: a file written atomically after each epoch; a run that finds it
            resumes from there and ends as an uninterrupted run would have.
        seed: for the order of the examples, `augment` and dropout.

    Raises:
        DamagedFileError: when `checkpoint` is not a checkpoint of this run; the model
            is then unchanged.
        ValueError: for a non-finite loss, naming the step; for a number out of range;
            for an empty dataset; for a loader under `torchrun`.
        TypeError: for a number that is not whole where it must be; for data that are
            not pairs, or have no length.
    """
    # 1. sources of batches, and the identity of this run
    _check_numbers(epochs, epoch_batches, patience, seconds, seed, validation)
    source = batched(train, "train", batch_size, usual=64)
    if validation is not None:
        held_out = batched(validation, "validation", None, usual=100)
    optimizer = DeepOpt(model) if optimizer is None else optimizer
    per_epoch = min(source.per_epoch, epoch_batches or source.per_epoch)
    steps = epochs * per_epoch
    run = {"epochs": epochs, "batch_size": source.batch_size, "seed": seed}
    run |= {"examples": source.examples} | _facts(optimizer, schedule, steps)
    # LambdaLR also asks for the step after the last
    scheduler = LambdaLR(optimizer, lambda step: schedule(min(step, steps - 1), steps))
    state = _State(model, optimizer, scheduler, run)
    autocast = _autocast_dtype(autocast, model)
    path = Path(checkpoint) if checkpoint else None
    team = Team(model)
    team.check(None if isinstance(source, Loaded) else source.batch_size)
    with Bar(steps, progress and not team.rank, "training") as bar:
        # 2. resume; the checkpoint of rank 0 is used by every process
        content = state.read(path) if path and not team.rank else None
        if content := team.first(content):
            state.resume(content, path)
        learner = team.wrapped()
        stopped = team.first(state.stop(epochs, patience, seconds))
        bar.advance(len(state.history) * per_epoch)
        while not stopped:
            # 3. one epoch; its seeds depend on its number only, so resuming is exact
            epoch = len(state.history) + 1
            start, cpu = time.perf_counter(), time.process_time()
            generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
            torch.manual_seed(seed * 100_003 + epoch + 10**9 * team.rank)  # dropout
            lr, total = float(optimizer.param_groups[0]["lr"]), 0.0
            learner.train()
            batches = source.shuffled(per_epoch, generator)
            for i, (images, labels) in enumerate(batches):
                images = augment(images, generator) if augment else images
                batch = images, labels
                value = _step(learner, optimizer, loss, batch, autocast, team)
                if not math.isfinite(value):
                    raise ValueError(
                        f"loss became {value} in epoch {epoch}, step {i}: lower the "
                        f"learning rate (now {lr:g}) or check the data."
                    )
                scheduler.step()
                total += value
                bar.advance(1)
            # 4. validate and record on rank 0, then write the checkpoint
            team.share_buffers()
            row = {"loss": total / per_epoch, "lr": lr}
            if validation is not None:
                score = None
                if not team.rank:
                    score = metric(*_predict(model, held_out, autocast))
                row["metric"] = team.first(score)
            row["seconds"] = time.perf_counter() - start
            state.record(row, time.process_time() - cpu)
            if path and not team.rank:
                state.save(path)
            stopped = team.first(state.stop(epochs, patience, seconds))
    # 5. the best weights, not the last
    state.restore_best()
    index = pd.RangeIndex(1, len(state.history) + 1, name="epoch")
    history = pd.DataFrame(state.history, index=index)
    return Fit(history, state.best_epoch, stopped, state.cpu_seconds)


def _check_numbers(epochs, batches, patience, seconds, seed, validation) -> None:
    check_count("epochs", epochs)
    if not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number; got {seed!r}.")
    limits = {"epoch_batches": batches, "patience": patience, "seconds": seconds}
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            raise ValueError(f"{name} must be above 0, or None; got {limit}.")
        if limit is not None and name != "seconds":
            check_count(name, limit)
    if patience and validation is None:
        raise ValueError(f"patience={patience} needs a validation set; got None.")


def _facts(optimizer: torch.optim.Optimizer, schedule, steps: int) -> dict[str, Any]:
    """What a resumed run must have in common with the interrupted one."""
    plain = bool | int | float | str | tuple | list
    defaults = optimizer.defaults.items()
    samples = range(0, steps, max(steps // 100, 1))
    # an interrupted run leaves its last rate in "lr"
    rates = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    return {
        "optimizer": type(optimizer).__name__,
        "learning rates": rates,
        "options": {key: value for key, value in defaults if isinstance(value, plain)},
        "schedule": [schedule(step, steps) for step in samples],
    }


def _step(learner, optimizer, loss, batch, autocast, team: Team) -> float:
    """One update of the weights, unless the loss is not finite."""
    images, labels = (x.to(team.device) for x in team.part(*batch))
    with _autocast(team.device, autocast):
        logits = learner(images).float()
    value = loss(logits, labels)
    mean = team.mean(value)
    if math.isfinite(mean):
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
    return mean


def predict(
    model: nn.Module,
    dataset: Dataset | DataLoader,
    *,
    batch_size: int | None = None,
    autocast: torch.dtype | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Predict with `model` in evaluation mode: logits `[N, K]` float, labels `[N]`.

    Args:
        dataset, batch_size: as `train` and `batch_size` of `fit`, but 100 by default.
    """
    source = batched(dataset, "dataset", batch_size, usual=100)
    return _predict(model, source, _autocast_dtype(autocast, model))


def _predict(model, source: Indexed | Loaded, autocast) -> tuple[Tensor, Tensor]:
    device = next(model.parameters()).device
    model.eval()
    logits, labels = [], []
    with torch.inference_mode(), _autocast(device, autocast):
        for x, y in source.ordered():
            logits.append(model(x.to(device)).float().cpu())
            labels.append(y)
    return torch.cat(logits).clone(), torch.cat(labels)


class _State:
    """What a run needs to resume: weights, optimizer, schedule, history, best weights."""

    def __init__(self, model, optimizer, scheduler, run: dict):
        shapes = {name: list(v.shape) for name, v in model.state_dict().items()}
        self.run = _plain(run | {"weights": shapes})
        self.parts = {
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
        # without a metric the last epoch is best; a metric that is NaN never wins
        if "metric" not in row or row["metric"] > best or math.isnan(best):
            self.best_epoch = len(self.history)
            weights = self.parts["model"].state_dict()
            self.best = {k: v.detach().clone() for k, v in weights.items()}

    def stop(self, epochs: int, patience: int | None, seconds: float | None):
        """Why the run ends after the last recorded epoch; None if it continues."""
        if patience and len(self.history) - self.best_epoch >= patience:
            return "patience"
        if seconds and sum(row["seconds"] for row in self.history) >= seconds:
            return "seconds"
        return "epochs" if len(self.history) >= epochs else None

    def restore_best(self) -> None:
        self.parts["model"].load_state_dict(self.best)

    def save(self, path: Path) -> None:
        content = {name: part.state_dict() for name, part in self.parts.items()}
        content |= {
            "run": self.run,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best": self.best,
            "cpu_seconds": self.cpu_seconds,
        }
        with atomic_write(path) as temporary:
            torch.save(_plain(content), temporary)

    FIELDS = ("history", "best_epoch", "best", "cpu_seconds")

    def read(self, path: Path) -> dict | None:
        """The content of the checkpoint, or None if there is no file."""
        if not path.exists():
            return None
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            parts = {k: content[k] for k in (*self.FIELDS, *self.parts)}
            return parts | {"run": dict(content["run"])}
        except Exception as error:  # another kind of file can raise anything
            raise DamagedFileError(
                f"checkpoint {path} is not a complete checkpoint of `fit` "
                f"({type(error).__name__}); move it away to start over."
            ) from error

    def resume(self, content: dict, path: Path) -> None:
        """Resume from `content`; another run's is rejected before anything changes."""
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
        except ValueError as error:  # before anything is changed
            raise DamagedFileError(
                f"checkpoint {path} is from another run: {error} Move it away to start "
                f"over."
            ) from error
        for name in ("scheduler", "model"):
            self.parts[name].load_state_dict(content[name])
        for name in self.FIELDS:
            setattr(self, name, content[name])


def _plain(value: Any) -> Any:
    """`value` with NumPy scalars as Python numbers: checkpoints cannot hold NumPy's."""
    if type(value) is dict:  # a state dict of a model is another type, and plain
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _autocast_dtype(autocast: torch.dtype | str | None, model: nn.Module):
    """The dtype to use; "auto" is resolved for the model's device."""
    if autocast == "auto":
        is_faster = multiplies_bfloat16(next(model.parameters()).device)
        return torch.bfloat16 if is_faster else None
    if isinstance(autocast, str):
        raise ValueError(f'autocast must be a dtype, "auto" or None; got {autocast!r}.')
    return autocast


def _autocast(device: torch.device, dtype: torch.dtype | None):
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
