"""The monitor agrees exactly with a direct count, and leaves no hooks behind."""

from functools import partial
from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn import catalog, dpg, zoo
from deepseek_learn.dpg import monitor
from deepseek_learn.dpg.activity import active
from deepseek_learn.dpg.groups import GROUPS
from deepseek_learn.dpg.kernels import can_count, relu_and_count
from tests.dpg.reports import check_report
from tests.dpg.small_models import features, mlp, net, pictures, resnet, twice

Monitor = dpg.DynamicParameterGroup


def direct(model, batches, counted):
    """Layer → (active, positions), from the outputs of the modules `counted`.

    `counted`: layer → the module whose output is the neurons' value.
    """
    totals = {}

    def count(name, channels_first, module, inputs, y):
        rows = y.movedim(1, -1) if channels_first else y
        rows = rows.reshape(-1, rows.shape[-1]).tolist()
        for row in rows:
            counts, positions = totals.get(name, ([0] * len(row), 0))
            counts = [c + (v > 0) for c, v in zip(counts, row, strict=True)]
            totals[name] = counts, positions + 1

    handles = []
    for name, module in counted.items():
        first = isinstance(module, nn.Conv2d | nn.BatchNorm2d)
        handles.append(module.register_forward_hook(partial(count, name, first)))
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for handle in handles:
        handle.remove()
    return totals


def check_counts(model, batches, counted):
    expected = direct(model, batches, counted)
    with Monitor(model) as watch, torch.no_grad():
        for batch in batches:
            model(batch)
    assert watch.positions == {name: p for name, (_, p) in expected.items()}
    for name, (counts, positions) in expected.items():
        exact = torch.tensor(counts, dtype=torch.float64) / positions
        assert torch.equal(watch.frequency(name), exact)
    return watch


def test_counts_of_a_network_with_and_without_norms_in_uneven_batches():
    model, x = net(), pictures(7)
    counted = {
        "conv1": model.norm1,
        "conv2": model.conv2,
        "shortcut": model.norm2,
        "head": model.head,
    }
    together = check_counts(model, [x], counted)
    uneven = check_counts(model, [x[:1], x[1:6], x[6:]], counted)
    last = check_counts(
        model, [x.contiguous(memory_format=torch.channels_last)], counted
    )
    for name in counted:
        assert torch.equal(together.frequency(name), uneven.frequency(name))
        # another layout may round differently: single values may change sign
        assert (together.frequency(name) - last.frequency(name)).abs().amax() < 0.05


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "shape", [(3, 5, 4, 6), (2, 1, 3, 3), (2, 5, 1, 1), (0, 5, 4, 4)]
)
def test_active_counts_channels_in_every_layout(shape, layout):
    y = torch.randn(shape).contiguous(memory_format=layout)
    y[:, :, :1] = 0  # zero is not active
    counts, positions = active(y, channels_first=True)
    assert counts.dtype == torch.int64
    assert counts.tolist() == [int((y[:, c] > 0).sum()) for c in range(shape[1])]
    assert positions == shape[0] * shape[2] * shape[3]


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (2, 3, 4, 5), (0, 5)])
def test_active_counts_the_last_axis_of_tokens(shape):
    y = torch.randn(shape)
    counts, positions = active(y, channels_first=False)
    assert counts.tolist() == (y.reshape(-1, 5) > 0).sum(0).tolist()
    assert positions == y.numel() // 5
    turned = torch.randn(3, 5, 4).transpose(1, 2)  # not contiguous
    assert active(turned, False)[0].tolist() == (turned > 0).sum((0, 1)).tolist()


def test_counts_do_not_overflow():
    counts, positions = active(torch.ones(1, 2, 20, 20), True)
    assert (counts.tolist(), positions) == ([400, 400], 400)  # bytes hold 255


def test_linear_layers_with_a_batch_norm():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(20, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)
    )
    check_counts(
        model.eval(), [features(11), features(2)], {"0": model[1], "3": model[3]}
    )


