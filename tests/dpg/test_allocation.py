"""Allocation: the budget is kept and well spent, and byte counts are exact."""

from itertools import pairwise
from math import ceil, nan

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn import catalog, dpg
from deepseek_learn.dpg import Layer, criteria
from deepseek_learn.dpg.allocation import FLOAT
from deepseek_learn.dpg.codes import BITS, check_group_size
from deepseek_learn.dpg.knapsack import check_budget
from deepseek_learn.dpg.matrix import named_layers, weight_matrix
from deepseek_learn.errors import UnknownNameError
from tests.dpg.reports import check_report
from tests.dpg.small_models import decoder, features, mlp, net, pictures, tokens, twice

NETWORKS = {
    "mlp": (mlp, features),
    "wide": (lambda: mlp(width=200), features),
    "net": (net, pictures),
    "decoder": (decoder, tokens),
    "tied": (lambda: decoder(tied=True), tokens),
    "twice": (twice, features),
}


def made(name):
    build, inputs = NETWORKS[name]
    model = build()
    return model, dpg.calibrate(model, [inputs(40)])


def blocks(allocation):
    """(bits, stored weights) of each block of 16 rows, in stored order."""
    result = []
    for name, bits in allocation.bits.items():
        size = allocation.group_sizes[name]
        padded = ceil(allocation.columns[name] / size) * size
        for b in bits.unique().tolist():
            result += [(b, 16 * padded)] * ceil(int((bits == b).sum()) / 16)
    return result


def spent(allocation):
    """Number of stored bits, and of stored weights."""
    result = blocks(allocation)
    return sum(b * w for b, w in result), sum(w for _, w in result)


def damages(model, calibration, criterion, sizes):
    """Layer → the criterion's damage, `[levels, N]`."""
    result = {}
    for name, layer in named_layers(model).items():
        weight, statistics = weight_matrix(layer), calibration.layers[name]
        facts = Layer(name, weight, statistics, BITS, sizes[name])
        result[name] = criteria.damage(criterion, facts)
    return result


def cost_of(allocation, said):
    """Total damage of the allocated bits; `said`: layer → damage `[levels, N]`."""
    total = 0.0
    for name, bits in allocation.bits.items():
        level = torch.tensor([BITS.index(b) for b in bits.tolist()])
        total += said[name][level, torch.arange(len(level))].sum().item()
    return total


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [2, 2.5, 3, 4, 4.7, 6, 8])
def test_the_budget_is_never_exceeded_and_nearly_spent(name, bits):
    model, calibration = made(name)
    allocation = dpg.allocate(model, calibration, bits, "frequency")
    used, weights = spent(allocation)
    assert used <= bits * weights
    # the rest is too small for the next step of any block below 8 bits
    largest = max((8 - b) * w for b, w in blocks(allocation))
    assert bits * weights - used < largest or largest == 0
    assert set(BITS) >= {b for b, _ in blocks(allocation)}
    for layer, given in allocation.bits.items():
        assert given.shape == (len(model.get_submodule(layer).weight),)
    assert allocation.criterion == "frequency"


@pytest.mark.parametrize("criterion", ["sensitivity", "frequency×error", "magnitude"])
@pytest.mark.parametrize("name", ["wide", "decoder"])
def test_it_costs_no_more_than_the_same_bytes_spread_evenly(name, criterion):
    model, calibration = made(name)
    message = damages(model, calibration, criterion, dpg.uniform(model, 2).group_sizes)
    costs = []
    for bits in BITS:
        allocation = dpg.allocate(model, calibration, bits, criterion)
        even = dpg.uniform(model, bits)
        assert allocation.stored_bytes <= even.stored_bytes
        cost = sum(allocation.damage.values())
        assert cost == pytest.approx(cost_of(allocation, message), rel=1e-9)
        assert cost <= cost_of(even, message) * (1 + 1e-9)
        costs.append(cost)
    assert all(a > b for a, b in pairwise(costs))


