"""Do both halves of the calibration inputs say the same about the rows of a matrix?"""

import math

import pytest
import torch
from torch import nn

from deepseek_learn import dpg
from deepseek_learn.dpg.halves import PARTS, Halves, consistent
from deepseek_learn.dpg.statistics import Statistics

EITHER_HALF = torch.tensor([4.0, 4.0, 0.1, 0.1]), torch.tensor([0.1, 0.1, 4.0, 4.0])


class TwoKinds(nn.Module):
    """Inputs of kind 0 go through the first half of the neurons, those of kind 1 not."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.first, self.head = nn.Linear(2, width), nn.Linear(width, 5)
        with torch.no_grad():
            self.first.bias.fill_(-5.0)
            self.first.weight.copy_(torch.eye(2).repeat_interleave(width // 2, 0))
            self.first.weight.mul_(torch.rand(width, 1) + 0.5)

    def forward(self, x):
        return self.head(self.first(10 * x).relu())


def kinds(*kind: int) -> list[torch.Tensor]:
    return [torch.eye(2)[k].repeat(8, 1) + 0.5 for k in kind]


def test_the_same_gradients_agree_and_opposite_ones_do_not():
    first, second = EITHER_HALF
    assert consistent(first, 3 * first, 0.0)  # one half may be larger
    assert not consistent(first, second, 0.0)
    assert not consistent(first, second, 0.2)


def test_noise_that_says_nothing_is_no_agreement():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 500, generator=generator).exp()
    assert not consistent(*noise, 0.0)
    common = torch.randn(500, generator=generator).exp()
    assert consistent(*(noise * common**2), 0.0)


def test_the_two_costs_are_those_of_the_docstring():
    generator = torch.Generator().manual_seed(1)
    for scale in (0.2, 0.5, 0.7, 1.0, 2.0):
        common = torch.randn(9, generator=generator)
        first, second = (common + scale * torch.randn(2, 9, generator=generator)).exp()
        costs = [
            math.prod(g.tolist()) ** (1 / 9) * (h / g).mean().item() / h.mean().item()
            for g, h in ((first, second), (second, first))
        ]
        assert consistent(first, second, 0.0) == (math.sqrt(math.prod(costs)) <= 1)


@pytest.mark.parametrize("empty", [0, 1])
def test_a_half_without_gradients_says_nothing(empty):
    halves = [torch.rand(4), torch.rand(4)]
    halves[empty].zero_()
    assert consistent(*halves, 0.0)


@pytest.mark.parametrize("count", [1, 2, 3, PARTS, PARTS + 1, 3 * PARTS, 5 * PARTS + 3])
def test_halves_are_consecutive_batches_and_about_equal(count):
    halves, batches = Halves(), torch.eye(count)
    for number, batch in enumerate(batches, 1):
        halves.add(batch, number)
    middle = len(halves.parts) // 2
    assert len(halves.parts) <= PARTS
    torch.testing.assert_close(sum(halves.parts), torch.ones(count))
    first = sum(halves.parts[:middle]) if middle else torch.zeros(count)
    border = int(first.sum())
    assert first.tolist() == [1.0] * border + [0.0] * (count - border)
    assert count == 1 or count / 3 <= border <= count / 2


def test_batches_are_not_changed():
    halves, batch = Halves(), torch.ones(3)
    for number in range(4 * PARTS):
        halves.add(batch, number + 1)
    assert batch.tolist() == [1.0] * 3


def test_related_inputs_apart_are_noticed_only_in_order():
    model = TwoKinds()
    apart = dpg.calibrate(model, kinds(0, 0, 0, 1, 1, 1)).layers["first"]
    mixed = dpg.calibrate(model, kinds(0, 1, 0, 1, 0, 1)).layers["first"]
    one = dpg.calibrate(model, kinds(0)).layers["first"]
    assert (apart.halves_agree, mixed.halves_agree, one.halves_agree) == (
        False,
        True,
        True,
    )
    gradient = apart.shrunk_gradient
    assert gradient.unique().numel() == 1
    torch.testing.assert_close(gradient.sum(), apart.gradient.sum())
    assert mixed.shrunk_gradient.unique().numel() > 1


def test_a_matrix_that_two_layers_share_needs_one_use_that_agrees():
    model = nn.Sequential(nn.Embedding(6, 8), nn.Linear(8, 6, bias=False))
    model[1].weight = model[0].weight
    calls = [torch.zeros(4, 3, dtype=torch.int64), torch.full((4, 3), 5)]
    layers = dpg.calibrate(model, calls).layers
    assert [each.halves_agree for each in layers.values()] == [True]


def test_the_mean_gradient_keeps_the_size_of_the_layer():
    gradient = torch.rand(7)
    facts = torch.eye(3), gradient, torch.zeros(7), 100
    shrunk = Statistics(*facts, halves_agree=False).shrunk_gradient
    torch.testing.assert_close(shrunk, gradient.mean().expand(7))
