"""SC-attention against the plain convolution it rewrites, and what it rejects."""

import pytest
import torch
import torch.nn.functional as F

from deepseek_learn.attention import SpatialChannelAttention, shift_sum

SPACE = {1: (11,), 2: (7, 5), 3: (4, 3, 5)}


def features(dims: int, dtype=torch.float64, channels: int = 16) -> torch.Tensor:
    torch.manual_seed(dims)
    return torch.randn(2, channels, *SPACE[dims], dtype=dtype)


def written_out(module: SpatialChannelAttention, x: torch.Tensor) -> torch.Tensor:
    """The equation, with PyTorch's convolution and two products."""
    spatial = torch.sigmoid(module.spatial(x))
    mean = x.mean(dim=tuple(range(2, x.dim())))
    channel = torch.sigmoid(module.excite(F.relu(module.squeeze(mean))))
    channel = channel.reshape(*channel.shape, *(1,) * module.dims)
    return module.gain * (x * spatial + x * channel)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("gradients", [True, False])
def test_equals_the_equation(dims, kernel_size, gradients):
    module = SpatialChannelAttention(
        16, kernel_size=kernel_size, dims=dims, scale=0.7
    ).double()
    x = features(dims)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(module(x), written_out(module, x))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_equal_those_of_the_equation(dims):
    module = SpatialChannelAttention(16, dims=dims).double()
    x = features(dims).requires_grad_()
    expected = [x, *module.parameters()]
    ours = torch.autograd.grad(module(x).square().sum(), expected)
    plain = torch.autograd.grad(written_out(module, x).square().sum(), expected)
    torch.testing.assert_close(ours, plain)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_equals_the_docstrings_sums_over_taps(dims):
    """Without any convolution of PyTorch's: padded, unfolded, and summed by einsum."""
    module = SpatialChannelAttention(16, dims=dims, scale=0.7).double()
    x = features(dims)
    windows = F.pad(x, (1, 1) * dims)
    for axis in range(2, 2 + dims):
        windows = windows.unfold(axis, 3, 1)  # [B, C, *space, *taps]
    windows = windows.flatten(2 + dims)
    kernel = module.spatial.weight[0].flatten(1)  # [C, taps]
    spatial = torch.einsum("bc...t,ct->b...", windows, kernel) + module.spatial.bias
    mean = x.flatten(2).mean(2)
    hidden = torch.einsum("bc,hc->bh", mean, module.squeeze.weight)
    hidden = (hidden + module.squeeze.bias).relu()
    channel = torch.einsum("bh,ch->bc", hidden, module.excite.weight)
    channel = (channel + module.excite.bias).sigmoid()
    expected = torch.einsum("bc...,b...->bc...", x, spatial.sigmoid())
    expected = 0.7 * (expected + torch.einsum("bc...,bc->bc...", x, channel))
    torch.testing.assert_close(module(x), expected, rtol=1e-12, atol=1e-12)


def test_the_guides_line_makes_six_axes_and_ours_four():
    x = torch.randn(2, 8, 4, 4)
    channel = torch.rand(2, 8, 1, 1)
    assert (x * channel.unsqueeze(-1).unsqueeze(-1)).shape == (2, 8, 2, 8, 4, 4)
    assert SpatialChannelAttention(8)(x).shape == x.shape


def test_shift_sum_is_a_convolution_to_one_channel():
    x = features(2)
    kernel = torch.randn(1, 16, 3, 3, dtype=torch.float64)
    taps = F.conv2d(x, kernel[0].flatten(1).T.reshape(9, 16, 1, 1))
    torch.testing.assert_close(shift_sum(taps), F.conv2d(x, kernel, padding=1))


@pytest.mark.parametrize("scale", ["unit", 0.5, 2.0])
def test_identity_start_is_exactly_scale_times_x(scale):
    module = SpatialChannelAttention(16, scale=scale, identity=True).double()
    x = features(2)
    assert torch.equal(module(x), (1.0 if scale == "unit" else scale) * x)


def test_unit_scale_starts_near_one():
    torch.manual_seed(0)
    x = torch.randn(8, 64, 14, 14)
    factor = (SpatialChannelAttention(64)(x) / x).mean().item()
    assert 0.9 < factor < 1.1  # two sigmoids of small random numbers: 0.5 + 0.5
    module = SpatialChannelAttention(64)
    assert not torch.equal(module(x), x)  # an identity start only on request


def test_identity_start_learns():
    module = SpatialChannelAttention(16, identity=True).double()
    module(features(2)).square().sum().backward()
    assert module.spatial.weight.grad.abs().max() > 0
    assert module.excite.weight.grad.abs().max() > 0


@pytest.mark.parametrize("gradients", [True, False])
def test_channels_last_stays_channels_last(gradients):
    x = features(2).contiguous(memory_format=torch.channels_last)
    module = SpatialChannelAttention(16).double()
    with torch.set_grad_enabled(gradients):
        y = module(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, written_out(module, x))