def test_a_norm_after_an_activation_is_not_the_layers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU(), nn.BatchNorm2d(9)).eval()
    check_counts(model, [pictures(), pictures(2)], {"0": model[0]})


class Crossed(nn.Module):
    """Both convolutions run before their norms; the second has more positions."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 1)
        self.norm_one, self.norm_two = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x):
        one, two = self.one(x), self.two(x)
        return self.norm_one(one).mean((2, 3)) + self.norm_two(two).mean((2, 3))


def test_norms_that_run_after_both_layers():
    torch.manual_seed(0)
    model = Crossed().eval()
    counted = {"one": model.norm_one, "two": model.norm_two}
    check_counts(model, [pictures(), pictures(3)], counted)


class Shared(nn.Module):
    """One norm that follows two layers, and once something that is not a layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(20, 20), nn.Linear(20, 20)
        self.norm = nn.BatchNorm1d(20)
        nn.init.normal_(self.norm.bias)

    def forward(self, x):
        return self.norm(self.two(self.norm(self.one(x)))) + self.norm(x)


def test_a_norm_that_follows_two_layers_and_something_else():
    torch.manual_seed(0)
    model, x = Shared().eval(), features()
    with Monitor(model) as watch, torch.no_grad():
        for batch in (x, x[:4]):
            model(batch)
    assert watch.positions == {"one": 34, "two": 34}
    with torch.no_grad():
        one = [model.norm(model.one(batch)) for batch in (x, x[:4])]
        two = [model.norm(model.two(y)) for y in one]
    for name, values in (("one", one), ("two", two)):
        expected = (torch.cat(values) > 0).sum(0).double() / 34
        assert torch.equal(watch.frequency(name), expected)


def test_two_norms_after_one_layer_both_count():
    torch.manual_seed(0)

    class Switched(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(20, 6)
            self.norms = nn.ModuleList(nn.BatchNorm1d(6) for _ in range(2))

        def forward(self, x):
            y = self.layer(x)
            return self.norms[0](y) + self.norms[1](y)

    model, x = Switched().eval(), features()
    nn.init.normal_(model.norms[1].bias)
    with Monitor(model) as watch, torch.no_grad():
        model(x)
        model(x)
    values = torch.cat([norm(model.layer(x)) for norm in model.norms])
    assert watch.positions == {"layer": 120}
    assert torch.equal(watch.frequency("layer"), (values > 0).double().mean(0))


def test_a_layer_used_twice_counts_twice():
    model = twice()
    counted = {"first": model.first, "head": model.head}
    watch = check_counts(model, [features(5), features(3)], counted)
    assert watch.positions == {"first": 16, "head": 8}


def test_a_model_in_training_mode_and_with_gradients():
    torch.manual_seed(0)
    model, x = net().train(), pictures()
    with Monitor(model) as watch:
        model(x).sum().backward()
    assert model.conv1.weight.grad is not None
    assert watch.positions["conv1"] == 6 * 8 * 7


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (lambda: zoo.load("fashion_net"), torch.rand(2, 1, 28, 28)),
        (resnet, torch.rand(1, 3, 64, 64)),
        (
            lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval(),
            torch.randn(2, 5, 16),
        ),
    ],
    ids=["fashion_net", "resnet18", "transformer"],
)
def test_known_networks_are_watched_without_a_change_of_their_answers(build, x):
    torch.manual_seed(0)
    model = build()
    x = x.clone().requires_grad_()  # a transformer's fast path runs no module
    expected = model(x)
    with Monitor(model) as watch:
        assert torch.equal(model(x), expected)
    groups = watch.groups()
    assert groups.group.keys() == watch.layers.keys()
    for name, frequency in groups.frequency.items():
        assert len(frequency) == len(watch.layers[name].weight)
        assert ((frequency >= 0) & (frequency <= 1)).all()


