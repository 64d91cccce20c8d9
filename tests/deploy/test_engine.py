"""The C++ engine, built and run, also on broken inputs."""

import json
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from deepseek_learn.deploy import native, to_onnx
from deepseek_learn.deploy.native import BuildError, EngineError
from tests.deploy.conftest import built

pytestmark = pytest.mark.service

SANITIZED = ("-DENGINE_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=Debug")
FOUND = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehavior")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    return built(tmp_path_factory.mktemp("sanitized"), options=SANITIZED)


@pytest.fixture(scope="module")
def on_openvino(tmp_path_factory):
    return built(tmp_path_factory.mktemp("openvino"), runtime="openvino")


class Types(nn.Module):
    """Every type that the engine reads, and two outputs."""

    def forward(self, f, u, i, s):
        both = f + u.float() + i.float() + s.float()
        return both, i * 2


class Picture(nn.Module):
    """Returns its input, for an image of `[C, 6, 8]`."""

    def forward(self, x):
        return x * 1.0


class Mean(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


def saved(folder: Path, model: nn.Module, example, name="model", **metadata) -> Path:
    proto = to_onnx(model, example)
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
    return folder / f"{name}.onnx"


ALONE = ("--checksum", "skip")  # for a model that was not deployed


def run(engine, model, *words):
    return native.run(engine, model, "--library", native.library(), *ALONE, *words)


def raw(engine, *words) -> subprocess.CompletedProcess:
    command = [str(engine), *ALONE, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small convolutional network, its file, and inputs with PyTorch's answers."""
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
    x = torch.rand(6, 3, 8, 8)
    with torch.no_grad():
        y = model(x)
    file = saved(folder, model.eval(), x)
    np.save(folder / "input_0.npy", x.numpy())
    np.save(folder / "output_0.npy", y.numpy())
    return file


@pytest.mark.parametrize("runtime", ["engine", "on_openvino"])
def test_its_answers_are_pytorchs(request, runtime, small, tmp_path):
    program, folder = request.getfixturevalue(runtime), small.parent
    words = ["--library", native.library()] if runtime == "engine" else []
    words += ["--input", folder / "input_0.npy", "--output", tmp_path, *ALONE]
    answer = native.run(program, small, *words, "--repeat", 7, "--warmup", 1)
    y = np.load(tmp_path / "output_0.npy")
    reference = np.load(folder / "output_0.npy")
    assert np.abs(y - reference).max() <= 1e-5 * np.abs(reference).max()
    assert answer["batch"] == 6
    assert answer["outputs"][0]["shape"] == [6, 5]
    np.testing.assert_allclose(answer["outputs"][0]["values"], y.ravel(), rtol=1e-6)
    ms = answer["latency_ms"]
    assert 0 < ms["min"] <= ms["median"] <= ms["p90"] <= ms["p99"] <= ms["max"]
    assert answer["load_ms"] > 0


def test_it_answers_as_the_librarys_python_does(engine, small, tmp_path):
    x = np.load(small.parent / "input_0.npy")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    expected = onnxruntime.InferenceSession(small, settings).run(None, {"input": x})[0]
    words = ["--input", small.parent / "input_0.npy", "--output", tmp_path]
    answer = run(engine, small, *words)
    assert np.array_equal(np.load(tmp_path / "output_0.npy"), expected)
    assert answer["runtime"] == f"ONNX Runtime {onnxruntime.__version__}"


def test_several_files_are_one_batch(engine, small, tmp_path):
    x = np.load(small.parent / "input_0.npy")
    words = []
    for number, part in enumerate((x[:1], x[1:4], x[4:])):
        np.save(tmp_path / f"{number}.npy", part)
        words += ["--input", tmp_path / f"{number}.npy"]
    answer = run(engine, small, *words)
    assert answer["batch"] == 6
    reference = np.load(small.parent / "output_0.npy")
    values = np.reshape(answer["outputs"][0]["values"], (6, 5))
    np.testing.assert_allclose(values, reference, atol=1e-5)


def test_every_type_and_several_inputs_and_outputs(engine, tmp_path):
    example = (
        torch.rand(2, 3),
        torch.randint(0, 256, (2, 3), dtype=torch.uint8),
        torch.randint(-9, 9, (2, 3)),
        torch.randint(-9, 9, (2, 3), dtype=torch.int32),
    )
    file, words = saved(tmp_path, Types(), example), []
    for number, tensor in enumerate(example):
        np.save(tmp_path / f"{number}.npy", tensor.numpy())
        words += ["--input", tmp_path / f"{number}.npy"]
    run(engine, file, *words, "--output", tmp_path / "new" / "folder")
    for number, reference in enumerate(Types()(*example)):
        answer = np.load(tmp_path / "new" / "folder" / f"output_{number}.npy")
        assert answer.dtype == reference.numpy().dtype
        np.testing.assert_allclose(answer, reference.numpy(), rtol=1e-6)


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "jpg"])
@pytest.mark.parametrize("size", [(8, 6), (16, 12), (5, 11)])
def test_a_picture_is_resized_and_normalized(engine, tmp_path, kind, size):
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    facts = {"mean": "0.4,0.5,0.6", "std": "0.2,0.3,0.4"}
    file = saved(tmp_path, Picture(), torch.rand(2, 3, 6, 8), **facts)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    picture = tmp_path / f"p.{kind}"
    Image.fromarray(pixels).save(picture)
    run(engine, file, "--input", picture, "--output", tmp_path)
    decoded = np.asarray(Image.open(picture))
    x = torch.from_numpy(decoded.copy()).permute(2, 0, 1)[None] / 255
    x = nn.functional.interpolate(x, (6, 8), mode="bilinear", align_corners=False)
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    y = np.load(tmp_path / "output_0.npy")
    # two JPEG decoders may round a pixel differently, by up to two or three of 255
    assert np.abs(y - x.numpy()).max() < (0.06 if kind == "jpg" else 1e-5)