@pytest.fixture
def drawn():
    """Registers a criterion "drawn" that gives each row random, convex damage."""

    def register(seed):
        @dpg.grouping.register("drawn")
        def criterion(layer):
            generator = torch.Generator().manual_seed(seed + len(layer.weight))
            rows = torch.rand(len(layer.weight), generator=generator) ** 6
            levels = torch.tensor(layer.levels, dtype=torch.float64)
            return rows * 4.0 ** -levels[:, None]

    yield register
    dpg.grouping.unregister("drawn")


@pytest.mark.parametrize("name", ["net", "wide", "decoder"])  # equal blocks or not
@pytest.mark.parametrize("seed", range(8))
def test_greedy_is_the_best_but_for_the_last_step(drawn, seed, name):
    """For convex damage, taking steps by decreasing gain is the fractional optimum."""
    drawn(seed)
    model, calibration = made(name)
    low = dpg.allocate(model, calibration, 2, "drawn")
    steps, largest = [], 0.0
    for name, of_level in damages(model, calibration, "drawn", low.group_sizes).items():
        size = low.group_sizes[name]
        weights = 16 * ceil(low.columns[name] / size) * size
        for rows in of_level[0].argsort(descending=True).split(16):
            costs = of_level[:, rows].sum(1).tolist()
            for i in range(len(BITS) - 1):
                price = (BITS[i + 1] - BITS[i]) * weights
                steps.append(((costs[i] - costs[i + 1]) / price, price))
                largest = max(largest, costs[i] - costs[i + 1])
    steps.sort(reverse=True)
    start = sum(low.damage.values())
    for bits in (2.3, 3, 4, 5.5, 7):
        left, best = (bits - 2) * spent(low)[1], start
        for gain, price in steps:
            best -= gain * min(price, left)
            left -= min(price, left)
        allocation = dpg.allocate(model, calibration, bits, "drawn")
        cost = sum(allocation.damage.values())
        assert best * (1 - 1e-9) <= cost <= best + largest


@pytest.mark.parametrize("name", NETWORKS)
def test_more_budget_is_more_bytes_and_less_damage(name):
    model, calibration = made(name)
    made_ = [
        dpg.allocate(model, calibration, b, "frequency×error") for b in (2, 4, 6, 8)
    ]
    stored = [a.stored_bytes for a in made_]
    assert all(a < b for a, b in pairwise(stored))
    costs = [sum(a.damage.values()) for a in made_]
    assert all(a > b for a, b in pairwise(costs))
    assert made_[0].average_bits == 2
    assert made_[-1].average_bits == 8


def test_bits_that_would_do_harm_are_not_given():
    """A custom criterion may find harm in more bits; the budget is then not spent."""

    @dpg.grouping.register("harm")
    def harm(layer):
        rising = torch.tensor(layer.levels, dtype=torch.float64) - 4
        return rising.square()[:, None].expand(-1, len(layer.weight))

    try:
        model, calibration = made("mlp")
        allocation = dpg.allocate(model, calibration, 8, "harm")
        assert {b for bits in allocation.bits.values() for b in bits.tolist()} == {4}
    finally:
        dpg.grouping.unregister("harm")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("name", NETWORKS)
def test_stored_bytes_are_those_of_the_converted_model(name, group_size, dtype):
    model, calibration = made(name)
    model = model.to(dtype)
    for allocation in (
        dpg.uniform(model, 3, group_size),
        dpg.allocate(model, calibration, 4.3, "random", group_size),
    ):
        small = dpg.convert(model, allocation)
        assert allocation.stored_bytes == dpg.bytes_of(small)


def test_average_bits_are_of_weights():
    model, _ = made("mlp")
    allocation = dpg.uniform(model, 4)
    assert allocation.average_bits == 4
    allocation.bits["0"][:20] = 8  # 20 of 40 rows of 20; the other layer is 5 x 40
    assert allocation.average_bits == (400 * 8 + 400 * 4 + 200 * 4) / 1000