@pytest.mark.parametrize(
    ("high", "low"), [(0.7, 0.3), (0.5, 0.5), (1, 0), (0, 0), (1, 1)]
)
def test_thresholds_partition_the_neurons(high, low):
    model = mlp(width=101)
    with Monitor(model, high, low) as watch, torch.no_grad():
        model(features(60))
    groups = watch.groups()
    assert groups.thresholds == (high, low)
    for name, frequency in groups.frequency.items():
        members = [groups.indices(name, g).tolist() for g in GROUPS]
        assert sorted(chain(*members)) == list(range(len(frequency)))
        for neuron, f in enumerate(frequency.tolist()):
            expected = 0 if f > high else 2 if f < low else 1
            assert groups.group[name][neuron] == expected
            assert neuron in members[expected]


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("width", [1, 2, 3, 40, 101])
def test_a_core_ratio_takes_as_many_as_it_says_from_both_ends(ratio, width):
    model = mlp(width=width)
    with Monitor(model, core_ratio=ratio) as watch, torch.no_grad():
        model(features(60))
    groups = watch.groups()
    assert groups.thresholds is None
    for name, frequency in groups.frequency.items():
        core, medium, low = (groups.indices(name, g) for g in GROUPS)
        assert len(core) == len(low)
        assert abs(len(core) - ratio * len(frequency)) <= 0.5
        assert len(core) + len(medium) + len(low) == len(frequency)
        if len(core):
            rest = torch.cat([medium, low])
            assert frequency[core].min() >= frequency[rest].max()
            assert frequency[low].max() <= frequency[torch.cat([core, medium])].min()


def hooks(model):
    return sum(len(m._forward_hooks) for m in model.modules())


def test_attaching_twice_counts_once_and_detaching_leaves_no_hooks():
    model, x = net(), pictures()
    watch = Monitor(model)
    model(x)  # not monitored
    assert hooks(model) == 0
    watch.attach()
    once = hooks(model)
    assert watch.attach() is watch
    assert hooks(model) == once > 0
    model(x)
    positions = watch.positions
    assert positions["conv1"] == 6 * 8 * 7
    watch.detach()
    watch.detach()
    assert hooks(model) == 0
    model(x)
    assert watch.positions == positions
    with watch:  # counting continues where it stopped
        model(x)
    assert watch.positions == {name: 2 * p for name, p in positions.items()}
    watch.reset()
    assert set(watch.positions.values()) == {0}


def test_an_error_in_the_model_leaves_no_hooks():
    model = net()
    with pytest.raises(RuntimeError), Monitor(model):
        model(torch.ones(1, 5, 8, 8))
    assert hooks(model) == 0


def test_two_monitors_of_one_model_do_not_disturb_each_other():
    model, x = net(), pictures()
    with Monitor(model) as one, Monitor(model) as two:
        model(x)
    assert one.positions == two.positions
    assert all(torch.equal(one.frequency(n), two.frequency(n)) for n in one.layers)


@pytest.mark.parametrize(
    "options",
    [
        {"activation_threshold": 0.2},  # below low_threshold
        {"low_threshold": 0.8},
        {"low_threshold": -0.1},
        {"activation_threshold": 1.1},
        {"activation_threshold": float("nan")},
        {"low_threshold": float("nan")},
    ],
    ids=str,
)
def test_thresholds_that_are_none(options):
    with pytest.raises(ValueError, match=r"thresholds must be 0 <= low_threshold <="):
        Monitor(mlp(), **options)


@pytest.mark.parametrize("ratio", [0, -0.1, 0.51, 1, float("nan"), True])
def test_a_core_ratio_that_is_none(ratio):
    with pytest.raises(
        ValueError, match=r"core_ratio must be above 0 and at most 0\.5"
    ):
        Monitor(mlp(), core_ratio=ratio)


def test_asking_before_anything_ran():
    watch = Monitor(mlp())
    with pytest.raises(ValueError, match="no layer has run while it was monitored"):
        watch.groups()
    with pytest.raises(ValueError, match="layer '0' has not run while it was"):
        watch.frequency("0")
    with watch:
        watch.model(features())
    watch.groups()
    watch.reset()
    with pytest.raises(ValueError, match="no layer has run"):
        watch.groups()


