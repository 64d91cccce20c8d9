"""Convolutions that pad unevenly, or with other values than zeros."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn import dpg
from deepseek_learn.dpg.geometry import geometry, padded
from deepseek_learn.dpg.layers import packed_layers
from deepseek_learn.dpg.matrix import layer_weight
from deepseek_learn.errors import DamagedFileError

CONVOLUTIONS = {
    1: (nn.Conv1d, (2, 3, 17)),
    2: (nn.Conv2d, (2, 3, 9, 8)),
    3: (nn.Conv3d, (2, 3, 7, 8, 6)),
}
PADDINGS = {  # kernel, dilation and padding
    "odd, same": {"kernel_size": 3, "padding": "same"},
    "even, same": {"kernel_size": 4, "padding": "same"},
    "dilated, same": {"kernel_size": 2, "dilation": 3, "padding": "same"},
    "valid": {"kernel_size": 2, "padding": "valid", "stride": 2},
    "strided": {"kernel_size": 3, "padding": 2, "stride": 2},
}
MODES = ("zeros", "reflect", "replicate", "circular")


def convolution(axes, padding, mode):
    torch.manual_seed(0)
    kind, shape = CONVOLUTIONS[axes]
    layer = kind(3, 20, **PADDINGS[padding], padding_mode=mode)
    return layer, torch.randn(shape)


def options(test):
    for values in (("axes", CONVOLUTIONS), ("padding", PADDINGS), ("mode", MODES)):
        test = pytest.mark.parametrize(*values)(test)
    return test


@options
@pytest.mark.parametrize("float_rows", [0, 10**9])
def test_a_packed_convolution_pads_as_its_float_layer(
    axes, padding, mode, float_rows, monkeypatch
):
    monkeypatch.setattr("deepseek_learn.dpg.convolution.FLOAT_ROWS", float_rows)
    layer, x = convolution(axes, padding, mode)
    packed = dpg.convert(layer, dpg.uniform(layer, 8))
    with torch.no_grad():
        layer.weight.copy_(packed.weight)  # the rounded weight
        expected = layer(x)
        plain = packed.plain()
        torch.testing.assert_close(plain(x), expected, rtol=0, atol=1e-5)
        assert (plain.padding, plain.padding_mode) == (layer.padding, mode)
        with dpg.use_backend("torch"):  # which does not round activations
            torch.testing.assert_close(packed(x), expected, rtol=0, atol=1e-5)


@options
def test_calibration_sees_the_padded_input(axes, padding, mode):
    layer, x = convolution(axes, padding, mode)
    model = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(4)).eval()
    model(x)
    H = dpg.calibrate(model, [x]).layers["0"].second_moment
    # row k of the identity, as a kernel, picks column k of the patches
    columns = layer_weight(torch.eye(20, H.shape[0]), layer)
    with torch.no_grad():
        layer.weight.copy_(columns)
        layer.bias.zero_()
        picked = layer(x).movedim(1, -1).flatten(0, -2)  # [M, at most 20]
    count = min(20, H.shape[0])
    expected = picked.T @ picked / len(picked)
    part = H[:count, :count]
    torch.testing.assert_close(part, expected[:count, :count], rtol=1e-4, atol=1e-5)


@options
def test_saved_padding_must_be_that_of_the_network(axes, padding, mode, tmp_path):
    layer, x = convolution(axes, padding, mode)
    small = dpg.convert(layer, dpg.uniform(layer, 4))
    path = dpg.save(small, tmp_path / "small")
    assert torch.equal(dpg.load(path, layer)(x), small(x))
    others = [convolution(axes, other, mode)[0] for other in PADDINGS]
    others += [convolution(axes, padding, other)[0] for other in MODES]
    for other in others:
        same_kernel = other.weight.shape == layer.weight.shape
        if same_kernel and torch.equal(like(other, layer)(x), layer(x)):
            assert torch.equal(dpg.load(path, other)(x), small(x))
        else:
            with pytest.raises(DamagedFileError):
                dpg.load(path, other)


def like(other, layer):
    other.load_state_dict(layer.state_dict())
    return other


def test_only_what_a_convolution_cannot_pad_is_copied():
    x = torch.randn(2, 3, 9, 8)
    for kind in ({"padding": 1}, {"padding": "same"}, {"padding": "valid"}):
        assert padded(nn.Conv2d(3, 2, 3, **kind), x) is x
    assert padded(nn.Conv2d(3, 2, 1, padding_mode="circular"), x) is x
    even = nn.Conv2d(3, 2, (2, 3), padding="same")
    assert torch.equal(padded(even, x), F.pad(x, (1, 1, 0, 1)))
    assert geometry(even)[2] == (0, 0)
    assert geometry(nn.Conv2d(3, 2, 3, padding="same"))[2] == (1, 1)


def test_a_network_with_every_padding_is_packed_as_a_whole():
    torch.manual_seed(0)
    parts = [
        nn.Conv2d(3, 8, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(8, 8, 4, padding="same"),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=2, padding_mode="reflect"),
        nn.Flatten(),
        nn.LazyLinear(5),
    ]
    model, x = nn.Sequential(*parts).eval(), torch.randn(20, 3, 8, 8)
    model(x)
    result = dpg.compress(model, [x], bits=6)
    assert result.in_float == {}
    assert len(packed_layers(result.model)) == 5
    with torch.no_grad():
        error = (result.model(x) - model(x)).norm() / model(x).norm()
    assert error < 0.05
