"""Layers as matrix products, and which layers of a model are supported."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from deepseek_learn import dpg
from deepseek_learn.dpg.geometry import output_size, patches
from deepseek_learn.dpg.matrix import (
    Layers,
    bytes_of,
    check_finite,
    group_size_for,
    input_rows,
    is_supported,
    layer_weight,
    matrix_shape,
    named_layers,
    output_rows,
    own_bytes,
    pad_columns,
    weight_matrix,
)
from tests.dpg.small_models import decoder, mlp, net, twice

LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "tokens": (lambda: nn.Linear(7, 5), (2, 4, 3, 7)),
    "vector": (lambda: nn.Linear(7, 5), (7,)),
    "3x3": (lambda: nn.Conv2d(3, 5, 3), (2, 3, 8, 9)),
    "1x1": (lambda: nn.Conv2d(3, 5, 1), (2, 3, 4, 5)),
    "strided": (lambda: nn.Conv2d(3, 5, 3, stride=(2, 3), padding=1), (2, 3, 8, 9)),
    "dilated": (lambda: nn.Conv2d(3, 5, 3, dilation=(2, 1)), (2, 3, 8, 9)),
    "oblong": (lambda: nn.Conv2d(2, 5, (5, 2), (1, 2), (2, 0), (1, 3)), (2, 2, 9, 8)),
    "1-D": (lambda: nn.Conv1d(3, 5, 4, 2, 3, 2), (2, 3, 19)),
    "3-D": (
        lambda: nn.Conv3d(2, 5, (2, 3, 1), (1, 2, 1), (1, 0, 2), (2, 1, 1)),
        (2, 2, 5, 7, 4),
    ),
    "none": (lambda: nn.Conv2d(3, 5, 3, padding=1), (0, 3, 8, 9)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_product_of_rows_and_matrix_is_the_layer(name, channels_last):
    build, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, x = build(), torch.randn(shape)
    if channels_last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    product = input_rows(layer, x).double() @ weight_matrix(layer).double().T
    if layer.bias is not None:
        product = product + layer.bias.double()
    expected = output_rows(layer, layer.double()(x.double()))
    torch.testing.assert_close(product, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_matrix_goes_back_into_the_layers_shape(name, dtype):
    layer = LAYERS[name][0]().to(dtype)
    matrix = weight_matrix(layer)
    assert matrix.dtype == torch.float32
    assert not matrix.requires_grad
    back = layer_weight(matrix, layer)
    assert back.dtype == dtype
    assert torch.equal(back, layer.weight)


def test_patches_hold_what_unfold_holds():
    x = torch.randn(2, 3, 9, 8)
    for geometry in [
        ((3, 2), (2, 1), (1, 2), (1, 2)),
        ((1, 1), (1, 1), (0, 0), (1, 1)),
    ]:
        kernel, stride, padding, dilation = geometry
        reference = F.unfold(x, kernel, dilation, padding, stride)  # [B, C kh kw, L]
        reference = reference.transpose(1, 2).reshape(-1, 3, kernel[0] * kernel[1])
        mine = patches(x, *geometry).view(-1, kernel[0] * kernel[1], 3)
        assert torch.equal(mine, reference.transpose(1, 2))


def test_output_size_is_the_convolutions():
    for geometry in [
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((5, 2), (3, 2), (2, 0), (2, 3)),
    ]:
        y = nn.Conv2d(1, 1, *geometry)(torch.zeros(1, 1, 17, 20))
        assert output_size((17, 20), *geometry) == tuple(y.shape[2:])


@pytest.mark.parametrize("wanted", [32, 64, 128])
def test_the_group_size_pads_least_and_is_large_where_that_costs_nothing(wanted):
    for columns in range(1, 300):
        chosen = group_size_for(columns, wanted)
        assert chosen in (wanted, 32)
        zeros = {g: -columns % g for g in (wanted, 32)}
        assert zeros[chosen] == min(zeros.values())
        if zeros[wanted] == zeros[32]:
            assert chosen == wanted


def test_padding_adds_zeros_at_the_end():
    x = torch.randn(2, 33)
    assert pad_columns(x, 32).shape == (2, 64)
    assert torch.equal(pad_columns(x, 32)[:, :33], x)
    assert pad_columns(torch.ones(2, 64), 32).sum() == 128


SUPPORTED = {
    "linear": nn.Linear(3, 2),
    "convolution": nn.Conv2d(3, 2, 3, 2, 1, 2),
    "no bias": nn.Conv2d(3, 2, 1, bias=False),
    "1-D": nn.Conv1d(3, 2, 3),
    "3-D": nn.Conv3d(3, 2, 3),
    "reflected": nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect"),
    "circular": nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"),
    "same": nn.Conv2d(3, 2, 3, padding="same"),
    "embedding": nn.Embedding(5, 3, padding_idx=0),
}
LEFT = {
    "grouped": nn.Conv2d(4, 4, 3, groups=2),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4),
    "transposed": nn.ConvTranspose2d(3, 2, 3),
    "rescaled embedding": nn.Embedding(5, 3, max_norm=1.0),
    "bag": nn.EmbeddingBag(5, 3),
    "attention": nn.MultiheadAttention(4, 2),
    "recurrent": nn.LSTM(3, 2),
    "bilinear": nn.Bilinear(2, 3, 4),
    "lazy": nn.LazyLinear(3),
    "subclass": type("Mine", (nn.Linear,), {})(3, 2),
    "parametrized": parametrizations.weight_norm(nn.Linear(3, 2)),
    # a hook recomputes its weight before each call
    "pruned": prune.l1_unstructured(nn.Linear(3, 2), "weight", 0.5),
    "norm": nn.BatchNorm2d(3),
    "relu": nn.ReLU(),
}


def test_what_is_a_layer_to_compress_and_what_is_not():
    assert {n for n, layer in SUPPORTED.items() if not is_supported(layer)} == set()
    assert {n for n, layer in LEFT.items() if is_supported(layer)} == set()


def test_layers_by_name_each_once():
    assert list(named_layers(mlp())) == ["0", "3"]
    assert list(named_layers(net())) == ["conv1", "conv2", "shortcut", "head"]
    assert list(named_layers(twice())) == ["first", "head"]
    assert list(named_layers(nn.Linear(3, 2))) == [""]


def test_tied_layers_are_one_matrix_under_the_name_of_the_one_that_multiplies():
    model = decoder(tied=True)
    assert "token" not in named_layers(model)
    assert named_layers(model)["head"] is model.head
    assert Layers.of(model).tied == {"token": "head"}
    assert Layers.of(model).in_float() == {}
    assert Layers.of(model).in_float(named_layers(model).keys() - {"head"}) == {
        "token": "unused",
        "head": "unused",
    }
    assert {"token", "head"} <= named_layers(decoder()).keys()
    assert Layers.of(decoder()).tied == {}


def test_a_weight_that_a_module_of_another_kind_uses_too_is_left_out_and_named():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    model["odd"] = nn.Module()
    model["odd"].table = model["a"].weight
    assert list(named_layers(model)) == ["b"]
    assert Layers.of(model).in_float() == {"a": "tied", "odd": "tied"}
    del model["odd"].table
    model["odd"].bias = model["b"].bias  # a shared bias is stored with each layer
    assert list(named_layers(model)) == ["a", "b"]


def test_layers_that_a_calibration_is_about():
    model = net()
    result = Layers.of(model).matching(
        {"head": (4, 20), "conv2": (20, 180)}, "it belongs"
    )
    assert result == {"head": model.head, "conv2": model.conv2}
    assert Layers.of(model).matching({"head": (4,)}, "it belongs") == {
        "head": model.head
    }
    for name, size in (
        ("head", (4, 21)),
        ("head", (5,)),
        ("body", (4, 20)),
        ("norm1", (12,)),
    ):
        sentence = f"^it belongs to another model: layer '{name}' is missing"
        with pytest.raises(ValueError, match=sentence):
            Layers.of(model).matching({name: size}, "it belongs")


def test_a_table_of_the_selected_layers():
    def selects(name, layer):
        return name in ("head", "conv1")

    layers = Layers.of(net())
    some = Layers.of(layers, selects)
    assert list(layers) == ["conv1", "conv2", "shortcut", "head"]
    assert dict(some) == {name: layers[name] for name in ("conv1", "head")}
    assert Layers.of(some) is some
    assert Layers.of(some, lambda name, layer: name != "head").keys() == {"conv1"}
    assert some.in_float() == {
        "conv2": "filtered",
        "shortcut": "filtered",
        "grouped": "grouped",
    }
    with pytest.raises(ValueError, match="selected none of 2"):
        Layers.of(some, lambda name, layer: name == "conv2")
    for layer in layers.values():
        assert matrix_shape(layer) == weight_matrix(layer).shape


def test_a_filter_leaves_out_the_tied_layers_too():
    model = decoder(tied=True)
    layers = Layers.of(model, lambda name, layer: name != "head")
    assert "token" not in layers.uses
    assert layers.tied == {}
    assert layers.in_float()["token"] == layers.in_float()["head"] == "filtered"
    head = Layers.of(model, lambda name, layer: name == "head")
    assert head.uses == {"head": model.head, "token": model.token}
    assert head.users("head") == ["head", "token"]


def test_two_linear_layers_with_one_weight():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    assert list(named_layers(model)) == ["0", "2"]
    assert Layers.of(model).tied == {"1": "0"}
    assert Layers.of(model).in_float() == {}
    model[1].weight = nn.Parameter(torch.ones(4, 4))
    model[1].bias = model[0].bias  # a shared bias is stored with each layer
    assert list(named_layers(model)) == ["0", "1", "2"]


def test_what_stays_in_float_and_why():
    reasons = Layers.of(net()).in_float()
    assert reasons == {"grouped": "grouped"}  # norms have no matrix
    kinds = {name: module for name, module in LEFT.items() if name != "lazy"}
    model = nn.ModuleDict(kinds | {"linear": nn.Linear(3, 3)})
    reasons = Layers.of(model).in_float()
    assert "linear" not in reasons
    assert Layers.of(model).in_float(packed=[]) == reasons | {"linear": "unused"}
    for name in ("grouped", "depthwise"):
        assert reasons[name] == "grouped"
    for name in ("transposed", "bag", "bilinear", "subclass", "pruned"):
        assert reasons[name] == "kind"
    # weights with names other than `weight`
    assert reasons["attention"] == reasons["recurrent"] == "kind"
    assert reasons["rescaled embedding"] == "kind"
    assert not {"norm", "relu"} & reasons.keys()


def test_a_table_that_a_module_holds_itself_stays_in_float():
    model = nn.Module()
    model.positions = nn.Parameter(torch.ones(1, 5, 3))
    model.scale = nn.Parameter(torch.ones(1, 5, 1))  # not a matrix
    model.head = nn.Linear(3, 2)
    assert Layers.of(model).in_float() == {"": "kind"}
    assert own_bytes(model) == (15 + 5) * 4


@pytest.mark.parametrize(
    "model",
    [nn.ReLU(), nn.Sequential(), nn.LSTM(3, 3), nn.Conv2d(4, 4, 3, groups=4)],
    ids=str,
)
def test_a_model_with_nothing_to_compress(model):
    with pytest.raises(ValueError, match="model has no layer to compress"):
        named_layers(model)


@pytest.mark.parametrize("model", [None, "resnet18", {}, nn.Linear])
def test_what_is_no_model(model):
    with pytest.raises(TypeError, match=r"model must be an nn\.Module; got a"):
        named_layers(model)


def test_bytes_count_each_tensor_once():
    model = mlp()
    assert bytes_of(model) == 4 * (20 * 40 + 40 + 40 * 5 + 5)
    assert bytes_of(model.half()) == 2 * (20 * 40 + 40 + 40 * 5 + 5)
    assert bytes_of(twice()) == 4 * (20 * 20 + 20 + 20 * 3 + 3)
    norm = nn.BatchNorm2d(6)  # weight, bias, mean, variance; an int64 counter
    assert bytes_of(norm) == 4 * 6 * 4 + 8
    tied = decoder(tied=True)
    assert bytes_of(decoder()) - bytes_of(tied) == 11 * 16 * 4


def test_a_model_that_is_compressed_already():
    small = dpg.convert(mlp(), dpg.uniform(mlp(), 4))
    small.add_module("new", nn.Linear(5, 5))
    for call in (named_layers, Layers.of, dpg.DynamicParameterGroup):
        with pytest.raises(ValueError, match="Sequential is already DPG-compressed"):
            call(small)


def test_check_finite():
    check_finite(torch.ones(3), "x")
    check_finite(torch.full((3,), 3e38), "x")  # although their sum is not finite
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="x must be finite numbers"):
            check_finite(torch.tensor([1, bad]), "x")
