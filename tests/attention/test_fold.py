"""Folding is exact, or it leaves the layers unchanged: never a different network."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from deepseek_learn.attention import WithAttention, attach, fold
from deepseek_learn.attention.bottleneck import FoldedBottleneck, NarrowGates

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def randomize(model: nn.Module) -> nn.Module:
    """Set statistics and weights that hide no error (zeroed last norms would)."""
    torch.manual_seed(0)
    for m in model.modules():
        if isinstance(m, (*NORMS, nn.GroupNorm)):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.2)
        if isinstance(m, NORMS) and m.running_mean is not None:
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
    return model.eval().double()


def count(model: nn.Module, kind) -> int:
    return sum(isinstance(m, kind) for m in model.modules())


def assert_exact(model: nn.Module, x: torch.Tensor | None = None) -> nn.Module:
    """Check that `fold(model)` equals `model` in float64; returns it."""
    randomize(model)
    x = torch.randn(2, 3, 64, 64) if x is None else x
    x = x.double()
    folded = fold(model)
    with torch.inference_mode():
        expected, answer = model(x), folded(x)
    # at most ~200 layers, each with a few float64 rounding errors of 1e-16
    bound = 1e-11 * expected.abs().max().item()
    torch.testing.assert_close(answer, expected, rtol=0, atol=bound)
    return folded


def create(name, **options):
    return lambda: timm.create_model(name, num_classes=7, **options)


def with_attention(build, name="sc"):
    return lambda: attach(build(), name)


# network → number of blocks recognized as bottlenecks
NETWORKS = {
    "seresnet50 + sc": (with_attention(create("seresnet50")), 0),
    "ecaresnet26t + sc": (with_attention(create("ecaresnet26t")), 0),
    "legacy_seresnet50": (create("legacy_seresnet50"), 16),
    "legacy_seresnet50 + sc": (with_attention(create("legacy_seresnet50")), 0),
    "seresnet50": (create("seresnet50"), 16),
    "resnet26, SiLU": (create("resnet26", act_layer=nn.SiLU), 0),
    "resnet26, drop path": (create("resnet26", drop_path_rate=0.2), 8),
    "resnet26, drop block": (create("resnet26", drop_block_rate=0.1), 4),
    "resnet50, anti-aliasing": (create("resnetblur50"), 13),
    "resnet50_gn + cbam": (with_attention(create("resnet50_gn"), "cbam"), 0),
    "resnet26 + sc + sc": (with_attention(with_attention(create("resnet26"))), 0),
    "resnetv2_50": (create("resnetv2_50"), 0),
    "res2net50": (create("res2net50_26w_4s"), 0),
    "efficientnet_b0": (create("efficientnet_b0"), 0),
    "densenet121": (create("densenet121"), 0),
    "torchvision resnext50": (torchvision.models.resnext50_32x4d, 16),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_many_kinds(name):
    """Drop path and similar layers stay in place; in evaluation they do nothing."""
    build, bottlenecks = NETWORKS[name]
    folded = assert_exact(build())
    assert count(folded, FoldedBottleneck) == bottlenecks


def test_gates_are_read_early_in_every_bottleneck_of_a_resnet():
    for build in (create("resnet26"), torchvision.models.resnet50):
        folded = assert_exact(attach(build(), "sc"))
        blocks = count(folded, FoldedBottleneck)
        assert blocks == count(folded, NarrowGates) >= 8


def test_a_network_without_batch_norm_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="ResNet has nothing to fold"):
        fold(randomize(create("resnet50_gn")()))


def test_a_traced_network():
    network = create_feature_extractor(torchvision.models.resnet18(), {"layer2": "y"})

    class Only(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return self.network(x)["y"]

    assert count(assert_exact(Only()), nn.BatchNorm2d) == 0


class Block(nn.Module):
    """A bottleneck under ResNet's names; subclasses compute something else."""

    def __init__(self, out: int = 16):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(16, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4)
        self.conv3, self.bn3 = nn.Conv2d(4, out, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)

    def residual(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.bn3(self.conv3(y))

    def forward(self, x):
        return self.relu(self.residual(x) + x)


class OtherNames(Block):
    def __init__(self):
        super().__init__(out=8)
        self.shortcut = nn.Sequential(nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))

    def forward(self, x):
        return torch.relu(self.residual(x).add_(self.shortcut(x)))


class SpatialConv3(Block):
    def __init__(self):
        super().__init__()
        self.conv3 = nn.Conv2d(4, 16, 3, padding=1, groups=2)


class ScaledResidual(Block):
    def forward(self, x):
        return self.relu(0.2 * self.residual(x) + x)


