"""The training loop: it learns, resumes to the same end, and rejects with a message."""

import errno
import functools
import io
import math
import os
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn import DeepOpt, catalog
from deepseek_learn.errors import DamagedFileError
from deepseek_learn.training import (
    Fit,
    Recipe,
    constant,
    cosine,
    fit,
    precision,
    predict,
    wsd,
)
from deepseek_learn.training.checkpoint import CheckpointError

from .training_run import arranged, blobs


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(4 * 36, 2),
    )  # fmt: skip


def train(model, **options):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    settings = {"epochs": 4, "batch_size": 16, "progress": False} | options
    return fit(model, blobs(96, 0), optimizer, **arranged(**settings))


def test_learns_and_reports():
    model, start = network(), time.perf_counter()
    run = train(model, validation=blobs(64, 1))
    assert 0 < run.history["seconds"].sum() < time.perf_counter() - start
    logits, labels = predict(model, blobs(64, 2))
    assert (logits.argmax(1) == labels).float().mean() > 0.95
    assert list(run.to_frame().columns) == ["loss", "lr", "metric", "seconds"]
    assert run.history["loss"].iloc[-1] < run.history["loss"].iloc[0]
    assert "4 epochs because all epochs were completed" in run.why()
    assert run.cpu_seconds > 0
    assert len(run.plot().data) == 2
    assert run.why() in run._repr_html_()


@pytest.mark.parametrize("stopped", ["epochs", "patience", "seconds"])
@pytest.mark.parametrize("columns", [["loss"], ["loss", "metric"]])
def test_reason_is_given_in_both_languages(monkeypatch, stopped, columns):
    history = pd.DataFrame(0.5, index=[1, 2, 3], columns=columns)
    history["loss"] = [0.75, 0.5, 0.25]
    run = Fit(history, best_epoch=1, stop_reason=stopped, cpu_seconds=1.0)
    english = run.why()
    assert english.startswith("Stopped after 3 epochs because ")
    assert "0.25" in english  # the last epoch's loss
    assert ("kept epoch 1, metric 0.5000" in english) == ("metric" in columns)
    monkeypatch.setattr(catalog, "_current", "zh")
    assert run.why().startswith("训练 3 轮后停止，因为")
    assert ("保留了第 1 轮" in run.why()) == ("metric" in columns)


def shift(images, generator):
    return images.roll(int(torch.randint(3, (1,), generator=generator)), dims=3)


@pytest.mark.parametrize("with_validation", [True, False])
def test_resumed_run_ends_bit_for_bit_as_the_uninterrupted_one(
    tmp_path, with_validation
):
    validation = blobs(64, 1) if with_validation else None
    whole, cut = network(), network()
    options = {"augment": shift, "validation": validation, "epochs": 5}
    expected = train(whole, **options)
    path = tmp_path / "run.checkpoint"

    class Killed(Exception):
        pass

    calls = []

    @functools.wraps(shift)  # a resumed run must have the same augmentation
    def kill_in_third_epoch(images, generator):
        calls.append(1)
        if len(calls) == 15:
            raise Killed
        return shift(images, generator)

    with pytest.raises(Killed):
        train(cut, **(options | {"augment": kill_in_third_epoch, "checkpoint": path}))
    torch.manual_seed(99)  # a new process has a different state
    resumed = network()
    run = train(resumed, **options, checkpoint=path)
    assert len(run.history) == 5
    for a, b in zip(
        whole.state_dict().values(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)
    columns = [c for c in run.history if c != "seconds"]
    pd.testing.assert_frame_equal(run.history[columns], expected.history[columns])


def test_each_epoch_is_reported_once_even_over_a_resumed_run(tmp_path):
    path, seen = tmp_path / "run.checkpoint", []

    def stop_after_two(epoch, row):
        assert path.exists()  # the epoch is safe before anything is said of it
        seen.append((epoch, row))
        if epoch == 2:
            raise RuntimeError("the log is full")

    options = {"validation": blobs(64, 1), "epochs": 4, "checkpoint": path}
    with pytest.raises(RuntimeError, match="the log is full"):
        train(network(), **options, on_epoch=stop_after_two)
    run = train(
        network(), **options, on_epoch=lambda epoch, row: seen.append((epoch, row))
    )
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4]
    rows = run.history.to_dict("records")
    assert [row for _, row in seen] == rows
    seen[0][1]["loss"] = 0.0  # a caller's copy
    assert run.history["loss"].iloc[0] == rows[0]["loss"]