@pytest.mark.parametrize("gradients", [True, False])
def test_mixed_precision_keeps_the_dtype_of_x(gradients):
    module, x = SpatialChannelAttention(16), features(2, torch.float32)
    with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.float32
    # two gates below 1, each off by at most bfloat16's 2**-8 of its logit's size
    torch.testing.assert_close(y, module(x), atol=0.1, rtol=0.02)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("of", ["pictures", "parameters"])
def test_vmap_equals_one_after_another(gradients, of):
    modules = [SpatialChannelAttention(16, scale=0.7).double() for _ in range(3)]
    x = torch.stack([features(2)] * 3) * torch.arange(1, 4).reshape(3, 1, 1, 1, 1)
    with torch.set_grad_enabled(gradients):
        if of == "pictures":
            answers = torch.func.vmap(modules[0])(x)
            expected = [modules[0](x_i) for x_i in x]
        else:  # an ensemble: one image, three sets of weights
            weights, _ = torch.func.stack_module_state(modules)
            answers = torch.func.vmap(
                lambda w: torch.func.functional_call(modules[0], w, (x[0],))
            )(weights)
            expected = [module(x[0]) for module in modules]
    torch.testing.assert_close(answers, torch.stack(expected))


@pytest.mark.parametrize(
    ("channels", "options", "hidden"),
    [(24, {}, 3), (24, {"reduction": 5}, 4), (4, {}, 1), (8, {"reduction": 1}, 8)],
)
def test_the_bottleneck_is_as_wide_as_documented(channels, options, hidden):
    module = SpatialChannelAttention(channels, **options)
    assert module.squeeze.weight.shape == (hidden, channels)
    assert module.excite.weight.shape == (channels, hidden)
    assert module.spatial.weight.shape == (1, channels, 3, 3)
    assert repr(module).startswith(
        f"SpatialChannelAttention(\n  channels={channels}, dims=2, gain=1\n"
    )


def test_half_precision_module():
    x = features(2).bfloat16()
    assert SpatialChannelAttention(16).bfloat16()(x).dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_export_has_dynamic_sizes(dims):
    module, x = SpatialChannelAttention(16, dims=dims).eval(), features(dims).float()
    axes = {
        0: torch.export.Dim.DYNAMIC,
        **{2 + i: torch.export.Dim.DYNAMIC for i in range(dims)},
    }
    program = torch.export.export(module, (x,), dynamic_shapes=(axes,))
    other = torch.randn(3, 16, *(s + 2 for s in SPACE[dims]))
    torch.testing.assert_close(program.module()(other), module(other))


def test_compile():
    module, x = SpatialChannelAttention(16), features(2, torch.float32)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), module(x))


def test_onnx(tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    module, x = SpatialChannelAttention(16).eval(), features(2, torch.float32)
    path = tmp_path / "sc.onnx"
    torch.onnx.export(module, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(answer), module(x).detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gpu_equals_cpu(dtype):
    module, x = SpatialChannelAttention(16), features(2, torch.float32)
    with torch.inference_mode():
        expected = module(x)
        answer = module.cuda().to(dtype)(x.cuda().to(dtype)).float().cpu()
    bound = 8 * torch.finfo(dtype).eps * expected.abs().max().item()
    torch.testing.assert_close(answer, expected, atol=max(bound, 1e-5), rtol=0.02)


@pytest.mark.parametrize(
    ("dims", "shape"),
    [(2, (2, 16, 5)), (2, (2, 16, 5, 5, 5)), (2, (2, 8, 5, 5)), (3, (2, 16, 5, 5))],
)
def test_wrong_input_is_refused_in_a_sentence(dims, shape):
    axes = {2: "H, W", 3: "D, H, W"}[dims]
    message = rf"x must be \[B, 16, {axes}\] \({dims}-D .*got shape \[2, "
    with pytest.raises(ValueError, match=message):
        SpatialChannelAttention(16, dims=dims)(torch.zeros(shape))


@pytest.mark.parametrize(
    "arguments",
    [
        {"dims": 4},
        {"kernel_size": 2},
        {"kernel_size": 0},
        {"kernel_size": -1},
        {"scale": "big"},
        {"scale": 0},
        {"scale": -1.0},
        {"scale": None},
        {"scale": float("inf")},
        {"reduction": 0},
        {"channels": 0},
    ],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"must be.*got"):
        SpatialChannelAttention(**({"channels": 16} | arguments))


@pytest.mark.parametrize("argument", ["channels", "reduction"])
@pytest.mark.parametrize("count", ["16", 16.0, None, True])
def test_counts_that_are_no_number_are_refused(argument, count):
    with pytest.raises(TypeError, match=f"{argument} must be a whole number.*got"):
        SpatialChannelAttention(**({"channels": 16} | {argument: count}))
