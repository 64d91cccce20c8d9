"""The wizard's input: an .onnx file from any exporter, or a text model of any length."""

import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from typer.testing import CliRunner

from deepseek_learn import DeploymentWizard, cli
from deepseek_learn.deploy import ExportError, to_onnx
from deepseek_learn.deploy.runtimes import arguments, runner
from deepseek_learn.errors import DamagedFileError
from tests.deploy.test_wizard import compiler, points, script  # noqa: F401

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 50)
    ).eval()


def old_file(folder, net, opset=11, batch="N"):
    """The network as another exporter may write it: an old opset, weights among the
    inputs, unnamed layers.
    """
    weights = [p.detach().numpy() for p in net.parameters()]
    held = [onnx.numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    nodes = [
        helper.make_node("Conv", ["x", "w0", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "w2", "w3"], ["y"], transB=1),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, [batch, 1, 8, 8])]
    inputs += [value(h.name, TensorProto.FLOAT, h.dims) for h in held]
    outputs = [value("y", TensorProto.FLOAT, [batch, 50])]
    made = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, held),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=6,
    )
    onnx.save(made, folder / "old.onnx")
    return folder / "old.onnx"


def test_a_file_in_float32_and_int8(net, tmp_path):
    file, x = old_file(tmp_path, net), torch.rand(32, 1, 8, 8)
    with torch.no_grad():
        truth = net(x)

    def metric(predict):
        return 100 - (predict(x) - truth).abs().mean().item()

    made = DeploymentWizard(file, x[:1], x.split(8), metric)
    exact = made.to("cpp-cpu", tmp_path / "exact", precision="fp32", progress=False)
    assert (exact.model, exact.source) == ("old.onnx", "old.onnx")
    assert exact["same"] < 1e-5
    assert exact["speedup"] > 0
    assert "as fast as old.onnx" in exact.why()
    assert "PyTorch" not in exact.why() + (exact.folder / "README.md").read_text()
    assert [bar.x[0] for bar in exact.plot().data] == ["old.onnx"] * 2
    small = made.to("cpp-cpu", tmp_path / "int8", loss=0.9, progress=False)
    assert small.precision == "int8"
    assert list(small.guard.layers) == ["Conv", "Gemm"]
    assert small["size"] < 0.8 * exact["size"]
    for done in (exact, small):
        np.save(tmp_path / "x.npy", x.numpy())
        words = ["--input", tmp_path / "x.npy", "--output", done.folder / "out"]
        assert script(done.folder, "run.sh", *words).returncode == 0
        y = np.load(done.folder / "out" / "output_0.npy")
        limit = 1e-5 if done is exact else 0.05
        assert np.abs(y - truth.numpy()).max() < limit * truth.abs().max()
        assert script(done.folder, "verify.sh").returncode == 0
    kit = made.to("amd-mi300", tmp_path / "kit", batch=4, progress=False)
    first = onnx.load(kit.folder / "model.onnx").graph.input
    assert [d.dim_value for d in first[0].type.tensor_type.shape.dim] == [4, 1, 8, 8]


def test_a_file_with_one_batch_keeps_it(net, tmp_path):
    made = DeploymentWizard(old_file(tmp_path, net, 13, 3), torch.rand(3, 1, 8, 8))
    options = {"precision": "fp32", "progress": False}
    with pytest.raises(ValueError, match="batch must be 3"):
        made.to("cpp-cpu", tmp_path / "out", **options)
    done = made.to("cpp-cpu", tmp_path / "out", batch=3, **options)
    assert script(done.folder, "verify.sh").returncode == 0


