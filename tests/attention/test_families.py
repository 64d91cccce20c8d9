"""The registry of attention modules, attaching them, folding them."""

import math
from itertools import product

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models import resnet

from deepseek_learn import attention
from deepseek_learn.attention import attach, attention_maps, fold
from deepseek_learn.errors import UnknownNameError

SPACE = {1: (40,), 2: (9, 8), 3: (4, 5, 6)}
EVERY = [(name, dims) for dims in (1, 2, 3) for name in attention.names(dims)]


class DoubleConv(nn.Module):
    """The unit of a U-Net as it is usually written."""

    def __init__(self, c_in, c_out):
        super().__init__()
        layers = []
        for a in (c_in, c_out):
            layers += [nn.Conv2d(a, c_out, 3, 1, 1, bias=False), nn.BatchNorm2d(c_out)]
            layers += [nn.ReLU(inplace=True)]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x):
        return self.double_conv(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc, self.down = DoubleConv(1, 8), DoubleConv(8, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.merge, self.out = DoubleConv(16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        a = self.inc(x)
        b = self.up(self.down(nn.functional.max_pool2d(a, 2)))
        return self.out(self.merge(torch.cat([a, b], 1)))


def randomize_norms(model: nn.Module) -> nn.Module:
    """Set non-trivial batch statistics, which folding must get right."""
    for m in model.modules():
        if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm3d)):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.2)
    return model.eval().double()


# blocks with and without a shortcut of their own; narrow where the library permits it
BLOCKS, WIDTHS = [2, 1, 1, 1], (16, 32, 64, 128)
NARROW = {"layers": BLOCKS, "channels": WIDTHS}
BACKBONES = {
    "torchvision basic": lambda: resnet.ResNet(resnet.BasicBlock, BLOCKS),
    "torchvision bottleneck": lambda: resnet.ResNet(
        resnet.Bottleneck, BLOCKS, width_per_group=16
    ),
    "timm basic": lambda: timm.create_model("resnet18", **NARROW),
    "timm bottleneck": lambda: timm.create_model("resnet26", **NARROW),
    "U-Net": UNet,
}


def picture(model: nn.Module) -> torch.Tensor:
    channels = 1 if isinstance(model, UNet) else 3
    return torch.rand(2, channels, 48, 40, dtype=torch.float64)


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_keeps_shape_and_gives_gradients(name, dims):
    module = attention.create(name, 16, dims=dims)
    x = torch.randn(2, 16, *SPACE[dims], requires_grad=True)
    y = module(x)
    assert y.shape == x.shape
    y.square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None for p in module.parameters())


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_identity_start(name, dims):
    module = attention.create(name, 16, dims=dims, identity=True).eval()
    x = torch.randn(2, 16, *SPACE[dims])
    torch.testing.assert_close(module(x), x)
    module(x).square().sum().backward()
    assert any(
        p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters()
    )


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_unit_scale_starts_near_one_and_native_where_the_paper_does(name, dims):
    torch.manual_seed(0)
    x = torch.randn(4, 64, *SPACE[dims])
    native = attention.families.attention.facts(name)["native_scale"]
    for scale, expected in (("unit", 1.0), ("native", native), (0.3, 0.3)):
        module = attention.create(name, 64, dims=dims, scale=scale)
        # projection of y on x: the mean factor, weighted by x squared
        factor = ((module(x) * x).sum() / x.square().sum()).item()
        assert math.isclose(factor, expected, rel_tol=0.15)


def test_self_attention_fused_equals_written_out():
    x = torch.randn(2, 16, 5, 6, dtype=torch.float64)
    module = attention.SelfAttention(16).double()
    fused = module(x)
    module.fused = False
    torch.testing.assert_close(fused, module(x))


def test_self_attention_is_the_equation():
    """Wang et al.'s embedded Gaussian, one query at a time, at a non-default width."""
    torch.manual_seed(0)
    module = attention.SelfAttention(6, width=5).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64)
    weights = module.qkv.weight.flatten(1).split(5)
    q, k, v = (torch.einsum("oc,bchw->bhwo", w, x).flatten(1, 2) for w in weights)
    rows = []
    for i in range(12):
        share = ((q[:, i, None] * k).sum(2) / math.sqrt(5)).softmax(1)
        rows.append((share[..., None] * v).sum(1))
    y = torch.stack(rows, 2).reshape(2, 5, 3, 4)
    expected = x + torch.nn.functional.conv2d(
        y, module.project.weight, module.project.bias
    )
    torch.testing.assert_close(module(x), expected)
    plain = attention.SelfAttention(6)
    assert (plain.width, plain.fused) == (64, True)


