"""The wizard's folders: complete, relocatable and consistent with their report."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from deepseek_learn import DeploymentWizard, catalog, cli, zoo
from deepseek_learn.deploy import destinations, kit, native, target, targets
from deepseek_learn.deploy.result import COMPILED, MEASURED, UNVERIFIED
from deepseek_learn.deploy.runtimes import runner
from deepseek_learn.errors import (
    DeepSeekLearnError,
    MissingPackageError,
    UnknownNameError,
)
from tests.services import absent

pytestmark = pytest.mark.service

VENDORS = {"nvidia-a100": "tensorrt", "ascend-910b": "cann", "amd-mi300": "migraphx"}
CLEAN = {"PATH": "/usr/bin:/bin:/usr/local/bin:/opt/homebrew/bin", "LC_ALL": "C"}


def make(name="fashion_net"):
    known = zoo.evaluation(name)
    held_out = known.held_out.subset(np.arange(300))
    return DeploymentWizard(
        zoo.load(name),
        zoo.example(name),
        known.calibration[:128].split(16),
        lambda predict: known.points(predict, held_out),
    )


@pytest.fixture(scope="module", autouse=True)
def compiler():
    try:
        native.compiled("onnxruntime")
    except native.BuildError as error:
        absent(str(error))


@pytest.fixture(scope="module")
def fashion():
    return make()


@pytest.fixture(scope="module")
def deployed(fashion, tmp_path_factory):
    """Target → its deployment in its default precision."""
    folder = tmp_path_factory.mktemp("deployed")
    return {
        name: fashion.to(name, folder / name, loss=0.9, progress=False)
        for name in targets
    }


def script(folder: Path, name: str, *words, env=None) -> subprocess.CompletedProcess:
    """Run a script of the folder from elsewhere, with a minimal environment."""
    command = ["bash", str(folder / name), *map(str, words)]
    environment = CLEAN if env is None else CLEAN | env
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd="/"
    )


def weights_of(folder: Path) -> set[str]:
    model = onnx.load(folder / "model.onnx")
    return {
        onnx.TensorProto.DataType.Name(t.data_type)
        for t in model.graph.initializer
        if "weight" in t.name and len(t.dims) > 1
    }


@pytest.mark.parametrize("name", sorted(targets))
def test_every_folder_is_complete(deployed, name):
    done = deployed[name]
    files = {p.relative_to(done.folder).as_posix() for p in done.folder.rglob("*")}
    expected = {"README.md", "report.json", "model.onnx", "settings.sh", "build.sh"}
    expected |= {"model.onnx.sha256", "source/sha256.h"}
    expected |= {
        "run.sh",
        "verify.sh",
        "source/engine.cpp",
        "source/readers.h",
        "source/session.h",
        "source/CMakeLists.txt",
    }
    expected |= {
        "source/third_party/stb_image.h",
        "check/input_0.npy",
        "check/output_0.npy",
    }
    assert expected <= files
    assert not [f for f in files if Path(f).name.startswith(".")]
    on_disk = {f: (done.folder / f).stat().st_size for f in done.files}
    assert done.files == on_disk
    report = json.loads((done.folder / "report.json").read_text())
    assert report["target"] == name
    assert len(report["lines"]) == len(done.lines) == len(done.to_frame())
    readme = (done.folder / "README.md").read_text()
    for line in done.lines:
        assert line.words in readme
        assert line.status in (MEASURED, COMPILED, UNVERIFIED)
    assert "{" not in readme.replace("${", "")
    onnx.checker.check_model(onnx.load(done.folder / "model.onnx"), full_check=True)
    for file in done.folder.glob("*.sh"):
        assert os.access(file, os.X_OK) == (file.name != "settings.sh")


def test_the_scripts_pass_shellcheck(deployed):
    if shutil.which("shellcheck") is None:
        absent("shellcheck is not on the PATH")
    scripts = [f for done in deployed.values() for f in done.folder.glob("*.sh")]
    done = subprocess.run(
        ["shellcheck", "--shell=bash", "--exclude=SC2034", *scripts],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert len(scripts) > 20


@pytest.mark.parametrize("name", ["cpp-cpu", "openvino"])
def test_a_processors_folder_verifies_itself_and_says_what_was_measured(deployed, name):
    done = deployed[name]
    assert {line.status for line in done.lines} == {MEASURED}
    assert done.precision == "int8"
    assert done["loss"] == pytest.approx(done["metric_before"] - done["metric"])
    assert done["loss"] <= 0.9
    assert done["size"] < 0.4 * done["size_before"]
    assert done["speedup"] > 0
    assert "not verified" not in done.why().lower()
    message = script(done.folder, "verify.sh")
    assert message.returncode == 0, message.stderr
    answer = json.loads(message.stdout)
    assert answer["selfcheck"]["passed"]
    assert answer["selfcheck"]["samples"] == 8
    assert answer["selfcheck"]["relative_difference"] < 1e-6


def test_the_folder_can_be_moved_and_needs_no_python(deployed, tmp_path):
    moved = tmp_path / "a place with spaces"
    shutil.copytree(deployed["cpp-cpu"].folder, moved)
    x = moved / "check" / "input_0.npy"
    message = script(moved, "run.sh", "--input", x, "--output", tmp_path / "out",
                  env={"PATH": "/usr/bin:/bin"})  # fmt: skip
    assert message.returncode == 0, message.stderr
    answer = np.load(tmp_path / "out" / "output_0.npy")
    stored = np.load(moved / "check" / "output_0.npy")
    assert np.abs(answer - stored).max() < 1e-5 * np.abs(stored).max()
    assert (moved / "lib" / "LICENSE").stat().st_size > 100


def test_another_model_does_not_pass_for_this_one(deployed, tmp_path):
    wrong = tmp_path / "wrong"
    shutil.copytree(deployed["cpp-cpu"].folder, wrong)
    answers = np.load(wrong / "check" / "output_0.npy")
    np.save(wrong / "check" / "output_0.npy", answers[::-1].copy())
    message = script(wrong, "verify.sh")
    assert message.returncode == 2
    assert "output_0.npy is not the file that was deployed" in message.stderr
    message = script(wrong, "verify.sh", "--checksum", "skip")
    assert message.returncode == 1
    assert "the self-check failed" in message.stderr


def listed(folder: Path) -> set[str]:
    lines = (folder / "model.onnx.sha256").read_text().splitlines()
    return {line[66:] for line in lines}


@pytest.mark.parametrize("name", ["cpp-cpu", "amd-mi300"])
def test_every_file_that_the_check_relies_on_has_a_checksum(deployed, name, tmp_path):
    """A last bit in an input or in the settings changes no output by the tolerance."""
    folder = tmp_path / "copy"
    shutil.copytree(deployed[name].folder, folder)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "model.onnx.sha256"], cwd=folder
    )
    assert done.returncode == 0
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    others = {"engine", "README.md", "report.json", "model.onnx.sha256"}
    assert listed(folder) == files - others
    if name != "cpp-cpu":
        return
    for file in ("check/input_0.npy", "settings.sh", "verify.sh", "lib/LICENSE"):
        body = (folder / file).read_bytes()
        (folder / file).write_bytes(body[:-4] + bytes([body[-4] ^ 1]) + body[-3:])
        message = script(folder, "verify.sh")
        assert message.returncode != 0
        if file != "verify.sh":  # its own last line is broken
            assert f"{file} is not the file that was deployed" in message.stderr
        (folder / file).write_bytes(body)
    assert script(folder, "verify.sh").returncode == 0


def test_a_folder_whose_list_is_lost_or_cut_off_does_not_run(deployed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(deployed["cpp-cpu"].folder, folder)
    sums = folder / "model.onnx.sha256"
    lines = sums.read_text().splitlines(keepends=True)
    for count in (0, 1, len(lines) - 1):
        sums.write_text("".join(lines[:count]))
        for name in ("run.sh", "verify.sh"):
            message = script(folder, name)
            assert message.returncode == 2
            assert "model.onnx.sha256 does not list " in message.stderr
    sums.unlink()
    for name in ("run.sh", "verify.sh"):
        message = script(folder, name)
        assert message.returncode == 2
        assert "model.onnx.sha256 is missing" in message.stderr


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendors_kit_claims_nothing(deployed, name):
    done = deployed[name]
    status = {line.what: line.status for line in done.lines}
    assert status["on_target"] == UNVERIFIED
    assert status["engine"] == COMPILED
    assert status["check"] == status["metric_before"] == MEASURED
    assert status["metric"] == status["loss"] == UNVERIFIED  # computed in float32 here
    assert "start" not in status
    assert "latency" not in status
    assert "Not verified here" in done.why()
    note = next(line.note for line in done.lines if line.what == "on_target")
    assert str(Path.home()) not in note
    assert "/" not in note
    assert done.precision == "fp16"
    assert weights_of(done.folder) == {"FLOAT16"}
    first = onnx.load(done.folder / "model.onnx").graph.input[0]
    assert first.type.tensor_type.shape.dim[0].dim_value == 1  # a fixed batch


def build_files(kit: Path) -> dict[str, bytes]:
    """What an engine is built from."""
    files = [kit / "build.sh", *(kit / "source").rglob("*")]
    return {str(f.relative_to(kit)): f.read_bytes() for f in files if f.is_file()}


@pytest.fixture(scope="module")
def built_kit(deployed, tmp_path_factory) -> Path:
    """A vendor's kit with its engine, which takes longer to build than all else."""
    kit = tmp_path_factory.mktemp("built") / "kit"
    shutil.copytree(deployed[next(iter(VENDORS))].folder, kit)
    early = script(kit, "run.sh")
    assert early.returncode == 2
    assert "run ./build.sh first" in early.stderr
    built = script(kit, "build.sh")
    assert built.returncode == 0, built.stderr
    return kit


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendors_kit_builds_and_stops_only_at_the_vendors_library(
    deployed, built_kit, name, tmp_path
):
    kit = tmp_path / "kit"
    shutil.copytree(deployed[name].folder, kit)
    assert "RUNTIME=onnxruntime" in (kit / "settings.sh").read_text()
    assert build_files(kit) == build_files(built_kit)
    shutil.copy(built_kit / "engine", kit)
    library = {"ORT_LIBRARY": str(native.library())}
    here = script(kit, "verify.sh", env=library | {"PROVIDER": "cpu"})
    assert here.returncode == 0, here.stderr
    assert json.loads(here.stdout)["selfcheck"]["passed"]
    there = script(kit, "verify.sh", env=library)
    assert there.returncode == 2
    assert len(there.stderr.strip().splitlines()) == 1
    assert VENDORS[name] in there.stderr.lower()


