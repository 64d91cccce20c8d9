"""Pictures in executed notebooks are stored with as few bytes as look the same."""

import base64
import io

import nbformat
import numpy as np
import pytest
from PIL import Image

from deepseek_learn.course.authoring.pictures import psnr_db, shrink, smallest_png


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def pixels_of(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def plot() -> np.ndarray:
    """A few colors with soft edges, as a plot has them."""
    x, y = np.meshgrid(np.arange(200), np.arange(150))
    line = np.clip(abs(y - 75 - 40 * np.sin(x / 20)), 0, 2)[..., None] / 2
    color = np.where(x < 100, 0, 1)[..., None] * np.array([200, 80, 20])
    return (255 * line + color * (1 - line)).astype(np.uint8)


def test_a_plot_takes_fewer_bytes_and_looks_the_same():
    original = png(plot())
    smaller = smallest_png(original)
    assert len(smaller) < 0.6 * len(original)
    assert psnr_db(plot() - pixels_of(smaller).astype(float)) >= 40


@pytest.mark.parametrize("channels", [3, 4], ids=["many colors", "transparent"])
def test_what_a_palette_would_spoil_stays_as_it_is(channels):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, channels), np.uint8)
    original = png(noise)
    result = Image.open(io.BytesIO(smallest_png(original)))
    assert np.array_equal(np.asarray(result), noise)


def test_psnr():
    assert psnr_db(np.full(10, 255.0)) == 0
    assert psnr_db(np.full(10, 2.55)) == pytest.approx(40)
    assert psnr_db(np.zeros(10)) == np.inf


def test_only_the_pictures_of_a_notebook_change():
    data = {"image/png": base64.b64encode(png(plot())).decode(), "text/plain": "1"}
    output = nbformat.v4.new_output("display_data", data=data)
    cells = [nbformat.v4.new_markdown_cell("a"), nbformat.v4.new_code_cell("b")]
    cells[1].outputs = [output]
    notebook = nbformat.v4.new_notebook(cells=cells)
    before = nbformat.writes(notebook)
    shrink(notebook)
    assert len(nbformat.writes(notebook)) < len(before)
    assert cells[1].outputs[0].data["text/plain"] == "1"
    nbformat.validate(notebook)