@pytest.mark.parametrize("name", ["scse", "project_excite"])
def test_the_published_bottleneck_halves_the_channels(name):
    """Roy et al. and Rickmann et al. both reduce by 2, to at least one channel."""
    for channels, hidden in ((12, 6), (2, 1), (1, 1)):
        module = attention.create(name, channels, dims=3)
        module = getattr(module, "module", module)
        assert module.squeeze.weight.shape[:2] == (hidden, channels)
        assert module.excite.weight.shape[:2] == (channels, hidden)


def test_scse_has_a_pointwise_spatial_squeeze_and_takes_pictures_by_default():
    assert attention.families.SCSE(8).spatial.weight.shape == (1, 8, 1, 1)


def test_project_and_excite_adds_the_means_along_each_axis():
    """Equation 3 of Rickmann et al., one position at a time."""
    torch.manual_seed(0)
    module = attention.create("project_excite", 4, dims=3, scale="native").double()
    x = torch.randn(2, 4, 3, 5, 7, dtype=torch.float64)
    x += torch.arange(7.0) + 10 * torch.arange(5.0)[:, None]  # all axes differ
    expected = torch.empty_like(x)
    squeeze, excite = (
        layer.weight.flatten(1) for layer in (module.squeeze, module.excite)
    )
    for d, h, w in product(range(3), range(5), range(7)):
        z = (
            x[:, :, d].mean((2, 3))
            + x[:, :, :, h].mean((2, 3))
            + x[..., w].mean((2, 3))
        )
        hidden = torch.relu(z @ squeeze.T + module.squeeze.bias)
        gate = torch.sigmoid(hidden @ excite.T + module.excite.bias)
        expected[:, :, d, h, w] = x[:, :, d, h, w] * gate
    torch.testing.assert_close(module(x), expected)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", attention.names())
def test_attach_with_identity_changes_nothing(backbone, name):
    model = randomize_norms(BACKBONES[backbone]())
    x = picture(model)
    before, count = model(x), len(model.state_dict())
    attach(model, name, identity=True)
    torch.testing.assert_close(model(x), before)
    assert len(model.state_dict()) > count


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", [None, *attention.names()])
def test_fold_is_exact(backbone, name):
    model = BACKBONES[backbone]()
    if name:
        attach(model, name)
    model = randomize_norms(model)
    x = picture(model)
    folded = fold(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.inference_mode():
        expected = model(x)
        answer = folded(x)
    scale = expected.abs().max().item()
    torch.testing.assert_close(answer, expected, rtol=1e-8, atol=1e-8 * scale)
    norms = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    own = sum(isinstance(m, nn.BatchNorm2d) for m in norms)
    left = {"cbam": 1, "coordinate": 1}.get(name, 0)  # norms inside the attention
    assert own <= left * 20
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Bottleneck(nn.Module):
    """A bottleneck for series or volumes under ResNet's names."""

    def __init__(self, dims: int):
        super().__init__()
        conv = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
        norm = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}[dims]
        self.conv1, self.bn1 = conv(16, 4, 1, bias=False), norm(4)
        self.conv2, self.bn2 = conv(4, 4, 3, 1, 1, bias=False), norm(4)
        self.conv3, self.bn3 = conv(4, 16, 1, bias=False), norm(16)
        self.downsample = None

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        return (self.bn3(self.conv3(y)) + x).relu()


