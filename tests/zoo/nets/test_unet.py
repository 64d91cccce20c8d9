"""The U-Net: shapes, receptive field, parameter count, refusals, and training."""

from itertools import pairwise

import pytest
import torch

from deepseek_learn import data
from deepseek_learn.training import Recipe, fit, predict
from deepseek_learn.zoo.metrics import iou
from deepseek_learn.zoo.nets.unet import UNet


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [1, 6])
def test_gives_logits_of_the_size_of_the_picture(width, depth):
    x = torch.rand(2, 3, 48, 32)
    model = UNet(in_channels=3, out_channels=5, width=width, depth=depth)
    assert model(x).shape == (2, 5, 48, 32)
    assert model.bottleneck[0].out_channels == width * 2**depth


@pytest.mark.parametrize("depth", [1, 3])
def test_has_the_parameters_of_the_formula(depth):
    """3 x 3: 9 c_in c_out; norm: 2 c; transposed: 4 c_in c_out + c_out; head: c K + K."""
    width, double = 4, lambda a, b: 9 * a * b + 9 * b * b + 4 * b
    widths = [width * 2**i for i in range(depth + 1)]
    expected = double(1, width)
    for a, b in pairwise(widths):
        expected += double(a, b) + 4 * b * a + a + double(2 * a, a)
    expected += width * 2 + 2
    model = UNet(width=width, depth=depth)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_a_pixel_sees_its_neighbourhood_through_both_paths():
    torch.manual_seed(0)
    model = UNet(width=4, depth=2).double().eval()
    x = torch.rand(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    model(x)[0, :, 32, 32].sum().backward()
    seen = x.grad[0, 0].abs() > 0
    rows = torch.nonzero(seen.any(1)).flatten()
    assert (
        rows.min() < 32 - 4 < 32 + 4 < rows.max()
    )  # beyond the top-level convolutions
    for up in model.up:  # without the lower path only the skip connections are left
        torch.nn.init.zeros_(up.weight)
        torch.nn.init.zeros_(up.bias)
    x.grad = None
    model(x)[0, :, 32, 32].sum().backward()
    rows = torch.nonzero(x.grad[0, 0].abs().sum(1)).flatten()
    assert rows.min() >= 32 - 4
    assert rows.max() <= 32 + 4
    assert len(rows)


@pytest.mark.parametrize("name", ["width", "depth"])
def test_refuses_nothing_at_all(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1; got 0"):
        UNet(**{name: 0})


def test_refuses_a_size_that_cannot_be_halved():
    with pytest.raises(ValueError, match=r"multiples of 8; got \[1, 1, 56, 60\]"):
        UNet(depth=3)(torch.rand(1, 1, 56, 60))


def test_learns_to_find_bacteria_better_than_a_threshold():
    """Overfit one field of each kind; the peer is the best single threshold."""
    tiles = data.bacteria(tile=56).train
    tiles = tiles.subset(tiles.frame["field"].isin([10, 20]).to_numpy())
    torch.manual_seed(0)
    model = UNet(width=8, depth=2)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    recipe = Recipe(batch_size=8)
    fit(model, tiles, optimizer, epochs=12, recipe=recipe, progress=False)
    result = iou(*predict(model, tiles))
    x, expected = tiles.batch()
    gray, peers = x[:, 0], []
    for threshold in torch.linspace(0, 1, 52)[1:-1]:
        for answer in (gray < threshold, gray > threshold):
            logits = torch.stack([~answer, answer], 1).float()
            peers.append(iou(logits, expected))
    assert result > max(peers)
