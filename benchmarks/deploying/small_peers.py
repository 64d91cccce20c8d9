"""ncnn and MNN on one thread, in a process and an environment of their own.

    PYTHON small_peers.py prepare ncnn|MNN MODEL.onnx X.npy FOLDER
    PYTHON small_peers.py run ncnn|MNN fp32|low FOLDER X.npy REPEATS Y.npy

`prepare` converts a model, `run` prints the median milliseconds of so many calls and writes
the answer. "low" is what either may do on its own: ncnn stores half-precision numbers
(bfloat16 where the processor has it), MNN takes its lower precision. It runs under the
interpreter of an environment with the packages in `PACKAGES`, and imports nothing of ours.
Neither wheel has the tools with which INT8 models are made.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PACKAGES = ("ncnn==1.0.*", "pnnx==2026.*", "MNN==3.6.*", "numpy")


def prepare(library: str, model: Path, x: Path, folder: Path) -> None:
    if library == "MNN":
        words = ["-f", "ONNX", "--modelFile", model, "--MNNModel", folder / "model.mnn"]
        # MNN's command would install a client of a logging service and call it
        code = "import sys, _tools; _tools.mnnconvert(sys.argv)"
        command = [sys.executable, "-c", code, *words]
    else:
        shape = str(list(np.load(x).shape)).replace(" ", "")
        target = folder / "model.onnx"
        target.write_bytes(model.read_bytes())
        pnnx = Path(sys.executable).parent / "pnnx"
        command = [pnnx, target, f"inputshape={shape}", "fp16=0"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    product = folder / ("model.mnn" if library == "MNN" else "model.ncnn.param")
    if done.returncode or not product.exists():
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no word"]
        raise SystemExit(lines[-1])


def with_ncnn(precision: str, folder: Path, x: np.ndarray):
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = 1
    low = precision == "low"
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = low
    net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = low
    net.load_param(str(folder / "model.ncnn.param"))
    net.load_model(str(folder / "model.ncnn.bin"))
    image = ncnn.Mat(np.ascontiguousarray(x[0])).clone()  # else it points to the array

    def call() -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", image)
        return np.array(extractor.extract("out0")[1])

    return call


def with_mnn(precision: str, folder: Path, x: np.ndarray):
    from MNN import expr, nn

    config = {"precision": "high" if precision == "fp32" else "low", "numThread": 1}
    manager = nn.create_runtime_manager((config,))
    file = str(folder / "model.mnn")
    net = nn.load_module_from_file(file, [], [], runtime_manager=manager)
    image = expr.const(x, list(x.shape), expr.NCHW, expr.float)
    image = expr.convert(image, expr.NC4HW4) if x.ndim == 4 else image

    def call() -> np.ndarray:
        answer = net.forward(image)
        answer = expr.convert(answer, expr.NCHW)
        return np.array(answer.read())

    return call


def run(words: list[str]) -> None:
    library, precision, folder, x, repeats, y = words
    make = with_ncnn if library == "ncnn" else with_mnn
    call = make(precision, Path(folder), np.load(x))
    np.save(y, call())
    times = []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    print(statistics.median(times))


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(sys.argv[2], *map(Path, sys.argv[3:]))
    else:
        run(sys.argv[2:])