@pytest.mark.parametrize("dims", [1, 3])
def test_fold_is_exact_in_1d_and_3d_and_reads_the_narrow_tensor(dims):
    model = nn.Sequential(Bottleneck(dims), Bottleneck(dims))
    model = randomize_norms(attach(model, "sc", where="residual"))
    folded = fold(model)
    x = torch.randn(2, 16, *SPACE[dims], dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(folded(x), model(x))
    assert folded[0].attention.tap_weight.shape[:2] == (3**dims, 4)  # not 16


def test_attach_keeps_mode_dtype_and_pretrained_weights():
    model = torchvision.models.resnet18().double().eval()
    weight = model.layer1[0].conv1.weight.clone()
    attach(model, "sc", where="residual")
    assert torch.equal(model.layer1[0].conv1.weight, weight)
    added = model.layer1[0].bn2.attention
    assert added.spatial.weight.dtype == torch.float64
    assert not added.training


def test_attach_by_name_and_maps():
    model = UNet().eval()
    attach(model, "sc", where=["inc.*", "merge"])
    maps = attention_maps(model, torch.rand(2, 1, 16, 16))
    assert set(maps) == {"inc.double_conv.attention", "merge.attention"}
    assert all(m.shape == (2, 1, 16, 16) for m in maps.values())
    assert all(0 < m.min() <= m.max() < 1 for m in maps.values())


def test_maps_in_small_batches_are_those_of_one_batch():
    model, x = UNet().eval(), torch.rand(5, 1, 16, 16)
    attach(model, "sc", where=["merge"])
    sizes = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    whole = attention_maps(model, x)
    parts = attention_maps(model, x, batch_size=2)
    assert sizes == [5, 2, 2, 1]
    torch.testing.assert_close(parts["merge.attention"], whole["merge.attention"])
    with pytest.raises(
        ValueError, match="batch_size must be None or at least 1; got 0"
    ):
        attention_maps(model, x, batch_size=0)


def test_refusals():
    with pytest.raises(
        UnknownNameError,
        match=r"'sce' is not known; did you mean 'scse'\? The known names are: cbam, ",
    ):
        attention.create("sce", 8)
    with pytest.raises(ValueError, match=r"'se' supports dims in \(2,\); got dims=3"):
        attention.create("se", 8, dims=3)
    with pytest.raises(ValueError, match="matches no module of ResNet"):
        attach(torchvision.models.resnet18(), "sc", where=["layer9"])
    with pytest.raises(ValueError, match="matches no module of Linear"):
        attach(nn.Linear(2, 2), "sc")
    with pytest.raises(ValueError, match="nothing to fold"):
        fold(nn.Linear(2, 2))


@pytest.mark.parametrize("name", attention.names())
@pytest.mark.parametrize("channels", ["64", 64.0, None, True])
def test_channels_that_are_no_number_are_refused(name, channels):
    with pytest.raises(TypeError, match=r"channels must be a whole number .*; got "):
        attention.create(name, channels)


@pytest.mark.parametrize("name", attention.names())
@pytest.mark.parametrize("channels", [0, -8])
def test_no_channels_are_refused(name, channels):
    with pytest.raises(
        ValueError, match=f"channels must be at least 1; got {channels}"
    ):
        attention.create(name, channels)


def test_a_registration_without_its_facts_is_refused_at_once():
    with pytest.raises(TypeError, match="'dims' and 'native_scale'"):
        attention.register("half")
    with pytest.raises(TypeError, match="'native_scale'"):
        attention.register("half", dims=(2,))
    for dims in (2, (), (4,), [2], ("2",), (2, 2)):
        with pytest.raises(ValueError, match=r"dims must be a tuple of 1, .*; got "):
            attention.register("half", dims=dims, native_scale=1.0)
    for scale in (0, -1.0, "unit", None, math.inf, math.nan):
        with pytest.raises(ValueError, match="native_scale must be a positive number"):
            attention.register("half", dims=(2,), native_scale=scale)
    assert "half" not in attention.names()


@pytest.mark.parametrize("dims", [(1,), (2,), (3,), (3, 2), (1, 2, 3)])
def test_every_documented_set_of_dimensions_is_accepted(dims):
    attention.register("half", dims=dims, native_scale=0.5)(lambda *a, **k: nn.ReLU())
    try:
        for d in (1, 2, 3):
            assert ("half" in attention.names(d)) == (d in dims)
        assert attention.names() == attention.names(2)
    finally:
        attention.families.attention.unregister("half")


def test_a_learners_module_joins_the_registry():
    @attention.register("half", dims=(2,), native_scale=0.5)
    class Half(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.weight = nn.Parameter(torch.full((channels, 1, 1), 0.5))

        def forward(self, x):
            return x * self.weight

    try:
        x = torch.randn(1, 4, 3, 3)
        torch.testing.assert_close(attention.create("half", 4)(x), x)
        with pytest.raises(ValueError, match="does not support identity=True"):
            attention.create("half", 4, identity=True)
        with pytest.raises(ValueError, match="already registered"):
            attention.register("half", dims=(2,), native_scale=1.0)(nn.Identity)
    finally:
        attention.families.attention.unregister("half")
