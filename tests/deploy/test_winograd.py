"""The engine's own convolution: which layers it takes, and what it computes."""

import functools

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch
from torch import nn

from deepseek_learn.deploy import DeploymentWizard, native, to_onnx
from deepseek_learn.deploy.export import copy_of
from deepseek_learn.deploy.native import BuildError
from deepseek_learn.deploy.runtimes import runner
from deepseek_learn.deploy.source import OnnxFile
from deepseek_learn.deploy.winograd import DOMAIN, with_winograd
from tests.services import absent


def calls(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node if node.domain == DOMAIN]


def answers(engine, proto, x, folder, *words) -> np.ndarray:
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    np.save(folder / "x.npy", x.numpy())
    out = folder / "out"
    words = (
        "--checksum",
        "skip",
        "--library",
        native.library(),
        "--output",
        out,
        *words,
    )
    native.run(engine, folder / "model.onnx", "--input", folder / "x.npy", *words)
    (file,) = out.glob("*.npy")
    return np.load(file)


class Joined(nn.Module):
    """Two branches that meet in a convolution, with or without a second reader."""

    def __init__(self, read_twice: bool):
        super().__init__()
        self.first, self.second = (nn.Conv2d(8, 12, 3, padding=1) for _ in range(2))
        self.last, self.read_twice = nn.Conv2d(24, 10, 3, padding=1), read_twice

    def forward(self, x):
        a, b = self.first(x), self.second(x)
        both = torch.cat([a.relu(), b], 1)
        y = self.last(both).relu()
        return y + both.mean() + b.mean() if self.read_twice else y + b.mean()


@pytest.mark.parametrize("read_twice", [False, True])
def test_what_only_the_layer_reads_becomes_part_of_it(read_twice):
    torch.manual_seed(0)
    model, x = Joined(read_twice), torch.randn(1, 8, 20, 20)
    proto = to_onnx(model, x)
    changed = with_winograd(proto)
    onnx.checker.check_model(changed)
    last = "WinogradConvRelu" if read_twice else "WinogradConcatConvRelu"
    # the first is read by a ReLU alone, the second by the joining and a mean
    assert sorted(calls(changed)) == sorted(["WinogradConv", "WinogradConvRelu", last])
    assert not calls(proto)  # the original is untouched
    np.testing.assert_allclose(runner(changed)(x)[0], runner(proto)(x)[0], rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=(1, 0)),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 5, padding=1),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ConvTranspose2d(8, 8, 3, padding=1),
    ],
)
def test_other_layers_stay(layer):
    proto = to_onnx(layer, torch.randn(1, layer.in_channels, 32, 32))
    changed = with_winograd(proto)
    assert changed.SerializeToString() == proto.SerializeToString()


@pytest.mark.parametrize(("size", "taken"), [(6, True), (4, False)])
def test_few_tiles_stay(size, taken):
    layer = nn.Conv2d(8, 8, 3, padding=1)
    assert (
        bool(calls(with_winograd(to_onnx(layer, torch.randn(1, 8, size, size)))))
        == taken
    )


def test_an_output_that_a_relu_also_reads_stays_an_output():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            y = self.layer(x)
            return y, y.relu()

    x = torch.randn(1, 8, 16, 16)
    proto = to_onnx(Both(), x)
    changed = with_winograd(proto)
    assert calls(changed) == ["WinogradConv"]
    for y, expected in zip(runner(changed)(x), runner(proto)(x), strict=True):
        np.testing.assert_array_equal(y, expected)


def test_a_weight_that_is_computed_stays():
    class Computed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8, 3, 3))

        def forward(self, x):
            return nn.functional.conv2d(x, self.weight * x.mean(), padding=1)

    proto = to_onnx(Computed(), torch.randn(2, 8, 16, 16), dynamic_batch=False)
    assert not calls(with_winograd(proto))


def branching(reads: str) -> onnx.ModelProto:
    """A convolution and a ReLU, and a branch that reads the output of either."""
    text = f"""
    <ir_version: 7, opset_import: ["" : 18]>
    agraph (float[1, 8, 16, 16] x, bool b) => (float[1, 8, 16, 16] y, float[1, 8, 16, 16] z)
    {{
      c = Conv <pads = [1, 1, 1, 1]> (x, w)
      y = Relu (c)
      z = If (b) <
        then_branch = g1 () => (float[1, 8, 16, 16] t) {{ t = Neg ({reads}) }},
        else_branch = g2 () => (float[1, 8, 16, 16] e) {{ e = Identity (x) }}
      >
    }}"""
    proto = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).normal(size=(8, 8, 3, 3)).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    return proto