def test_a_color_picture_for_a_gray_model(engine, tmp_path):
    file = saved(tmp_path, Mean(), torch.rand(2, 1, 4, 4))
    Image.new("RGB", (4, 4), (255, 0, 51)).save(tmp_path / "p.png")
    answer = run(engine, file, "--input", tmp_path / "p.png")
    luma = 0.299 + 0.114 * 0.2  # ITU-R BT.601
    assert answer["outputs"][0]["values"] == pytest.approx([luma], abs=1e-6)


def test_made_up_inputs_for_timing(engine, small):
    assert run(engine, small, "--batch", 3, "--repeat", 1)["batch"] == 3


@pytest.mark.parametrize("change", ["none", "value", "nan", "shape", "number"])
def test_the_self_check_compares_with_what_is_stored(engine, small, tmp_path, change):
    x = np.load(small.parent / "input_0.npy")
    y = np.load(small.parent / "output_0.npy")
    if change == "value":
        y[3, 2] += 0.01 * np.abs(y).max()
    if change == "nan":
        y[3, 2] = np.nan
    if change == "shape":
        y = y[:, :4]
    if change == "number":
        y = y[:5]
    np.save(tmp_path / "input_0.npy", x)
    np.save(tmp_path / "output_0.npy", y)
    if change == "none":
        result = run(engine, small, "--selfcheck", tmp_path)["selfcheck"]
        assert result["passed"]
        assert result["samples"] == 6
        assert result["relative_difference"] < 1e-5
        return
    words = {
        "value": "self-check",
        "nan": "self-check",
        "shape": "but the model returned",
        "number": "same number of samples",
    }
    with pytest.raises(EngineError, match=words[change]):
        run(engine, small, "--selfcheck", tmp_path)


