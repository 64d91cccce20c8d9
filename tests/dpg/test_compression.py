"""From a trained model to a packed one: what stays, what changes, what is refused."""

import copy
import io
import pickle

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import prune

from deepseek_learn import catalogue, dpg, zoo
from deepseek_learn.dpg import FrozenModelError
from deepseek_learn.dpg.layers import DPGLayer, packed_layers
from deepseek_learn.dpg.matrix import named_layers, weight_matrix
from deepseek_learn.dpg.rounding import BITS
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
    """`simulate` rounds a float copy; packed layers compute the same in another way."""
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
        wanted = dpg.quantise(weight, 5, 32).dequantise()
        assert torch.equal(packed.matrix.dequantise(), wanted)


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
        # each weight is off by less than its group's step, at most max |w| / 127
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
    theirs = {p.data_ptr() for p in (*model.parameters(), *model.buffers())}
    mine = {p.data_ptr() for p in (*result.model.parameters(), *result.model.buffers())}
    assert not theirs & mine
    model.train()  # still a model that can be trained
    model(x).sum().backward()
    assert not isinstance(model.conv1, DPGLayer)


def test_a_layer_used_twice_becomes_one_layer():
    small = dpg.convert(twice(), dpg.uniform(twice(), 4))
    assert small.first is small.second
    assert list(packed_layers(small)) == ["first", "head"]
    once = sum(dpg.bytes_of(layer) for layer in packed_layers(small).values())
    assert dpg.bytes_of(small) == once


def test_tied_weights_stay_in_float_and_the_report_says_so():
    model, x = decoder(tied=True), tokens()
    result = dpg.compress(model, [x])
    assert result.in_float == {"token": "tied", "position": "kind", "head": "tied"}
    assert result.model.head.weight is result.model.token.weight
    assert torch.equal(result.model.head.weight, model.head.weight)
    assert "3 module(s) stay in float, such as head" in result.why()
    kept = result.to_frame()["kept_as"]
    assert "another module uses this weight too" in kept["head"] == kept["token"]
    assert "neither a linear layer" in kept["position"]


def test_grouped_and_reflected_convolutions_stay_in_float():
    torch.manual_seed(0)
    reflected = nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect")
    depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    model = nn.Sequential(reflected, depthwise, nn.Conv2d(6, 4, 1), nn.Flatten()).eval()
    result = dpg.compress(model, [pictures()])
    assert result.in_float == {"0": "grouped", "1": "grouped"}
    for i in (0, 1):
        assert type(result.model[i]) is nn.Conv2d
        assert torch.equal(result.model[i].weight, model[i].weight)
    assert "a grouped convolution" in result.to_frame().loc["0", "kept_as"]
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
    wanted = small(x)
    for other in copies:
        assert torch.equal(other(x), wanted)
        assert dpg.bytes_of(other) == dpg.bytes_of(small)
        dpg.set_precision(other, 2, refined=False)
        assert not torch.equal(other(x), wanted)
    assert torch.equal(small(x), wanted)


@pytest.mark.parametrize("how", ["half", "bfloat16", "double"])
def test_a_model_in_another_dtype_keeps_its_planes(how):
    model, x = net(), pictures()
    small = dpg.convert(model, dpg.uniform(model, 4), refine=True)
    before = {k: v.clone() for k, v in small.state_dict().items() if ".matrix." in k}
    wanted = small(x)
    getattr(small, how)()
    assert all(torch.equal(small.state_dict()[k], v) for k, v in before.items())
    dtype = small.head.bias.dtype
    with torch.no_grad():
        y = small(x.to(dtype))
        # the float model's error in that dtype is the measure of ours
        theirs = (
            getattr(net(), how)()(x.to(dtype)).double() - net()(x).double()
        ).norm()
    assert y.dtype == dtype
    assert (y.double() - wanted.double()).norm() < 3 * theirs + 1e-5
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
        with pytest.raises(ValueError, match=r"allocation is of another model: .*'0'"):
            call(other, allocation)
        with pytest.raises(ValueError, match=r"allocation is of another model"):
            call(net(), allocation)
        with pytest.raises(ValueError, match=r"calibration is of another model: .*'0'"):
            call(model, allocation, calibration)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(bad):
    model = mlp()
    with torch.no_grad():
        model[3].weight[1, 1] = bad
    with pytest.raises(ValueError, match="weight must be finite numbers"):
        dpg.convert(model, dpg.uniform(model, 4))
    with pytest.raises(ValueError, match=r"not finite|hold NaN or infinity"):
        dpg.compress(model, [features()])


def test_what_compress_refuses():
    with pytest.raises(ValueError, match="batches must hold at least one input"):
        dpg.compress(mlp(), [])
    with pytest.raises(ValueError, match="model has no layer to compress"):
        dpg.compress(nn.Sequential(nn.ReLU()), [features()])
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        dpg.compress("resnet18", [features()])
    with pytest.raises(TypeError, match="batches must hold tensors"):
        dpg.compress(mlp(), ["picture.png"])
    x = features()
    x[2, 2] = float("nan")
    with pytest.raises(ValueError, match="layer '0': its inputs hold NaN"):
        dpg.compress(mlp(), [x])
    small = dpg.convert(mlp(), dpg.uniform(mlp(), 4))
    with pytest.raises(ValueError, match="model has no layer to compress"):
        dpg.compress(small, [features()])  # it is compressed already


def test_fashion_net():
    model, x = zoo.load("fashion_net"), torch.rand(4, 1, 28, 28)
    small = dpg.convert(model, dpg.uniform(model, 8))
    with torch.no_grad():
        error = (small(x) - model(x)).norm() / model(x).norm()
    assert error < 0.1
    assert len(packed_layers(small)) == len(named_layers(model))
    assert 0.25 < dpg.bytes_of(small) / dpg.bytes_of(model) < 0.32  # 8.25 of 32 bits


def test_resnet18():
    model, x = resnet(), pictures(2, size=(64, 64))
    calibration = dpg.calibrate(model, [x])
    allocation = dpg.allocate(model, calibration, 4, "frequency")
    small = dpg.convert(
        model, allocation
    )  # to nearest: large Cholesky factors are slow
    assert len(packed_layers(small)) == 21
    assert allocation.stored_bytes == dpg.bytes_of(small)
    with torch.no_grad():
        y, simulated = small(x), dpg.simulate(model, allocation)(x)
    torch.testing.assert_close(y, simulated, rtol=1e-3, atol=1e-3)


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
    with torch.no_grad():  # PyTorch's fast path reads weights itself
        fast = small(x)
        slow = small(x.clone().requires_grad_())
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
        assert (fast - model(x)).norm() < 0.05 * model(x).norm()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("name", ["mlp", "net", "tied"])
def test_compression_report(name, language):
    catalogue.set_language(language)
    build, inputs = NETWORKS[name]
    model = build()
    result = dpg.compress(model, [inputs(12)])
    check_report(result, language)
    frame = result.to_frame()
    assert set(frame.index) == {*packed_layers(result.model), *result.in_float}
    for layer, packed in packed_layers(result.model).items():
        assert frame.loc[layer, "stored_bytes"] == dpg.bytes_of(packed)
    assert f"{result.ratio:.1%}" in result.why()
    assert result.allocation.why() in result.why()
    if name == "mlp":  # nothing stays in float
        assert not result.in_float
        assert frame["stored_bytes"].sum() == result.stored_bytes