@pytest.mark.parametrize("name", ["mlp", "net"])
def test_one_width_per_layer_within_the_budget(name):
    model, calibration = made(name)
    allocation = dpg.allocate(
        model, calibration, 5.2, group_size=32, levels=(4, 5, 8), granularity="layer"
    )
    assert {len(bits.unique()) for bits in allocation.bits.values()} == {1}
    assert {int(bits[0]) for bits in allocation.bits.values()} <= {4, 5, 8}
    stored, weights = spent(allocation)
    assert stored <= 5.2 * weights
    # between what blocks of rows achieve and one width for all layers
    rows = dpg.allocate(model, calibration, 5.2, group_size=32, levels=(4, 5, 8))
    even = dpg.allocate(model, calibration, 5, group_size=32, levels=(5,))
    whole = sum(allocation.damage.values())
    assert sum(rows.damage.values()) <= whole <= sum(even.damage.values())
    with pytest.raises(ValueError, match=r'"rows" or "layer"; got \'tensor\''):
        dpg.allocate(model, calibration, granularity="tensor")


def test_levels_that_may_be_given():
    model, calibration = made("wide")
    for levels in ((2, 4), (4, 2), [8, 2], (3, 3, 5), (4,)):
        bits = sorted(levels)[0] if len(set(levels)) == 1 else 4
        allocation = dpg.allocate(model, calibration, bits, "random", levels=levels)
        given = {b for layer in allocation.bits.values() for b in layer.tolist()}
        assert given <= set(levels)
        used, weights = spent(allocation)
        assert used <= bits * weights


@pytest.mark.parametrize("bits", BITS)
def test_uniform_gives_every_row_the_same(bits):
    model = net()
    allocation = dpg.uniform(model, bits)
    assert allocation.bits.keys() == named_layers(model).keys()
    assert all((given == bits).all() for given in allocation.bits.values())
    assert allocation.average_bits == bits
    assert allocation.criterion == "uniform"
    by_name = dpg.allocate(model, dpg.calibrate(model, [pictures()]), bits, "uniform")
    assert all(
        torch.equal(by_name.bits[n], given) for n, given in allocation.bits.items()
    )


BUDGETS = [1.99, 8.01, 0, -4, 16, nan, float("inf"), "4", None, True, False, [4]]


@pytest.mark.parametrize("bits", BUDGETS, ids=str)
def test_budgets_that_are_none(bits):
    model, calibration = made("mlp")
    sentence = "bits must be a budget from 2 to 8 bits per weight; got"
    with pytest.raises(ValueError, match=sentence):
        dpg.allocate(model, calibration, bits)
    with pytest.raises(ValueError, match=sentence):
        dpg.compress(model, [features()], bits)
    with pytest.raises(ValueError, match=sentence):
        check_budget(bits)
    if bits != [4]:
        with pytest.raises(ValueError, match="uniform bits must be one of"):
            dpg.uniform(model, bits)


@pytest.mark.parametrize("bits", [2, 8, 4.5, np.float64(3)])
def test_budgets_that_are_some(bits):
    check_budget(bits)
    with pytest.raises(ValueError, match="bits must be a budget from 4 to 4"):
        check_budget(bits, (4,))


@pytest.mark.parametrize("levels", [(), (1, 4), (2, 7), (4, 16)])
def test_levels_that_are_none(levels):
    model, calibration = made("mlp")
    with pytest.raises(
        ValueError, match=r"levels must be a subset of \(2, 3, 4, 5, 6, 8\)"
    ):
        dpg.allocate(model, calibration, 4, levels=levels)