def test_an_epoch_may_be_a_random_part_of_the_data():
    seen = []

    class Watched:
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return len(self.images)

        def batch(self, index):
            seen.append(index.tolist())
            return self.images.batch(index)

    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    options = {"epochs": 3, "batch_size": 16, "progress": False}
    few = arranged(epoch_batches=2, **options)
    run = fit(model, Watched(blobs(96, 0)), optimizer, **few)
    assert len(seen) == 3 * 2
    epochs = [{*a, *b} for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert all(len(epoch) == 32 for epoch in epochs)
    assert len(set.union(*epochs)) > 48  # a different part each time
    assert run.history["lr"].iloc[-1] < run.history["lr"].iloc[0]
    seen.clear()
    fit(network(), Watched(blobs(96, 0)), **arranged(epoch_batches=99, **options))
    assert len(seen) == 3 * 6


def test_keeps_the_best_epochs_weights():
    seen = []
    metrics = iter([0.1, 0.9, 0.3, 0.2])
    model = network()

    def metric(logits, labels):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(metrics)

    run = train(model, validation=blobs(16, 1), metric=metric)
    assert run.best_epoch == 2
    for key, value in model.state_dict().items():
        assert torch.equal(value, seen[1][key])


def test_the_history_is_of_the_losses_and_rates_there_were():
    """The mean loss of an epoch's steps, the rate at its first step, its time."""
    losses, scores = [], iter([0.25, 0.5])

    def loss(logits, labels):
        losses.append(torch.nn.functional.cross_entropy(logits, labels))
        return losses[-1]

    options = {"epochs": 2, "schedule": lambda step, steps: 1 - step / steps}
    options |= {"metric": lambda z, y: next(scores), "validation": blobs(16, 1)}
    history = train(network(), loss=loss, **options).history
    values = [value.item() for value in losses]
    means = [sum(values[:6]) / 6, sum(values[6:]) / 6]
    assert list(history["loss"]) == pytest.approx(means, rel=1e-6)
    assert list(history["lr"]) == pytest.approx([1e-2, 0.5e-2])
    assert list(history["metric"]) == [0.25, 0.5]
    assert list(history.index) == [1, 2]


def test_each_step_has_its_own_rate_and_the_run_its_own_time():
    model, rates = network(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    optimizer.register_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    options = {"epochs": 2, "batch_size": 48, "progress": False}
    options |= {"schedule": lambda step, steps: (step + 1) / (8 * steps)}
    begun = time.process_time()
    run = fit(model, blobs(96, 0), optimizer, **arranged(**options))
    assert rates == pytest.approx([0.5 * step / 32 for step in (1, 2, 3, 4)])
    assert 0 < run.cpu_seconds <= time.process_time() - begun


def test_a_schedule_that_differs_in_one_step_is_another_run(tmp_path):
    path = tmp_path / "run.checkpoint"
    train(network(), epochs=1, checkpoint=path)
    for step in range(6):
        other = lambda at, steps, off=step: wsd(at, steps) + (at == off) / 8  # noqa: E731
        with pytest.raises(DamagedFileError, match="with different schedule"):
            train(network(), epochs=1, checkpoint=path, schedule=other)


def test_a_rate_in_a_tensor_is_noted_as_the_number_it_was():
    model = network()
    optimizer = DeepOpt(model, lr=torch.tensor(0.02))
    options = {"epochs": 2, "batch_size": 16, "progress": False}
    options |= {"schedule": lambda step, steps: 1 - step / steps}
    history = fit(model, blobs(96, 0), optimizer, **arranged(**options)).history
    assert list(history["lr"]) == pytest.approx([0.02, 0.01])


def test_a_metric_that_is_not_a_number_is_never_the_best():
    metrics = iter([float("nan"), 0.5, float("nan"), 0.4])
    run = train(network(), validation=blobs(16, 1), metric=lambda z, y: next(metrics))
    assert run.best_epoch == 2


def test_stops_when_nothing_improves_and_when_time_is_up():
    run = train(
        network(),
        validation=blobs(16, 1),
        metric=lambda z, y: 0.5,
        patience=2,
        epochs=9,
    )
    assert (run.stop_reason, len(run.history)) == ("patience", 3)
    assert "stopped improving" in run.why()
    run = train(network(), seconds=1e-9, epochs=9)
    assert (run.stop_reason, len(run.history)) == ("seconds", 1)


def test_the_recipe_learns():
    """The defaults: DeepOpt, warm-up, stable, decay, bfloat16 where it is fast."""
    model = network()
    recipe = Recipe(batch_size=16)
    fit(model, blobs(96, 0), epochs=4, recipe=recipe, progress=False)
    logits, labels = predict(model, blobs(64, 2), autocast="auto")
    assert (logits.argmax(1) == labels).float().mean() > 0.95


def test_mixed_precision_is_chosen_by_the_processor(monkeypatch):
    seen = []
    model = network()
    model[0].register_forward_hook(lambda m, x, y: seen.append(y.dtype))
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device, f=fast: f)
        train(model, epochs=1)
        assert set(seen) == {dtype}
        seen.clear()
    with pytest.raises(ValueError, match='autocast must be a dtype, "auto" or None'):
        train(model, autocast="bf16")


def test_mixed_precision_trains():
    model = network()
    train(model, autocast=torch.bfloat16)
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_trains_on_a_gpu():
    model = network().cuda()
    train(model, validation=blobs(64, 1), autocast=torch.bfloat16)
    logits, labels = predict(model, blobs(64, 2))
    assert (logits.argmax(1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "run.checkpoint"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="is not a complete checkpoint of `fit`"):
        train(network(), checkpoint=path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [3, None, [1], {"history": []}, torch.ones(2)])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "run.checkpoint"
    torch.save(content, path)
    with pytest.raises(DamagedFileError, match="is not a complete checkpoint of `fit`"):
        train(network(), checkpoint=path)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"epochs": 8}, "epochs"),
        ({"batch_size": 8}, "batch_size"),
        ({"seed": 1}, "seed"),
        ({"optimizer": "SGD"}, "optimizer"),
        ({"lr": 1e-3}, "learning rates"),
        ({"weight_decay": 0.5}, "options"),
        ({"schedule": constant}, "schedule"),
        ({"loss": F.multi_margin_loss}, "loss"),
        ({"metric": lambda logits, labels: 0.0}, "metric"),
        ({"augment": lambda inputs, generator: inputs}, "augment"),
        ({"groups": {"weight_decay": 0.5}}, "options"),
        ({"model": "other"}, "weights"),
    ],
)
def test_another_runs_checkpoint_is_refused_and_nothing_changes(tmp_path, change, word):
    path = tmp_path / "run.checkpoint"
    train(network(), checkpoint=path, epochs=2)
    content, options = path.read_bytes(), {"epochs": 2, "batch_size": 16} | change
    model = network()
    if options.pop("model", None):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    kind = getattr(torch.optim, options.pop("optimizer", "AdamW"))
    own = {k: options.pop(k) for k in ("lr", "weight_decay") if k in options}
    groups = [{"params": [*model.parameters()]} | options.pop("groups", {})]
    optimizer = kind(groups, **({"lr": 1e-2} | own))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    options |= {"checkpoint": path, "progress": False}
    with pytest.raises(
        DamagedFileError, match=f"from another run, with different {word}"
    ):
        fit(model, blobs(96, 0), optimizer, **arranged(**options))
    assert path.read_bytes() == content
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_an_optimizers_refusal_names_the_checkpoint(tmp_path):
    path, options = tmp_path / "run.checkpoint", {"epochs": 1, "progress": False}
    fit(network(), blobs(96, 0), checkpoint=path, **options)
    model = network()
    other = DeepOpt(model, roles={"5.weight": "matrix"})
    with pytest.raises(DamagedFileError, match="from another run: state_dict must"):
        fit(model, blobs(96, 0), other, checkpoint=path, **options)


