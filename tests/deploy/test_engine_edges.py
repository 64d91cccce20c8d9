"""Edge cases of the engine: mixed types, empty and rank-0 tensors, metadata, checksums."""

import hashlib
import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from deepseek_learn.deploy import native
from tests.deploy.conftest import built
from tests.deploy.test_engine import ALONE, FOUND, SANITIZED

pytestmark = pytest.mark.service

# OpenVINO itself leaks a little, and its TBB opens a library in a way that the address
# sanitizer rejects by default
OPENVINO = {"TBB_ENABLE_SANITIZERS": "1", "ASAN_OPTIONS": "detect_leaks=0"}
PEACE = {"onnxruntime": {}, "openvino": OPENVINO}
FLOAT, LONG, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request, tmp_path_factory):
    """The engine on each runtime, with sanitizers, as a function of its arguments."""
    runtime = request.param
    program = built(
        tmp_path_factory.mktemp(runtime), runtime=runtime, options=SANITIZED
    )
    library = ["--library", native.library()] if runtime == "onnxruntime" else []

    def run(*words, checksum=ALONE):
        command = [program, *words, *library, "--repeat", 1, "--warmup", 0, *checksum]
        return subprocess.run(
            [*map(str, command)],
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | PEACE[runtime],
        )

    run.runtime = runtime
    return run


def graph(nodes, inputs, outputs, constants=(), **metadata):
    """A model of opset 18; a port is a name, a type and a shape."""
    ports = [
        [helper.make_tensor_value_info(*port) for port in ps]
        for ps in (inputs, outputs)
    ]
    made = helper.make_model(
        helper.make_graph(nodes, "g", *ports, list(constants)),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    helper.set_model_props(made, metadata)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def saved(folder, *parts, **metadata):
    (folder / "model.onnx").write_bytes(graph(*parts, **metadata))
    return folder / "model.onnx"


def picture_model(folder, channels=3, **metadata):
    port = ["N", channels, 4, 4]
    same = helper.make_node("Identity", ["x"], ["y"])
    return saved(folder, [same], [("x", FLOAT, port)], [("y", FLOAT, port)], **metadata)


def refused(done, *words):
    """Check for one sentence with the words and no sanitizer report; return it."""
    assert not any(word in done.stderr for word in FOUND), done.stderr
    assert done.returncode == 2, done
    assert done.stderr.startswith("engine: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    return done.stderr


def answered(done):
    assert not any(word in done.stderr for word in FOUND), done.stderr
    assert done.returncode == 0, done
    return json.loads(done.stdout)


@pytest.mark.parametrize("first", ["f4", "u1"])
def test_files_of_two_types_are_no_batch(engine, tmp_path, first):
    """Both would be read as the first type."""
    second = {"f4": "u1", "u1": "f4"}[first]
    kind = {"f4": FLOAT, "u1": TensorProto.UINT8}[first]
    ports = [("x", kind, ["N", 1000])], [("y", kind, ["N", 1000])]
    model = saved(tmp_path, [helper.make_node("Identity", ["x"], ["y"])], *ports)
    np.save(tmp_path / "a.npy", np.ones((1, 1000), first))
    np.save(tmp_path / "b.npy", np.ones((1, 1000), second))
    words = ["--input", tmp_path / "a.npy", "--input", tmp_path / "b.npy"]
    said = refused(engine(model, *words), "[1, 1000], but the batch so far is")
    assert "b.npy is " in said


def test_files_of_two_ranks_are_no_batch(engine, tmp_path):
    model = picture_model(tmp_path)
    np.save(tmp_path / "a.npy", np.ones((1, 3, 4, 4), "f4"))
    words = ["--input", tmp_path / "a.npy", "--input", tmp_path / "b.npy"]
    for shape in [(), (3,), (1, 3, 4)]:
        np.save(tmp_path / "b.npy", np.ones(shape, "f4"))
        said = refused(engine(model, *words))
        assert "but the batch so far is float32 [1, 3, 4, 4]" in said


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"mean": ""}, 'finite numbers separated by commas; got ""'),
        ({"mean": "0.5,"}, "the model's mean must be one or more finite numbers"),
        ({"mean": "0.5,nan,0.5"}, "the model's mean must be one or more finite numbers"),
        ({"mean": "a"}, "the model's mean must be one or more finite numbers"),
        ({"std": ""}, "the model's std must be one or more finite numbers"),
        ({"std": "inf"}, "the model's std must be one or more finite numbers"),
        ({"std": "1,0,1"}, "the model's std must be above 0"),
        ({"std": "-1"}, "the model's std must be above 0"),
        ({"std": "1e-60"}, "the model's std must be above 0"),
        ({"mean": "0.5,0.5"}, "mean must contain a single number or one per channel (3)"),
        ({"std": "1,1,1,1"}, "std must contain a single number or one per channel (3)"),
    ],
)  # fmt: skip
def test_means_that_no_picture_can_be_prepared_with(engine, tmp_path, metadata, said):
    Image.new("RGB", (4, 4), (255, 0, 51)).save(tmp_path / "p.png")
    model = picture_model(tmp_path, **metadata)
    assert said in refused(engine(model, "--input", tmp_path / "p.png"))


