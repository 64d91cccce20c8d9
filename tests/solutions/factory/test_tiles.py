"""Tiles cover every pixel once they are blended, at any size of the image."""

import numpy as np
import pytest

from deepseek_learn.solutions.factory.tiles import anomaly_map, starts


@pytest.mark.parametrize("length", [1, 8, 9, 31, 32, 33, 100, 1024])
@pytest.mark.parametrize("overlap", [0, 1, 3, 7])
def test_tiles_cover_the_length_and_overlap_enough(length, overlap):
    tile = 8
    places = starts(length, tile, overlap)
    assert places[0] == 0
    assert places == sorted(set(places))
    if length > tile:
        assert places[-1] == length - tile
        assert max(np.diff(places)) <= tile - overlap
        least = -(-(length - overlap) // (tile - overlap))
        assert len(places) == max(least, 2)


@pytest.mark.parametrize("shape", [(64, 64), (64, 100), (130, 77), (20, 300), (5, 9)])
def test_a_model_of_each_pixel_alone_gives_the_same_with_and_without_tiles(shape):
    image = np.random.default_rng(0).random(shape).astype("float32")
    anomaly = anomaly_map(lambda x: 2 * x[:, 0] + 1, image, tile=64, overlap=16)
    assert anomaly.shape == shape
    assert np.allclose(anomaly, 2 * image + 1, atol=1e-5)


def test_borders_of_tiles_hardly_count():
    def wrong_at_the_border(x):
        y = x[:, 0].clone()
        y[:, [0, -1]] = y[:, :, [0, -1]] = 9.0
        return y

    image = np.zeros((200, 200), "float32")
    anomaly = anomaly_map(wrong_at_the_border, image, tile=64, overlap=32)
    assert anomaly[1:-1, 1:-1].max() < 0.7


def test_at_most_a_batch_at_a_time():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return x[:, 0]

    anomaly_map(model, np.zeros((128, 320), "float32"), 64, 0, batch_size=4)
    assert sizes == [4, 4, 2]


@pytest.mark.parametrize("overlap", [-1, 64])
def test_an_overlap_that_is_no_overlap(overlap):
    with pytest.raises(
        ValueError, match=f"overlap must be from 0 to 63; got {overlap}"
    ):
        anomaly_map(lambda x: x[:, 0], np.zeros((64, 64), "float32"), 64, overlap)