def bad_inputs(folder: Path, good: Path) -> dict[str, tuple[list, str]]:
    """Name → the arguments of a call that must fail, and a part of its message."""
    x, data = np.load(good.parent / "input_0.npy"), good.read_bytes()
    content = (good.parent / "input_0.npy").read_bytes()
    files = {
        "cut.onnx": data[: len(data) // 2],
        "empty.onnx": b"",
        "text.onnx": b"no model\n" * 50,
        "short.npy": content[:-4],
        "long.npy": content + b"1234",
        "head.npy": content[:40],
        "text.npy": b"no numbers",
        "words.png": b"no picture",
        "deep.npy": content.replace(b"(6, 3, 8, 8)", b"(6, 3, 9, 9)"),
        "huge.npy": content.replace(b"(6, 3, 8, 8), }", b"(99999999999,), ")[
            : len(content)
        ],
        "minus.npy": content.replace(b"(6, 3, 8, 8)", b"(-6, 3, 8,8)"),
    }
    for name, body in files.items():
        (folder / name).write_bytes(body)
    np.save(folder / "double.npy", x.astype(np.float64))
    np.save(folder / "bytes.npy", (x * 255).astype(np.uint8))
    np.save(folder / "order.npy", np.asfortranarray(x))
    np.save(folder / "shape.npy", x[..., :5])
    np.save(folder / "none.npy", x[:0])
    library = ["--library", native.library()]
    at = {name.stem + name.suffix: name for name in folder.iterdir()}

    def given(name: str) -> list:
        return [good, "--input", at[name], *library]

    return {
        "no model": ([], "MODEL is required"),
        "no such model": ([folder / "nothing.onnx", *library], "is not a file"),
        "a folder as model": ([folder, *library], "is not a file"),
        "two models": ([good, good, *library], "MODEL must be a single file"),
        "half a model": ([at["cut.onnx"], *library], "failed"),
        "an empty model": ([at["empty.onnx"], *library], "failed"),
        "a text as model": ([at["text.onnx"], *library], "failed"),
        "no library": ([good, "--library", folder / "no.so"], "cannot be opened"),
        "another library": (
            [good, "--library", "libm.so.6"],
            "not export OrtGetApiBase",
        ),
        "another provider": (
            [good, "--provider", "abacus", *library],
            "must be cpu, cuda",
        ),
        "another option": (
            [good, "--fast", "yes", *library],
            "--fast is not an option",
        ),
        "an option without value": ([good, *library, "--repeat"], "requires a value"),
        "no repeats": ([good, "--repeat", 0, *library], "an integer between 1 and"),
        "words for a number": (
            [good, "--batch", "two", *library],
            "an integer between 1 and",
        ),
        "half precision": (
            [good, "--precision", "fp8", *library],
            "fp32, bf16, fp16 or",
        ),
        "no such input": (
            [good, "--input", folder / "no.npy", *library],
            "is not a file",
        ),
        "cut tensor": (given("short.npy"), "must contain 4608 bytes"),
        "overlong tensor": (given("long.npy"), "must contain 4608 bytes"),
        "cut header": (given("head.npy"), "ends within its header"),
        "text as tensor": (given("text.npy"), "is not a .npy file"),
        "text as picture": (given("words.png"), "neither a .npy file nor an image"),
        "too small": (given("deep.npy"), "must contain 5832 bytes"),
        "too large": (given("huge.npy"), "2^31"),
        "a negative size": (given("minus.npy"), "negative dimension"),
        "float64": (
            given("double.npy"),
            "has the dtype <f8, but the engine accepts only",
        ),
        "uint8 for float32": (given("bytes.npy"), "must be float32 [any, 3, 8, 8]"),
        "Fortran order": (given("order.npy"), "must be in C order"),
        "another shape": (given("shape.npy"), "[6, 3, 8, 5], but the model's"),
        "no sample": (given("none.npy"), "contains no samples"),
        "no check": ([good, "--selfcheck", folder / "no", *library], "is not a file"),
        "no room": ([good, "--output", at["text.npy"], *library], "text.npy"),
    }


def test_each_mistake_is_one_sentence(sanitized, small, tmp_path):
    for name, (words, sentence) in bad_inputs(tmp_path, small).items():
        done = raw(sanitized, *words)
        assert done.returncode == 2, f"{name}: {done}"
        assert done.stdout == "", name
        assert sentence in done.stderr, f"{name}: {done.stderr}"
        assert len(done.stderr.strip().splitlines()) == 1, f"{name}: {done.stderr}"
        assert done.stderr.startswith("engine: "), name


def test_damaged_files_never_break_it(sanitized, small, tmp_path):
    """Real files with bytes changed, lost and added: an output or an error message."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(
        tmp_path / "p.png"
    )
    Image.open(tmp_path / "p.png").save(tmp_path / "p.jpg")
    corpus = [
        small,
        small.parent / "input_0.npy",
        tmp_path / "p.png",
        tmp_path / "p.jpg",
    ]
    seen = set()
    for number in range(80):
        source = corpus[number % len(corpus)]
        body = np.frombuffer(source.read_bytes(), dtype=np.uint8).copy()
        near = min(len(body), 160) if number % 8 < 4 else len(body)  # often the header
        for at in rng.integers(0, near, rng.integers(1, 6)):
            body[at] = rng.integers(256)
        body = body[: rng.integers(1, len(body))] if number % 3 == 0 else body
        damaged = tmp_path / f"damaged{source.suffix}"
        damaged.write_bytes(body.tobytes())
        is_model = source.suffix == ".onnx"
        words = [damaged] if is_model else [small, "--input", damaged]
        done = raw(sanitized, *words, "--library", native.library(), "--repeat", 1)
        assert done.returncode in (0, 2), done
        assert not any(word in done.stderr for word in FOUND), done.stderr
        if done.returncode == 0:
            json.loads(done.stdout)
        seen.add(done.returncode)
    assert seen == {0, 2}  # both must happen, or the test shows nothing


def test_a_build_that_cannot_be_says_why(tmp_path, monkeypatch, engine):
    with pytest.raises(ValueError, match="onnxruntime or openvino; got 'abacus'"):
        native.build(tmp_path / "e", runtime="abacus")
    with pytest.raises(BuildError, match=r"onnxruntime_cxx_api\.h"):
        native.build(tmp_path / "e", options=["-DORT_INCLUDE=/nowhere"])
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="no-such-compiler"):
        native.build(tmp_path / "e")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match="needs cmake"):
        native.build(tmp_path / "e")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """The runtimes that engines were built for, in an empty cache."""
    runtimes = []

    def build(target, runtime, **_):
        runtimes.append(runtime)
        target.write_bytes(b"an engine")
        return target

    monkeypatch.setenv("DEEPSEEK_LEARN_CACHE", str(tmp_path))
    monkeypatch.setattr(native, "build", build)
    return runtimes


def test_a_compiled_engine_is_taken_from_the_cache_unless_it_is_damaged(
    tmp_path, monkeypatch, builds
):
    compiled = native.compiled.__wrapped__
    assert compiled("onnxruntime") == compiled("onnxruntime") == b"an engine"
    assert builds == ["onnxruntime"]
    (file,) = (tmp_path / "kernels").iterdir()
    file.write_bytes(b"half")
    assert compiled("onnxruntime") == b"an engine"
    assert len(builds) == 2
    monkeypatch.setenv("CXXFLAGS", "-O1")
    compiled("onnxruntime")
    assert len(builds) == 3


def test_each_environment_compiles_for_its_own_openvino(tmp_path, monkeypatch, builds):
    compiled = native.compiled.__wrapped__
    compiled("openvino")
    compiled("openvino")
    assert len(builds) == 1
    monkeypatch.setattr(native, "package_folder", lambda name: tmp_path / name)
    compiled("openvino")
    assert len(builds) == 2


def test_without_a_compiler_that_runs_nothing_is_looked_up(tmp_path, monkeypatch):
    broken = tmp_path / "broken++"
    broken.write_bytes(b"\x00\x01")
    broken.chmod(0o755)
    for command in (str(broken), "nowhere++"):
        monkeypatch.setenv("CXX", command)
        assert native._engine_key("onnxruntime", native.ENGINE / "engine.cpp") is None
