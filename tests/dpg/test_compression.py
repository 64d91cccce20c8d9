"""Compressing a trained model: what is preserved, what changes, and the errors."""

import copy
import io
import pickle

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import prune

from deepseek_learn import catalog, dpg, zoo
from deepseek_learn.bar import Bar
from deepseek_learn.dpg import FrozenModelError, compression
from deepseek_learn.dpg.codes import BITS
from deepseek_learn.dpg.layers import DPGLayer, packed_layers
from deepseek_learn.dpg.matrix import named_layers, weight_matrix
from tests.dpg.reports import check_report
from tests.dpg.small_models import (
    decoder,
    features,
    mlp,
    net,
    pictures,
    resnet,
    tokens,
    twice,
    waveforms,
    waves,
)


@pytest.fixture(autouse=True)
def exact():
    with dpg.use_backend("torch"):
        yield


def transformer():
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()


def sequences(count=6):
    return torch.randn(count, 5, 16, generator=torch.Generator().manual_seed(1))


NETWORKS = {
    "waves": (waves, waveforms),
    "mlp": (mlp, features),
    "net": (net, pictures),
    "decoder": (decoder, tokens),
    "tied": (lambda: decoder(tied=True), tokens),
    "twice": (twice, features),
    "transformer": (transformer, sequences),
    "linear": (lambda: nn.Linear(20, 7), features),
}


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_answers_are_those_of_the_rounded_weights(name, refine):
    """`simulate` rounds a float copy; packed layers compute the same differently."""
    build, inputs = NETWORKS[name]
    model, x = build(), inputs()
    calibration = dpg.calibrate(model, [x])
    allocation = dpg.allocate(model, calibration, 4)
    small = dpg.convert(model, allocation, calibration, refine)
    rounded = dpg.simulate(model, allocation, calibration)
    with torch.no_grad():
        exact = rounded.double()(x if x.dtype == torch.int64 else x.double())
        if refine:
            whole = (small(x) - model(x)).abs().amax()
            dpg.set_precision(small, refined=False)
            assert whole < (small(x) - model(x)).abs().amax()
        torch.testing.assert_close(small(x).double(), exact, rtol=1e-4, atol=1e-5)
    for layer, packed in packed_layers(small).items():
        weight = rounded.get_submodule(layer).weight
        assert torch.equal(packed.weight.double(), weight)


def test_without_a_calibration_weights_are_rounded_to_nearest():
    model = net()
    small = dpg.convert(model, dpg.uniform(model, 5, 32))
    for name, packed in packed_layers(small).items():
        weight = weight_matrix(named_layers(model)[name])
        expected = dpg.quantize(weight, 5, 32).dequantize()
        assert torch.equal(packed.matrix.dequantize(), expected)


def test_calibrated_rounding_is_used_where_there_is_a_calibration():
    model, x = mlp(width=64), features(200)
    calibration, allocation = dpg.calibrate(model, [x]), dpg.uniform(model, 3)
    plain, calibrated = (dpg.convert(model, allocation, c) for c in (None, calibration))
    with torch.no_grad():
        lost = [(s[0](x) - model[0](x)).square().sum() for s in (plain, calibrated)]
    assert lost[1] < lost[0]


