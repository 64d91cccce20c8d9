"""The loaders: fixed splits, no overlap, complete cards, clear errors."""

import sys
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from deepseek_learn import catalog, data
from deepseek_learn.data.elpv import RUNS, source_parts
from deepseek_learn.errors import MissingPackageError, UnknownNameError

PARTS = ("train", "validation", "test")
SIZES = {
    "elpv": (1774, 196, 654),
    "fashion_mnist": (8000, 2000, 4000),
    "digits": (1078, 269, 450),
}


@pytest.fixture(scope="module", params=sorted(SIZES))
def splits(request):
    return data.load(request.param)


def test_sizes_are_fixed(splits):
    assert tuple(len(getattr(splits, p)) for p in PARTS) == SIZES[splits.card.name]


def test_every_class_is_in_every_part(splits):
    assert (splits.to_frame() > 0).all(axis=None)
    for part in PARTS:
        labels = getattr(splits, part).labels
        assert labels.dtype == torch.int64
        assert set(labels.tolist()) == set(range(len(splits.classes)))


def test_no_picture_is_in_two_parts(splits):
    seen = {p: {bytes(i.numpy()) for i in getattr(splits, p).images} for p in PARTS}
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    if splits.card.name != "fashion_mnist":  # the official set contains duplicates
        assert not seen["train"] & seen["validation"]


def test_items_are_in_0_to_1(splits):
    image, label = splits.train[3]
    assert image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 1
    batch, labels = splits.train.batch(torch.tensor([3]))
    assert torch.equal(batch[0], image)
    assert labels[0] == label


def test_the_card_is_complete(splits):
    card = splits.card
    assert all(getattr(card, field) for field in vars(card))
    assert card.license in card._repr_html_()


@pytest.mark.slow
def test_the_card_speaks_chinese(monkeypatch):
    english = data.load("elpv", size=32).card
    monkeypatch.setattr(catalog, "_current", "zh")
    card = data.load("elpv", size=32).card
    assert card.license == "CC BY-NC-SA 4.0（照片，以及用照片训练出的权重）"
    assert len(card.traps) == len(english.traps)
    assert all(isinstance(trap, str) for trap in card.traps)
    shown = card.to_frame()[""]
    assert shown["标题"] == "太阳能电池的电致发光照片（ELPV）"
    assert all(trap in shown["陷阱"] for trap in card.traps)


def test_a_second_load_is_the_same():
    first, second = data.digits(), data.digits()
    assert torch.equal(first.test.images, second.test.images)


@cache
def elpv(**options):
    """The photographs: decoded once for the tests that only look at them."""
    return data.elpv(**options)


@pytest.mark.slow
def test_elpv_source_split_keeps_runs_together():
    splits = elpv(split="source", size=32)
    number = {
        p: getattr(splits, p).frame["file"].str.extract(r"(\d+)")[0].astype(int)
        for p in PARTS
    }
    for first, last, kind, part in RUNS:
        inside = number[part].between(first, last)
        assert inside.sum() == last - first + 1
        assert set(getattr(splits, part).frame["type"][inside.to_numpy()]) == {kind}
    assert splits.test.images.shape[1:] == (1, 32, 32)


@pytest.mark.slow
def test_elpv_groups_are_as_many_modules_as_published():
    """Deitsch et al. 2019: 44 modules, 18 mono- and 26 polycrystalline."""
    whole = elpv(size=32).whole()
    assert len(whole) == 2624
    types = whole.frame["type"].groupby(whole.groups).unique()
    assert all(len(kinds) == 1 for kinds in types)
    assert types.str[0].value_counts().to_dict() == {"poly": 26, "mono": 18}
    assert set(np.bincount(whole.groups)) == {48, 50, 54, 60, 72}


@pytest.mark.slow
def test_elpv_modules_begin_where_the_brightness_jumps():
    """The files at a border differ more than neighbors inside a module."""
    whole = elpv(size=32).whole()
    order = np.argsort(whole.frame["file"].to_numpy())
    dark = np.quantile(whole.images.flatten(1).numpy()[order], 0.02, axis=1)
    means = pd.Series(dark).groupby(whole.groups[order]).median()
    inside = (
        pd.Series(dark)
        .groupby(whole.groups[order])
        .apply(lambda d: abs(d.iloc[:30].median() - d.iloc[-30:].median()))
    )
    assert means.diff().abs().median() > 1.5 * inside.median()


@pytest.mark.slow
def test_elpv_source_split_divides_no_module():
    splits = elpv(split="source", size=32)
    groups = [set(getattr(splits, part).groups) for part in PARTS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 44


def test_the_whole_is_its_parts():
    splits = data.bacteria(tile=112)
    whole = splits.whole()
    assert torch.equal(whole.images[: len(splits.train)], splits.train.images)
    assert len(whole) == sum(len(getattr(splits, part)) for part in PARTS)
    assert sorted(set(whole.groups)) == list(range(41))
    assert whole.card == splits.card


@pytest.mark.slow
def test_elpv_label_is_the_experts_probability():
    splits = elpv(size=32)
    labels, probability = splits.test.labels.numpy(), splits.test.frame["probability"]
    assert np.array_equal(labels, (probability > 0.5).to_numpy())


@pytest.mark.slow
def test_source_split_refuses_files_in_another_order():
    frame = elpv(split="source", size=32).train.frame.iloc[::-1].copy()
    frame["type"] = "mono"
    with pytest.raises(ValueError, match=r"files \d+ to \d+.*elpv-dataset 1\.0\.0"):
        source_parts(frame)


@pytest.mark.slow
def test_elpv_sample_is_held_out():
    sample = data.elpv_sample()
    assert sample.images.shape == (32, 1, 300, 300)
    assert sample.labels.bincount().tolist() == [16, 16]
    pictures = {bytes(i.numpy()) for i in sample.images}
    assert pictures <= {bytes(i.numpy()) for i in elpv().test.images}


def test_plot_has_a_picture_an_axis():
    figure = data.elpv_sample().plot(titles=[str(i) for i in range(32)], count=5)
    assert sum(bool(axes.images) for axes in figure.axes) == 5


@pytest.mark.parametrize(
    ("name", "package", "load"),
    [
        ("elpv", "elpv_dataset", lambda: data.load("elpv")),
        ("digits", "sklearn", lambda: data.load("digits")),
    ],
)
def test_missing_package_gives_the_command(monkeypatch, name, package, load):
    for module in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"{name}.*pip install .*\[vision\]"):
        load()


def test_refusals():
    with pytest.raises(UnknownNameError, match=r"'mnist' is not known.*fashion_mnist"):
        data.load("mnist")
    with pytest.raises(ValueError, match=r'split must be .*; got "?\'?best'):
        data.elpv(split="best")
    with pytest.raises(ValueError, match="must have the same length; got 2, 1 and 32"):
        data.ImageDataset(torch.zeros(2), torch.zeros(1), data.elpv_sample().frame)
