"""The training loop used by all lessons, zoo scripts and benchmarks.

By default, it trains with `DeepOpt` and a learning rate that warms up, stays constant
and then decays (`wsd`). The forward pass runs in bfloat16 if the processor supports it.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from ..bar import Bar
from ..catalog import text
from ..errors import check_count
from ..optim import DeepOpt
from ..report import Report
from .batching import DatasetBatches, LoaderBatches, batched
from .checkpoint import RunState, identity
from .precision import autocast_dtype, mixed_precision
from .processes import ProcessGroup
from .recipe import Limits, Recipe

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Fit(Report):
    """The result of a training run.

    Attributes:
        history: one row per epoch, with the columns `loss`, `lr`, `seconds` and, if
            there is a validation set, `metric`.
        best_epoch: the epoch with the best metric, counted from 1. After training, the
            model has the weights of this epoch.
        stop_reason: the reason why the run ended: `"epochs"`, `"patience"` or
            `"seconds"`.
        cpu_seconds: the total CPU time of the run in seconds, summed over all threads
            and including the time before the run was resumed.

    >>> import torch
    >>> from deepseek_learn import data, training
    >>> digits = data.digits()
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    >>> result = training.fit(net, digits.train, epochs=2, validation=digits.validation)
    >>> result.stop_reason, len(result.history)
    ('epochs', 2)
    """

    history: pd.DataFrame
    best_epoch: int
    stop_reason: str
    cpu_seconds: float

    def to_frame(self) -> pd.DataFrame:
        return self.history

    def plot(self) -> "go.Figure":
        """Plot the loss and the validation metric for each epoch."""
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
        facts["reason"] = text(f"stopped.{self.stop_reason}")
        if "metric" not in self.history:
            return text("fit.why", **facts)
        metric = self.history["metric"][self.best_epoch]
        return text("fit.why_kept", best=self.best_epoch, metric=metric, **facts)


def fit(
    model: nn.Module,
    train: Dataset[Any] | DataLoader[Any],
    optimizer: torch.optim.Optimizer | None = None,
    *,
    epochs: int,
    validation: Dataset[Any] | DataLoader[Any] | None = None,
    recipe: Recipe | None = None,
    limits: Limits | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    on_epoch: Callable[[int, dict[str, float]], object] | None = None,
) -> Fit:
    """Train `model` in place and restore the weights of the best epoch.

    Under `torchrun`, each process handles its share of every batch, and all processes
    end with the same weights. The process with rank 0 writes the checkpoint.

    Args:
        train, validation: a dataset with a `batch(index)` method, such as the datasets
            in `data` (images, series, volumes and text); a map-style PyTorch dataset of
            pairs (input, label), such as `TensorDataset`; or a `DataLoader`, whose
            own order is used. Without `validation`, the last epoch is treated as the
            best.
        optimizer: an optimizer for the model's parameters; by default,
            `DeepOpt(model)`.
        epochs: the number of passes over `train`. A checkpoint is written after each
            one.
        recipe: the loss, metric, batch size, schedule, augmentation and precision.
        limits: the number of batches per epoch and the conditions for stopping early.
        checkpoint: a file that is written atomically after each epoch. If it already
            exists, the run resumes from it and gives the same result as an
            uninterrupted run. The settings must be those of the interrupted run: its
            functions are compared by name, its data by their number only.
        seed: the seed for the order of the examples, augmentation and dropout.
        on_epoch: a function that is called after each epoch, when the checkpoint has
            been written, with the number of the epoch and its row of `history`, for
            example to log it. A resumed run calls it for the remaining epochs only, and
            under `torchrun` only the process with rank 0 does. What it raises ends the
            run.

    Raises:
        DamagedFileError: if `checkpoint` is not a checkpoint of this run. The model is
            then left unchanged.
        CheckpointError: if `checkpoint` cannot be written, for example because the disk
            is full. The checkpoint of the previous epoch is then left unchanged.
        ValueError: if the loss is not finite (the message gives the step), if a number
            is out of range, if a dataset is empty, or if a loader is used under
            `torchrun`.
        TypeError: if a number that must be an integer is not, or if the data do not
            consist of pairs or have no length.

    >>> import torch
    >>> from deepseek_learn import data, training
    >>> digits = data.digits()
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    >>> optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    >>> fit = training.fit(net, digits.train, optimizer, epochs=5)
    >>> logits, labels = training.predict(net, digits.test)
    >>> training.accuracy(logits, labels) > 0.8
    True

    To log with TensorBoard or MLflow, which are not installed with this package::

        writer = torch.utils.tensorboard.SummaryWriter("runs/digits")

        def log(epoch, row):
            for name, value in row.items():
                writer.add_scalar(name, value, epoch)

        training.fit(net, digits.train, epochs=5, on_epoch=log)

        with mlflow.start_run():
            training.fit(
                net, digits.train, epochs=5,
                on_epoch=lambda epoch, row: mlflow.log_metrics(row, step=epoch),
            )
    """
    # 1. prepare the batches and the settings that identify this run
    recipe, limits = recipe or Recipe(), limits or Limits()
    _check(epochs, seed, validation, limits)
    source = batched(train, "train", recipe.batch_size, usual=64)
    if validation is not None:
        held_out = batched(validation, "validation", None, usual=100)
    optimizer = DeepOpt(model) if optimizer is None else optimizer
    per_epoch = min(source.per_epoch, limits.epoch_batches or source.per_epoch)
    steps = epochs * per_epoch
    run = {"epochs": epochs, "batch_size": source.batch_size, "seed": seed}
    run |= {"examples": source.examples} | identity(optimizer, recipe, steps)
    group = ProcessGroup(model)
    group.check(None if isinstance(source, LoaderBatches) else source.batch_size)
    learner = _Learner(model, optimizer, recipe, group, steps)
    state = RunState(model, optimizer, learner.scheduler, run)
    path = Path(checkpoint) if checkpoint else None
    with Bar(steps, progress and not group.rank, "training") as bar:
        # 2. resume; all processes use the checkpoint of rank 0
        content = state.read(path) if path and not group.rank else None
        content = group.broadcast(content)
        if path and content:
            state.resume(content, path)
        learner.start()
        stopped = group.broadcast(state.stop(epochs, limits))
        bar.advance(len(state.history) * per_epoch)
        while not stopped:
            # 3. train for one epoch, with seeds that depend only on its number, so that
            # resuming is exact
            epoch = len(state.history) + 1
            start, cpu = time.perf_counter(), time.process_time()
            generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
            torch.manual_seed(seed * 100_003 + epoch + 10**9 * group.rank)  # dropout
            lr = float(optimizer.param_groups[0]["lr"])
            total = 0.0
            batches = source.shuffled(per_epoch, generator)
            for loss in learner.epoch(epoch, batches, generator):
                total += loss
                bar.advance(1)
            # 4. validate and record on rank 0, then write the checkpoint
            group.share_buffers()
            row: dict[str, Any] = {"loss": total / per_epoch, "lr": lr}
            if validation is not None:
                score = None
                if not group.rank:
                    score = recipe.metric(*_predict(model, held_out, learner.autocast))
                row["metric"] = group.broadcast(score)
            row["seconds"] = time.perf_counter() - start
            state.record(row, time.process_time() - cpu)
            if path and not group.rank:
                state.save(path)
            if on_epoch and not group.rank:
                on_epoch(epoch, dict(row))
            stopped = group.broadcast(state.stop(epochs, limits))
    # 5. restore the best weights
    state.restore_best()
    index = pd.RangeIndex(1, len(state.history) + 1, name="epoch")
    history = pd.DataFrame(state.history, index=index)
    return Fit(history, state.best_epoch, stopped, state.cpu_seconds)


def _check(epochs: int, seed: int, validation: Any, limits: Limits) -> None:
    check_count("epochs", epochs)
    if not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number; got {seed!r}.")
    if limits.patience and validation is None:
        raise ValueError(
            f"patience={limits.patience} requires a validation set; got None."
        )


class _Learner:
    """Updates the weights batch by batch, as specified by the recipe."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        group: ProcessGroup,
        steps: int,
    ):
        self.optimizer, self.recipe, self.group = optimizer, recipe, group
        self.autocast = autocast_dtype(recipe.autocast, model)
        # LambdaLR also evaluates the schedule at the step after the last one
        self.scheduler = LambdaLR(
            optimizer, lambda step: recipe.schedule(min(step, steps - 1), steps)
        )

    def start(self) -> None:
        """Wrap the model for multiple processes after its weights are restored."""
        self.model = self.group.data_parallel()

    def epoch(
        self, epoch: int, batches: Iterable, generator: torch.Generator
    ) -> Iterator[float]:
        """Train for one epoch, yielding the loss of each batch after the update."""
        self.model.train()
        augment = self.recipe.augment
        for i, (inputs, labels) in enumerate(batches):
            inputs = augment(inputs, generator) if augment else inputs
            lr = float(self.optimizer.param_groups[0]["lr"])
            loss = self._step(inputs, labels)
            if not math.isfinite(loss):
                raise ValueError(
                    f"loss became {loss} in epoch {epoch}, step {i}; lower the "
                    f"learning rate (now {lr:g}) or check the data."
                )
            self.scheduler.step()
            yield loss

    def _step(self, *batch: Tensor) -> float:
        """Update the weights once if the loss is finite; always return the loss."""
        inputs, labels = (x.to(self.group.device) for x in self.group.shard(*batch))
        with mixed_precision(self.group.device, self.autocast):
            logits = self.model(inputs).float()
        loss = self.recipe.loss(logits, labels)
        mean = self.group.mean(loss)
        if math.isfinite(mean):
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        return mean