@pytest.mark.parametrize(
    ("reads", "call"), [("c", "WinogradConv"), ("y", "WinogradConvRelu")]
)
def test_what_a_branch_reads_stays(reads, call):
    proto = branching(reads)
    changed = with_winograd(proto)
    assert calls(changed) == [call]
    # a file of the time before functions is now one that may have them
    onnx.checker.check_model(changed)
    given = {"x": np.random.default_rng(1).normal(size=(1, 8, 16, 16)).astype("f4")}
    given["b"] = np.array(True)
    sides = [
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, given)
        for each in (proto, changed)
    ]
    for value, expected in zip(*reversed(sides), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)


def parsed(nodes: str, domain: str = "", **weights) -> onnx.ModelProto:
    """A model from the text of its nodes, with an input `x` and an output `y`."""
    text = f"""
    <ir_version: 8, opset_import: ["{domain}" : 18]>
    agraph (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) {{ {nodes} }}"""
    proto = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in {"w": (8, 8, 3, 3), "v": (8, 8, 3, 3), **weights}.items():
        values = rng.normal(size=shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return proto


CONV = "Conv <pads = [1, 1, 1, 1]>"


@pytest.mark.parametrize(
    "proto",
    [
        parsed(f"d = {CONV} (x, w) y = {CONV} (x, v)"),
        parsed(f"d = {CONV} (x, w) w_zero_bias = Neg (d) y = Relu (w_zero_bias)"),
        parsed(
            f"d = {CONV} (x, w) y = Add (d, w_zero_bias)", w_zero_bias=(1, 1, 1, 16)
        ),
        parsed(f"d = {CONV} (x, w) e = {CONV} (d, w) y = Relu (e)"),
        parsed(f"d = {CONV} (x, w) y = Relu (d)", domain="ai.onnx"),
    ],
    ids=["unread", "name of an output", "name of a weight", "shared weight", "ai.onnx"],
)
def test_unusual_files_keep_their_answers(proto):
    changed = with_winograd(proto)
    assert calls(changed)
    x = {"x": np.random.default_rng(1).normal(size=(1, 8, 16, 16)).astype("f4")}
    sides = [
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, x)[0]
        for each in (proto, changed)
    ]
    np.testing.assert_allclose(*sides, atol=1e-4)


def test_a_weight_that_the_caller_may_replace_stays():
    proto = parsed(f"y = {CONV} (x, w)")
    weight = onnx.helper.make_tensor_value_info("w", 1, (8, 8, 3, 3))
    proto.graph.input.append(weight)
    assert not calls(with_winograd(proto))


VARIANTS = (
    "portable",
    "avx2",
    "avx512",
    "off",
)  # one that a processor lacks is not used
SIZES = [
    (8, 8, 12, 12),
    (16, 9, 7, 7),
    (9, 8, 3, 20),
    (9, 7, 13, 31),
    (24, 20, 50, 9),
    (16, 33, 5, 600),
    (70, 65, 40, 41),
]


@pytest.mark.service
@pytest.mark.parametrize(("inputs", "outputs", "height", "width"), SIZES)
def test_it_computes_the_convolution(
    engine, tmp_path, monkeypatch, inputs, outputs, height, width
):
    torch.manual_seed(height)
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=height % 2 == 0)
    x = torch.randn(3, inputs, height, width)
    proto = with_winograd(to_onnx(layer, x))
    assert calls(proto) == ["WinogradConv"]
    expected = layer.double()(x.double()).detach().numpy()
    for variant in VARIANTS:
        monkeypatch.setenv("ENGINE_WINOGRAD", variant)
        y = answers(engine, proto, x, tmp_path, "--threads", 2)
        assert np.abs(y - expected).max() < 1e-5 * np.abs(expected).max(), variant


