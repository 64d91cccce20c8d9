"""What a profile contains, what it leaves unchanged, and what it refuses."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks

from deepseek_learn import ModelProfiler, catalog, dpg, zoo
from deepseek_learn.profiler import profile

from .profiled_models import Tied


def small():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(4 * 36, 3))  # fmt: skip


X = torch.randn(2, 1, 8, 8)


def state(model):
    return {
        "values": {k: v.clone() for k, v in model.state_dict().items()},
        "modes": [m.training for m in model.modules()],
        "gradients": [p.grad for p in model.parameters()],
        "hooks": [
            len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()
        ],
        "global": (
            len(hooks._global_forward_hooks), len(hooks._global_forward_pre_hooks)
        ),
        "random": torch.get_rng_state(),
    }  # fmt: skip


def changed(before, model):
    """The parts of the model's state that differ from before."""
    now = state(model)
    parts = [k for k in ("modes", "hooks", "global") if before[k] != now[k]]
    pairs = zip(before["gradients"], now["gradients"], strict=True)
    parts += ["gradients"] * any(x is not y for x, y in pairs)
    parts += ["random"] * (not torch.equal(before["random"], now["random"]))
    values, others = before["values"], now["values"]
    return parts + [k for k, v in values.items() if not torch.equal(v, others[k])]


@pytest.mark.parametrize("train", [False, True])
def test_the_model_is_as_it_was(train):
    model = small()
    model[1].eval()
    model(X).sum().backward()
    before = state(model)
    profile(model, X, train=train, repeats=1)
    assert changed(before, model) == []