def test_one_mean_serves_every_channel(engine, tmp_path):
    Image.new("RGB", (4, 4), (255, 0, 51)).save(tmp_path / "p.png")
    model = picture_model(tmp_path, mean="0.5", std="0.25")
    answer = answered(engine(model, "--input", tmp_path / "p.png"))
    values = np.reshape(answer["outputs"][0]["values"], (3, 16))
    truth = (np.array([1.0, 0.0, 0.2]) - 0.5) / 0.25
    np.testing.assert_allclose(values, np.tile(truth[:, None], 16), atol=1e-6)


@pytest.mark.parametrize("value", ["", "-1", "nan", "1,2", "small"])
def test_what_is_no_tolerance(engine, tmp_path, value):
    model = picture_model(tmp_path)
    said = refused(engine(model, "--tolerance", value), "--tolerance must be")
    assert f'"{value}"' in said


def test_an_output_without_elements(engine, tmp_path):
    """The indices of values above 0.5: none for zeros."""
    half = helper.make_tensor("half", FLOAT, [], [0.5])
    nodes = [
        helper.make_node("Greater", ["x", "half"], ["above"]),
        helper.make_node("NonZero", ["above"], ["places"]),
    ]
    ports = [("x", FLOAT, ["N", 3])], [("places", LONG, [2, "K"])]
    model = saved(tmp_path, nodes, *ports, [half])
    np.save(tmp_path / "x.npy", np.zeros((2, 3), "f4"))
    words = ["--input", tmp_path / "x.npy", "--output", tmp_path]
    answer = answered(engine(model, *words))["outputs"][0]
    assert (answer["shape"], answer["values"]) == ([2, 0], [])
    assert np.load(tmp_path / "output_0.npy").shape == (2, 0)


def test_an_input_without_elements(engine, tmp_path):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    ports = [("x", FLOAT, ["N", "T"])], [("y", FLOAT, ["N", "T"])]
    model = saved(tmp_path, nodes, *ports)
    np.save(tmp_path / "x.npy", np.zeros((2, 0), "f4"))
    words = ["--input", tmp_path / "x.npy"]
    assert answered(engine(model, *words))["outputs"][0]["shape"] == [2, 0]
    both = answered(engine(model, *words, *words))
    assert both["outputs"][0]["shape"] == [4, 0]