@pytest.mark.parametrize("name", VENDORS)
def test_int8_for_a_vendor_is_symmetric(fashion, name, tmp_path):
    done = fashion.to(
        name, tmp_path / "kit", precision="int8", batch=3, loss=0.9, progress=False
    )
    graph = onnx.load(done.folder / "model.onnx").graph
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    pairs = [n for n in graph.node if n.op_type == "QuantizeLinear"]
    assert pairs
    assert not any(arrays[n.input[2]].any() for n in pairs)
    assert weights_of(done.folder) == {"FLOAT" if name == "nvidia-a100" else "INT8"}
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 3
    assert len(np.load(done.folder / "check" / "input_0.npy")) % 3 == 0
    assert done.guard.loss <= 0.9
    if name == "ascend-910b":
        unproven = [line for line in done.lines if line.what == "ascend_int8"]
        assert unproven[0].status == UNVERIFIED


def test_a_compressed_model_deploys(tmp_path):
    done = make("fashion_net_dpg").to(
        "cpp-cpu", tmp_path / "dpg", loss=0.9, progress=False
    )
    assert done.precision == "int8"
    assert done["size_before"] < 0.4  # four bits per weight in the original
    assert abs(done["loss"]) < 1
    assert script(done.folder, "verify.sh").returncode == 0


