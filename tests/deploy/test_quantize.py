"""INT8 and half precision: the contents of the file and its outputs."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from deepseek_learn.deploy import Quantizer, Scheme, comparison, export, to_onnx
from deepseek_learn.deploy.quantize import half_precision, normalized_error
from deepseek_learn.deploy.runtimes import openvino_runner, runner
from deepseek_learn.errors import UnknownNameError

NVIDIA = Scheme(symmetric=True, float_weights=True, float_biases=True)


class Net(nn.Module):
    """Two convolutions, a shared one, a residual sum and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.same = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        x = x + torch.relu(self.same(self.same(x)))
        return self.head(x.mean((2, 3)))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(3, 6)

    def forward(self, x, *, y):
        return self.a(x) + self.b(y)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = Net()
    for _ in range(20):
        model(torch.randn(16, 3, 12, 12))  # batch statistics
    model.eval()
    x = torch.randn(4, 3, 12, 12)
    return model, x, to_onnx(model, x[:1])


def held(proto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def test_layers_have_the_names_of_the_model(net):
    _, x, proto = net
    assert Quantizer(proto, [x]).layers == ["stem.0", "same", "same#2", "head"]


@pytest.mark.parametrize("scheme", [Scheme(), Scheme(symmetric=True), NVIDIA])
def test_int8_answers_nearly_the_same_in_a_smaller_file(net, scheme):
    model, x, proto = net
    small = Quantizer(proto, [x], scheme).int8()
    onnx.checker.check_model(small)
    with torch.no_grad():
        expected = [[model(x).numpy()]]
    assert normalized_error([runner(small)(x)], expected) < 5e-3
    assert normalized_error([runner(small)(x[:1])], [[expected[0][0][:1]]]) < 5e-3
    weights = [a for name, a in held(small).items() if "weight" in name and a.ndim > 1]
    assert {a.dtype for a in weights} == {
        np.dtype("f4" if scheme.float_weights else "i1")
    }


def test_the_normalized_error_is_that_of_all_outputs_together():
    answers, truth = (
        [[np.ones(2), np.array([5.0])]],
        [[np.array([1.0, 4]), np.zeros(1)]],
    )
    assert normalized_error(answers, truth) == (3**2 + 5**2) / (1 + 4**2)
    assert normalized_error(truth, truth) == 0


def test_weights_are_rounded_a_channel_at_a_time(net):
    model, x, proto = net
    arrays = held(Quantizer(proto, [x]).int8())
    codes, scale = arrays["head.weight_quantized"], arrays["head.weight_scale"]
    weight = model.head.weight.detach().numpy()  # [5, 8]
    codes = codes if codes.shape == weight.shape else codes.T
    assert scale.shape == (5,)
    assert np.abs(codes).max() <= 127
    apart = np.abs(scale[:, None] * codes.astype("f4") - weight)
    assert (apart <= 0.5001 * scale[:, None]).all()


@pytest.mark.parametrize("scheme", [Scheme(symmetric=True), NVIDIA])
def test_symmetric_means_every_zero_point_is_zero(net, scheme):
    _, x, proto = net
    small = Quantizer(proto, [x], scheme).int8()
    arrays, pairs = held(small), 0
    for node in small.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            pairs += 1
            assert not arrays[node.input[2]].any()
            assert arrays[node.input[2]].dtype == (
                np.int32 if "bias" in node.input[0] else np.int8
            )
    assert pairs > 8


def test_tensorrt_gets_no_int32_bias(net):
    _, x, proto = net
    arrays = held(Quantizer(proto, [x], NVIDIA).int8())
    assert not any(a.dtype == np.int32 for a in arrays.values())


def test_a_layer_in_float_keeps_its_weight_and_its_answer(net):
    model, x, proto = net
    quantizer = Quantizer(proto, [x])
    arrays = held(quantizer.int8(in_float=iter(["head"])))
    assert np.array_equal(arrays["head.weight"], model.head.weight.detach().numpy())
    assert any(name.endswith("weight_quantized") for name in arrays)
    alone = held(quantizer.int8(only=iter(["head"])))
    assert [n for n in alone if n.endswith("weight_quantized")] == [
        "head.weight_quantized"
    ]


def test_without_a_layer_in_int8_nothing_changes(net):
    _, x, proto = net
    quantizer = Quantizer(proto, [x], Scheme(operators=("Conv", "Gemm")))
    same = quantizer.int8(in_float=quantizer.layers)
    assert not any(
        n.op_type.endswith("Linear") for n in quantizer.int8(only=[]).graph.node
    )
    assert np.array_equal(runner(same)(x)[0], runner(proto)(x)[0])


class Outlier(nn.Module):
    """`hard` gets one channel that is 1000 times larger, and scales it back."""

    def __init__(self):
        super().__init__()
        self.easy, self.hard = nn.Linear(16, 16), nn.Linear(16, 16)
        self.register_buffer(
            "scale", torch.ones(16).index_fill(0, torch.tensor(3), 1e3)
        )
        with torch.no_grad():
            self.hard.weight[:, 3] /= 1e3

    def forward(self, x):
        return self.hard(self.easy(x) * self.scale)


def test_sensitivity_finds_the_layer_that_hurts():
    torch.manual_seed(0)
    x, told = torch.randn(64, 16), []
    quantizer = Quantizer(to_onnx(Outlier().eval(), x), [x])
    errors = quantizer.errors(progress=told.append)
    assert list(errors) == ["easy", "hard"]
    assert errors["hard"] > 100 * errors["easy"] > 0
    assert told == [0.5, 1.0]


def test_only_other_inputs_show_what_calibration_cut_off(net):
    _, x, proto = net
    narrow = Quantizer(proto, [0.1 * x])
    seen, unseen = narrow.errors(), narrow.errors([x])
    assert unseen["stem.0"] > 20 * seen["stem.0"]
    assert len(narrow.errors([x, x], samples=4)) == len(seen)
    with pytest.raises(ValueError, match="batch 0 must be float32"):
        narrow.errors([x[0]])


def test_several_inputs_and_openvino():
    torch.manual_seed(0)
    model, batch = TwoInputs().eval(), ((torch.randn(8, 4),), {"y": torch.randn(8, 3)})
    example = {"x": batch[0][0], "y": batch[1]["y"]}
    proto = to_onnx(model, example)
    small = Quantizer(proto, [example]).int8()
    with torch.no_grad():
        expected = [[model(example["x"], y=example["y"]).numpy()]]
    for answer in (runner(small)(example), openvino_runner(small)(example)):
        assert normalized_error([answer], expected) < 1e-2


def test_half_precision_keeps_the_ports_in_float32(net):
    model, x, proto = net
    half = half_precision(proto)
    weights = [a for name, a in held(half).items() if name.endswith("weight")]
    assert {a.dtype for a in weights} == {np.dtype("f2")}
    assert half.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert runner(half)(x)[0].dtype == np.float32
    assert (
        comparison.relative_difference(runner(half)(x)[0], model(x).detach().numpy())
        < 1e-2
    )
    assert held(proto)["head.weight"].dtype == np.float32  # the original is unchanged


def test_the_batch_can_be_fixed(net):
    _, x, proto = net
    fixed = export.copy_of(proto)
    export.fix_sizes(fixed, [(2, 3, 12, 12)])
    assert runner(fixed)(x[:2])[0].shape == (2, 5)
    with pytest.raises(Exception, match="Expected: 2"):
        runner(fixed)(x)
    assert runner(proto)(x)[0].shape == (4, 5)


def test_the_file_says_nothing_of_where_it_was_made(net):
    _, _, proto = net
    content = proto.SerializeToString()
    assert b".py" not in content
    assert str(export.Path.cwd()).encode() not in content


X = torch.zeros(2, 3, 12, 12)


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([], "at least one batch like the example; got none"),
        (
            [X, X[:, :2]],
            r"batch 1 must be float32 \[any, 3, 12, 12\] like the example; got ",
        ),
        ([X.double()], r"got float64 \[2, 3, 12, 12\]"),
        ([X[0]], r"got float32 \[3, 12, 12\]"),
        ([(X, X)], "must hold 1 tensors, like the example; got 2"),
    ],
)
def test_calibration_that_is_not_like_the_example(net, batches, said):
    with pytest.raises(ValueError, match=said):
        Quantizer(net[2], batches)