@pytest.mark.parametrize("batch", [-1, 0, "", None])
def test_a_dynamic_batch_however_it_is_stored(net, tmp_path, batch):
    """ONNX has a name or nothing for it; some exporters write -1 or 0."""
    file, x = old_file(tmp_path, net, 13, batch), torch.rand(5, 1, 8, 8)
    made = DeploymentWizard(file, x)
    done = made.to("cpp-cpu", tmp_path / "out", precision="fp32", progress=False)
    with torch.no_grad():
        truth = net(x).numpy()
    y = np.load(done.folder / "check" / "output_0.npy")
    assert np.abs(y[:5] - truth).max() < 1e-5 * np.abs(truth).max()
    np.save(tmp_path / "x.npy", x.numpy())
    message = script(done.folder, "run.sh", "--input", tmp_path / "x.npy")
    assert json.loads(message.stdout)["batch"] == 5, message.stderr
    assert "`x` [batch, 1, 8, 8]" in (done.folder / "README.md").read_text()
    kit = made.to("amd-mi300", tmp_path / "kit", batch=4, progress=False)
    graph = onnx.load(kit.folder / "model.onnx").graph
    sizes = [p.type.tensor_type.shape.dim for p in (*graph.input, *graph.output)]
    assert [dim[0].dim_value for dim in sizes] == [4, 4]


def test_any_other_size_may_be_stored_as_minus_one(tmp_path):
    value = helper.make_tensor_value_info
    ports = [[value(name, TensorProto.FLOAT, [-1, -1])] for name in "xy"]
    made = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", *ports),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.save(made, tmp_path / "m.onnx")
    wizard = DeploymentWizard(tmp_path / "m.onnx", torch.rand(2, 3))
    assert wizard.dynamic_batch
    assert runner(wizard.proto)(torch.ones(4, 7))[0].shape == (4, 7)
    done = wizard.to("cpp-cpu", tmp_path / "out", precision="fp32", progress=False)
    assert "`y` [batch, ?]" in (done.folder / "README.md").read_text()


def test_what_is_no_file_of_a_model(net, tmp_path):
    x = torch.rand(1, 1, 8, 8)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.onnx is not a file"):
        DeploymentWizard(tmp_path / "nowhere.onnx", x)
    body = old_file(tmp_path, net).read_bytes()
    for wrong in (b"", b"no model\n" * 20, body[: len(body) // 2]):
        (tmp_path / "wrong.onnx").write_bytes(wrong)
        with pytest.raises(
            DamagedFileError, match=r"wrong\.onnx is not an ONNX model"
        ) as error:
            DeploymentWizard(str(tmp_path / "wrong.onnx"), x)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="sequence_axis is only for PyTorch models"):
        DeploymentWizard(old_file(tmp_path, net), x, sequence_axis=1)


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_a_type_that_the_engine_does_not_read(tmp_path, kind):
    value = helper.make_tensor_value_info
    cast = helper.make_node("Cast", ["x"], ["y"], to=kind)
    ports = [value("x", TensorProto.FLOAT, ["N"])], [value("y", kind, ["N"])]
    made = helper.make_model(
        helper.make_graph([cast], "g", *ports),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.save(made, tmp_path / "m.onnx")
    given = DeploymentWizard(tmp_path / "m.onnx", torch.rand(2))
    with pytest.raises(ValueError, match="int32 or bool tensors; y is float"):
        given.to("cpp-cpu", tmp_path / "out", precision="fp32", progress=False)
    assert not (tmp_path / "out").exists()


def test_the_deployments_checksum_is_its_models(net, tmp_path):
    made = DeploymentWizard(net, torch.rand(1, 1, 8, 8))
    done = made.to("cpp-cpu", tmp_path / "out", precision="fp32", progress=False)
    model, sums = done.folder / "model.onnx", done.folder / "model.onnx.sha256"
    body = model.read_bytes()
    last = f"{hashlib.sha256(body).hexdigest()}  model.onnx\n"
    assert sums.read_text().endswith("\n" + last)  # a list that was cut off lacks it
    verified = json.loads(script(done.folder, "verify.sh").stdout)
    assert verified["checksum"] == "verified"
    at = len(body) - 50
    model.write_bytes(body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :])
    message = script(done.folder, "run.sh")
    assert message.returncode == 2
    assert "model.onnx is not the file that was deployed" in message.stderr
    message = script(done.folder, "run.sh", "--checksum", "skip")
    assert "SHA-256" not in message.stderr


# ---------------------------------------------------------------- image normalization


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": [0.5, 0.5]}, "mean must be one number, or 1, one per channel; got 2"),
        ({"std": [1, 1, 1]}, "std must be one number, or 1, one per channel; got 3"),
        ({"std": [0.0]}, r"std must be above 0; got \[0\.0\]"),
        ({"std": [-1]}, "std must be above 0"),
        ({"std": [1e-60]}, "std must be above 0"),
        ({"mean": [float("nan")]}, "mean must be a sequence of finite numbers"),
        ({"std": [float("inf")]}, "std must be a sequence of finite numbers"),
        ({"mean": [1e60]}, "mean must be a sequence of finite numbers"),
        ({"mean": "half"}, "mean must be a sequence of finite numbers, .*; got 'half'"),
        ({"mean": 0.5}, r"mean must be a sequence of finite numbers, .*; got 0\.5"),
        ({"mean": [None]}, "mean must be a sequence of finite numbers"),
    ],
)
def test_means_that_no_picture_can_be_prepared_with(net, options, said):
    with pytest.raises(ValueError, match=said):
        DeploymentWizard(net, torch.rand(1, 1, 8, 8), **options)


