"""Packed layers: the product with their `weight`, for every shape and dtype."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn import dpg
from deepseek_learn.dpg import (
    DPGConv1d,
    DPGConv2d,
    DPGConv3d,
    DPGEmbedding,
    DPGLinear,
    FrozenModelError,
    layers,
)
from deepseek_learn.dpg.frozen import refuse_training
from deepseek_learn.dpg.geometry import geometry as geometry_of
from deepseek_learn.dpg.layers import packed_layers
from tests.dpg.reference import BFLOAT16, FLOAT16, FLOAT32, packed
from tests.dpg.small_models import decoder, features, mlp, net, pictures, tokens


@pytest.fixture(autouse=True)
def exact():
    with dpg.use_backend("torch"):
        yield


def linear(bias=True, refine=False, **options):
    matrix, _ = packed(refine=refine, **options)
    generator = torch.Generator().manual_seed(7)
    bias = torch.randn(matrix.rows, generator=generator) if bias else None
    return DPGLinear(matrix, bias)


GEOMETRIES = {  # kernel, stride, padding, dilation
    "1x1": ((1, 1), (1, 1), (0, 0), (1, 1)),
    "1x1 strided": ((1, 1), (2, 3), (0, 0), (1, 1)),
    "3x3": ((3, 3), (1, 1), (1, 1), (1, 1)),
    "strided": ((3, 3), (2, 2), (1, 1), (1, 1)),
    "dilated": ((3, 3), (1, 1), (2, 2), (2, 2)),
    "oblong": ((5, 2), (1, 2), (3, 0), (1, 3)),
    "row": ((1, 7), (1, 1), (0, 3), (1, 1)),
    "padded": ((3, 3), (3, 1), (4, 5), (1, 2)),
    "whole": ((9, 8), (1, 1), (0, 0), (1, 1)),
}


def convolution(name, bias=True, channels=3):
    kernel = GEOMETRIES[name][0]
    matrix, _ = packed(columns=channels * kernel[0] * kernel[1])
    generator = torch.Generator().manual_seed(7)
    bias = torch.randn(matrix.rows, generator=generator) if bias else None
    return DPGConv2d(matrix, bias, *GEOMETRIES[name])


def assert_near(y, wanted, magnitude, terms, u=FLOAT32):
    """A float32 sum of `terms` products has an error of at most that many roundings."""
    assert y.shape == wanted.shape
    error = (y.double() - wanted).abs()
    assert (error <= (terms + 8) * FLOAT32 * magnitude + u * wanted.abs()).all()


def conv64(x, layer, weight, bias):
    geometry = dict(
        zip(("stride", "padding", "dilation"), geometry_of(layer)[1:], strict=True)
    )
    return F.conv2d(x, weight, bias, **geometry)


@pytest.mark.parametrize("float_rows", [0, 10**9])  # always unpacked, or never
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_convolution_is_the_one_of_its_weight(
    name, bias, channels_last, float_rows, monkeypatch
):
    monkeypatch.setattr("deepseek_learn.dpg.convolution.FLOAT_ROWS", float_rows)
    layer, x = convolution(name, bias), pictures(4, size=(9, 8))
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight = layer.weight.double()
    b = layer.bias.double() if bias else None
    expected = conv64(x.double(), layer, weight, b)
    magnitude = conv64(x.double(), layer, weight.abs(), b.abs() if bias else None)
    y = layer(x)
    assert y.dtype == torch.float32
    assert_near(y, expected, magnitude, layer.matrix.padded)


def test_few_positions_meet_the_planes_and_many_the_unpacked_weight(monkeypatch):
    calls = []
    multiply = layers.multiply

    def counted(matrix, rows, bias):
        calls.append(len(rows))
        return multiply(matrix, rows, bias)

    monkeypatch.setattr(layers, "multiply", counted)
    monkeypatch.setattr("deepseek_learn.dpg.convolution.FLOAT_ROWS", 4 * 9 * 8)
    layer = convolution("3x3")
    few, many = layer(pictures(4, size=(9, 8))), layer(pictures(5, size=(9, 8)))
    assert calls == [4 * 9 * 8]
    torch.testing.assert_close(few, many[:4])


SHAPES = [(70,), (3, 70), (2, 3, 70), (2, 1, 3, 70)]


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_linear_layer_is_the_one_of_its_weight(shape, bias, refine):
    layer, x = linear(bias, refine), torch.randn(shape)
    b = layer.bias.double() if bias else torch.zeros(37).double()
    expected = F.linear(x.double(), layer.weight.double(), b)
    magnitude = F.linear(x.double().abs(), layer.weight.double().abs(), b.abs())
    assert_near(layer(x), expected, magnitude, layer.matrix.padded)


@pytest.mark.parametrize("backend", ["torch", "int4", "cpp"])
def test_no_rows_no_answers(backend):
    with dpg.use_backend(backend):
        try:
            dpg.backend()
        except dpg.kernels.DeepSeekLearnError as error:
            pytest.skip(str(error))
        for shape in ((0, 70), (0, 3, 70), (2, 0, 70)):
            y = linear()(torch.empty(shape))
            assert y.shape == (*shape[:-1], 37)
        y = convolution("strided")(torch.empty(0, 3, 9, 8))
        assert y.shape == (0, 37, 5, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("build", [linear, lambda: convolution("3x3")])
def test_the_answer_has_the_dtype_of_the_input(build, dtype):
    layer = build()
    x = torch.randn(3, 70) if isinstance(layer, DPGLinear) else pictures(3)
    x = x.to(dtype)
    y, expected = layer(x), layer(x.float())
    assert y.dtype == dtype
    rounding = {torch.float16: FLOAT16, torch.bfloat16: BFLOAT16, torch.float64: 0}
    error = (y.double() - expected.double()).abs()
    assert (error <= rounding[dtype] * expected.abs() + 2.0**-25).all()


@pytest.mark.parametrize("how", ["half", "bfloat16", "double"])
@pytest.mark.parametrize("build", [linear, lambda: convolution("3x3")])
def test_a_layer_in_another_dtype_keeps_its_planes(build, how):
    layer = build()
    weight, order = layer.weight, layer.matrix.order.clone()
    getattr(layer, how)()
    assert layer.bias.dtype == getattr(
        torch, {"half": "float16", "double": "float64"}.get(how, how)
    )
    assert torch.equal(layer.weight, weight)
    assert torch.equal(layer.matrix.order, order)
    x = torch.randn(3, 70) if isinstance(layer, DPGLinear) else pictures(3)
    x = x.to(layer.bias.dtype)
    y = layer(x)
    layer.bias = layer.bias.float()
    assert torch.equal(y, layer(x))


def test_the_weight_is_shown_in_the_shape_that_pytorch_has():
    layer = convolution("oblong")
    assert layer.weight.shape == (37, 3, 5, 2)
    assert (layer.in_channels, layer.out_channels) == (3, 37)
    assert linear().weight.shape == (37, 70)
    original = nn.Conv2d(3, 20, (5, 2), bias=False)
    small = dpg.convert(original, dpg.uniform(original, 8))
    # errors below one step: no weight is misplaced
    steps = original.weight.abs().amax() / 127
    assert (small.weight - original.weight).abs().amax() < steps
    assert small.bias is None


def test_gradients_flow_to_the_input():
    layer = linear()
    x = torch.randn(4, 70, requires_grad=True)
    upstream = torch.randn(4, 37)
    for backend in ("torch", None):  # the exact backend is used in any case
        with dpg.use_backend(backend):
            (gradient,) = torch.autograd.grad(layer(x), x, upstream)
        expected = upstream.double() @ layer.weight.double()
        magnitude = upstream.double().abs() @ layer.weight.double().abs()
        assert_near(gradient, expected, magnitude, 37)
    layer = convolution("strided")
    x = pictures(2, size=(9, 8)).requires_grad_()
    y = layer(x)
    upstream = torch.randn(y.shape)
    (gradient,) = torch.autograd.grad(y, x, upstream)
    x64 = x.detach().double().requires_grad_()
    y64 = conv64(x64, layer, layer.weight.double(), layer.bias.double())
    (expected,) = torch.autograd.grad(y64, x64, upstream.double())
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-4, atol=1e-4)


def test_no_gradients_where_none_are_asked_for():
    y = linear()(torch.randn(4, 70))
    assert not y.requires_grad
    assert not list(linear().parameters())


@pytest.mark.slow
def test_whole_networks_traced_and_compiled():
    for model, x in ((mlp(), features()), (net(), pictures())):
        small = dpg.convert(model, dpg.uniform(model, 4), refine=True)
        expected = small(x)
        program = torch.export.export(small, (x,))
        torch.testing.assert_close(program.module()(x), expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = torch.compile(small, backend="eager", fullgraph=True)
            torch.testing.assert_close(compiled(x), expected)
        with dpg.use_backend(None):  # the graph does not depend on the backend
            torch.testing.assert_close(compiled(x), expected)
    torch._dynamo.reset()


def test_on_the_meta_device():
    layer = linear().to("meta")
    assert layer(torch.empty(2, 70, device="meta")).shape == (2, 37)
    with pytest.raises(
        ValueError, match="x is on cpu, but the compressed layer is on meta"
    ):
        layer(torch.ones(2, 70))
    with pytest.raises(
        ValueError, match="x is on meta, but the compressed layer is on cpu"
    ):
        linear()(torch.ones(2, 70, device="meta"))


def test_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for layer, x in (
        (linear(refine=True), features(5, columns=70)),
        (convolution("3x3"), pictures()),
    ):
        expected = layer(x)
        with pytest.raises(ValueError, match="x is on cuda"):
            layer(x.cuda())
        for backend in (None, "torch"):
            with dpg.use_backend(backend):
                y = layer.cuda()(x.cuda())
            assert y.is_cuda
            torch.testing.assert_close(y.cpu(), expected, rtol=1e-4, atol=1e-4)
    model = mlp().cuda()
    result = dpg.compress(model, [features().cuda()], 4, refine=True)
    assert all(t.is_cuda for t in result.model.state_dict().values())
    assert result.model(features().cuda()).shape == (30, 5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_whole_numbers_are_refused(dtype):
    for layer, x in ((linear(), torch.ones(2, 70)), (convolution("3x3"), pictures())):
        with pytest.raises(
            TypeError, match="x must contain floating-point numbers; got"
        ):
            layer(x.to(dtype))


@pytest.mark.parametrize("shape", [(), (69,), (2, 71), (70, 2), (2, 3, 1)])
def test_a_linear_layers_input_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"x must be \[\.\.\., 70\]; got shape"):
        linear()(torch.ones(shape))


@pytest.mark.parametrize(
    "shape", [(), (3, 9, 8), (2, 4, 9, 8), (2, 9, 8, 3), (1, 2, 3, 9, 8)]
)
def test_a_convolutions_input_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"x must be \[B, 3, H, W\]; got shape"):
        convolution("3x3")(torch.ones(shape))


def test_a_picture_smaller_than_the_kernel():
    with pytest.raises(ValueError, match=r"x is smaller than the kernel \(9, 8\): got"):
        convolution("whole")(torch.ones(2, 3, 8, 8))
    assert convolution("whole")(torch.ones(2, 3, 9, 8)).shape == (2, 37, 1, 1)


def test_layers_do_not_train():
    layer = linear()
    assert not layer.training
    with pytest.raises(FrozenModelError, match="cannot train: its weights are packed"):
        layer.train()
    assert not layer.training
    assert layer.eval() is layer
    assert layer.train(False) is layer
    refuse_training(False)
    with pytest.raises(FrozenModelError, match="Train the original, then compress it"):
        refuse_training(True)


def test_packed_layers_by_name():
    small = dpg.convert(net(), dpg.uniform(net(), 4))
    result = packed_layers(small)
    assert list(result) == ["conv1", "conv2", "shortcut", "head"]
    assert isinstance(result["head"], DPGLinear)
    assert all(isinstance(result[n], DPGConv2d) for n in ("conv1", "conv2", "shortcut"))
    with pytest.raises(
        ValueError, match="model must be DPG-compressed; Net has no packed"
    ):
        packed_layers(net())


def test_precision_is_set_for_all_layers():
    model, x = mlp(), features()
    small = dpg.convert(model, dpg.uniform(model, 8), refine=True)
    whole = small(x)
    assert dpg.set_precision(small, 4) is small
    for layer in packed_layers(small).values():
        matrix = layer.matrix
        assert (matrix.max_bits, matrix.refined) == (4, True)
    half = small(x)
    assert not torch.equal(half, whole)
    dpg.set_precision(small, refined=False)
    assert {m.matrix.refined for m in packed_layers(small).values()} == {False}
    assert torch.equal(small(x), dpg.convert(model, dpg.uniform(model, 8))(x))
    dpg.set_precision(small, 8)
    assert {m.matrix.refined for m in packed_layers(small).values()} == {False}
    dpg.set_precision(small, refined=True)
    assert torch.equal(small(x), whole)
    dpg.set_precision(small, 2)  # a code's first plane is always read
    assert torch.equal(small(x), half)
    dpg.set_precision(small, 8, wide=True)
    dpg.set_precision(small, 8)
    assert {m.matrix.wide for m in packed_layers(small).values()} == {True}
    dpg.set_precision(small, 8, wide=False)
    assert {m.matrix.wide for m in packed_layers(small).values()} == {False}


@pytest.mark.parametrize("bits", [1, 0, 9, -4, float("nan")])
def test_a_precision_that_is_none(bits):
    small = dpg.convert(mlp(), dpg.uniform(mlp(), 8))
    with pytest.raises(ValueError, match="max_bits must be from 2 to 8; got"):
        dpg.set_precision(small, bits)
    with pytest.raises(ValueError, match="model must be DPG-compressed"):
        dpg.set_precision(mlp(), 4)


INDICES = torch.tensor([[0, 36], [5, 5]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_an_embedding_looks_up_the_rows_of_its_weight(dtype, index):
    layer = DPGEmbedding(packed()[0], dtype)
    expected = layer.weight[INDICES].to(dtype)
    assert torch.equal(layer(INDICES.to(index)), expected)
    assert layer(INDICES[:0]).shape == (0, 2, 70)
    plain = layer.plain()
    assert torch.equal(plain(INDICES).to(dtype), expected)
    layer.half()
    assert torch.equal(layer(INDICES), layer.weight[INDICES].half())
    with torch.device("meta"):
        assert layer(torch.zeros(3, 4, dtype=torch.int64)).shape == (3, 4, 70)


def test_what_an_embedding_refuses():
    layer = DPGEmbedding(packed()[0])
    for x in (torch.ones(2), torch.ones(2, dtype=torch.bool)):
        with pytest.raises(TypeError, match="x must contain integers; got"):
            layer(x)
    for low, high in ((-1, 3), (0, 37)):
        with pytest.raises(IndexError, match=f"from 0 to 36; got {low} to {high}"):
            layer(torch.tensor([low, high]))


@pytest.mark.slow
def test_a_traced_embedding_and_head_of_one_matrix():
    model = decoder(tied=True)
    small = dpg.convert(model, dpg.uniform(model, 4))
    program = torch.export.export(small, (tokens(),))
    torch.testing.assert_close(program.module()(tokens()), small(tokens()))


CONVOLUTIONS = {
    "1-D": (DPGConv1d, nn.Conv1d, (5,), (2,), (3,), (2,), (2, 3, 17)),
    "3-D": (
        *(DPGConv3d, nn.Conv3d),
        *((2, 3, 1), (1, 2, 1), (1, 0, 2), (2, 1, 1), (2, 3, 5, 7, 4)),
    ),
}


@pytest.mark.parametrize("float_rows", [0, 10**9])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_in_other_dimensions(name, float_rows, monkeypatch):
    monkeypatch.setattr("deepseek_learn.dpg.convolution.FLOAT_ROWS", float_rows)
    kind, reference, *geometry, shape = CONVOLUTIONS[name]
    columns = 3 * torch.tensor(geometry[0]).prod().item()
    layer = kind(packed(columns=columns)[0], torch.randn(37), *geometry)
    x = torch.randn(shape)
    plain = layer.plain().double()
    assert type(plain) is reference
    with torch.no_grad():
        expected = plain(x.double())
        plain.weight.data, plain.bias.data = plain.weight.abs(), plain.bias.abs()
        magnitude = plain(x.double().abs())
    assert_near(layer(x), expected, magnitude, layer.matrix.padded)
    size = {"1-D": "L", "3-D": "D, H, W"}[name]
    with pytest.raises(ValueError, match=rf"x must be \[B, 3, {size}\]"):
        layer(x[0])
    with pytest.raises(ValueError, match="x is smaller than the kernel"):
        layer(x[:, :, :0])


def test_a_tied_layer_counts_only_what_is_its_own():
    model = decoder(tied=True)
    small = dpg.convert(model, dpg.uniform(model, 8))
    x, y = tokens(), small.token(tokens())
    looked_up = layers.embedding_cost(small.token, (x,), y)
    assert (looked_up.parameters, looked_up.parameter_bytes) == (0, 0)
    stored = dpg.bytes_of(small.head)
    assert looked_up.flops == 0
    assert looked_up.bytes_read == x.numel() * stored // 11 + x.nbytes
    head = layers.layer_cost(small.head, (y,), small.head(y))
    matrix = small.head.matrix
    held = sum(p.nbytes for part in matrix.parts() for p in (*part.planes, part.scale))
    assert head.bytes_read == held + y.nbytes
    assert (head.parameters, head.parameter_bytes) == (11 * 16, stored)
    position = layers.embedding_cost(small.position, (x,), y)
    assert position.parameters == 12 * 16
    assert position.parameter_bytes == dpg.bytes_of(small.position)
