"""The contract of the four kinds: batches, subsets, plots, refusals."""

import io
import warnings
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import font_manager

from deepseek_learn.data import (
    ImageDataset,
    SeriesDataset,
    TextDataset,
    VolumeDataset,
)
from deepseek_learn.data.text_dataset import _fonts

DOCUMENTS = ["The quick brown fox jumps.", "床前明月光，疑是地上霜。", "$5 and $6"]


def images() -> ImageDataset:
    stored = torch.arange(6 * 3 * 4 * 5).reshape(6, 3, 4, 5).to(torch.uint8)
    return ImageDataset(stored, torch.arange(6), groups=list("aabbcc"))


def series() -> SeriesDataset:
    time = torch.linspace(0, 6, 50)
    waves = torch.stack([torch.sin(k * time) for k in range(12)]).reshape(6, 2, 50)
    return SeriesDataset(waves, torch.arange(6), groups=list("aabbcc"))


def volumes() -> VolumeDataset:
    axes = torch.meshgrid(*(torch.arange(n) for n in (6, 8, 10)), indexing="ij")
    stored = torch.stack([i * axes[0] + axes[1] + axes[2] for i in range(6)])[:, None]
    frame = pd.DataFrame({"n": range(6)})
    return VolumeDataset(stored, torch.arange(6), frame, groups=list("aabbcc"))


def texts() -> TextDataset:
    return TextDataset.from_documents(DOCUMENTS, [0, 1, 0], length=16)


KINDS = {"image": images, "series": series, "volume": volumes, "text": texts}


@pytest.fixture(params=KINDS)
def dataset(request):
    dataset = KINDS[request.param]()
    assert dataset.kind == request.param
    return dataset


def test_a_batch_is_its_items(dataset):
    rows = torch.tensor([2, 0, 3])
    x, y = dataset.batch(rows)
    assert torch.equal(x, torch.stack([dataset[i][0] for i in rows.tolist()]))
    assert torch.equal(y, dataset.labels[rows])
    assert torch.equal(dataset.batch()[0], dataset.batch(slice(0, len(dataset)))[0])
    assert x.dtype == (torch.int64 if dataset.kind == "text" else torch.float32)


def test_batch_values():
    assert torch.equal(images().batch()[0] * 255, images().images.float())
    assert torch.equal(volumes().batch()[0], volumes().inputs.float())
    assert bytes(texts().batch()[0][0].tolist()) == DOCUMENTS[0].encode()[:16]


@pytest.mark.parametrize("index", [[4, 1], np.array([False, True, False, False, True])])
def test_a_subset_takes_everything_along(dataset, index):
    is_mask = isinstance(index, np.ndarray)
    rows = np.flatnonzero(index) if is_mask else np.array(index)
    index = np.pad(index, (0, len(dataset) - 5)) if is_mask else index
    part = dataset.subset(index)
    assert type(part) is type(dataset)
    assert len(part) == 2
    assert torch.equal(part.inputs, dataset.inputs[rows])
    assert torch.equal(part.labels, dataset.labels[rows])
    assert part.groups.tolist() == dataset.groups[rows].tolist()
    assert part.frame.equals(dataset.frame.iloc[rows].reset_index(drop=True))


def test_an_empty_subset_has_no_items(dataset):
    assert len(dataset.subset([])) == 0


def test_documents_are_groups_and_nothing_is_lost():
    windows = texts()
    lengths = [len(document.encode()) for document in DOCUMENTS]
    assert np.bincount(windows.groups).tolist() == [-(-n // 16) for n in lengths]
    assert windows.labels.tolist() == [[0, 1, 0][i] for i in windows.groups]
    for i, document in enumerate(DOCUMENTS):
        joined = windows.tokens[windows.groups == i].flatten()
        assert windows.decode(joined.tolist()) == document


def test_text_decodes_with_its_own_vocabulary():
    words = ["the", "fox", "jumps"]
    dataset = TextDataset(
        torch.tensor([[0, 1, 2]]),
        torch.tensor([[1, 2, 0]]),
        decode=lambda tokens: " ".join(words[i] for i in tokens),
    )
    figure = dataset.subset([0]).plot()
    assert [t.get_text() for t in figure.axes[0].texts] == ["the fox jumps"]


def test_a_character_that_no_font_has_is_drawn_as_a_replacement():
    dataset = TextDataset(
        torch.tensor([[0]]), torch.tensor([0]), decode=lambda _: "a \ue123 $5"
    )
    figure = dataset.plot()
    assert [t.get_text() for t in figure.axes[0].texts] == ["a \ufffd \\$5"]


def test_fonts_installed_after_matplotlib_listed_them_are_found(monkeypatch):
    manager = font_manager.fontManager
    names = TextDataset.fonts
    installed = {font.name for font in manager.ttflist} & set(names)
    for path in font_manager.findSystemFonts() if not installed else ():
        with suppress(Exception):
            installed |= {font_manager.get_font(path).family_name} & set(names)
    if not installed:
        pytest.skip("no Chinese font is installed")
    old = [font for font in manager.ttflist if font.name not in names]
    monkeypatch.setattr(manager, "ttflist", old)
    _fonts.cache_clear()
    try:
        assert ord("床") in set().union(*_fonts("DejaVu Sans", *names).values())
    finally:
        _fonts.cache_clear()


def test_plot_draws_each_item_under_its_title(dataset):
    titles = [f"item {i}" for i in range(len(dataset))]
    figure = dataset.plot(titles=titles, count=5)
    drawn = [a for a in figure.axes if a.images or a.lines or a.texts]
    assert [a.get_title() or a.get_title("left") for a in drawn] == titles[:5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(io.BytesIO())


def test_the_middle_slices_are_side_by_side():
    shown = volumes().plot(count=6).axes[1].images[0].get_array()
    volume = volumes().inputs[1, 0].float()
    assert shown.shape == (8, 10 + 1 + 10 + 1 + 8 + 1)
    assert np.array_equal(shown[:, :10], volume[3])
    assert np.array_equal(shown[:6, 11:21], volume[:, 4])
    assert np.array_equal(shown[:6, 22:30], volume[:, :, 5])


def test_refusals():
    x, y = torch.zeros(3, 2, 8), torch.zeros(3)
    with pytest.raises(
        ValueError, match=r"volumes must be \[N, C, D, H, W\]; got .*8\]"
    ):
        VolumeDataset(x, y)
    with pytest.raises(ValueError, match=r"groups must contain one id.*3 items.*got 2"):
        SeriesDataset(x, y, groups=[1, 2])
    by_generator = SeriesDataset(x, y, groups=(i // 2 for i in range(3)))
    assert by_generator.groups.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="same length; got 3, 2 and 3"):
        SeriesDataset(x, y[:2])
    with pytest.raises(
        ValueError, match=r"tokens must be integers; got torch\.float32"
    ):
        TextDataset(torch.zeros(3, 4), y)
    with pytest.raises(ValueError, match="length must be at least 1; got 0"):
        TextDataset.from_documents(["a"], [0], length=0)
    with pytest.raises(ValueError, match="each of the 1 documents; got 2"):
        TextDataset.from_documents(["a"], [0, 1], length=4)