def test_an_unknown_layer_is_named(net):
    with pytest.raises(
        UnknownNameError, match="layer 'tail' is not known; the known names are: head"
    ):
        Quantizer(net[2], [net[1]]).int8(in_float=["tail"])


class Words(nn.Module):
    """Two tables, of which one is small, and a layer."""

    def __init__(self, tied: bool = False):
        super().__init__()
        self.large, self.small = nn.Embedding(3000, 16), nn.Embedding(40, 16)
        self.head = nn.Linear(16, 5)
        self.tied = tied
        with torch.no_grad():
            self.large.weight[7] = 0.0  # a row without a largest number
            self.large.weight[8] *= 1e4  # a row that would ruin a common scale

    def forward(self, x):
        own = self.large(x) + self.small(x % 40)
        if self.tied:
            return self.head(own.mean(1) @ self.large.weight.T[:, :16])
        return self.head(own.mean(1))


def test_tables_have_a_scale_per_row():
    torch.manual_seed(0)
    net = Words().eval()
    x = torch.tensor([[7, 8, 9], [2999, 0, 7]])
    proto = to_onnx(net, x, sequence_axis=1)
    quantizer = Quantizer(proto, [x])
    small = quantizer.int8(in_float=quantizer.layers)
    kinds = {name: a.dtype for name, a in held(small).items() if a.shape[:1] == (3000,)}
    assert sorted(str(kind) for kind in kinds.values()) == ["float32", "int8"]
    assert len(small.SerializeToString()) < 0.4 * len(proto.SerializeToString())
    for rows in ([[7]], [[9, 10]], [[2999]]):
        own = torch.tensor(rows)
        got = runner(small)(own)
        assert np.abs(got - net(own).detach().numpy()).max() < 0.02


def test_a_table_that_is_also_a_matrix_stays():
    net, x = Words(tied=True).eval(), torch.tensor([[1, 2, 3]])
    quantizer = Quantizer(to_onnx(net, x), [x])
    small = quantizer.int8(in_float=quantizer.layers)
    assert not any(a.dtype == np.int8 and len(a) == 3000 for a in held(small).values())