def test_what_becomes_of_packed_weights_is_said(fashion, tmp_path):
    model = zoo.load("fashion_net_dpg")
    packed = sum(t.nbytes for t in model.state_dict().values())
    layers = [m for m in model.modules() if hasattr(m, "plain")]
    made = DeploymentWizard(model, zoo.example("fashion_net_dpg"))
    done = made.to("amd-mi300", tmp_path / "dpg", precision="fp32", progress=False)
    written = (done.folder / "model.onnx").stat().st_size
    assert written > 4 * packed  # which nothing said
    words = f"{packed:,} bytes packed, {written:,} bytes in model.onnx"
    assert f"{len(layers)} packed layers were unpacked" in done.why()
    assert f"written in fp32: {words}." in done.why()
    assert words in (done.folder / "README.md").read_text()
    assert words in done._repr_html_()
    plain = fashion.to("amd-mi300", tmp_path / "plain", progress=False)
    assert plain["unpacked"] is None
    assert "packed" not in plain.why()


def test_other_precisions(fashion, tmp_path):
    exact = fashion.to(
        "cpp-cpu", tmp_path / "fp32", precision="fp32", batch=4, progress=False
    )
    assert exact.guard is None
    assert exact["loss"] == 0
    assert weights_of(exact.folder) == {"FLOAT"}
    half = fashion.to("openvino", tmp_path / "bf16", precision="bf16", progress=False)
    assert abs(half["loss"]) < 1
    assert "PRECISION=bf16" in (half.folder / "settings.sh").read_text()
    assert script(half.folder, "verify.sh").returncode == 0


class Pair(nn.Module):
    """Two named inputs, two outputs; only accepts a batch of three."""

    def __init__(self):
        super().__init__()
        self.each = nn.Parameter(torch.rand(3, 4))
        self.line = nn.Linear(4, 2)

    def forward(self, a, *, b):
        return self.line(a + b * self.each), a.sum(1)