def test_eight_bits_are_near_the_original():
    model = mlp()
    small = dpg.convert(model, dpg.uniform(model, 8, 32))
    for name in ("0", "3"):
        layer, x = (
            model.get_submodule(name),
            features(columns=20 if name == "0" else 40),
        )
        rows = weight_matrix(layer)
        # each weight's error is below its group's step, at most max |w| / 127
        step = rows.abs().amax(1) / 127
        limit = x.abs().sum(1, keepdim=True) * step
        with torch.no_grad():
            error = (small.get_submodule(name)(x) - layer(x)).abs()
        assert (error <= limit + 1e-5).all()
    answers = [
        (
            dpg.convert(model, dpg.uniform(model, b))(features()) - model(features())
        ).norm()
        for b in BITS
    ]
    assert answers[-1] < answers[2] < answers[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_compress_is_calibrate_allocate_convert(name):
    build, inputs = NETWORKS[name]
    model, x = build(), inputs(12)
    result = dpg.compress(
        model, [x], bits=4, criterion="frequency×error", group_size=32
    )
    calibration = dpg.calibrate(model, [x])
    allocation = dpg.allocate(model, calibration, 4, "frequency×error", 32)
    for layer, bits in allocation.bits.items():
        assert torch.equal(result.allocation.bits[layer], bits)
    small = dpg.convert(model, allocation, calibration)
    with torch.no_grad():
        assert torch.equal(small(x), result.model(x))
    assert result.stored_bytes == dpg.bytes_of(result.model) == allocation.stored_bytes
    assert result.original_bytes == dpg.bytes_of(model)
    assert result.ratio == result.stored_bytes / result.original_bytes
    assert not any(p.requires_grad for p in result.model.parameters())


def test_the_original_stays_as_it_is():
    model, x = net().train(), pictures()
    model.norm1.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    result = dpg.compress(model, [x])
    dpg.simulate(model, result.allocation)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert all(p.requires_grad for p in model.parameters())
    reference = {p.data_ptr() for p in (*model.parameters(), *model.buffers())}
    mine = {p.data_ptr() for p in (*result.model.parameters(), *result.model.buffers())}
    assert not reference & mine
    model.train()  # still a model that can be trained
    model(x).sum().backward()
    assert not isinstance(model.conv1, DPGLayer)


def test_a_layer_used_twice_becomes_one_layer():
    small = dpg.convert(twice(), dpg.uniform(twice(), 4))
    assert small.first is small.second
    assert list(packed_layers(small)) == ["first", "head"]
    once = sum(dpg.bytes_of(layer) for layer in packed_layers(small).values())
    assert dpg.bytes_of(small) == once


def test_a_tied_embedding_and_head_are_one_packed_matrix():
    model, x = decoder(tied=True), tokens()
    result = dpg.compress(model, [x], bits=8)
    small = result.model
    assert result.in_float == {}
    assert small.head.matrix is small.token.matrix
    names = "position", "token", "head"
    assert set(names) <= packed_layers(small).keys()
    assert [type(small.get_submodule(n)).__name__ for n in names] == [
        *("DPGEmbedding", "DPGEmbedding", "DPGLinear")
    ]
    # stored once: 16 padded rows of 32 codes, scales, order
    assert dpg.bytes_of(small.head) == 16 * (32 + 2 + 4)
    assert dpg.bytes_of(small) == result.stored_bytes == result.allocation.stored_bytes
    frame = result.to_frame()
    assert frame.loc["token", "stored_bytes"] == 0
    assert frame.loc["head", "stored_bytes"] == 16 * (32 + 2 + 4)
    assert frame.loc["token", "average_bits"] == frame.loc["head", "average_bits"]
    assert "the same as head" in frame.loc["token", "kept_as"]
    with torch.no_grad():
        assert (small(x) - model(x)).norm() < 0.05 * model(x).norm()


def test_weights_of_other_names_stay_in_float_and_the_report_says_how_much():
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.pair = nn.Bilinear(16, 16, 16)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            x = self.attention(x, x, x)[0]
            return self.head(self.pair(x, x)[:, -1])

    result = dpg.compress(Net().eval(), [sequences()], bits=8)
    assert result.in_float == {
        "attention": "kind",
        "attention.out_proj": "kind",
        "pair": "kind",
    }
    frame = result.to_frame()
    own = {"attention": 3 * 16 * 17, "attention.out_proj": 16 * 17}
    own["pair"] = 16 * 16 * 16 + 16
    assert {n: frame.loc[n, "stored_bytes"] for n in own} == {
        name: 4 * count for name, count in own.items()
    }
    share = 4 * sum(own.values()) / result.stored_bytes
    assert f"3 module(s) stay in float and take {share:.1%}" in result.why()
    assert "the largest is pair (float: not a plain linear layer" in result.why()


def test_a_filter_and_bits_by_name():
    model, x = decoder(tied=True), tokens(12)
    result = dpg.compress(
        model,
        [x],
        bits=3,
        filter=lambda name, layer: not name.startswith("blocks.0."),
        layer_bits={"token": 8, "blocks.?.attention.*": 6, "blocks.1.*": 2},
        progress=False,
    )
    bits = {n: set(b.tolist()) for n, b in result.allocation.bits.items()}
    assert bits.pop("position") <= {2, 3, 4, 5, 6, 8}  # covered by the budget
    assert bits == {
        "head": {8},  # it shares the token embedding's matrix
        "blocks.1.attention.qkv": {6},
        "blocks.1.attention.out": {6},
        "blocks.1.up": {2},
        "blocks.1.down": {2},
    }
    assert set(result.in_float.values()) == {"filtered"}
    assert result.in_float.keys() == {
        n for n in named_layers(model) if n.startswith("blocks.0.")
    }
    assert type(result.model.blocks[0].up) is nn.Linear
    assert "excluded by `filter`" in result.to_frame().loc["blocks.0.up", "kept_as"]


@pytest.mark.parametrize("criterion", ["sensitivity", "uniform"])
def test_a_filtered_tied_matrix_stays_in_float_under_both_names(criterion):
    model = decoder(tied=True)
    result = dpg.compress(
        model, [tokens()], criterion=criterion, filter=lambda name, m: name != "head"
    )
    assert result.in_float == {"head": "filtered", "token": "filtered"}
    assert result.model.head.weight is result.model.token.weight


@pytest.mark.parametrize("criterion", ["sensitivity", "uniform"])
def test_the_layers_are_looked_up_once(criterion):
    calls = []

    def selects(name, layer):
        calls.append(name)
        return name != "0"

    result = dpg.compress(mlp(), [features()], criterion=criterion, filter=selects)
    assert calls == ["0", "3"]
    assert list(result.allocation.bits) == ["3"]


def test_rounding_to_nearest_takes_no_correlations(monkeypatch):
    model, x = mlp(width=64), features(200)
    small = dpg.compress(model, [x], bits=3, rounding="nearest").model
    calibration = dpg.calibrate(model, [x], correlations=False)
    allocation = dpg.allocate(model, calibration, 3)
    for name, packed in packed_layers(small).items():
        weight = weight_matrix(named_layers(model)[name])
        diagonal = calibration.layers[name].second_moment
        codes = dpg.quantize(weight, allocation.bits[name], 64, diagonal)
        group = allocation.group_sizes[name]
        codes = dpg.quantize(weight, allocation.bits[name], group, diagonal)
        assert torch.equal(packed.matrix.dequantize(), codes.dequantize())
    lost = [
        (dpg.compress(model, [x], bits=3, rounding=r).model(x) - model(x)).norm()
        for r in ("gptq", "nearest")
    ]
    assert lost[0] < lost[1]
    with pytest.raises(
        ValueError, match=r"rounding must be one of .*'gptq', 'nearest'"
    ):
        dpg.compress(model, [x], rounding="up")


class Steps(Bar):
    """A progress bar that records its calls and shows nothing."""

    made: list = []

    def __init__(self, total, show, label):
        super().__init__(total, show, label)
        self.done = 0.0
        Steps.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def advance(self, steps):
        assert steps >= 0
        self.done += steps


@pytest.mark.parametrize("batches", [list, iter])
def test_a_bar_shows_how_far_it_is(monkeypatch, batches):
    Steps.made = []
    monkeypatch.setattr(compression, "Bar", Steps)
    x = features()
    dpg.compress(mlp(), batches([x, x]))
    dpg.compress(mlp(), batches([x, x]), progress=True)
    monkeypatch.setattr(compression, "SHOW_BAR_PARAMETERS", 1000)
    dpg.compress(mlp(), batches([x]))
    assert [bar.show for bar in Steps.made] == [False, True, True]
    for bar in Steps.made:
        assert bar.done == pytest.approx(bar.total)


def test_grouped_convolutions_stay_in_float():
    torch.manual_seed(0)
    reflected = nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect")
    depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    model = nn.Sequential(reflected, depthwise, nn.Conv2d(6, 4, 1), nn.Flatten()).eval()
    result = dpg.compress(model, [pictures()])
    assert result.in_float == {"1": "grouped"}
    assert type(result.model[1]) is nn.Conv2d
    assert torch.equal(result.model[1].weight, model[1].weight)
    assert result.to_frame().loc["1", "kept_as"] == "float: a grouped convolution"
    with torch.no_grad():
        error = (result.model(pictures()) - model(pictures())).norm()
        assert error < 0.2 * model(pictures()).norm()


def test_pruned_layers_stay_in_float_until_pruning_is_made_permanent():
    model = mlp()
    prune.l1_unstructured(model[0], "weight", 0.5)
    result = dpg.compress(model, [features()])
    assert list(packed_layers(result.model)) == ["3"]
    assert "0" in result.in_float
    prune.remove(model[0], "weight")
    result = dpg.compress(model, [features()])
    assert list(packed_layers(result.model)) == ["0", "3"]
    zeros = model[0].weight == 0
    assert zeros.double().mean() == pytest.approx(0.5)


def modes(model):
    return [m.training for m in model.modules()]


@pytest.mark.parametrize("name", ["mlp", "decoder", "transformer", "linear"])
def test_a_compressed_model_does_not_train_and_nothing_is_changed(name):
    model = NETWORKS[name][0]().train()
    small = dpg.convert(model, dpg.uniform(model, 4))
    assert modes(small) == [False] * len(modes(small))
    copies = [small, copy.deepcopy(small), pickle.loads(pickle.dumps(small))]
    for each in copies:
        with pytest.raises(
            FrozenModelError, match="a DPG-compressed model cannot train"
        ):
            each.train()
        with pytest.raises(FrozenModelError):
            each.train(True)
        assert modes(each) == [False] * len(modes(small))
        assert each.eval() is each
        assert each.train(False) is each


@pytest.mark.parametrize("name", NETWORKS)
def test_copies_and_pickles_answer_alike(name):
    build, inputs = NETWORKS[name]
    model, x = build(), inputs()
    small = dpg.convert(model, dpg.uniform(model, 4), refine=True)
    file = io.BytesIO()
    torch.save(small, file)
    file.seek(0)
    copies = [
        copy.deepcopy(small),
        pickle.loads(pickle.dumps(small)),
        torch.load(file, weights_only=False),
    ]
    expected = small(x)
    for other in copies:
        assert torch.equal(other(x), expected)
        assert dpg.bytes_of(other) == dpg.bytes_of(small)
        dpg.set_precision(other, 2, refined=False)
        assert not torch.equal(other(x), expected)
    assert torch.equal(small(x), expected)


@pytest.mark.parametrize("how", ["half", "bfloat16", "double"])
def test_a_model_in_another_dtype_keeps_its_planes(how):
    model, x = net(), pictures()
    small = dpg.convert(model, dpg.uniform(model, 4), refine=True)
    before = {k: v.clone() for k, v in small.state_dict().items() if ".matrix." in k}
    expected = small(x)
    getattr(small, how)()
    assert all(torch.equal(small.state_dict()[k], v) for k, v in before.items())
    dtype = small.head.bias.dtype
    with torch.no_grad():
        y = small(x.to(dtype))
        # the bound is a multiple of the float model's error in that dtype
        reference = (
            getattr(net(), how)()(x.to(dtype)).double() - net()(x).double()
        ).norm()
    assert y.dtype == dtype
    assert (y.double() - expected.double()).norm() < 3 * reference + 1e-5
    small.float()
    assert all(torch.equal(small.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_that_comes_in_another_dtype(dtype):
    model, x = mlp().to(dtype), features().to(dtype)
    result = dpg.compress(model, [x])
    assert result.model(x).dtype == dtype
    assert result.original_bytes == 1045 * torch.finfo(dtype).bits // 8
    simulated = dpg.simulate(model, result.allocation)
    assert simulated[0].weight.dtype == dtype


def test_an_allocation_or_a_calibration_of_another_model():
    model, other = mlp(), mlp(width=41)
    allocation, calibration = dpg.uniform(model, 4), dpg.calibrate(other, [features()])
    for call in (dpg.convert, dpg.simulate):
        with pytest.raises(
            ValueError, match=r"allocation belongs to another model: .*'0'"
        ):
            call(other, allocation)
        with pytest.raises(ValueError, match=r"allocation belongs to another model"):
            call(net(), allocation)
        with pytest.raises(
            ValueError, match=r"calibration belongs to another model: .*'0'"
        ):
            call(model, allocation, calibration)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(bad):
    model = mlp()
    with torch.no_grad():
        model[3].weight[1, 1] = bad
    with pytest.raises(ValueError, match="weight must be finite numbers"):
        dpg.convert(model, dpg.uniform(model, 4))
    with pytest.raises(ValueError, match=r"not finite|contain NaN or infinity"):
        dpg.compress(model, [features()])


def test_what_compress_refuses():
    with pytest.raises(ValueError, match="batches must contain at least one input"):
        dpg.compress(mlp(), [])
    with pytest.raises(ValueError, match="model has no layer to compress"):
        dpg.compress(nn.Sequential(nn.ReLU()), [features()])
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        dpg.compress("resnet18", [features()])
    with pytest.raises(TypeError, match="batches must contain tensors"):
        dpg.compress(mlp(), ["picture.png"])
    x = features()
    x[2, 2] = float("nan")
    with pytest.raises(ValueError, match="the inputs of layer '0' contain NaN"):
        dpg.compress(mlp(), [x])
    small = dpg.convert(mlp(), dpg.uniform(mlp(), 4))
    with pytest.raises(ValueError, match=r"is already DPG-compressed\. Pass the"):
        dpg.compress(small, [features()])


def test_fashion_net():
    model, x = zoo.load("fashion_net"), torch.rand(4, 1, 28, 28)
    small = dpg.convert(model, dpg.uniform(model, 8))
    with torch.no_grad():
        error = (small(x) - model(x)).norm() / model(x).norm()
    assert error < 0.1
    assert len(packed_layers(small)) == len(named_layers(model))
    assert 0.25 < dpg.bytes_of(small) / dpg.bytes_of(model) < 0.32  # 8.25 of 32 bits


@pytest.mark.slow
def test_resnet18():
    model, x = resnet(), pictures(2, size=(64, 64))
    calibration = dpg.calibrate(model, [x])
    allocation = dpg.allocate(model, calibration, 4, "frequency")
    small = dpg.convert(
        model, allocation
    )  # nearest, because large Cholesky factors are slow
    assert len(packed_layers(small)) == 21
    assert allocation.stored_bytes == dpg.bytes_of(small)
    with torch.no_grad():
        y, simulated = small(x), dpg.simulate(model, allocation)(x)
    torch.testing.assert_close(y, simulated, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_resnet50_is_converted():
    model = torchvision.models.resnet50()
    allocation = dpg.uniform(model, 4)
    small = dpg.convert(model, allocation)
    assert len(packed_layers(small)) == 54
    assert allocation.stored_bytes == dpg.bytes_of(small)


def test_a_stack_of_transformer_layers():
    torch.manual_seed(0)
    model = nn.TransformerEncoder(transformer(), 2, enable_nested_tensor=False).eval()
    small = dpg.convert(model, dpg.uniform(model, 8))
    assert list(packed_layers(small)) == [
        f"layers.{i}.linear{j}" for i in (0, 1) for j in (1, 2)
    ]
    x = sequences()
    with torch.no_grad():  # PyTorch's fast path reads the weights directly
        fast = small(x)
        slow = small(x.clone().requires_grad_())
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
        assert (fast - model(x)).norm() < 0.05 * model(x).norm()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["mlp", "net", "tied"])
def test_compression_report(name, language):
    catalog.set_language(language)
    build, inputs = NETWORKS[name]
    model = build()
    result = dpg.compress(model, [inputs(12)])
    check_report(result, language)
    frame = result.to_frame()
    assert set(frame.index) == {*packed_layers(result.model), *result.in_float}
    for layer in result.allocation.bits:
        packed = result.model.get_submodule(layer)
        assert frame.loc[layer, "stored_bytes"] == dpg.bytes_of(packed)
    assert frame["stored_bytes"].sum() <= result.stored_bytes
    assert f"{result.ratio:.1%}" in result.why()
    assert result.allocation.why() in result.why()
    if name == "mlp":  # nothing stays in float
        assert not result.in_float
        assert frame["stored_bytes"].sum() == result.stored_bytes


@pytest.mark.parametrize("build", [mlp, net, decoder])
def test_a_network_without_values_is_refused(build):
    inputs = {mlp: features, net: pictures, decoder: tokens}[build]()
    with torch.device("meta"):
        model = build()
    sentence = "on the meta device: load the trained weights first"
    with pytest.raises(ValueError, match=sentence):
        dpg.compress(model, [inputs])
    for function in (dpg.convert, dpg.simulate):
        with pytest.raises(ValueError, match=sentence):
            function(model, dpg.uniform(model, 4))