def test_numbers_of_numpy_are_kept(tmp_path):
    """A metric, a rate and a schedule as NumPy scalars, as its functions return them."""
    model, path = network(), tmp_path / "run.checkpoint"
    optimizer = torch.optim.AdamW(model.parameters(), lr=np.geomspace(1e-3, 1e-1, 3)[1])
    options = {"metric": lambda z, y: (z.argmax(1) == y).double().numpy().mean()}
    options |= {"schedule": lambda step, steps: np.cos(step / steps)}
    options |= {"validation": blobs(64, 1), "epochs": 2, "batch_size": 16}
    options |= {"checkpoint": path, "progress": False}
    first = fit(model, blobs(96, 0), optimizer, **arranged(**options))
    again = fit(
        model, blobs(96, 0), optimizer, **arranged(**options)
    )  # the finished run
    assert first.history.equals(again.history)


def test_a_cell_that_was_interrupted_is_run_again(tmp_path):
    """With the same optimizer, which the first run left at a low rate."""
    model, path = network(), tmp_path / "run.checkpoint"
    optimizer, calls = DeepOpt(model), []

    def interrupted(images, generator):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return images

    options = {"epochs": 4, "batch_size": 16, "checkpoint": path, "progress": False}
    cut = arranged(augment=interrupted, **options)
    with pytest.raises(KeyboardInterrupt):
        fit(model, blobs(96, 0), optimizer, **cut)
    run = fit(model, blobs(96, 0), optimizer, **cut)
    twin = network()
    whole = fit(twin, blobs(96, 0), **arranged(**options | {"checkpoint": None}))
    assert list(run.history["loss"]) == list(whole.history["loss"])
    assert all(map(torch.equal, model.parameters(), twin.parameters()))


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file sizes here")
@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("first", [True, False])
def test_a_write_that_the_system_cuts_off_gets_a_sentence(tmp_path, fraction, first):
    """The system's limit of the size of files stands for a full disk."""
    resource = pytest.importorskip("resource")
    path, limits = (
        tmp_path / "run.checkpoint",
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    train(network(), checkpoint=path, epochs=1)
    size = int(fraction * path.stat().st_size)
    path.unlink()
    saved = []

    def fill_the_disk(x, generator):
        if first or path.exists():
            saved[:] = [path.read_bytes()] if path.exists() else []
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        return x

    options = {"checkpoint": path, "epochs": 2, "augment": fill_the_disk}
    try:
        with pytest.raises(CheckpointError) as error:
            train(network(), **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sentence, epoch = str(error.value), 1 if first else 2
    assert sentence.startswith(
        f"checkpoint {path} cannot be written after epoch {epoch}"
    )
    assert os.strerror(errno.EFBIG) in sentence
    assert len(sentence.splitlines()) == 1
    assert [each.read_bytes() for each in tmp_path.iterdir()] == saved
    assert len(saved) == epoch - 1


@pytest.mark.parametrize("after", [0, 100, 4000])
@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EIO"])
def test_a_failed_write_leaves_the_last_checkpoint(tmp_path, monkeypatch, after, code):
    path, written = tmp_path / "run.checkpoint", []
    save = torch.save

    class Full(io.RawIOBase):
        """A file on a disk that has room for a few bytes more."""

        def __init__(self, file):
            self.file, self.room = file, after

        def writable(self):
            return True

        def write(self, content):
            self.room -= len(content)
            if self.room < 0:
                number = getattr(errno, code)
                raise OSError(number, os.strerror(number))
            return self.file.write(content)

    def fails_later(content, file):
        save(content, Full(file) if written else file)
        file.flush()
        written.append(Path(file.name).read_bytes())

    monkeypatch.setattr(torch, "save", fails_later)
    reason = os.strerror(getattr(errno, code))
    with pytest.raises(CheckpointError, match=f"after epoch 2: {reason}") as error:
        train(network(), checkpoint=path, epochs=3)
    assert isinstance(error.value, OSError)
    assert [path.read_bytes()] == written
    assert list(tmp_path.iterdir()) == [path]
    # with room again, the run goes on from there
    monkeypatch.undo()
    resumed, whole = network(), network()
    train(resumed, checkpoint=path, epochs=3)
    train(whole, epochs=3)
    assert all(map(torch.equal, resumed.parameters(), whole.parameters()))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    path = tmp_path / "file" / "run.checkpoint"
    with pytest.raises(CheckpointError, match="cannot be written after epoch 1"):
        train(network(), checkpoint=path, epochs=1)


def test_an_error_of_another_kind_is_passed_on(tmp_path, monkeypatch):
    def save(content, file):
        raise RuntimeError("a bug")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(RuntimeError, match="a bug"):
        train(network(), checkpoint=tmp_path / "run.checkpoint", epochs=1)


def test_refusals():
    for name in ("epochs", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
            train(network(), **{name: 0})
    for name in ("epochs", "batch_size", "epoch_batches", "patience"):
        with pytest.raises(
            TypeError, match=f"{name} must be a whole number .* got 1.5"
        ):
            train(network(), validation=blobs(16, 1), **{name: 1.5})
    with pytest.raises(TypeError, match=r"seed must be a whole number; got 0\.5"):
        train(network(), seed=0.5)
    with pytest.raises(
        ValueError, match="patience=2 requires a validation set; got None"
    ):
        train(network(), patience=2)
    for name in ("patience", "seconds", "epoch_batches"):
        with pytest.raises(
            ValueError, match=f"{name} must be positive or None; got -1"
        ):
            train(network(), **{name: -1})
    with pytest.raises(ValueError, match=r"loss became nan in epoch 1, step 0"):
        train(network(), loss=lambda z, y: z.sum() * float("nan"))


def test_schedules():
    values = [cosine(step, 100) for step in range(100)]
    assert max(values) <= 1
    assert values.index(max(values)) in (9, 10)  # warm-up over one tenth
    assert values[0] == pytest.approx(0.1)
    assert values[-1] == pytest.approx(0, abs=1e-12)
    values = [wsd(step, 100) for step in range(100)]
    assert values[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(values[4:51]) == {1.0}
    assert values[51:] == pytest.approx([(100 - step) / 50 for step in range(51, 100)])
    assert wsd(0, 1) == constant(5, 100) == 1
    assert [wsd(s, 4, warmup=0, decay=0) for s in range(4)] == [1.0] * 4
    assert cosine(0, 4, warmup=0) < 1
    half = [math.cos(math.pi * (step - 9) / 90) for step in range(9, 100)]
    assert [cosine(s, 100) for s in range(9, 100)] == pytest.approx(
        [0.5 + 0.5 * c for c in half], abs=1e-12
    )
    # past the end nothing rises again
    assert [cosine(s, 4) for s in (4, 5, 9)] == pytest.approx([0, 0, 0], abs=1e-12)
    assert [cosine(s, 4, warmup=1.0) for s in (4, 9)] == [1, 1]
    assert [wsd(s, 4) for s in (4, 5, 9)] == [0, 0, 0]
    assert [cosine(s, 4, warmup=1.0) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    table = [0.5, 1.0, 0.1] * 8  # one per step, and none beyond
    assert len(table) == 4 * (96 // 16)
    train(network(), schedule=lambda step, steps: table[step])