def test_a_model_that_openvino_cannot_read(tmp_path):
    net = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
    wizard = DeploymentWizard(net, torch.rand(1, 1, 8, 8))
    with pytest.raises(native.BuildError, match=r"cannot read the model \(.*Pad-18"):
        wizard.to("openvino", tmp_path / "out", precision="fp32", progress=False)
    assert not (tmp_path / "out").exists()


def test_several_inputs_and_a_batch_that_cannot_change(tmp_path):
    x = {"a": torch.rand(3, 4), "b": torch.rand(3, 4)}
    given = Pair()
    one = DeploymentWizard(given, x, dynamic_batch=False)
    with pytest.raises(
        ValueError, match="batch must be 3, the batch size of the example"
    ):
        one.to("cpp-cpu", tmp_path / "pair", precision="fp32", progress=False)
    done = one.to(
        "cpp-cpu", tmp_path / "pair", precision="fp32", batch=3, progress=False
    )
    assert (done.folder / "check" / "output_1.npy").exists()
    assert done["metric"] is None
    assert script(done.folder, "verify.sh").returncode == 0
    assert given.training  # unchanged


def test_pictures_are_prepared_as_the_wizard_was_told(tmp_path):
    from PIL import Image

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2)).eval()
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    made = DeploymentWizard(model, torch.rand(1, 3, 8, 8), mean=mean, std=std)
    done = made.to("cpp-cpu", tmp_path / "out", precision="fp32", progress=False)
    again = made.to("cpp-cpu", tmp_path / "twice", precision="fp32", progress=False)
    assert len(onnx.load(again.folder / "model.onnx").metadata_props) == 2
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    message = script(done.folder, "run.sh", "--input", tmp_path / "p.png")
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    values = json.loads(message.stdout)["outputs"][0]["values"]
    assert values == pytest.approx(model(x).flatten().tolist(), abs=1e-4)


def test_a_target_of_ones_own(fashion, tmp_path):
    @target("my-board", precisions=("fp32",), fixed_batch=True)
    def my_board(kit):
        kit.notes.append("Copy the folder to the board.")
        kit.script("flash.sh", "#!/usr/bin/env bash\necho flashed\n")

    try:
        done = fashion.to("my-board", tmp_path / "board", batch=2, progress=False)
        with pytest.raises(ValueError, match="already registered"):
            target("my-board")(lambda kit: None)
    finally:
        targets.unregister("my-board")
    assert "Copy the folder to the board." in (done.folder / "README.md").read_text()
    assert script(done.folder, "flash.sh").stdout == "flashed\n"
    assert (
        script(
            done.folder, "verify.sh", env={"ORT_LIBRARY": str(native.library())}
        ).returncode
        == 0
    )
    assert done.batch == 2


def test_in_chinese(fashion, tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "_current", "zh")
    done = fashion.to("amd-mi300", tmp_path / "zh", progress=False)
    readme = (done.folder / "README.md").read_text()
    assert "未验证" in readme
    assert "not verified" not in readme
    assert "此处未验证" in done.why()


def test_what_it_shows(deployed):
    done = deployed["cpp-cpu"]
    speed = done.line("speedup")
    assert f"{speed.value:.2f} times as fast as PyTorch (between" in done.why()
    readings = [done.line(what) for what in ("latency_eager", "latency", "speedup")]
    for line in readings:  # six rounds: they differ, and the median lies in between
        assert line.low < line.value < line.high
        spread = f"{line.value:.4g} {line.unit} ({line.low:.4g}–{line.high:.4g})"
        assert spread in str(line)
        assert spread in (done.folder / "README.md").read_text()
        row = done.to_frame().loc[line.words]
        assert (row["low"], row["high"]) == (line.low, line.high)
    assert f"between {speed.low:.2f} and {speed.high:.2f}" in done.why()
    before, after, ratio = readings  # each ratio is of one round: between the extremes
    assert before.low / after.high <= ratio.low
    assert ratio.high <= before.high / after.low
    bars = done.plot().data
    assert [tuple(bar.y) for bar in bars] == [
        (done["latency_eager"], done["latency"]),
        (done["size_before"], done["size"]),
    ]
    assert "measured here" in done._repr_html_()
    assert "NaN" not in deployed["amd-mi300"]._repr_html_()
    assert done["no such line"] is None


def test_steps_are_told_in_order(fashion, tmp_path):
    told = []
    fashion.to(
        "amd-mi300",
        tmp_path / "kit",
        progress=lambda step, part: told.append((step, part)),
    )
    parts = [part for _, part in told]
    assert parts == sorted(parts)
    assert parts[0] == 0
    assert told[-1] == ("done", 1.0)


# ---------------------------------------------------------------- refusals


