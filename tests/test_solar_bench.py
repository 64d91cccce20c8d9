"""The solar-cell benchmark: its network, its training and its rows."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def models(monkeypatch):
    """The modules of `benchmarks/models`, imported as the scripts do."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    names = [name for name in sys.modules if name.split(".")[0] == "models"]
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    from models import depthwise, solar_net

    return {"depthwise": depthwise, "solar_net": solar_net}


def network(stride: int, kernel: int) -> nn.Sequential:
    torch.manual_seed(0)
    pad = kernel // 2
    depthwise = nn.Conv2d(8, 8, kernel, stride, pad, groups=8, bias=False)
    return nn.Sequential(nn.Conv2d(3, 8, 1), depthwise, nn.Conv2d(8, 2, 1))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_outputs_and_gradients_are_pytorchs(models, stride, kernel):
    exact = network(stride, kernel)
    fast = copy.deepcopy(exact)
    models["depthwise"].train_depthwise(fast)
    assert type(fast[1]) is models["depthwise"].DepthwiseConv2d
    assert fast.state_dict().keys() == exact.state_dict().keys()
    x = torch.randn(2, 3, 13, 13).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        answer = fast(x)
    torch.testing.assert_close(answer.float(), exact(x), rtol=0.05, atol=0.02)
    answer.float().square().sum().backward()
    exact(x).square().sum().backward()
    for a, b in zip(fast.parameters(), exact.parameters(), strict=True):
        assert (a.grad - b.grad).norm() < 0.03 * b.grad.norm()


def test_depthwise_changes_nothing_without_autocast(models):
    model = network(1, 5)
    x = torch.randn(2, 3, 9, 9)
    before, weight = model(x), model[1].weight
    models["depthwise"].train_depthwise(model)
    assert model[1].weight is weight
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, groups=4, bias=False),
        nn.Conv2d(8, 16, 3, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, (3, 5), groups=8, bias=False),
        nn.Conv2d(8, 8, 3, dilation=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding="same", groups=8, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect", groups=8, bias=False),
    ],
)
def test_other_convolutions_stay(models, layer):
    model = nn.Sequential(layer)
    models["depthwise"].train_depthwise(model)
    assert model[0] is layer


def test_the_network_is_small_and_attention_starts_as_the_identity(models):
    torch.manual_seed(0)
    plain = models["solar_net"].SolarNet(attention=None).eval()
    attended = models["solar_net"].SolarNet().eval()
    sizes = [sum(p.numel() for p in m.parameters()) for m in (plain, attended)]
    assert sizes[0] < sizes[1] <= 2_000_000
    first, second = attended(torch.rand(2, 1, 64, 64))
    torch.testing.assert_close(first, second)  # the classifier starts at its bias
    gates = [m for m in attended.modules() if type(m).__name__.startswith("Spatial")]
    assert len(gates) == 3
    y = torch.rand(1, gates[0].channels, 6, 6)
    torch.testing.assert_close(gates[0](y), y)


def test_flips_do_not_change_the_answer(models):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    flips = models["solar_net"].Flips(net)
    x = torch.rand(2, 1, 6, 8)
    for axes in ((2,), (3,), (2, 3)):
        torch.testing.assert_close(flips(x.flip(axes)), flips(x))
        assert (net(x.flip(axes)) - net(x)).abs().max() > 1e-3


def test_mixup_mixes_labels_as_images(models, monkeypatch):
    mixup = models["solar_net"].Mixup(alpha=1.0)
    generator = torch.Generator().manual_seed(0)
    flat = torch.rand(6)[:, None, None, None].expand(6, 1, 32, 32)
    monkeypatch.setattr(models["solar_net"], "augment", lambda x, *_, **__: x)
    mixed = mixup.augment(flat, generator)
    weights = (
        mixup.weight * flat[:, 0, 0, 0]
        + (1 - mixup.weight) * flat[mixup.order][:, 0, 0, 0]
    )
    torch.testing.assert_close(mixed[:, 0, 0, 0], weights)
    logits, labels = torch.randn(6, 2), torch.rand(6)
    probabilities = logits.log_softmax(1)
    soft = mixup.weight * labels + (1 - mixup.weight) * labels[mixup.order]
    expected = -(soft * probabilities[:, 1] + (1 - soft) * probabilities[:, 0]).mean()
    torch.testing.assert_close(mixup.loss(logits, labels), expected)