def test_a_mean_without_a_picture():
    with pytest.raises(ValueError, match="the example holds none"):
        DeploymentWizard(nn.Linear(4, 2), torch.rand(2, 4), mean=[0.5])


# ---------------------------------------------------------------- any length


class Text(nn.Module):
    """Token ids and a mask → three classes, through attention."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.query, self.key = nn.Linear(16, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, ids, mask):
        x = self.embed(ids)  # [B, T, 16]
        scores = self.query(x) @ self.key(x).transpose(1, 2)  # [B, T, T]
        scores = scores.masked_fill(~mask[:, None], float("-inf"))
        x = scores.softmax(-1) @ x * mask[..., None]
        return self.head(x.sum(1) / mask.sum(1, keepdim=True))


def text(length, batch=2):
    ids = torch.randint(50, (batch, length))
    mask = torch.arange(length) < torch.arange(length, length - batch, -1)[:, None]
    return ids, mask


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    return Text().eval()


@pytest.mark.parametrize("axis", [1, {"ids": 1, "mask": 1}])
def test_a_text_model_exported_at_length_12_runs_at_length_7(reader, tmp_path, axis):
    calibration = [text(n, 8) for n in (12, 9, 5, 20)]
    with torch.no_grad():
        truth = [reader(*batch) for batch in calibration]

    def metric(predict):
        pairs = zip(calibration, truth, strict=True)
        return 100 - max((predict(b) - r).abs().mean().item() for b, r in pairs)

    made = DeploymentWizard(reader, text(12), calibration, metric, sequence_axis=axis)
    for precision in ("fp32", "int8"):
        done = made.to(
            "cpp-cpu",
            tmp_path / precision,
            precision=precision,
            loss=0.9,
            progress=False,
        )
        for length in (7, 12, 31):
            given, words = text(length), []
            for index, tensor in enumerate(given):
                np.save(tmp_path / f"{index}.npy", tensor.numpy())
                words += ["--input", tmp_path / f"{index}.npy"]
            message = script(done.folder, "run.sh", *words)
            assert message.returncode == 0, message.stderr
            values = json.loads(message.stdout)["outputs"][0]["values"]
            with torch.no_grad():
                expected = reader(*given).numpy()
            apart = np.abs(np.reshape(values, (2, 3)) - expected).max()
            assert (
                apart < (1e-5 if precision == "fp32" else 0.1) * np.abs(expected).max()
            )
        assert script(done.folder, "verify.sh").returncode == 0


def test_a_target_of_fixed_sizes_gets_the_examples_length(reader, tmp_path):
    made = DeploymentWizard(reader, text(12), sequence_axis=1)
    kit = made.to("amd-mi300", tmp_path / "kit", batch=4, progress=False)
    sizes = [
        [d.dim_value for d in port.type.tensor_type.shape.dim]
        for port in onnx.load(kit.folder / "model.onnx").graph.input
    ]
    assert sizes == [[4, 12], [4, 12]]


def test_without_a_sequence_axis_the_length_is_the_examples(reader):
    proto = to_onnx(reader, text(12))
    with pytest.raises(Exception, match="Expected: 12"):
        runner(proto)(text(7))


class FixedLength(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.rand(12, 4))

    def forward(self, x):
        return x + self.place


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        (
            1,
            "only for the length of the example along sequence_axis 1: it depends on this",
        )
    ],
)
def test_a_model_of_one_length_is_named(axis, said):
    with pytest.raises(ExportError, match=said):
        to_onnx(FixedLength(), torch.rand(2, 12, 4), sequence_axis=axis)


@pytest.mark.parametrize("axis", [0, -1, 1.0, True, {"y": 1}, {"x": 0}, "T"])
def test_what_is_no_sequence_axis(axis):
    with pytest.raises(
        ValueError, match="positive integer, or a dict with one for any of input"
    ):
        to_onnx(nn.Identity(), torch.rand(2, 3), sequence_axis=axis)


def test_another_length_is_compared_before_it_is_handed_over(reader, monkeypatch):
    made, compared = DeploymentWizard(reader, text(12), sequence_axis=1), []
    monkeypatch.setattr(
        made.source, "difference", lambda proto, inputs: compared.extend(inputs) or 0.0
    )
    assert made.same == 0
    lengths = [[t.shape[1] for t in arguments(each)[0]] for each in compared]
    assert lengths == [[12, 12], [7, 7]]
    ids, mask = text(12)
    cut = made.source.shorter({"ids": ids, "mask": mask}, {"ids": 1})
    assert {name: t.shape[1] for name, t in cut.items()} == {"ids": 7, "mask": 12}


# ---------------------------------------------------------------- the command line


def refused(stdout, stderr, said):
    assert stdout == ""
    assert len(stderr.strip().splitlines()) == 1, stderr
    assert re.search(said, stderr), stderr


def test_a_file_from_the_command_line(net, tmp_path):
    file = old_file(tmp_path, net)
    words = ["--target", "amd-mi300", "--out", tmp_path / "kit"]
    done = CliRunner().invoke(
        cli.app, [*map(str, ["deploy", file, "--shape", "1,1,8,8", *words])]
    )
    assert done.exit_code == 0, done.output
    assert "difference to old.onnx" in done.output


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("zoo:small_deepseek", [], "is a language model, .* deepseek-learn chat zoo:"),
        ("zoo:fashion_net", ["--shape", "1,9"], "zoo:fashion_net does not run on its"),
        ("zoo:nothing", [], "'nothing' is not known; the known names are: "),
        ("nothing.onnx", ["--shape", "1,9"], "nothing.onnx is not an ONNX model"),
        ("nothing.onnx", [], "nothing.onnx needs an input: add --shape"),
        (
            "zoo:fashion_net",
            ["--ranges", "wide"],
            "'wide' is not known; the known names are: min",
        ),
    ],
)
def test_what_the_command_line_refuses_is_one_sentence(
    what, options, said, tmp_path, monkeypatch, capfd
):
    words = ["--target", "cpp-cpu", "--out", tmp_path / "out", "--precision", "fp32"]
    command = ["deepseek-learn", "deploy", what, *map(str, words), *options]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    refused(*capfd.readouterr(), said)
    assert not (tmp_path / "out").exists()


def test_a_process_refuses_in_one_sentence_too(tmp_path):
    words = ["zoo:fashion_net", "--shape", "1,9", "--target", "cpp-cpu", "--out"]
    command = [sys.executable, "-m", "deepseek_learn", "deploy", *words]
    done = subprocess.run(
        [*command, str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == 1
    refused(done.stdout, done.stderr, "zoo:fashion_net does not run on its")
    assert not (tmp_path / "out").exists()