def test_a_folder_that_is_not_empty(fashion, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(
            FileExistsError, match="not a deployment, and they are never replaced"
        ):
            fashion.to("amd-mi300", taken, overwrite=overwrite, progress=False)
    with pytest.raises(FileExistsError, match="must be a folder"):
        fashion.to("amd-mi300", taken / "thesis.tex", progress=False)
    own = tmp_path / "own"
    fashion.to("amd-mi300", own, progress=False)
    (own / "trace").write_text("of the first")
    with pytest.raises(FileExistsError, match="pass overwrite=True to replace it"):
        fashion.to("amd-mi300", own, progress=False)
    fashion.to("amd-mi300", own, overwrite=True, progress=False)
    assert not (own / "trace").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own", "taken"]
    assert (taken / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("at", ["compiling the engine", "measuring"])
def test_an_interruption_leaves_what_was_there(fashion, tmp_path, at):
    def stop(step, part):
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fashion.to("cpp-cpu", tmp_path / "new", loss=0.9, progress=stop)
    assert not list(tmp_path.iterdir())
    fashion.to("amd-mi300", tmp_path / "old", progress=False)
    before = (tmp_path / "old" / "report.json").read_text()
    with pytest.raises(KeyboardInterrupt):
        fashion.to("cpp-cpu", tmp_path / "old", loss=0.9, overwrite=True, progress=stop)
    assert (tmp_path / "old" / "report.json").read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["old"]


IN_A_PROCESS = """
import resource, signal, sys, torch
from pathlib import Path
from deepseek_learn import DeploymentWizard
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(40_000, 60))
wizard = DeploymentWizard(model, torch.rand(1, 40_000))
wizard.same
{before}
wizard.to("{target}", sys.argv[1], precision="fp32", progress={progress})
"""


def in_a_process(out: Path, **parts) -> subprocess.CompletedProcess:
    code = IN_A_PROCESS.format(
        **{"before": "", "progress": False, "target": "amd-mi300"} | parts
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(out)], capture_output=True, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits there")
def test_a_disk_that_is_full(tmp_path):
    limit = """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))
    """
    done = in_a_process(tmp_path / "full", before=textwrap.dedent(limit))
    assert done.returncode == 1
    assert "OSError" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal there")
def test_a_process_that_is_killed_leaves_no_half_folder(tmp_path):
    kill = (
        "lambda step, part: step == 'measuring' and signal.raise_signal(signal.SIGKILL)"
    )
    done = in_a_process(tmp_path / "out", progress=kill)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.iterdir())  # the unfinished folder
    DeploymentWizard(nn.Linear(4, 2), torch.rand(1, 4)).to(
        "amd-mi300", tmp_path / "out", precision="fp32", progress=False
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")
@pytest.mark.parametrize("at", ["compiling the engine", "measuring"])
def test_a_second_wizard_on_the_same_folder_is_refused(fashion, tmp_path, at):
    refused = []

    def second(step, part):
        if step == at:
            with pytest.raises(FileExistsError, match="being written by another") as no:
                fashion.to("amd-mi300", tmp_path / "out", progress=False)
            refused.append(no)

    done = fashion.to("amd-mi300", tmp_path / "out", progress=second)
    assert len(refused) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert done.files.keys() >= {"model.onnx", "README.md"}


@pytest.mark.parametrize("lost", [1.0, 1.0 - 2**-20])
def test_a_whole_point_is_too_much_in_float16_too(tmp_path, lost):
    answers = iter([90.0, 90.0 - lost])  # float32, then float16
    made = DeploymentWizard(
        nn.Linear(4, 2), torch.rand(3, 4), metric=lambda p: next(answers)
    )
    if lost < 1:
        done = made.to("amd-mi300", tmp_path / "out", progress=False)
        assert done["loss"] == lost
        return
    with pytest.raises(DeepSeekLearnError, match=r"fp16 loses 1\.00 points"):
        made.to("amd-mi300", tmp_path / "out", progress=False)
    assert not list(tmp_path.iterdir())


def test_an_engine_that_answers_otherwise_is_not_handed_over(
    fashion, tmp_path, monkeypatch
):
    right = kit.Kit._answers
    monkeypatch.setattr(
        kit.Kit, "_answers", lambda *given: [y + 10 for y in right(*given)]
    )
    with pytest.raises(native.EngineError, match="the self-check failed"):
        fashion.to("cpp-cpu", tmp_path / "out", loss=0.9, progress=False)
    assert not list(tmp_path.iterdir())


def test_without_a_compiler(fashion, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    native.compiled.cache_clear()
    with pytest.raises(
        native.BuildError, match="needs cmake, which is not on the PATH"
    ):
        fashion.to("cpp-cpu", tmp_path / "out", loss=0.9, progress=False)
    assert not list(tmp_path.iterdir())
    kit = fashion.to(
        "amd-mi300", tmp_path / "kit", progress=False
    )  # compiled on the target
    status = {line.what: line for line in kit.lines}
    assert status["engine"].status == UNVERIFIED
    assert "needs cmake" in status["engine"].note
    assert "check" not in status


def test_without_onnx_runtime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    fresh = DeploymentWizard(nn.Linear(3, 2), torch.rand(1, 3))
    with pytest.raises(MissingPackageError, match=r"pip install .*\[deploy\]"):
        fresh.to("cpp-cpu", tmp_path / "out", precision="fp32", progress=False)
    assert not list(tmp_path.iterdir())


X = torch.rand(2, 1, 28, 28)


def points(predict):
    return 90.0


@pytest.mark.parametrize(
    ("given", "options", "error", "said"),
    [
        ((), {}, ValueError, "int8 needs calibration and metric, which the wizard was"),
        (([X],), {}, ValueError, 'int8 needs metric, .* or precision="fp32"'),
        (([], points), {}, ValueError, "calibration must contain at least one batch"),
        (([X[:0]], points), {}, ValueError, "0 must hold at least one sample; got the"),
        (([X], lambda p: None), {}, ValueError, "number of points; got None"),
        (([X, X / 0], points), {}, ValueError, "Conv 0 has NaN or infinity in in"),
        (
            ([X[..., :9]], points),
            {},
            ValueError,
            r"0 must be float32 \[any, 1, 28, 28\]",
        ),
        (
            (),
            {"precision": "fp16"},
            ValueError,
            "int8, fp32, packed, packed_int8 for cpp-cpu; got 'fp16'",
        ),
        ((), {"loss": 1.0}, ValueError, "below 1 point; got 1"),
        ((), {"precision": "fp32", "batch": 0}, ValueError, "positive integer; got 0"),
        (
            (),
            {"target": "gpu"},
            UnknownNameError,
            "'gpu' is not known; the known names are: amd-",
        ),
    ],
)
def test_requests_that_are_refused(given, options, error, said, tmp_path):
    net = nn.Conv2d(1, 4, 3, stride=2), nn.Flatten(), nn.Linear(4 * 13 * 13, 10)
    made = DeploymentWizard(nn.Sequential(*net), X[:1], *given)
    options = {
        "target": "cpp-cpu",
        "out": tmp_path / "out",
        "progress": False,
    } | options
    with pytest.raises(error, match=said):
        made.to(**options)
    assert not list(tmp_path.iterdir())


class Shapes(nn.Module):
    def __init__(self, say):
        super().__init__()
        self.line, self.say = nn.Linear(4, 2), say

    def forward(self, x):
        return self.say(self.line(x))


@pytest.mark.parametrize(
    ("say", "shape"), [(lambda y: (y, y.mean()), "[]"), (lambda y: y.T, "[2, 3]")]
)
def test_outputs_without_a_batch(say, shape, tmp_path):
    made = DeploymentWizard(Shapes(say), torch.rand(3, 4))
    with pytest.raises(
        ValueError, match="must have the batch as its first axis"
    ) as error:
        made.to("amd-mi300", tmp_path / "out", progress=False)
    assert shape in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_model_that_returns_nan_for_its_own_example_is_refused(tmp_path):
    """The export returns NaN as well, so the two are equal."""
    cases = (
        (lambda y: y * float("nan"), "NaN"),
        (lambda y: torch.log(-y.abs()), "NaN"),
        (lambda y: y.abs() / 0, "infinity"),
    )
    for say, what in cases:
        made = DeploymentWizard(Shapes(say), torch.rand(3, 4))
        with pytest.raises(
            ValueError, match=f"output 0 of Shapes contains {what} for the example, but"
        ):
            made.to("amd-mi300", tmp_path / "out", progress=False)
        assert not list(tmp_path.iterdir())


def test_nan_for_a_calibration_batch_is_refused(tmp_path):
    """Outputs for these batches are stored, and NaN would equal NaN in the self-check."""
    batches = [torch.rand(3, 4), torch.full((3, 4), float("nan"))]
    made = DeploymentWizard(nn.Linear(4, 2), torch.rand(1, 4), batches)
    with pytest.raises(
        ValueError, match="the fp32 model contains NaN for the example or a calibration"
    ):
        made.to("amd-mi300", tmp_path / "out", precision="fp32", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reach", [65504.0, 65536.0])
def test_weights_beyond_float16_are_refused(tmp_path, reach):
    """The converter would clip them, and without a metric nothing would say so."""
    model = nn.Linear(4, 2)
    nn.init.constant_(model.weight, -reach)
    made = DeploymentWizard(model, torch.full((3, 4), 1e-3))
    if reach > 65504:
        with pytest.raises(
            ValueError, match=r"weight reaches 6\.55e\+04, but float16 ends"
        ):
            made.to("amd-mi300", tmp_path / "out", progress=False)
        assert not list(tmp_path.iterdir())
        return
    done = made.to("amd-mi300", tmp_path / "out", progress=False)
    stored = np.load(done.folder / "check" / "output_0.npy")
    assert np.abs(stored + 4e-3 * reach).max() < 1  # the bias is below 0.5


def test_an_output_that_is_none_is_none_of_the_outputs(tmp_path):
    made = DeploymentWizard(Shapes(lambda y: (y, None)), torch.rand(3, 4))
    done = made.to("amd-mi300", tmp_path / "out", progress=False)
    assert not (done.folder / "check" / "output_1.npy").exists()


def test_a_share_of_one_is_no_metric_in_any_precision(tmp_path):
    made = DeploymentWizard(nn.Linear(4, 2), torch.rand(3, 4), metric=lambda p: 0.9)
    with pytest.raises(ValueError, match="points out of 100"):
        made.to("amd-mi300", tmp_path / "out", progress=False)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, left, right):
        return self.a(left) + 10 * self.b(right)


def test_named_inputs_are_taken_by_name(tmp_path):
    torch.manual_seed(0)
    model, left, right = Named(), torch.rand(16, 4), -torch.rand(16, 4)
    with torch.no_grad():
        truth = model(left, right)

    def metric(predict):
        return (
            100 - (predict({"right": right, "left": left}) - truth).abs().mean().item()
        )

    batches = [{"right": right, "left": left}]
    made = DeploymentWizard(model, {"left": left, "right": right}, batches, metric)
    done = made.to("cpp-cpu", tmp_path / "out", loss=0.9, progress=False)
    assert done["metric_before"] > 99.99
    assert done["loss"] < 0.2
    with pytest.raises(
        ValueError, match="the model takes left, right; got left, wrong"
    ):
        runner(made.proto)({"left": left, "wrong": right})


def test_a_loaders_lists_are_taken_for_tuples(tmp_path):
    model, left, right = Named(), torch.rand(16, 4), torch.rand(16, 4)
    given = (left, right), [[left, right]], lambda p: 90.0
    done = DeploymentWizard(model, *given).to(
        "cpp-cpu", tmp_path / "out", progress=False
    )
    assert script(done.folder, "verify.sh").returncode == 0


class Parts(nn.Module):
    """Takes a list of two batches, or a dict of them."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 2)

    def forward(self, parts):
        a, b = (parts["a"], parts["b"]) if isinstance(parts, dict) else parts
        return self.line(a) - 2 * self.line(b)


A, B = torch.rand(8, 4), torch.rand(8, 4)


@pytest.mark.parametrize(
    ("example", "batch"),
    [
        ([A[:1], B[:1]], [A, B]),
        ([A[:1], B[:1]], (A, B)),
        (([A[:1], B[:1]],), [(A, B)]),
        ({"parts": [A[:1], B[:1]]}, {"parts": (A, B)}),
        (({"a": A[:1], "b": B[:1]},), ({"b": B, "a": A},)),
    ],
)
def test_calibration_takes_the_structure_of_the_example(example, batch, tmp_path):
    """A generator is read once, and names decide, not their order."""
    made = DeploymentWizard(
        Parts(), example, (batch for _ in range(3)), lambda predict: 90.0
    )
    assert len(made.calibration) == 3
    done = made.to("cpp-cpu", tmp_path / "out", progress=False)
    assert done["same"] < 1e-5  # compares the first batch with PyTorch as well
    stored = np.load(done.folder / "check" / "input_0.npy")
    assert np.array_equal(stored, torch.cat([A[:1], A[:7]]).numpy())


@pytest.mark.parametrize(
    ("calibration", "error", "said"),
    [
        ([A], ValueError, "has a list of 2 where the batch has a Tensor"),
        ([[A, B, B]], ValueError, "has a list of 2 where the batch has a list of 3"),
        ([[A, {"b": B}]], ValueError, "has a Tensor where the batch has a dict of b"),
        ([[A, B], [A, None]], ValueError, "batch 1 .* where the batch has a NoneType"),
        ([[A, B.numpy()]], ValueError, "where the batch has a ndarray"),
        (A, TypeError, "calibration must be an iterable of batches, .*; got Tensor"),
        ({"x": A}, TypeError, "iterable of batches, .*; got dict"),
        ("data", TypeError, "iterable of batches, .*; got str"),
        (lambda: [A], TypeError, "iterable of batches, .*; got function"),
    ],
)
def test_calibration_of_another_structure_is_one_sentence(calibration, error, said):
    with pytest.raises(error, match=said) as caught:
        DeploymentWizard(Parts(), [A[:1], B[:1]], calibration)
    assert "\n" not in str(caught.value)


def test_what_was_given_is_copied(tmp_path):
    model, x = nn.Conv2d(1, 2, 1), torch.rand(3, 1, 4, 4)
    made = DeploymentWizard(model, x, mean=np.array([0.5]))
    with torch.no_grad():
        expected = model(x).clone()
        model.weight.zero_()
    done = made.to("cpp-cpu", tmp_path / "out", precision="fp32", progress=False)
    stored = np.load(done.folder / "check" / "output_0.npy")
    assert np.abs(stored - expected.numpy()).max() < 1e-5


def test_a_report_of_another_program_is_no_deployment(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    (tmp_path / "thesis.tex").write_text("years of work")
    made = DeploymentWizard(nn.Linear(4, 2), torch.rand(3, 4))
    with pytest.raises(FileExistsError, match="never replaced"):
        made.to("amd-mi300", tmp_path, overwrite=True, progress=False)
    assert (tmp_path / "thesis.tex").exists()


def test_the_scripts_mind_no_cdpath(deployed):
    message = script(deployed["cpp-cpu"].folder, "verify.sh", env={"CDPATH": ".:/tmp"})
    assert message.returncode == 0, message.stderr


def test_nothing_to_quantize(tmp_path):
    made = DeploymentWizard(nn.ReLU(), torch.rand(3, 4), [torch.rand(3, 4)], points)
    with pytest.raises(ValueError, match="no layer that can be quantized to INT8"):
        made.to("cpp-cpu", tmp_path / "out", progress=False)


def test_what_is_no_model_and_no_example():
    with pytest.raises(ValueError, match=r"int32 or bool tensors; got torch\.float64"):
        DeploymentWizard(nn.ReLU(), torch.ones(2, 2, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"Module or an \.onnx file; got 'resnet'"):
        DeploymentWizard("resnet", X)
    with pytest.raises(
        ValueError, match="first axis is the batch; got one without axes"
    ):
        DeploymentWizard(nn.ReLU(), torch.tensor(1.0))
    with pytest.raises(ValueError, match="got no tensor"):
        DeploymentWizard(nn.ReLU(), {})
    with pytest.raises(
        ValueError, match=r"at least one sample; got the shape \[0, 3\]"
    ):
        DeploymentWizard(nn.ReLU(), torch.ones(0, 3))
    with pytest.raises(TypeError, match=r"metric must be a function .*; got 90"):
        DeploymentWizard(nn.ReLU(), X, [X], 90)


# ---------------------------------------------------------------- the command line


def test_the_command_line_deploys_and_refuses(tmp_path):
    words = [
        "deploy",
        "zoo:fashion_net",
        "--target",
        "amd-mi300",
        "--out",
        str(tmp_path / "k"),
    ]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "[measured here]" in done.output
    assert "[not verified]" in done.output
    command = [sys.executable, "-m", "deepseek_learn", *words]
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert again.stderr.startswith("deepseek-learn: out must be a new or empty folder")


def test_a_module_of_ones_own_from_the_command_line(tmp_path, monkeypatch, capfd):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "x = torch.rand(64, 8)\n"
        "net = torch.nn.Linear(8, 3)\n"
        "def everything():\n"
        "    truth = net(x).argmax(1)\n"
        "    right = lambda p: 50 + 50 * (p(x).argmax(1) == truth).float().mean().item()\n"
        "    return net, x[:1], [x], right\n"
        "def broken():\n"
        "    values = lambda p: len({*p(x).ravel().tolist()})\n"
        "    return net, x[:1], [x], lambda p: 90 if values(p) > 180 else 1.5\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ["--target", "cpp-cpu", "--out", "out", "--loss", "0.9"]
    done = CliRunner().invoke(cli.app, ["deploy", "mine:everything", *words])
    assert done.exit_code == 0, done.output
    words[3] = "lost"
    monkeypatch.setattr("sys.argv", ["deepseek-learn", "deploy", "mine:broken", *words])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    said = capfd.readouterr().err
    assert "INT8 loses 88.50 points (90.00 to 1.50)" in said
    assert "layers in float" in said
    assert not (tmp_path / "lost").exists()
    plain = ["deploy", "mine:net", "--shape", "1,8", "--precision", "fp32"]
    done = CliRunner().invoke(
        cli.app, [*plain, "--target", "cpp-cpu", "--out", "plain"]
    )
    assert done.exit_code == 0, done.output


def test_the_targets_there_are():
    assert set(targets) == {"cpp-cpu", "openvino", *VENDORS}
    assert all(isinstance(targets[name], destinations.Target) for name in targets)
