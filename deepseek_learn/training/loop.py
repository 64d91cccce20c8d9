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

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from ..bar import Bar
from ..catalog import text
from ..errors import check_count
from ..optim import DeepOpt
from ..report import Report
from .batching import Indexed, Loaded, batched
from .checkpoint import RunState, identity
from .precision import autocast_dtype, mixed_precision
from .processes import ProcessGroup
from .schedule import wsd


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
        train, validation: datasets with `batch(index)`, such as those of `data` (images,
            series, volumes, text); PyTorch's map-style datasets of pairs (input, label)
            such as `TensorDataset`; or a `DataLoader`, which is read in its own order.
            Without `validation` the last epoch counts as best.
        batch_size: batch size for a dataset, 64 by default; a loader has its own.
        epoch_batches: batches per epoch, a new random subset of `train` each time (a
            loader's first ones); by default all of it. A checkpoint is written after
            each epoch.
        optimizer: over the model's parameters; by default `DeepOpt(model)`. Its learning
            rates are multiplied by `schedule(step, steps)`, steps counted from 0 over
            all epochs.
        loss: `(logits [B, K], labels [B]) -> scalar`, mean over the batch.
        metric: `(logits [N, K], labels [N]) -> float` on validation, higher is better.
        augment: `(inputs [B, ...], generator) -> inputs`; draws from the generator.
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
    run |= {"examples": source.examples} | identity(optimizer, schedule, steps)
    # LambdaLR also asks for the step after the last
    scheduler = LambdaLR(optimizer, lambda step: schedule(min(step, steps - 1), steps))
    state = RunState(model, optimizer, scheduler, run)
    autocast = autocast_dtype(autocast, model)
    path = Path(checkpoint) if checkpoint else None
    group = ProcessGroup(model)
    group.check(None if isinstance(source, Loaded) else source.batch_size)
    with Bar(steps, progress and not group.rank, "training") as bar:
        # 2. resume; the checkpoint of rank 0 is used by every process
        content = state.read(path) if path and not group.rank else None
        if content := group.broadcast(content):
            state.resume(content, path)
        learner = group.data_parallel()
        stopped = group.broadcast(state.stop(epochs, patience, seconds))
        bar.advance(len(state.history) * per_epoch)
        while not stopped:
            # 3. one epoch; its seeds depend on its number only, so resuming is exact
            epoch = len(state.history) + 1
            start, cpu = time.perf_counter(), time.process_time()
            generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
            torch.manual_seed(seed * 100_003 + epoch + 10**9 * group.rank)  # dropout
            lr, total = float(optimizer.param_groups[0]["lr"]), 0.0
            learner.train()
            batches = source.shuffled(per_epoch, generator)
            for i, (inputs, labels) in enumerate(batches):
                inputs = augment(inputs, generator) if augment else inputs
                batch = inputs, labels
                value = _step(learner, optimizer, loss, batch, autocast, group)
                if not math.isfinite(value):
                    raise ValueError(
                        f"loss became {value} in epoch {epoch}, step {i}: lower the "
                        f"learning rate (now {lr:g}) or check the data."
                    )
                scheduler.step()
                total += value
                bar.advance(1)
            # 4. validate and record on rank 0, then write the checkpoint
            group.share_buffers()
            row = {"loss": total / per_epoch, "lr": lr}
            if validation is not None:
                score = None
                if not group.rank:
                    score = metric(*_predict(model, held_out, autocast))
                row["metric"] = group.broadcast(score)
            row["seconds"] = time.perf_counter() - start
            state.record(row, time.process_time() - cpu)
            if path and not group.rank:
                state.save(path)
            stopped = group.broadcast(state.stop(epochs, patience, seconds))
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


def _step(learner, optimizer, loss, batch, autocast, group: ProcessGroup) -> float:
    """One update of the weights, unless the loss is not finite."""
    inputs, labels = (x.to(group.device) for x in group.shard(*batch))
    with mixed_precision(group.device, autocast):
        logits = learner(inputs).float()
    value = loss(logits, labels)
    mean = group.mean(value)
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
    return _predict(model, source, autocast_dtype(autocast, model))


def _predict(model, source: Indexed | Loaded, autocast) -> tuple[Tensor, Tensor]:
    device = next(model.parameters()).device
    model.eval()
    logits, labels = [], []
    with torch.inference_mode(), mixed_precision(device, autocast):
        for x, y in source.ordered():
            logits.append(model(x.to(device)).float().cpu())
            labels.append(y)
    return torch.cat(logits).clone(), torch.cat(labels)