def scaled(folder):
    """y = x * by, and whether it is above 1; `by` is a scalar."""
    one = helper.make_tensor("one", FLOAT, [], [1.0])
    nodes = [
        helper.make_node("Mul", ["x", "by"], ["y"]),
        helper.make_node("Greater", ["y", "one"], ["above"]),
    ]
    ports = (
        [("by", FLOAT, []), ("x", FLOAT, ["N", 2])],
        [
            ("y", FLOAT, ["N", 2]),
            ("above", BOOL, ["N", 2]),
        ],
    )
    x, by = np.array([[0.2, 0.6], [0.5, -1.0]], "f4"), np.array(3.0, "f4")
    for name, array in {
        "input_0": by,
        "input_1": x,
        "output_0": x * by,
        "output_1": x * by > 1,
    }.items():
        np.save(folder / f"{name}.npy", array)
    return saved(folder, nodes, *ports, [one])


def test_a_single_number_as_input_and_booleans_as_output(engine, tmp_path):
    model, out = scaled(tmp_path), tmp_path / "out"
    words = [w for i in (0, 1) for w in ("--input", tmp_path / f"input_{i}.npy")]
    answer = answered(engine(model, *words, "--output", out))
    assert answer["outputs"][1]["type"] == "bool"
    assert answer["outputs"][1]["values"] == [0, 1, 1, 0]
    above = np.load(out / "output_1.npy")
    assert above.dtype == bool
    assert above.tolist() == [[False, True], [True, False]]
    answered(engine(model))  # synthetic inputs
    check = answered(engine(model, "--selfcheck", tmp_path))["selfcheck"]
    assert (check["samples"], check["passed"]) == (2, True)
    wrong = ~np.load(tmp_path / "output_1.npy")
    np.save(tmp_path / "output_1.npy", wrong)
    done = engine(model, "--selfcheck", tmp_path)
    assert done.returncode == 1
    assert "the self-check failed" in done.stderr
    np.save(tmp_path / "input_0.npy", np.ones(1, "f4"))
    refused(engine(model, *words), "the model's input by must be float32 []")


def test_booleans_as_input_are_read_as_numpy_does(engine, tmp_path):
    """Any nonzero byte is true in a file; a runtime only accepts 1."""
    ports = [("x", BOOL, ["N"])], [("y", BOOL, ["N"])]
    model = saved(tmp_path, [helper.make_node("Not", ["x"], ["y"])], *ports)
    np.save(tmp_path / "x.npy", np.array([0, 1, 2, 255], "u1").view(bool))
    answer = answered(engine(model, "--input", tmp_path / "x.npy"))
    assert answer["outputs"][0]["values"] == [1, 0, 0, 0]


def test_a_model_without_inputs(engine, tmp_path):
    one = helper.make_tensor("one", FLOAT, [1], [1.0])
    node = helper.make_node("Identity", ["one"], ["y"])
    model = saved(tmp_path, [node], [], [("y", FLOAT, [1])], [one])
    np.save(tmp_path / "x.npy", np.ones(1, "f4"))
    for words in ([], ["--input", tmp_path / "x.npy"], ["--selfcheck", tmp_path]):
        assert "model.onnx has no inputs" in refused(engine(model, *words))


# ---------------------------------------------------------------- the checksums


def write_sums(folder, *names):
    """The list that sha256sum would write."""
    digests = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
    lines = [f"{digest}  {name}\n" for name, digest in digests.items()]
    (folder / "model.onnx.sha256").write_text("".join(lines))


@pytest.mark.parametrize("size", [0, 55, 56, 64, 65, 70_000])
def test_the_checksum_is_sha_256(engine, tmp_path, size):
    """At every length at which the padding differs; none of the files is a model."""
    model = tmp_path / "model.onnx"
    body = (b"no model\n" * 8_000)[:size]
    model.write_bytes(body)
    write_sums(tmp_path, "model.onnx")
    assert "SHA-256" not in engine(model, checksum=()).stderr  # the runtime refuses it
    right = hashlib.sha256(body).hexdigest()
    (tmp_path / "model.onnx.sha256").write_text(f"{'0' * 64}  model.onnx\n")
    refused(engine(model, checksum=()), f"its SHA-256 begins with {right[:8]}")


