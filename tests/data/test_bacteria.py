"""The bacteria: split by field of view, masks as labels, tiles, regeneration."""

import numpy as np
import pytest
import torch
from PIL import Image

from deepseek_learn import catalog, data
from deepseek_learn.data.bacteria import SIZE, SOURCES, cut, make

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def splits():
    return data.load("bacteria")


def test_every_field_is_in_one_part(splits):
    fields = [getattr(splits, part).frame["field"].tolist() for part in PARTS]
    assert [len(numbers) for numbers in fields] == [25, 8, 8]
    assert sorted(n for numbers in fields for n in numbers) == list(range(41))


def test_pictures_and_masks_fit(splits):
    for part in PARTS:
        dataset = getattr(splits, part)
        assert dataset.images.shape[1:] == (1, SIZE, SIZE)
        assert dataset.labels.shape == (len(dataset), SIZE, SIZE)
        assert dataset.labels.dtype == torch.int64
        assert set(dataset.labels.unique().tolist()) == {0, 1}
        image, mask = dataset[0]
        assert 0 <= image.min() < image.max() <= 1
        assert torch.equal(mask, dataset.batch(torch.tensor([0]))[1][0])


def test_frame_counts_pixels(splits):
    frame = splits.to_frame()
    assert list(frame.index) == ["background", "bacterium"]
    for part in PARTS:
        labels = getattr(splits, part).labels
        assert frame[part].sum() == labels.numel()
        assert frame[part]["bacterium"] == labels.sum()


def test_masks_lie_on_what_the_microscope_shows(splits):
    """An image varies more inside a mask than outside: bodies, rims and halos."""
    for part in PARTS:
        dataset = getattr(splits, part)
        for image, mask in zip(
            dataset.images[:, 0].double(), dataset.labels, strict=True
        ):
            if mask.any():
                far = (image - image.median()).abs()
                assert far[mask == 1].mean() > 2 * far[mask == 0].mean()


@pytest.mark.slow
def test_no_two_fields_show_the_same_bacteria(splits):
    images = torch.cat([getattr(splits, part).images[:, 0] for part in PARTS]).double()
    far = images - images.flatten(1).median(1).values[:, None, None]
    far = far - far.mean((1, 2), keepdim=True)
    norm = far.flatten(1).norm(dim=1)
    spectra = torch.fft.rfft2(far, s=(2 * SIZE, 2 * SIZE))
    for i in range(len(images) - 1):  # correlation at every shift
        result = torch.fft.irfft2(spectra[i] * spectra[i + 1 :].conj())
        assert (result.amax((1, 2)) < 0.5 * norm[i] * norm[i + 1 :]).all()


def test_tiles_are_the_fields_cut_up(splits):
    tiles = data.bacteria(tile=56)
    for part in PARTS:
        fields, pieces = getattr(splits, part), getattr(tiles, part)
        assert len(pieces) == 16 * len(fields)
        for row in (0, 7, len(pieces) - 1):
            facts = pieces.frame.iloc[row]
            field = fields.frame.index[fields.frame["field"] == facts["field"]][0]
            top, left = (56 * int(n) for n in divmod(facts["tile"], 4))
            place = np.s_[top : top + 56, left : left + 56]
            assert torch.equal(pieces.images[row, 0], fields.images[field, 0][place])
            assert torch.equal(pieces.labels[row], fields.labels[field][place])


@pytest.mark.parametrize("tile", [0, -56, 50, 448, 56.0])
def test_a_tile_that_does_not_divide_is_refused(tile):
    with pytest.raises(ValueError, match=r"tile must be a divisor of 224; got"):
        data.bacteria(tile=tile)


def test_cut_goes_row_by_row():
    fields = torch.arange(2 * 16).reshape(2, 4, 4)
    expected = torch.tensor([[2, 3], [6, 7]])
    assert torch.equal(cut(fields, 2)[1], expected)
    assert torch.equal(cut(fields, 2)[5], expected + 16)


def test_the_card_speaks_both_languages(splits, monkeypatch):
    card = splits.card
    assert all(getattr(card, field) for field in vars(card))
    assert "MIT" in card._repr_html_()
    monkeypatch.setattr(catalog, "_current", "zh")
    chinese = data.load("bacteria").card
    assert chinese.title != card.title
    assert len(chinese.traps) == len(card.traps)


@pytest.fixture
def package(tmp_path):
    """A package with the same files: noise with one bright 4 x 4 block in each."""
    rng = np.random.default_rng(0)
    for bright_field, binary in SOURCES:
        pages = [
            rng.integers(900, 1100, (512, 512)).astype(np.uint16) for _ in range(2)
        ]
        masks = [np.zeros((512, 512), np.uint8) for _ in range(2)]
        for page, mask in zip(pages, masks, strict=True):
            page[100:104, 200:204] = 60_000
            mask[100:104, 200:204] = 3
            mask[200, 300:302] = 1  # two of four pixels
            mask[300, 300] = 1  # one of four: dropped
        for name, arrays in ((bright_field, pages), (binary, masks)):
            path, images = tmp_path / name, [Image.fromarray(a) for a in arrays]
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                images[0].save(path, save_all=True, append_images=images[1:])
            else:
                path.mkdir(parents=True)
                for i, image in enumerate(images):
                    image.save(path / f"{i}.tif")
    return tmp_path


def test_make_follows_the_rule(package, tmp_path):
    make(package, tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as arrays:
        images, masks, source = arrays["images"], arrays["masks"], arrays["source"]
    assert images.shape == masks.shape == (8, SIZE, SIZE)
    assert images.dtype == masks.dtype == np.uint8
    marked = np.argwhere(masks[0]).tolist()  # cropped by 32, then halved
    assert marked == [[34, 84], [34, 85], [35, 84], [35, 85], [84, 134]]
    assert np.array_equal(masks[0], masks[7])
    assert (images[0][34:36, 84:86] == 255).all()
    names = ["data/02", "data/06", "test_data/ds1", "test_data/ds2"]
    assert source.tolist() == [name for name in names for _ in range(2)]


def test_make_names_what_is_missing(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"ColiCoords 0\.1\.5.*brightfield_stack"
    ):
        make(tmp_path, tmp_path / "new.npz")
