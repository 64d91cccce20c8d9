"""Attaching to attended modules, all or nothing, and what `where` rejects."""

from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
from torch import nn

from deepseek_learn import attention, zoo
from deepseek_learn.attention import (
    SpatialChannelAttention,
    WithAttention,
    attach,
    attention_maps,
)

PAIRS = [(a, b) for a in attention.names() for b in attention.names()]


def small_resnet() -> nn.Module:
    block = torchvision.models.resnet.BasicBlock
    return torchvision.models.ResNet(block, [1, 1, 1, 1], num_classes=4).eval()


def pair_of_convolutions() -> nn.Module:
    convs = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    convs += [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(nn.Sequential(*convs), nn.Conv2d(8, 2, 1)).eval()


@pytest.mark.parametrize(("first", "second"), PAIRS)
@pytest.mark.parametrize("build", [small_resnet, pair_of_convolutions])
def test_a_second_attention_has_the_width_of_the_first(build, first, second):
    model = attach(build(), first)
    x = torch.rand(2, 3, 32, 32)
    before, count = model(x), len(list(model.modules()))
    attach(model, second, identity=True)
    torch.testing.assert_close(model(x), before)
    assert len(list(model.modules())) > count
    attended = [n for n, m in model.named_modules() if isinstance(m, WithAttention)]
    assert not any(".attention" in name for name in attended)  # gates get no gates


@pytest.mark.parametrize("name", ["sc", "se"])
def test_a_place_that_holds_attention_somewhere_inside(name):
    model = attach(small_resnet(), "sc")
    attach(model, name, where=["layer2", "layer3.0"])
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 4)


def test_a_second_attention_in_a_model_of_the_zoo():
    model = zoo.load("solar_defects")
    x = torch.rand(1, 1, 64, 64)
    before = model(x)
    attach(model, "se", ["stages.2"], identity=True)
    torch.testing.assert_close(model(x), before)
    assert model.stages[2].attention.module.fc1.in_channels == 40


OTHERS = """
timm efficientnet_b0, timm efficientnetv2_rw_t, timm mobilenetv3_small_050,
timm regnety_002, timm convnext_atto, timm coatnet_0_rw_224, timm xcit_nano_12_p16_224,
timm repvit_m0_9, timm ghostnet_050, timm mambaout_femto, timm vgg11,
torchvision efficientnet_b0, torchvision efficientnet_v2_s,
torchvision mobilenet_v3_small, torchvision regnet_y_400mf, torchvision convnext_tiny,
torchvision shufflenet_v2_x0_5, torchvision densenet121
"""
OTHERS = [tuple(pair.split()) for pair in OTHERS.split(",")]


@pytest.mark.parametrize(("library", "name"), OTHERS)
@pytest.mark.parametrize("where", ["auto", "double_conv"])
def test_what_is_no_pair_of_spatial_convolutions_is_not_taken_for_a_unet(
    library, name, where
):
    """Squeeze-and-excitation, MLPs, depthwise blocks and stems are pairs too."""
    with torch.device("cpu" if name == "regnet_y_400mf" else "meta"):
        if library == "timm":
            model = timm.create_model(name)
        else:
            model = torchvision.models.get_model(name, weights=None)
    with pytest.raises(ValueError, match=f"where='{where}' matches no module of "):
        attach(model, "sc", where)


@pytest.mark.parametrize(
    "second",
    [
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.ConvTranspose2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, (1, 3), padding=(0, 1)),
        nn.Conv2d(6, 8, 3, padding=1),
    ],
    ids=["strided", "grouped", "transposed", "along one axis", "of other channels"],
)
def test_a_second_convolution_of_another_kind_makes_no_pair(second):
    first = nn.Conv2d(3, 8, 3, padding=1)
    with pytest.raises(ValueError, match="where='double_conv' matches no module"):
        attach(nn.Sequential(nn.Sequential(first, second)), "sc", "double_conv")
    plain = nn.Conv2d(8, 8, 3, padding=1)
    model = attach(nn.Sequential(nn.Sequential(first, plain)), "sc", "double_conv")
    assert isinstance(model[0], WithAttention)


@pytest.mark.parametrize(
    ("kind", "kernel"),
    [
        (nn.Conv1d, 2),
        (nn.Conv2d, 2),
        (nn.Conv2d, (2, 3)),
        (nn.Conv3d, (1, 2, 2)),
        (nn.Conv3d, (2, 1, 2)),
    ],
)
def test_a_kernel_of_two_is_spatial(kind, kernel):
    pair = [kind(2, 4, kernel, padding="same"), kind(4, 6, kernel, padding="same")]
    model = attach(nn.Sequential(nn.Sequential(*pair)), "sc", "double_conv")
    assert model[0].attention.channels == 6


@pytest.mark.parametrize("kernel", [(2, 1), (1, 2), 1])
def test_a_kernel_along_one_axis_of_an_image_is_not(kernel):
    pair = [nn.Conv2d(2, 4, kernel), nn.Conv2d(4, 6, kernel)]
    with pytest.raises(ValueError, match="matches no module"):
        attach(nn.Sequential(nn.Sequential(*pair)), "sc", "double_conv")


def test_three_convolutions_in_a_row_make_no_pair():
    convs = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)]
    with pytest.raises(ValueError, match="where='double_conv' matches no module"):
        attach(nn.Sequential(nn.Sequential(*convs)), "sc", "double_conv")


def test_a_block_of_two_convolutions_and_norms_alone_is_residual():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            return torch.relu(self.bn2(self.conv2(y)) + x)

    model = attach(nn.Sequential(Block()), "sc", "residual")
    assert isinstance(model[0].bn2, WithAttention)