class NoLastRelu(Block):
    def forward(self, x):
        return self.residual(x) + x


class PreActivation(Block):
    def __init__(self):
        super().__init__()
        self.bn1, self.bn3 = nn.BatchNorm2d(16), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        return self.conv3(F.relu(self.bn3(y))) + x


class TapsBeforeTheNorm(Block):
    def forward(self, x):
        y = self.conv1(x)
        return super().forward(x) + y.mean() + self.bn1(y).amax()


class ReluBetween(Block):
    def residual(self, x):
        y = self.relu(self.bn1(F.leaky_relu(self.conv1(x))))
        return self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))


class UsesAWeightTwice(Block):
    def forward(self, x):
        return super().forward(x) + F.conv2d(x, self.conv1.weight).mean()


class UsesAWeightBeside(Block):
    def forward(self, x):
        return super().forward(x) + self.conv1.weight.mean()


class ChangesBesides(Block):
    def forward(self, x):
        y = self.residual(x)
        y.mul_(0.5)
        return self.relu(y + x)


class ChangesItsInput(Block):
    """The shortcut runs first and clips `x` in place."""

    def __init__(self):
        super().__init__()
        self.downsample = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(16, 16, 1))

    def forward(self, x):
        shortcut = self.downsample(x)
        return self.relu(self.residual(x) + shortcut)


class TwoStepsInTheShortcut(Block):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)

    def forward(self, x):
        return self.relu(self.residual(x) + self.second(self.first(x)))


class ReluInTheShortcut(Block):
    def forward(self, x):
        return self.relu(self.residual(x) + F.relu(x))


class BeginsLater(Block):
    def forward(self, x):
        x = x * 2
        return self.relu(self.residual(x) + x)


class ShortcutOfAnother(Block):
    def forward(self, x):
        return self.relu(self.residual(x) + 2 * x)


class AddsTheOtherWayRound(Block):
    def forward(self, x):
        return self.relu(x + self.residual(x))


class AddsWithAFactor(Block):
    def forward(self, x):
        return self.relu(torch.add(self.residual(x), x, alpha=2))


class AddsANumber(Block):
    def forward(self, x):
        return self.relu(self.residual(x) + 1.5)


class Multiplies(Block):
    def forward(self, x):
        return self.relu(self.residual(x) * x)


class UsesTheSumTwice(Block):
    def forward(self, x):
        y = self.residual(x) + x
        return self.relu(y) + y


class UsesStatisticsBeside(Block):
    def forward(self, x):
        return super().forward(x) + self.bn1.running_mean.mean()


class BranchesOnType(Block):
    def forward(self, x):
        if isinstance(x, torch.Tensor):
            return self.relu(self.bn1(F.silu(self.conv1(x))))
        return super().forward(x)


class BranchesOnShape(Block):
    def forward(self, x):
        if x.shape[0] > 1:
            return self.relu(0.1 * self.residual(x) + x)
        return super().forward(x)


class OptionalArgument(Block):
    def forward(self, x, mask=None):
        if mask is None:
            return self.relu(0.1 * self.residual(x) + x)
        return super().forward(x)


class HeldInAList(Block):
    """The forward runs layers that replacing an attribute does not reach."""

    def __init__(self):
        super().__init__()
        self.layers = [[self.conv1], [self.bn1]]

    def forward(self, x):
        (conv,), (norm,) = self.layers
        return F.silu(norm(conv(x)))


class TwoNames(Block):
    def __init__(self):
        super().__init__()
        self.again = self.conv1

    def forward(self, x):
        return (
            F.silu(self.bn1(self.again(x)))
            + F.silu(self.bn2(self.conv2(x[:, :4])))[:, :1]
        )


class TwiceTheSameNorm(Block):
    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn1(y))


class OwnConv(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).abs()


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).abs()


class OwnLayers(Block):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn2 = OwnConv(16, 4, 1), OwnNorm(4)


class NoStatistics(Block):
    def __init__(self):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(4, track_running_stats=False)


