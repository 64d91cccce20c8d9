"""CPU inference runtimes, each as a callable that returns milliseconds."""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from models.deployed_nets import channels_last
from torch import Tensor, nn

from deepseek_learn.deploy import native
from deepseek_learn.deploy.runtimes import openvino_runner, runner

from .elsewhere import ENVIRONMENTS, PACKAGES

Timed = Callable[[int], float]  # repeats → median milliseconds
PLACE = Path(__file__).parents[1] / ".venv"  # of the environments
ROWS = 16  # samples for a peer's quantizer
LARGEST_ERROR = {
    "fp32": 1e-3,
    "low": 2e-2,
}  # of a peer's answer, over the largest value


def timed(call: Callable[[], object]) -> Timed:
    def run(repeats: int) -> float:
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - start))
        return statistics.median(times)

    return run


def eager(model: nn.Module, x: Tensor) -> dict[str, Timed]:
    reordered, z = channels_last(model), x.contiguous(memory_format=torch.channels_last)
    return {
        "PyTorch eager": timed(lambda: model(x)),
        "PyTorch eager, channels last": timed(lambda: reordered(z)),
    }


def compiled(model: nn.Module, x: Tensor) -> Timed:
    function = torch.compile(model)
    function(x)
    return timed(lambda: function(x))


def aot_inductor(model: nn.Module, x: Tensor, folder: Path) -> Timed:
    program = torch.export.export(model, (x,))
    path = str(folder / "model.pt2")
    options = {"freezing": True, "max_autotune": False}
    torch._inductor.aoti_compile_and_package(
        program, package_path=path, inductor_configs=options
    )
    function = torch._inductor.aoti_load_package(path)
    function(x)
    return timed(lambda: function(x))


def onnx_runtime(proto, x: Tensor) -> Timed:
    answer = runner(proto)
    return timed(lambda: answer(x))


def openvino(proto, x: Tensor, precision: str = "fp32") -> Timed:
    answer = openvino_runner(proto, precision=precision)
    return timed(lambda: answer(x))


class Engine:
    """Our C++ engine, one process per call."""

    def __init__(self, program: Path, proto, x: Tensor, folder: Path, *words):
        self.program, self.words = program, words
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.model = self.folder / "model.onnx"
        self.model.write_bytes(proto.SerializeToString())
        np.save(self.folder / "x.npy", x.numpy())
        self.starts: list[float] = []

    def __call__(self, repeats: int) -> float:
        options = ["--input", self.folder / "x.npy", "--repeat", repeats]
        options += ["--checksum", "skip"]  # the model was not deployed
        report = native.run(self.program, self.model, *self.words, *options)
        self.starts.append(report["load_ms"])
        return report["latency_ms"]["median"]


class Elsewhere:
    """A runtime in a process and an environment of its own (see `elsewhere.py`).

    Args:
        proto: the model as ONNX.
        rows: the samples with which it may be quantized.

    Raises:
        NotInstalled: if its packages cannot be installed here.
        RuntimeError: if the model cannot be converted, or its answer is wrong.
    """

    def __init__(
        self,
        library: str,
        precision: str,
        model: nn.Module,
        proto,
        rows: Tensor,
        folder: Path,
    ):
        name = ENVIRONMENTS[library]
        self.python = peer_python(PLACE / name, *PACKAGES[name])
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.words = library, precision, self.folder
        rows, x = rows[:ROWS], rows[:1]
        (self.folder / "source.onnx").write_bytes(proto.SerializeToString())
        torch.export.save(torch.export.export(model, (x,)), self.folder / "source.pt2")
        np.save(self.folder / "rows.npy", rows.numpy())
        np.save(self.folder / "x.npy", x.numpy())
        self._run("prepare", *self.words)
        self(1)
        with torch.inference_mode():
            expected = model(x).numpy()
        answer = np.load(self.folder / "y.npy").reshape(expected.shape)
        error = np.abs(answer - expected).max() / np.abs(expected).max()
        if precision in LARGEST_ERROR and not error < LARGEST_ERROR[precision]:
            raise RuntimeError(f"its answer is off by {error:.1%}")

    def __call__(self, repeats: int) -> float:
        return float(self._run("run", *self.words, repeats))

    def _run(self, *words) -> str:
        script = Path(__file__).with_name("elsewhere.py")
        command = [str(self.python), str(script), *map(str, words)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            lines = result.stderr.strip().splitlines() or ["it ended without a word"]
            raise RuntimeError(lines[-1])
        return result.stdout.strip().splitlines()[-1] if result.stdout.strip() else ""


class NotInstalled(RuntimeError):
    """Raised when the packages of a peer cannot be installed here."""


def peer_python(folder: Path, *packages: str) -> Path:
    """The interpreter of an environment with these packages, created once.

    Raises:
        NotInstalled: with pip's last line.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        command = [python, "-m", "pip", "install", "-q", *packages]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            shutil.rmtree(folder)  # else the next call would take it for complete
            raise NotInstalled(result.stderr.strip().splitlines()[-1])
    return python