@pytest.fixture
def deployed(tmp_path):
    """A model with the files of its self-check and the checksums of them all."""
    weight = np.random.default_rng(0).normal(size=(64, 8)).astype("f4")
    held = onnx.numpy_helper.from_array(weight, "w")
    ports = [("x", FLOAT, ["N", 64])], [("y", FLOAT, ["N", 8])]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    saved(tmp_path, [node], *ports, [held])
    (tmp_path / "check").mkdir()
    x = np.ones((2, 64), "f4")
    np.save(tmp_path / "check" / "input_0.npy", x)
    np.save(tmp_path / "check" / "output_0.npy", x @ weight)
    (tmp_path / "settings.sh").write_text("TOLERANCE=0.001\n")
    write_sums(tmp_path, *CHECKED, "model.onnx")
    return tmp_path


CHECKED = ("check/input_0.npy", "check/output_0.npy", "settings.sh")


def flip(path, at, bit=0):
    body = path.read_bytes()
    path.write_bytes(body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :])


def test_a_flipped_bit_is_found_before_the_model_is_opened(engine, deployed):
    model = deployed / "model.onnx"
    assert answered(engine(model, checksum=()))["checksum"] == "verified"
    for bit in range(8):
        flip(model, -100, bit)
        done = engine(model, checksum=())
        refused(done, "is not the file that was deployed", "--checksum skip")
        flip(model, -100, bit)
    flip(model, -100)
    assert answered(engine(model))["checksum"] == "skipped"
    done = engine(model, checksum=("--checksum", "no"))
    refused(done, '--checksum must be check or skip; got "no"')


@pytest.mark.parametrize("name", CHECKED)
def test_the_self_check_verifies_all_that_is_listed(engine, deployed, name):
    """A last bit in an input changes no output by more than the tolerance."""
    words = [deployed / "model.onnx", "--selfcheck", deployed / "check"]
    assert answered(engine(*words, checksum=()))["checksum"] == "verified"
    flip(deployed / name, -4)
    refused(engine(*words, checksum=()), f"{name} is not the file that was deployed")
    answered(engine(deployed / "model.onnx", checksum=()))  # reads only the model
    (deployed / name).unlink()
    refused(engine(*words, checksum=()), f"{name} cannot be read")


@pytest.mark.parametrize("name", ["model.onnx", *CHECKED[:2]])
def test_what_is_not_listed_is_refused(engine, deployed, monkeypatch, name):
    write_sums(deployed, *{*CHECKED, "model.onnx"} - {name})
    words = [deployed / "model.onnx", "--selfcheck", deployed / "check"]
    refused(engine(*words, checksum=()), f"does not list {name}, so it cannot")
    monkeypatch.chdir(deployed)
    refused(engine("model.onnx", "--selfcheck", "check", checksum=()), "not list")
    if name == "model.onnx":
        refused(engine("model.onnx", checksum=()), "does not list model.onnx")


@pytest.mark.parametrize(
    "text",
    ["no checksum\n", "0" * 64 + "\n", "0" * 64 + "  ", "0" * 63 + "  a\n", "\n"],
)
def test_a_damaged_list_is_refused(engine, deployed, text):
    sums = deployed / "model.onnx.sha256"
    sums.write_text(sums.read_text() + text)
    done = engine(deployed / "model.onnx", checksum=())
    refused(done, "must contain SHA-256 checksums in the format of sha256sum")


def test_without_the_list_it_does_not_run(engine, deployed):
    (deployed / "model.onnx.sha256").unlink()
    for words in ([], ["--selfcheck", deployed / "check"]):
        done = engine(deployed / "model.onnx", *words, checksum=())
        refused(done, "model.onnx.sha256 is missing", "--checksum skip")