def test_layers_and_groups_that_there_are_not():
    watch = Monitor(mlp())
    with watch:
        watch.model(features())
    with pytest.raises(ValueError, match=r"layer must be one of \['0', '3'\]; got '1'"):
        watch.frequency("1")
    groups = watch.groups()
    with pytest.raises(ValueError, match=r"layer must be one of \['0', '3'\]; got '1'"):
        groups.indices("1", "core")
    with pytest.raises(
        ValueError, match=r"group must be one of .*'core'.*; got 'high'"
    ):
        groups.indices("0", "high")


def test_models_that_it_cannot_watch():
    with pytest.raises(ValueError, match="model has no layer"):
        Monitor(nn.ReLU())
    with pytest.raises(TypeError, match="model must be"):
        Monitor("resnet18")


@pytest.mark.parametrize("ratio", [None, 0.3])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_groups_report(language, ratio):
    catalog.set_language(language)
    model = mlp()
    with Monitor(model, core_ratio=ratio) as watch:
        model(features(60))
    groups = watch.groups()
    check_report(groups, language)
    frame = groups.to_frame()
    assert frame["neurons"].tolist() == [40, 5]
    assert frame[[*GROUPS]].sum(axis=1).tolist() == pytest.approx([1, 1])
    members = [len(groups.indices("0", g)) for g in GROUPS]
    assert frame.loc["0", [*GROUPS]].tolist() == pytest.approx(
        [m / 40 for m in members]
    )
    every = sum(len(groups.indices(n, "core")) for n in ("0", "3"))
    assert f"{every / 45:.1%}" in groups.why()


def test_watching_one_call_in_so_many_counts_those_exactly():
    model, batches = mlp(), [features() + i for i in range(5)]
    with Monitor(model, every=2) as watch:
        for x in batches:
            model(x)
    with Monitor(model) as exact:
        for x in batches[::2]:
            model(x)
    assert watch.positions == exact.positions
    for name in watch.positions:
        assert torch.equal(watch.frequency(name), exact.frequency(name))


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "2"])
def test_watching_so_many_calls_that_are_none(every):
    with pytest.raises(ValueError, match="every must be an integer of at least 1"):
        Monitor(mlp(), every=every)


class Manual(nn.Module):
    """Runs the parts of a container itself, and changes an output in between."""

    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, x):
        y = self.parts[1](self.parts[0](x))
        y += 0.5
        return self.parts[2](y)


SEVERAL = nn.Conv2d(3, 8, 3)
FOLLOWED = {
    "layer": nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()),
    "in place": nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True)),
    "norm": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(True)),
    "nested": nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), nn.ReLU6()
    ),
    "no norm": nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)),
    "linear": nn.Sequential(
        nn.Flatten(), nn.Linear(3 * 80, 7), nn.BatchNorm1d(7), nn.ReLU()
    ),
    "not in a row": nn.Sequential(nn.Conv2d(3, 8, 3), nn.Identity(), nn.ReLU()),
    "other": nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU()),
    "two": nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), SEVERAL, nn.ReLU()),
    "manual": Manual(),
}


@pytest.mark.parametrize("name", FOLLOWED)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_relu_that_also_counts_changes_nothing(name, layout):
    torch.manual_seed(0)
    model, x = FOLLOWED[name].eval(), torch.randn(4, 3, 8, 10)
    x = x.contiguous(memory_format=layout)
    x[0, 0, 0, 0] = float("nan")
    outputs = {}

    def keep(layer, inputs, output):
        outputs.setdefault(layer, []).append(output.clone())

    watched = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    norms = [
        m for m in model.modules() if isinstance(m, (nn.BatchNorm2d, nn.BatchNorm1d))
    ]
    for module in (*watched, *norms):
        module.register_forward_hook(keep)
    with torch.inference_mode():
        expected = model(x.clone())
        outputs.clear()
        with Monitor(model) as watch:
            for _ in range(3):
                y = model(x.clone())
                np.testing.assert_array_equal(y.numpy(), expected.numpy())
                assert y.stride() == expected.stride()
        assert not any(m._forward_pre_hooks for m in model.modules())
    # a norm that comes after an activation function is not the layer's
    is_normed = bool(norms) and name != "no norm"
    for layer_name, layer in zip(watch.layers, watched, strict=True):
        values = (
            torch.stack(outputs[norms[0] if is_normed else layer]) > 0
        )  # [calls, B, N]
        axes = [axis for axis in range(values.dim()) if axis != 2]
        assert torch.equal(watch.frequency(layer_name), values.double().mean(axes))


