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

Timed = Callable[[int], float]  # repeats → median milliseconds
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
        report = native.run(self.program, self.model, *self.words, *options)
        self.starts.append(report["load_ms"])
        return report["latency_ms"]["median"]


EXECUTORCH = """
import json, statistics, sys, time
import numpy as np, torch
torch.set_num_threads(1)
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime
portable_lib._unsafe_reset_threadpool(1)
method = Runtime.get().load_program(sys.argv[1]).load_method("forward")
x = torch.from_numpy(np.load(sys.argv[2]))
times = []
for turn in range(int(sys.argv[3]) + 1):
    start = time.perf_counter()
    method.execute([x])
    times.append(1e3 * (time.perf_counter() - start))
print(statistics.median(times[1:]))
"""
EXPORT = """
import sys
import numpy as np, torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
program = torch.export.load(sys.argv[1])
if sys.argv[4] == "int8":
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer, get_symmetric_quantization_config)
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    quantizer = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True))
    batches = np.load(sys.argv[2])
    prepared = prepare_pt2e(program.module(), quantizer)
    for row in batches:
        prepared(torch.from_numpy(row[None]))
    model = convert_pt2e(prepared)
    program = torch.export.export(model, (torch.from_numpy(batches[:1]),))
lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
open(sys.argv[3], "wb").write(lowered.to_executorch().buffer)
"""


class ExecuTorch:
    """XNNPACK through ExecuTorch, in a separate environment."""

    def __init__(
        self,
        python: Path,
        model: nn.Module,
        batches: list[Tensor],
        folder: Path,
        precision: str,
    ):
        self.python, self.folder = python, Path(tempfile.mkdtemp(dir=folder))
        rows = torch.cat(batches)[:16]
        torch.export.save(
            torch.export.export(model, (rows[:1],)), self.folder / "model.pt2"
        )
        np.save(self.folder / "rows.npy", rows.numpy())
        np.save(self.folder / "x.npy", rows[:1].numpy())
        files = ("model.pt2", "rows.npy", "model.pte")
        self._run(EXPORT, *(self.folder / f for f in files), precision)

    def __call__(self, repeats: int) -> float:
        return float(
            self._run(
                EXECUTORCH, self.folder / "model.pte", self.folder / "x.npy", repeats
            )
        )

    def _run(self, code: str, *words) -> str:
        command = [str(self.python), "-c", code, *map(str, words)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            lines = result.stderr.strip().splitlines() or ["no word"]
            raise RuntimeError(lines[-1])
        return result.stdout.strip().splitlines()[-1] if result.stdout.strip() else ""


class Small:
    """ncnn or MNN, in a separate environment (see `small_peers.py`).

    Raises:
        RuntimeError: if the model cannot be converted, or its answer is wrong.
    """

    def __init__(
        self,
        python: Path,
        library: str,
        precision: str,
        model: nn.Module,
        proto,
        x: Tensor,
        folder: Path,
    ):
        self.python, self.words = python, (library, precision)
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        source = self.folder / "source.onnx"
        source.write_bytes(proto.SerializeToString())
        np.save(self.folder / "x.npy", x.numpy())
        self._run("prepare", library, source, self.folder / "x.npy", self.folder)
        self(1)
        with torch.inference_mode():
            expected = model(x).numpy()
        answer = np.load(self.folder / "y.npy").reshape(expected.shape)
        error = np.abs(answer - expected).max() / np.abs(expected).max()
        if not error < LARGEST_ERROR[precision]:
            raise RuntimeError(f"its answer is off by {error:.1%}")

    def __call__(self, repeats: int) -> float:
        files = [self.folder, self.folder / "x.npy", repeats, self.folder / "y.npy"]
        return float(self._run("run", *self.words, *files))

    def _run(self, *words) -> str:
        script = Path(__file__).with_name("small_peers.py")
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