class Changes(nn.Module):
    """Changes its buffers (one in place, one replaced) and its input in every call."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        self.calls += 1
        self.mean = 0.5 * self.mean + x.detach()
        if not x.requires_grad:
            x.mul_(2)
        return x * self.weight


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("leaf", [False, True])
def test_buffers_and_inputs_are_as_they_were(train, leaf):
    model, x = Changes(), torch.ones(3, requires_grad=leaf)
    before, mean = state(model), model.mean
    profile(model, x, train=train, repeats=2)
    assert changed(before, model) == []
    assert model.mean is mean
    assert torch.equal(x, torch.ones(3))
    assert x.grad is None


def test_a_buffer_made_in_inference_mode_is_no_obstacle():
    model = small()
    with torch.inference_mode():
        model[1].register_buffer("extra", torch.ones(2))
    before = state(model)
    profile(model, X, train=True, repeats=1)
    assert changed(before, model) == []


@pytest.mark.parametrize("outside", [False, True])
def test_layers_are_known_in_inference_mode(outside):
    model = small()
    if not outside:
        model.forward = torch.inference_mode()(model.forward)
    with torch.inference_mode(outside):
        result = profile(model, X, repeats=2)
    plain = profile(small(), X, repeats=1).to_frame()
    table = result.to_frame()
    for column in ("calls", "gflops", "parameters"):
        assert list(table[column]) == list(plain[column])
    assert (table["latency_ms"][["0", "4"]] > 0).all()


def test_examples_and_answers_of_unusual_kinds():
    lengths = torch.tensor([3, 2])
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 2, 4), lengths)
    steps = 3 + 2
    assert profile(nn.LSTM(4, 5), packed, repeats=1).macs >= steps * 4 * 5 * (4 + 5)

    @dataclass
    class Answer:
        logits: torch.Tensor
        more: dict

    model = nn.Linear(4, 4)
    wrapped = nn.Sequential(model)
    wrapped.forward = lambda x: Answer(model(x), {"y": None})
    assert profile(wrapped, torch.randn(2, 4), train=True, repeats=1).macs == 2 * 2 * 16


def test_complex_parameters_are_described():
    model = nn.Linear(2, 2, dtype=torch.complex64)
    with torch.no_grad():
        model.weight.fill_(3 - 4j)
    weight = profile(model, torch.randn(1, 2, dtype=torch.complex64)).weights["weight"]
    assert (weight["min"], weight["max"], weight["count"]) == (-4, 3, 4)


@pytest.mark.parametrize("train", [False, True])
def test_an_error_of_the_model_is_passed_on_and_hooks_are_gone(train):
    class Breaks(nn.Module):
        def forward(self, x):
            if (
                hooks._global_forward_hooks
            ):  # a plain pass works: in this one they are on
                raise RuntimeError("mid-forward")
            return x

    model = nn.Sequential(small(), Breaks())
    before = state(model)
    with pytest.raises(RuntimeError, match=r"^mid-forward$"):
        profile(model, X, train=train, repeats=1)
    assert changed(before, model) == []


def test_both_calls_say_the_same():
    a, b = ModelProfiler(small(), repeats=1)(X), profile(small(), X, repeats=1)
    assert (a.flops, a.parameters, a.peak_mib) == (b.flops, b.parameters, b.peak_mib)
    assert a.macs == 2 * 36 * 4 * 9 + 2 * 144 * 3


def test_layers_hold_what_their_operators_cost():
    result = profile(small(), X, repeats=3)
    table = result.to_frame()
    assert table["output_shape"].to_dict() == {
        "": "[2, 3]", "0": "[2, 4, 6, 6]", "1": "[2, 4, 6, 6]", "2": "[2, 4, 6, 6]",
        "3": "[2, 144]", "4": "[2, 3]",
    }  # fmt: skip
    assert table.loc["0", "type"] == "Conv2d"
    assert table.loc["0", "gmacs"] == pytest.approx(2 * 36 * 36 / 1e9)
    assert table.loc["4", "parameters"] == 144 * 3 + 3
    # float32: 128 inputs, 36 weights and 4 biases read; 2 x 4 x 36 written
    assert table.loc["0", "read_mib"] * 2**20 == 4 * (128 + 36 + 4)
    assert table.loc["0", "written_mib"] * 2**20 == 4 * 288
    assert table["share_%"].sum() == pytest.approx(100)
    assert (table["latency_ms"] >= 0).all()
    inclusive = result.to_frame(inclusive=True)
    assert inclusive.loc["", "gflops"] == pytest.approx(result.flops / 1e9)
    assert inclusive.loc["", "parameters"] == result.parameters
    operators = result.to_frame("operator")
    assert operators["latency_ms"].sum() == pytest.approx(table["latency_ms"].sum())
    with pytest.raises(ValueError, match='"layer" or "operator"; got \'module\''):
        result.to_frame("module")


def test_backward_operators_stand_under_their_layer():
    result = profile(small(), X, train=True, repeats=1)
    backward = result.operators[result.operators["phase"] == "backward"]
    flops = backward.groupby("layer")["flops"].sum()
    assert flops["4"] == 2 * 2 * 2 * 144 * 3  # gradients of weight and input
    assert flops["0"] == 2 * 2 * 36 * 36  # of the weight alone
    norms = backward[backward["operator"] == "native_batch_norm_backward"]
    assert set(norms["layer"]) == {"1"}


def test_checkpointing_is_counted_under_its_layer():
    from torch.utils.checkpoint import checkpoint

    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))

        def forward(self, x):
            return checkpoint(self.inside, x, use_reentrant=False)

    given = torch.randn(3, 8, requires_grad=True)
    result = profile(Saves(), given, train=True, repeats=1)
    macs = result.operators.groupby("layer")["flops"].sum() / 2 / (3 * 64)
    # forward and two gradients; the first layer runs again, the last need not
    assert macs[macs > 0].to_dict() == {"inside.0": 4, "inside.2": 3}


def test_output_shapes_of_several_tensors_and_of_several_calls():
    class Pairs(nn.Linear):
        def forward(self, x):
            return {"y": super().forward(x), "many": [x[0]] * 5, "none": None}

    layer = Pairs(4, 4)
    model = nn.Sequential(layer)
    model.forward = lambda x: (layer(x), layer(x[:1]), layer(x))
    table = profile(model, torch.randn(2, 4), repeats=1).to_frame(inclusive=True)
    once = "[2, 4], [4], [4], [4], ..."
    assert table.loc["0", "output_shape"] == f"{once} | {once.replace('2', '1', 1)}"
    assert table.loc["", "output_shape"] == once


@pytest.mark.slow
def test_input_size_in_place_of_an_example():
    by_example = profile(small(), X, repeats=1)
    for size in ((2, 1, 8, 8), [(2, 1, 8, 8)], torch.Size([2, 1, 8, 8])):
        result = profile(small(), input_size=size, repeats=1)
        assert result.flops == by_example.flops
    two = nn.Module()
    two.weight = nn.Parameter(torch.ones(4, 4, dtype=torch.float64))
    two.forward = lambda x, y: x @ two.weight + y
    result = profile(two, input_size=[(2, 4), (4,)], repeats=1)
    assert (result.macs, result.dtype) == (2 * 16, "float64")
    model, before = small(), torch.get_rng_state()
    profile(model, input_size=(2, 1, 8, 8), repeats=1)
    assert torch.equal(torch.get_rng_state(), before)
    for wrong in ((), (2, -1), (2, 1.5), ((2, 4), 3), "2,4", 3):
        with pytest.raises(ValueError, match="input_size must be a shape of positive"):
            profile(two, input_size=wrong)
    for options in ({}, {"example": X, "input_size": (2, 1, 8, 8)}):
        with pytest.raises(ValueError, match="exactly one of example and input_size"):
            profile(small(), **options)


def test_shared_modules_count_once_and_show_where_they_are_used():
    result = profile(Tied(), torch.randn(2, 4), repeats=1)
    table = result.to_frame()
    assert result.parameters == 16 + 4
    assert table.loc["first.0", "calls"] == table.loc["second.1", "calls"] == 1
    assert table.loc["second.1", "gmacs"] == table.loc["first.0", "gmacs"] > 0
    assert table.loc["second.1", "parameters"] == 0
    assert result.layers.loc["second.1", "shared_with"] == "first.0"
    assert result.layers.loc["head", "shared_with"] == "first.0"
    assert result.macs == 3 * 2 * 16


def test_a_module_called_twice_is_one_row_and_an_idle_one_too():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Linear(4, 4))
    model.forward = lambda x: layer(layer(x))
    result = profile(model, torch.randn(2, 4), repeats=1)
    assert result.to_frame().loc["0", "calls"] == 2
    assert result.layers.loc["1", "calls"] == 0
    assert result.macs == 2 * 2 * 16


class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, scale=None, extra=None):
        return {"y": self.layer(x) * (1 if scale is None else scale), "none": None}


@pytest.mark.parametrize("train", [False, True])
def test_inputs_in_every_form(train):
    x, scale = torch.randn(2, 4), torch.ones(1)
    for example in (x, (x, scale), {"x": x, "scale": scale}):
        assert profile(Takes(), example, train=train, repeats=1).parameters == 20
    result = ModelProfiler(Takes(), repeats=1, train=train)(x, scale=scale)
    assert result.to_frame().loc["layer", "calls"] == 1


def test_data_dependent_control_flow():
    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 8)

        def forward(self, x):
            return self.a(x) if x.sum() > 0 else self.b(x)

    for sign, macs in ((1, 16), (-1, 32)):
        result = profile(Chooses(), sign * torch.ones(1, 4), repeats=2)
        assert result.macs == macs
        assert result.notes == ()


def test_chance_is_the_same_in_every_pass():
    class Drops(nn.Module):
        def forward(self, x):
            return x @ x.T if torch.rand(()) > 0.5 else x

    result = profile(Drops(), torch.randn(3, 3), repeats=8)
    assert result.notes == ()
    assert result.operators["latency_ms"].notna().all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using `torch.compile")
def test_a_compiled_model_is_read_as_the_original():
    model = small()
    result = profile(torch.compile(model), X, repeats=1)
    assert result.flops == profile(model, X, repeats=1).flops
    assert "compiled" in result.notes[0]
    inside = nn.Sequential(torch.compile(nn.Linear(4, 4)))
    assert profile(inside, torch.randn(2, 4), repeats=1).macs == 2 * 16


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_scripted_model_is_counted_as_a_whole():
    model = small().eval()
    for scripted in (torch.jit.script(model), torch.jit.trace(model, X)):
        result = profile(scripted, X, repeats=1)
        assert result.flops == profile(model, X, repeats=1).flops
        assert "scripted" in result.notes[0]


def test_a_model_without_parameters():
    result = profile(nn.Sequential(nn.ReLU(), nn.Flatten()), X, repeats=1)
    assert (result.parameters, result.flops, result.weights) == (0, 0, {})
    assert result.plot_parameters().data == ()
    for metric in ("flops", "parameters", "latency", "bytes", "activation"):
        assert result.plot(metric) is not None
    empty = profile(nn.Identity(), X, repeats=1)
    assert empty.peak_mib == 0
    assert empty.verdicts() == []
    assert "Identity" in empty.why()
    assert empty.plot_memory() is not None
    assert empty.plot_roofline() is not None


def test_a_compressed_model_shows_its_weights_and_its_time():
    model = zoo.load("fashion_net_dpg")
    result = profile(model, zoo.example("fashion_net"), repeats=1)
    original = profile(zoo.load("fashion_net"), zoo.example("fashion_net"), repeats=1)
    assert result.parameters == original.parameters
    assert result.flops == original.flops
    packed = result.layers["parameter_bytes"].sum()
    assert packed < 0.3 * original.layers["parameter_bytes"].sum()
    first = "stages.0.conv1"
    stored = dpg.bytes_of(model.get_submodule(first))
    assert result.layers["parameter_bytes"][first] == stored
    assert (result.to_frame().query("type == 'DPGConv2d'")["latency_ms"] > 0).all()
    assert "stages.0.conv1.weight" in result.weights
    with pytest.raises(dpg.FrozenModelError, match="cannot train"):
        profile(zoo.load("fashion_net_dpg"), zoo.example("fashion_net"), train=True)


def test_refusals():
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module; got func"):
        profile(lambda x: x, X)
    for repeats in (0, 1.5, True):
        with pytest.raises(ValueError, match="repeats must be a positive integer"):
            profile(small(), X, repeats=repeats)
    frozen = small().requires_grad_(False)
    with pytest.raises(ValueError, match="requires an output that depends on"):
        profile(frozen, X, train=True)
    with pytest.raises(ValueError, match="metric must be one of"):
        profile(small(), X, repeats=1).plot("watts")
    with pytest.raises(ValueError, match='"icicle" or "treemap"'):
        profile(small(), X, repeats=1).plot(kind="pie")
    with pytest.raises(ValueError, match="top must be a positive integer"):
        profile(small(), X, repeats=1).plot_parameters(0)


def test_a_loss_of_ones_own():
    result = profile(
        small(), X, train=True, repeats=1, loss=lambda y: y.square().mean()
    )
    assert "pow" in set(result.operators["operator"])


@pytest.mark.slow
@pytest.mark.parametrize("language", catalog.LANGUAGES)
def test_pictures_and_page_in_both_languages(tmp_path, language):
    catalog.set_language(language)
    result = profile(small(), X, train=True, repeats=2)
    assert result.model in result.why()
    figures = [result.plot(m, k) for m in ("latency", "flops", "activation", "bytes")
               for k in ("icicle", "treemap")]  # fmt: skip
    figures += [result.plot_memory(), result.plot_roofline(), result.plot_parameters()]
    assert all(len(figure.data) for figure in figures)
    inclusive = result.to_frame(inclusive=True)
    tree = result.plot("flops").data[0]
    values = dict(zip(tree.ids, tree.values, strict=True))
    assert values["/"] == pytest.approx(result.flops / 1e9)
    assert values["4"] == pytest.approx(inclusive.loc["4", "gflops"])
    page = result.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("plotly-graph-div") >= 5
    assert "<script src=" not in page  # self-contained
    assert f'lang="{language}"' in page
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_comparison():
    a = profile(small(), X, repeats=1)
    wide = small()
    wide[0], wide[1] = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
    wide[4] = nn.Linear(8 * 36, 3)
    wide.append(nn.Softmax(1))
    comparison = a.compare(profile(wide, X, repeats=1))
    totals = comparison.totals()
    assert totals.loc["gflops", "b / a"] == pytest.approx(2)
    table = comparison.to_frame()
    assert table.loc["5", ("calls", "b")] == 1
    assert table["calls", "a"].isna()["5"]
    change = table["latency_ms", "b - a"].sum()
    sums = [p.to_frame()["latency_ms"].sum() for p in (comparison.a, comparison.b)]
    assert change == pytest.approx(sums[1] - sums[0])
    assert "2.00 x the FLOPs" in comparison.why()
    assert len(comparison.plot().data) == 2
    assert "b (Sequential)" in comparison._repr_html_()


def test_weights_are_described():
    model = nn.Linear(10, 100)
    with torch.no_grad():
        model.weight.copy_(torch.arange(1000).view(100, 10) / 999)
        model.bias.zero_()
    result = profile(model, torch.randn(1, 10), repeats=1).weights
    weight, bias = result["weight"], result["bias"]
    assert (weight["min"], weight["max"], weight["count"]) == (0, 1, 1000)
    assert weight["mean"] == pytest.approx(0.5)
    assert sum(weight["bins"]) == 1000
    assert max(weight["bins"]) - min(weight["bins"]) <= 1  # uniform
    assert bias["zeros"] == 1