# block → whether it is a bottleneck, and the number of norms that must stay
BLOCKS = {
    Block: (True, 0),
    OtherNames: (True, 0),
    SpatialConv3: (True, 0),
    ScaledResidual: (False, 0),
    NoLastRelu: (False, 0),
    PreActivation: (False, 1),  # the norm that reads the block's input
    TapsBeforeTheNorm: (False, 1),
    ReluBetween: (False, 1),
    UsesAWeightTwice: (False, 1),
    UsesAWeightBeside: (False, 1),
    UsesStatisticsBeside: (False, 3),
    ChangesBesides: (False, 0),
    ChangesItsInput: (False, 0),
    TwoStepsInTheShortcut: (False, 0),
    ReluInTheShortcut: (False, 0),
    BeginsLater: (False, 0),
    ShortcutOfAnother: (False, 0),
    AddsTheOtherWayRound: (True, 0),
    AddsWithAFactor: (False, 0),
    AddsANumber: (False, 0),
    Multiplies: (False, 0),
    UsesTheSumTwice: (False, 0),
    BranchesOnType: (False, 3),
    BranchesOnShape: (False, 3),
    OptionalArgument: (False, 3),
    HeldInAList: (False, 3),
    TwoNames: (False, 2),
    TwiceTheSameNorm: (False, 3),
    OwnLayers: (False, 2),
    NoStatistics: (False, 1),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_are_judged_by_what_they_compute(kind):
    other = nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16))  # to be folded
    is_bottleneck, left = BLOCKS[kind]
    folded = assert_exact(nn.Sequential(other, kind()), torch.randn(2, 16, 8, 8))
    assert isinstance(folded[1], FoldedBottleneck) == is_bottleneck
    assert count(folded, NORMS) == left


@pytest.mark.parametrize("kind", [Block, OtherNames, SpatialConv3, ScaledResidual])
@pytest.mark.parametrize("name", ["sc", "scse", "se", "cbam"])
def test_blocks_with_attention(kind, name):
    model = attach(nn.Sequential(kind()), name, where="0.bn3")
    folded = assert_exact(model, torch.randn(2, 16, 8, 8))
    narrow = kind in (Block, OtherNames) and name in ("sc", "scse")
    assert count(folded, NarrowGates) == narrow


def test_a_changed_attention_is_not_read_early():
    model = attach(nn.Sequential(Block()), "sc", where="0.bn3")
    gate = model[0].bn3.attention
    gate.register_forward_hook(lambda module, inputs, y: 2 * y)
    folded = assert_exact(model, torch.randn(2, 16, 8, 8))
    assert count(folded, NarrowGates) == 0


@pytest.mark.parametrize("place", ["0", "0.conv1", "0.bn1", "0.relu", "0.bn3"])
def test_hooks_go_on_working(place):
    model = nn.Sequential(Block(), nn.Conv2d(16, 4, 1), nn.BatchNorm2d(4))
    model[0].bn3 = WithAttention(model[0].bn3, nn.Hardtanh())
    hooked = model.get_submodule(place)
    hooked.register_forward_hook(lambda module, inputs, y: y.abs() + 1)
    assert_exact(model, torch.randn(2, 16, 8, 8))


class Halves(nn.Module):
    def forward(self, x):
        return x / 2


# extra feature of a timm norm with activation → the number of norms that must stay
NORM_ACTS = {
    "nothing": ({}, 0),
    "a drop layer that acts": ({"drop_layer": Halves}, 1),
    "no statistics": ({"track_running_stats": False}, 1),
    "a hook": ({}, 1),
}


@pytest.mark.parametrize("what", NORM_ACTS)
def test_a_norm_with_an_activation_is_folded_where_nothing_is_lost(what):
    options, left = NORM_ACTS[what]
    norm = timm.layers.BatchNormAct2d(16, act_layer=nn.SiLU, **options)
    if what == "a hook":
        norm.register_forward_hook(lambda module, inputs, y: 2 * y)
    other = nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16))  # to be folded
    model = nn.Sequential(nn.Conv2d(16, 16, 1), norm, other)
    assert count(assert_exact(model, torch.randn(2, 16, 8, 8)), NORMS) == left


def test_a_pair_that_is_left_as_it_was_does_not_count_as_folded():
    with pytest.raises(ValueError, match="Sequential has nothing to fold"):
        fold(nn.Sequential(HeldInAList()))


def test_a_block_alone_and_one_run_twice():
    assert isinstance(assert_exact(Block(), torch.randn(2, 16, 8, 8)), FoldedBottleneck)
    block = Block()
    assert_exact(nn.Sequential(block, block), torch.randn(2, 16, 8, 8))


def test_a_layer_that_an_outer_module_also_runs():
    class Reaches(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Block()
            self.stem = nn.Sequential(nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16))

        def forward(self, x):
            inner = self.block.conv1(x).mean() + self.stem[0](x).mean()
            return self.block(self.stem(x)) + inner

    assert_exact(Reaches(), torch.randn(2, 16, 8, 8))


def test_folding_leaves_the_model_as_it_was():
    model = randomize(nn.Sequential(Block()))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold(model)
    assert type(model[0]) is Block
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