@pytest.mark.service
def test_joined_inputs_and_relu_in_the_engine(engine, tmp_path):
    torch.manual_seed(1)
    model, x = Joined(False), torch.randn(2, 8, 33, 18)
    proto = with_winograd(to_onnx(model, x))
    y = answers(engine, proto, x, tmp_path)
    expected = model.double()(x.double()).detach().numpy()
    assert np.abs(y - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.service
def test_what_is_no_number_stays_none(engine, tmp_path):
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    x = torch.randn(1, 8, 16, 16)
    x[0, 3, 2, 2] = float("nan")
    y = answers(engine, with_winograd(to_onnx(model, x)), x, tmp_path)
    expected = model(x).detach().numpy()
    missing = np.isnan(expected)
    assert missing.any()
    assert np.isnan(y[missing]).all()
    far = ~missing.any((0, 1))  # Winograd spreads it over whole tiles, not further
    far[:8, :8] = False
    np.testing.assert_allclose(y[..., far], expected[..., far], atol=1e-5)


@pytest.mark.service
def test_the_kernel_is_used(engine, tmp_path, monkeypatch):
    """Its rounding differs from that of a direct convolution."""
    torch.manual_seed(2)
    x = torch.randn(1, 32, 32, 32)
    proto = with_winograd(to_onnx(nn.Conv2d(32, 32, 3, padding=1), x))
    own = answers(engine, proto, x, tmp_path)
    monkeypatch.setenv("ENGINE_WINOGRAD", "off")
    assert (own != answers(engine, proto, x, tmp_path)).mean() > 0.5


@pytest.mark.service
def test_a_kernel_that_there_is_not(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_WINOGRAD", "avx1024")
    x = torch.randn(1, 8, 16, 16)
    proto = with_winograd(to_onnx(nn.Conv2d(8, 8, 3, padding=1), x))
    with pytest.raises(native.EngineError, match=r"must be off, .*; got avx1024"):
        answers(engine, proto, x, tmp_path)


@pytest.mark.service
def test_the_wizard_writes_it_for_float32(tmp_path):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
    x = torch.randn(1, 8, 16, 16)
    wizard = DeploymentWizard(model, x)
    try:
        wizard.to("cpp-cpu", tmp_path / "kit", precision="fp32", progress=False)
    except BuildError as error:
        absent(str(error))
    file = tmp_path / "kit" / "model.onnx"
    assert calls(onnx.load(file)) == ["WinogradConvRelu"]
    # any ONNX Runtime reads the file, and so does the wizard
    (y,) = onnxruntime.InferenceSession(file).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(y, model(x).detach().numpy(), atol=1e-6)
    proto = OnnxFile(file).export(x, True, None)
    assert [node.op_type for node in proto.graph.node] == ["Conv", "Relu"]


@functools.cache
def a_call() -> onnx.ModelProto:
    """A model that calls the kernel."""
    layer = nn.Conv2d(8, 8, 3, padding=1)
    return with_winograd(to_onnx(layer, torch.randn(1, 8, 16, 16), dynamic_batch=False))


def wrong(**changes) -> onnx.ModelProto:
    """A model that calls the kernel, with some facts changed."""
    facts = {
        "weight": (8, 8, 3, 3),
        "bias": (8,),
        "tile": 4,
        "x": (1, 8, 16, 16),
    } | changes
    proto = copy_of(a_call())
    for tensor in proto.graph.initializer:
        shape = facts["bias" if tensor.name.endswith("bias") else "weight"]
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(np.ones(shape, np.float32), tensor.name)
        )
    (node,) = proto.graph.node
    node.attribute[0].i = facts["tile"]
    shape = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, facts["x"])
    proto.graph.input[0].type.CopyFrom(shape)
    del proto.graph.value_info[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.service
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weight": (8, 8, 5, 5)}, "weights must be"),
        ({"weight": (8, 8)}, "weights must be"),
        ({"bias": (3,)}, "bias must be"),
        ({"tile": 3}, "tile must be"),
        ({"x": (1, 7, 16, 16)}, "channels"),
        ({"x": (8, 16)}, "inputs must be"),
    ],
)
def test_a_damaged_call_is_one_sentence(engine, tmp_path, changes, said):
    proto = wrong(**changes)
    with pytest.raises(native.EngineError, match=said):
        answers(engine, proto, torch.zeros(changes.get("x", (1, 8, 16, 16))), tmp_path)
