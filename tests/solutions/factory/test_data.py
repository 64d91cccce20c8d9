"""Photographs as they come: every odd file gets a reason, and no pixel changes silently."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepseek_learn.solutions.factory import data
from deepseek_learn.solutions.factory.data import (
    PartError,
    check_exposure,
    part_files,
    read_part,
)

GRAY = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".pgm", ".webp"])
def test_gray_values_are_exact(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    read = read_part(save(tmp_path / f"a{suffix}", GRAY, **options))
    assert read.dtype == np.float32
    assert np.array_equal(read, GRAY.astype("float32") / 255)


def test_sixteen_bits_are_not_cut_to_eight(tmp_path):
    pixels = np.linspace(0, 65_535, 40 * 60).reshape(40, 60).astype(np.uint16)
    for suffix in (".png", ".tif"):
        read = read_part(save(tmp_path / f"a{suffix}", pixels))
        assert np.allclose(read, pixels / 65_535, atol=1e-6)
        assert len(np.unique(read)) == 40 * 60


def test_color_palette_and_transparency_become_luma(tmp_path):
    color = np.stack([GRAY, GRAY // 2, 255 - GRAY], 2)
    luma = color @ np.array([0.299, 0.587, 0.114]) / 255
    assert np.abs(read_part(save(tmp_path / "a.png", color)) - luma).max() < 0.005
    alpha = np.dstack([color, np.full_like(GRAY, 255)])
    assert np.abs(read_part(save(tmp_path / "b.png", alpha)) - luma).max() < 0.005
    Image.fromarray(GRAY).convert("P").save(tmp_path / "c.png")
    assert np.array_equal(read_part(tmp_path / "c.png"), GRAY.astype("float32") / 255)


def test_the_cameras_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    read = read_part(save(tmp_path / "a.png", GRAY, exif=exif))
    assert np.array_equal(read, np.rot90(GRAY, -1).astype("float32") / 255)


@pytest.mark.parametrize("name", ["a\nb.png", "🔩.png", "片 1.PNG"])
def test_any_file_name_works(tmp_path, name):
    save(tmp_path / name, GRAY, format="PNG")
    assert part_files(tmp_path) == [tmp_path / name]
    assert read_part(tmp_path / name).shape == (40, 60)


def damaged(path):
    path.write_bytes(save(path, GRAY).read_bytes()[:600])


def not_finite(path):
    pixels = np.full((40, 40), 0.5, "float32")
    pixels[3, 3] = np.nan
    Image.fromarray(pixels).save(path, format="TIFF")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "not an image, or the file is empty"),
        (lambda path: path.write_text("hello"), "not an image"),
        (damaged, "cannot be read: "),
        (
            lambda path: save(path, GRAY[:31]),
            "60 x 31 pixels; each side needs at least 32",
        ),
        (not_finite, "NaN or infinity"),
        (
            lambda path: Image.fromarray(GRAY.astype("float32")).save(path, "TIFF"),
            r"outside 0\.\.1",
        ),
        (
            lambda path: Image.fromarray(GRAY.astype("int32") + 70_000).save(
                path, "TIFF"
            ),
            "more than 16 bits",
        ),
    ],
)
def test_a_file_that_cannot_be_judged_has_a_reason(tmp_path, make, message):
    path = tmp_path / "new\nline.png"
    make(path)
    with pytest.raises(PartError, match=message) as caught:
        read_part(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_200_megapixels_is_rejected_before_it_is_decoded(
    tmp_path, monkeypatch
):
    path = save(tmp_path / "a.png", GRAY)
    monkeypatch.setattr(data, "MEGAPIXELS", 0.001)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(
        PartError, match=r"pixels, which is more than 0\.001 megapixels"
    ):
        read_part(path)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((40, 40)), "100% of its pixels are black"),
        (np.ones((40, 40)), "100% of its pixels are saturated"),
        (np.full((40, 40), 0.5), "all its pixels are nearly equal"),
        (np.where(np.arange(40) < 24, 1.0, 0.3) * np.ones((40, 1)), "60% .* saturated"),
    ],
)
def test_an_image_that_shows_nothing_is_not_judged(pixels, message):
    with pytest.raises(PartError, match=message):
        check_exposure("a.png", pixels)


def test_an_ordinary_image_is_judged():
    check_exposure("a.png", GRAY / 255)


def test_a_folder_without_images(tmp_path):
    (tmp_path / ".hidden").mkdir()
    save(tmp_path / ".hidden" / "a.png", GRAY)
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="contains no image file"):
        part_files(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder of images"):
        part_files(tmp_path / "nowhere")


def test_files_in_subfolders_are_sorted(tmp_path):
    (tmp_path / "b").mkdir()
    files = [save(tmp_path / name, GRAY) for name in ("a.png", "b/1.png", "c.png")]
    assert part_files(tmp_path) == files


def test_a_file_with_a_bomb_in_its_header_is_one_sentence(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", GRAY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(PartError, match=r"has more than 64 megapixels\.$"):
        read_part(path)


def test_results_and_links_to_folders_are_no_parts(tmp_path):
    (tmp_path / "verdicts.jsonl").touch()  # in the folder itself, it changes nothing
    for name in ("a.png", "results/overlays/b.png", "results/c.png", "sub/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / name, GRAY)
    (tmp_path / "results" / "verdicts.jsonl").touch()
    (tmp_path / "link").symlink_to("sub")
    names = [str(p.relative_to(tmp_path)) for p in data.part_files(tmp_path)]
    assert names == ["a.png", "sub/d.png"]


def test_a_subfolder_that_cannot_be_read_is_not_skipped(tmp_path, monkeypatch):
    save(tmp_path / "a.png", GRAY)

    def walk(folder, onerror):
        yield str(folder), ["locked"], ["a.png"]
        onerror(PermissionError(13, "Permission denied", str(folder / "locked")))

    monkeypatch.setattr(data.os, "walk", walk)
    with pytest.raises(PermissionError, match="locked"):
        data.part_files(tmp_path)


def test_what_we_may_not_look_at_is_listed(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", GRAY)
    (tmp_path / "broken.png").symlink_to("nowhere")
    real = Path.stat

    def status(self, **options):
        if self.name == "a.png":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, **options)

    monkeypatch.setattr(Path, "stat", status)
    assert data.part_files(tmp_path) == [path]


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP", "GIF"])
def test_only_a_single_image_is_a_part(tmp_path, kind):
    frames = [Image.fromarray(np.full((40, 40), 60 * i, "uint8")) for i in range(1, 4)]
    path = tmp_path / "several.png"
    frames[0].save(path, format=kind, save_all=True, append_images=frames[1:])
    with pytest.raises(PartError, match="contains 3 images"):
        read_part(path)


def test_a_part_that_tiles_would_make_too_large():
    pixels = np.zeros((32, 300_000), "float32")
    data.check_tiled_size("a.png", pixels, 128)
    with pytest.raises(PartError, match="extended to tiles of 256"):
        data.check_tiled_size("a.png", pixels, 256)