def predict(
    model: nn.Module,
    dataset: Dataset[Any] | DataLoader[Any],
    *,
    batch_size: int | None = None,
    autocast: torch.dtype | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `model` in evaluation mode and return its logits and the labels.

    Args:
        dataset: any kind of data that `fit` accepts as `train`.
        batch_size: the batch size for a dataset, 100 by default. Omit it for a loader,
            which has its own batch size.

    Returns:
        The logits, of shape `[N, K]`, and the labels, of shape `[N]`.

    >>> import torch
    >>> from deepseek_learn import data, training
    >>> digits = data.digits()
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    >>> logits, labels = training.predict(net, digits.test, batch_size=100)
    >>> logits.shape[1], len(logits) == len(labels) == len(digits.test)
    (10, True)
    """
    source = batched(dataset, "dataset", batch_size, usual=100)
    return _predict(model, source, autocast_dtype(autocast, model))


def _predict(
    model: nn.Module,
    source: DatasetBatches | LoaderBatches,
    autocast: torch.dtype | None,
) -> tuple[Tensor, Tensor]:
    device = next(model.parameters()).device
    model.eval()
    logits, labels = [], []
    with torch.inference_mode(), mixed_precision(device, autocast):
        for x, y in source.ordered():
            logits.append(model(x.to(device)).float().cpu())
            labels.append(y)
    return torch.cat(logits).clone(), torch.cat(labels)