@pytest.mark.parametrize("group_size", [0, 16, 48, 256, -64, 64.0, nan, "64", None])
def test_group_sizes_that_are_none(group_size):
    model, calibration = made("mlp")
    sentence = "group_size must be 32, 64 or 128; got"
    for call in (
        lambda: check_group_size(group_size),
        lambda: dpg.uniform(model, 4, group_size),
        lambda: dpg.allocate(model, calibration, 4, group_size=group_size),
        lambda: dpg.compress(model, [features()], group_size=group_size),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_a_criterion_that_is_not_known():
    model, calibration = made("mlp")
    with pytest.raises(
        UnknownNameError, match=r"'entropy' is not known; the known names are: .*,"
    ):
        dpg.allocate(model, calibration, 4, "entropy")


@pytest.mark.parametrize(
    "other", [mlp(width=41), twice(), net()], ids=lambda m: type(m)
)
def test_the_calibration_of_another_model(other):
    _, calibration = made("mlp")
    with pytest.raises(ValueError, match="calibration belongs to another model: layer"):
        dpg.allocate(other, calibration, 4)


def groups_of(model, x, **options):
    with dpg.DynamicParameterGroup(model, **options) as watch, torch.no_grad():
        model(x)
    return watch.groups()


def test_groups_give_their_bits():
    model = mlp(width=100)
    groups = groups_of(model, features(60))
    allocation = dpg.by_groups(model, groups, core=8, medium=4, low=2)
    for name, bits in allocation.bits.items():
        for group, given in (("core", 8), ("medium", 4), ("low", 2)):
            assert (bits[groups.indices(name, group)] == given).all()
    assert allocation.stored_bytes == dpg.bytes_of(dpg.convert(model, allocation))
    assert allocation.criterion == "groups"


def test_the_guides_core_group_in_full_precision_is_counted_but_not_converted():
    model = mlp(width=100)
    groups = groups_of(model, features(60), core_ratio=0.3)
    allocation = dpg.by_groups(model, groups)
    core = {name: int((bits == FLOAT).sum()) for name, bits in allocation.bits.items()}
    assert core == {"0": 30, "3": 2}
    # by hand: biases; core rows in float32; the rest in blocks of 16 rows
    expected = 4 * (100 + 5) + 4 * (30 * 20 + 2 * 100)
    for rows, columns, bits in ((48, 32, 4), (32, 32, 2), (16, 128, 4), (16, 128, 2)):
        groups_a_row = columns // allocation.group_sizes["0" if columns == 32 else "3"]
        expected += rows * (columns * bits // 8 + 2 * groups_a_row + 4)
    assert allocation.stored_bytes == expected
    with pytest.raises(ValueError, match="bits must be one of"):
        dpg.convert(model, allocation)
    simulated = dpg.simulate(model, allocation)
    for name in ("0", "3"):
        kept = allocation.bits[name] == FLOAT
        old, new = (
            model.get_submodule(name).weight,
            simulated.get_submodule(name).weight,
        )
        assert torch.equal(old[kept], new[kept])
        assert not torch.equal(old[~kept], new[~kept])


def test_all_in_full_precision_costs_what_the_model_costs():
    model = mlp()
    allocation = dpg.by_groups(model, groups_of(model, features()), 32, 32, 32)
    assert allocation.stored_bytes == allocation.original_bytes == dpg.bytes_of(model)


@pytest.mark.parametrize(
    "options",
    [
        {"core": 16},
        {"medium": 7},
        {"low": 0},
        {"core": "4"},
        {"low": nan},
        {"low": 2.5},
    ],
    ids=str,
)
def test_bits_of_groups_that_are_none(options):
    model = mlp()
    groups = groups_of(model, features())
    with pytest.raises(ValueError, match="core, medium and low must each be one of"):
        dpg.by_groups(model, groups, **options)


def test_groups_of_another_model():
    groups = groups_of(mlp(), features())
    for other in (mlp(width=41), twice()):
        with pytest.raises(ValueError, match="groups belong to another model"):
            dpg.by_groups(other, groups)


def test_bits_by_name_come_before_the_budget_and_are_not_of_it():
    model, calibration = made("net")
    free = dpg.allocate(model, calibration, 3)
    high = dpg.allocate(model, calibration, 3, layer_bits={"conv*": 8, "conv2": 2})
    assert set(high.bits["conv1"].tolist()) == set(high.bits["conv2"].tolist()) == {8}
    fixed = dpg.allocate(model, calibration, 3, layer_bits={"conv2": 2, "conv*": 8})
    assert set(fixed.bits["conv1"].tolist()) == {8}
    assert set(fixed.bits["conv2"].tolist()) == {2}  # the first match applies
    rest = {n: c for n, c in calibration.layers.items() if "conv" not in n}
    alone = dpg.allocate(model, dpg.Calibration(rest, 6), 3)
    for name, bits in alone.bits.items():
        assert torch.equal(bits, fixed.bits[name])
    assert fixed.damage["conv1"] < free.damage["conv1"]
    assert fixed.damage["conv2"] > high.damage["conv2"]
    same = dpg.uniform(model, 3, layer_bits={"head": 6})
    assert {n: set(b.tolist()) for n, b in same.bits.items()} == {
        n: {6 if n == "head" else 3} for n in free.bits
    }
    every = dpg.allocate(model, calibration, 3, layer_bits={"*": 5})
    assert all(set(b.tolist()) == {5} for b in every.bits.values())


@pytest.mark.parametrize(
    ("layer_bits", "sentence"),
    [
        ({"body": 4}, r"'body' matches none of its 4 layers \('conv1', \.\.\.\)"),
        (
            {"head": 7},
            r"layer_bits must be one of \(2, 3, 4, 5, 6, 8\); got 7 for 'head'",
        ),
        ({"head": True}, r"got True for 'head'"),
        ({"norm1": 4}, r"'norm1' matches none"),
    ],
)
def test_bits_by_name_that_are_refused(layer_bits, sentence):
    model, calibration = made("net")
    for call in (
        lambda: dpg.allocate(model, calibration, layer_bits=layer_bits),
        lambda: dpg.uniform(model, 4, layer_bits=layer_bits),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_uniform_bits_of_chosen_layers():
    chosen = dpg.uniform(net(), 4, filter=lambda name, layer: "conv" in name)
    assert list(chosen.bits) == ["conv1", "conv2"]


@pytest.mark.parametrize("model", [nn.ReLU(), nn.LSTM(3, 2)])
def test_a_model_with_nothing_to_compress(model):
    with pytest.raises(ValueError, match="model has no layer to compress"):
        dpg.uniform(model, 4)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["allocate", "uniform", "groups"])
def test_allocation_report(kind, language):
    catalog.set_language(language)
    model, calibration = made("net")
    allocation = {
        "allocate": lambda: dpg.allocate(model, calibration, 4),
        "uniform": lambda: dpg.uniform(model, 4),
        "groups": lambda: dpg.by_groups(model, groups_of(model, pictures())),
    }[kind]()
    check_report(allocation, language)
    frame = allocation.to_frame()
    counts = allocation.counts()
    assert counts.sum(axis=1).tolist() == [12, 20, 20, 4]
    for name, bits in allocation.bits.items():
        assert frame.loc[name, "average"] == pytest.approx(bits.double().mean().item())
        for b in counts.columns:
            assert (
                counts.loc[name, b] == frame.loc[name, f"{b}_bits"] == (bits == b).sum()
            )
    assert f"{allocation.average_bits:.2f}" in allocation.why()
    shares = [sum(bar.y[i] for bar in allocation.plot().data) for i in range(4)]
    assert shares == pytest.approx([1] * 4)


def test_why_names_all_the_layers_that_share_the_most_bits():
    bits = dict(zip("abcd", (8, 2, 8, 2), strict=True))
    rows = {name: torch.full((16,), of_layer) for name, of_layer in bits.items()}
    sizes, damage = dict.fromkeys(bits, 64), dict.fromkeys(bits, 0.0)
    shared = dpg.Allocation(rows, sizes, sizes, damage, "sensitivity", 1)
    assert "most in a, c (8.0)" in shared.why()
    assert "fewest in b, d (2.0)" in shared.why()
    equal = dpg.Allocation(
        dict.fromkeys(bits, rows["a"]), sizes, sizes, damage, "uniform", 1
    )
    assert "most in a, b, c (+1) (8.0)" in equal.why()