def test_a_relu_counts_where_it_can(monkeypatch):
    """Only in inference mode, where there are no gradients."""
    if not can_count(torch.zeros(1)):
        pytest.skip("the C++ kernel is not available")
    used = []
    monkeypatch.setattr(
        monitor, "relu_and_count", lambda *args: used.append(1) or relu_and_count(*args)
    )
    model, x = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval(),
        pictures(),
    )
    with Monitor(model) as watch:
        model(x).sum().backward()
        assert not used
        with torch.no_grad():
            model(x)
        assert not used
        with torch.inference_mode():
            model(x)
    assert len(used) == 1
    assert watch.positions == {"0": 3 * len(x) * 6 * 5}


def test_an_error_before_the_relu_loses_no_count():
    torch.manual_seed(0)
    layer, relu = nn.Conv2d(3, 8, 3), nn.ReLU()
    model, x = nn.Sequential(layer, relu).eval(), pictures(2)

    def refuse(module, inputs):
        raise RuntimeError("broken")

    with Monitor(model) as watch, torch.inference_mode():
        handle = relu.register_forward_pre_hook(refuse)
        with pytest.raises(RuntimeError, match="broken"):
            model(x)
        handle.remove()
        assert watch.positions == {"0": 2 * 6 * 5}
        model(x)
    expected = (layer(x) > 0).double().mean((0, 2, 3))
    assert torch.equal(watch.frequency("0"), expected)
    assert watch.positions == {"0": 4 * 6 * 5}


def test_outputs_that_do_not_reach_their_relu_are_counted_as_they_were():
    """A shared layer, a ReLU with another hook, and parts that run on their own."""
    torch.manual_seed(0)
    shared = nn.Conv2d(3, 3, 3, padding=1)
    x = torch.randn(4, 3, 8, 8)
    twice = nn.Sequential(
        shared, nn.ReLU(), shared, nn.Hardsigmoid(inplace=True)
    ).eval()
    with torch.inference_mode(), Monitor(twice) as watch:
        twice(x)
        first = shared(x)
        second = shared(first.relu())
    expected = (torch.cat([first, second]) > 0).double().mean((0, 2, 3))
    with torch.inference_mode():
        watch.reset()
        with watch:
            twice(x)
    assert torch.equal(watch.frequency("0"), expected)

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(True))

        def forward(self, x):
            y = self.block(x)
            y += 10
            return y

    model = Residual().eval()
    one, other = Monitor(model), Monitor(model)
    with torch.inference_mode(), one, other:
        model(x)
        model(x)
    assert torch.equal(one.frequency("block.0"), other.frequency("block.0"))
    expected = (model.block[0](x) > 0).double().mean((0, 2, 3))
    assert torch.equal(one.frequency("block.0"), expected)


def test_a_trace_of_a_watched_model_has_its_relu():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval(), pictures()
    for context in (torch.no_grad, torch.inference_mode):
        with Monitor(model), context():
            traced = torch.jit.trace(model, x, check_trace=False)
        with torch.no_grad():
            assert torch.equal(traced(x), model(x))


def test_an_error_in_a_container_ends_it():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(True)).eval(), pictures()
    broken = [True]

    def refuse(layer, inputs, output):
        if broken.pop() if broken else False:
            raise RuntimeError("broken")

    with Monitor(model) as watch, torch.inference_mode():
        model[0].register_forward_hook(refuse)
        with pytest.raises(RuntimeError, match="broken"):
            model(x)
        y = model[0](x)
        expected = (y > 0).double().mean((0, 2, 3))
        y.fill_(1)
        model(x)
    assert torch.equal(watch.frequency("0"), expected)
