"""What the training loop reads: our datasets, PyTorch's datasets and loaders."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

from deepseek_learn.training import fit, predict
from deepseek_learn.training.processes import ProcessGroup

from .test_training import network
from .training_run import arranged, blobs


def tensors(count=96, seed=0):
    return TensorDataset(*blobs(count, seed).batch())


class Items(Dataset):
    """One example at a time, with the label as a Python number."""

    def __init__(self, count=96, seed=0):
        self.x, self.y = blobs(count, seed).batch()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        if not isinstance(i, int):
            raise TypeError("one at a time")
        return self.x[i], int(self.y[i])


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.zeros(1, 8, 8), 0


def train(data, model=None, **options):
    model = model or network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    settings = {"epochs": 3, "progress": False} | options
    return model, fit(model, data, optimizer, **arranged(**settings))


@pytest.mark.parametrize("kind", [tensors, Items, lambda: Subset(Items(), range(96))])
def test_pytorchs_datasets_train_as_those_here(kind):
    ours, history = train(blobs(96, 0), batch_size=16)
    reference, other = train(kind(), batch_size=16)
    assert list(history.history["loss"]) == list(other.history["loss"])
    assert all(map(torch.equal, ours.parameters(), reference.parameters()))


def test_a_loader_is_read_in_its_order_to_its_last_batch():
    seen = []

    def loss(logits, labels):
        seen.append(labels.tolist())
        return nn.functional.cross_entropy(logits, labels)

    loader = DataLoader(tensors(70), batch_size=32)
    _, run = train(loader, loss=loss, epochs=2)
    labels = tensors(70).tensors[1].tolist()
    assert seen == 2 * [labels[:32], labels[32:64], labels[64:]]
    assert len(run.history) == 2
    seen.clear()
    train(loader, loss=loss, epochs=2, epoch_batches=1)
    assert seen == 2 * [labels[:32]]


@pytest.mark.parametrize("data", [tensors, Items, blobs])
def test_answers_are_the_same_from_a_dataset_and_a_loader(data):
    dataset = data(70, 2)
    model, _ = train(DataLoader(tensors(), batch_size=16, shuffle=True))
    expected = predict(model, blobs(70, 2))
    for same in (dataset, DataLoader(dataset, batch_size=9)):
        for got, one in zip(predict(model, same), expected, strict=True):
            torch.testing.assert_close(got, one)
    pieces = predict(model, dataset, batch_size=1)
    torch.testing.assert_close(pieces[0], expected[0])
    assert (expected[0].argmax(1) == expected[1]).float().mean() > 0.95


def test_a_shuffled_loader_resumes_to_the_same_end(tmp_path):
    def loader():
        return DataLoader(tensors(), batch_size=16, shuffle=True)

    steps = math.inf  # until the run is killed

    def augment(images, generator):
        nonlocal steps
        steps -= 1
        if not steps:
            raise KeyboardInterrupt
        return images

    options = {"validation": DataLoader(tensors(32, 1), batch_size=8), "epochs": 4}
    options["augment"] = augment
    path = tmp_path / "run.checkpoint"
    whole, expected = train(loader(), **options)
    steps = 15
    with pytest.raises(KeyboardInterrupt):
        train(loader(), checkpoint=path, **options)
    torch.manual_seed(99)  # a new process has a different state
    steps = math.inf
    resumed, run = train(loader(), checkpoint=path, **options)
    assert list(run.history["loss"]) == list(expected.history["loss"])
    assert list(run.history["metric"]) == list(expected.history["metric"])
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))


def test_a_dataset_smaller_than_a_batch_is_one_batch():
    _, run = train(tensors(10), epochs=2)
    assert len(run.history) == 2


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (tensors(0), ValueError, "train must contain at least one example; got none"),
        (blobs(0, 0), ValueError, "train must contain at least one example; got none"),
        (
            DataLoader(tensors(8), batch_size=16, drop_last=True),
            ValueError,
            "train must contain at least one batch; got none",
        ),
        (Endless(), TypeError, "train must be a dataset .*; got a Endless without"),
        (DataLoader(Endless()), TypeError, "known length; got a DataLoader without"),
        (None, TypeError, "train must be a dataset or .*; got a NoneType without"),
        (
            TensorDataset(torch.ones(8, 1, 8, 8)),
            TypeError,
            r"train must yield pairs \(inputs, labels\); got 1 parts",
        ),
        (
            DataLoader([{"x": torch.ones(1), "y": 0}] * 4),
            TypeError,
            r"train must yield pairs \(inputs, labels\); got <class 'dict'>",
        ),
    ],
)
def test_what_gives_no_batches_of_pairs_is_refused(data, error, said):
    with pytest.raises(error, match=said):
        train(data)


def test_refusals_name_the_argument():
    with pytest.raises(
        ValueError, match="validation must contain at least one example"
    ):
        train(tensors(), validation=tensors(0))
    with pytest.raises(ValueError, match="dataset must contain at least one example"):
        predict(network(), blobs(0, 0))
    loader = DataLoader(tensors(), batch_size=16)
    for call in (
        lambda: train(loader, batch_size=8),
        lambda: predict(network(), loader, batch_size=8),
    ):
        with pytest.raises(ValueError, match=r"batch_size must be omitted .*; got 8"):
            call()
    with pytest.raises(TypeError, match="batch_size must be a whole number"):
        predict(network(), tensors(), batch_size=2.5)


def test_several_processes_divide_a_dataset_and_no_loader():
    team = ProcessGroup(network())
    team.check(None)
    team.size = 2
    with pytest.raises(ValueError, match="train must be a dataset when 2 processes"):
        team.check(None)