def test_an_identity_start_is_only_for_those_who_ask():
    attended = attach(small_resnet(), "sc").layer1[0].bn2.attention
    assert attended.excite.weight.abs().max() > 0
    attended = attach(small_resnet(), "sc", identity=True).layer1[0].bn2.attention
    assert attended.excite.weight.abs().max() == 0


def test_a_stem_with_the_names_of_a_block_is_none():
    """SENet's stem is sequential: it has no addition for the attention to precede."""
    layers = {"conv1": nn.Conv2d(3, 8, 3), "bn1": nn.BatchNorm2d(8)}
    layers |= {"conv2": nn.Conv2d(8, 64, 3), "bn2": nn.BatchNorm2d(64)}
    model = nn.Sequential(nn.Sequential(OrderedDict(layers)), small_resnet().layer1)
    attach(model, "sc")
    attended = [n for n, m in model.named_modules() if isinstance(m, WithAttention)]
    assert attended == ["1.0.bn2"]


def test_a_pair_of_volumes_may_be_flat_and_a_factorised_one_is_one_convolution():
    pair = [nn.Conv3d(2, 4, (1, 3, 3)), nn.ReLU(), nn.Conv3d(4, 6, (1, 3, 3))]
    model = attach(nn.Sequential(nn.Sequential(*pair)), "sc")
    assert model[0].attention.channels == 6
    for other in ((3, 1, 1), (1, 1, 1)):
        pair[2] = nn.Conv3d(4, 6, other)
        with pytest.raises(ValueError, match="matches no module of Sequential"):
            attach(nn.Sequential(nn.Sequential(*pair)), "sc")


def test_a_pair_of_convolutions_over_time_is_one_and_a_pointwise_one_is_not():
    pair = [nn.Conv1d(2, 4, 5, padding=2), nn.ReLU(), nn.Conv1d(4, 6, 3, padding=1)]
    model = attach(nn.Sequential(nn.Sequential(*pair), nn.Conv1d(6, 2, 1)), "sc")
    assert (model[0].attention.channels, model[0].attention.dims) == (6, 1)
    assert model(torch.rand(3, 2, 20)).shape == (3, 2, 20)
    maps = attention_maps(model, torch.rand(3, 2, 20))
    assert maps["0.attention"].shape == (3, 1, 20)
    pair[2] = nn.Conv1d(4, 6, 1)
    with pytest.raises(ValueError, match="matches no module of Sequential"):
        attach(nn.Sequential(nn.Sequential(*pair)), "sc")


def test_a_gate_with_a_1d_convolution_does_not_hide_the_images_width():
    stage = nn.Sequential(nn.Conv2d(3, 8, 3), attention.create("eca", 8))
    model = attach(nn.Sequential(stage), "sc", where="0")
    assert (model[0].attention.channels, model[0].attention.dims) == (8, 2)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_the_width_is_that_of_the_last_convolution_or_norm(dims, transposed, norm):
    conv = getattr(nn, f"Conv{'Transpose' * transposed}{dims}d")
    layers = [conv(3, 8, 1), conv(8, 6, 1)]
    layers += {
        "batch": [getattr(nn, f"BatchNorm{dims}d")(6)],
        "group": [nn.GroupNorm(2, 6)],
        "none": [],
    }[norm]
    layers += [nn.ReLU()]
    # the first layer shows whether the network is for images or for volumes
    stem = getattr(nn, f"Conv{dims}d")(3, 3, 1)
    model = attach(nn.Sequential(stem, nn.Sequential(*layers)), "sc", where="1")
    assert model[1].attention.channels == 6
    assert model(torch.rand(2, 3, *(4,) * dims)).shape == (2, 6, *(4,) * dims)


def test_a_module_that_ends_in_spatial_channel_attention():
    stage = nn.Sequential(nn.Conv2d(3, 8, 1), SpatialChannelAttention(8))
    model = attach(nn.Sequential(stage), "sc", where="0")
    assert model[0].attention.channels == 8


@pytest.mark.parametrize(
    "where",
    [
        ["layer1.0.bn2", "relu"],  # a ReLU has no number of channels
        ["layer1.0.bn2", "layer9"],
        ["layer1.0.bn2", ""],
        "",
        [""],
        [],
        "relu",
    ],
)
def test_a_refusal_leaves_the_model_as_it_was(where):
    model = small_resnet()
    before = list(model.state_dict())
    with pytest.raises(
        ValueError, match=r"matches no module of ResNet|contains no conv"
    ):
        attach(model, "sc", where=where)
    assert list(model.state_dict()) == before


def test_a_refused_identity_leaves_the_model_as_it_was():
    model = small_resnet()
    attention.register("fixed", dims=(2,), native_scale=1.0)(lambda c: nn.Identity())
    try:
        with pytest.raises(ValueError, match="does not support identity=True"):
            attach(model, "fixed", identity=True)
    finally:
        attention.families.attention.unregister("fixed")
    assert not any(isinstance(m, WithAttention) for m in model.modules())


def test_a_wildcard_means_the_parts_not_the_model_itself():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))
    attach(model, "sc", where="*")
    assert [part.attention.channels for part in model] == [8, 4]


def test_a_module_and_a_part_of_it_both_get_theirs():
    model = timm.create_model("resnet26").eval()
    attach(model, "sc", where=["layer1", "layer1.0.bn3"])
    assert model.layer1.attention.channels == 256
    assert model.layer1.module[0].bn3.attention.channels == 256
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 1000)
