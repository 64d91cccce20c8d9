"""Runtimes of others on one thread, each in a process and an environment of its own.

    PYTHON elsewhere.py prepare LIBRARY PRECISION FOLDER
    PYTHON elsewhere.py run LIBRARY PRECISION FOLDER REPEATS

FOLDER holds a network as `source.onnx` and as `source.pt2` (a `torch.export` program), 16
samples in `rows.npy` and one in `x.npy`. `prepare` converts the network. `run` prints the
median milliseconds of so many calls and writes the answer to `y.npy`. It runs under the
interpreter of an environment with the packages in `PACKAGES`, and imports nothing of ours.

Precisions: "fp32"; "int8", quantized as the library's authors advise, with the 16 samples;
"low", what ncnn and MNN do on their own: ncnn stores half-precision numbers (bfloat16 where
the processor has it), MNN takes its lower precision. Neither wheel has the tools with which
INT8 models are made.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PACKAGES = {  # of each environment
    "deploy_small": ("ncnn==1.0.*", "pnnx>=20260526", "MNN==3.6.*", "numpy"),
    # it needs PyTorch without asking for it
    "deploy_peers": ("executorch==1.5.*", "torch==2.13.*"),
    "deploy_litert": ("litert-torch==0.10.*",),
    # Olive imports requests without asking for it
    "deploy_olive": ("olive-ai==0.13.*", "onnxruntime", "requests"),
}
ENVIRONMENTS = {
    "MNN": "deploy_small",
    "ncnn": "deploy_small",
    "ExecuTorch": "deploy_peers",
    "LiteRT": "deploy_litert",
    "Olive": "deploy_olive",
}
PRECISIONS = {
    "MNN": ("fp32", "low"),
    "ncnn": ("fp32", "low"),
    "ExecuTorch": ("fp32", "int8"),
    "LiteRT": ("fp32", "int8"),
    "Olive": ("int8",),
}
Call = Callable[[], np.ndarray]


def prepare_ncnn(precision: str, folder: Path) -> None:
    shape = str(list(np.load(folder / "x.npy").shape)).replace(" ", "")
    model = folder / "model.onnx"
    model.write_bytes((folder / "source.onnx").read_bytes())
    pnnx = Path(sys.executable).parent / "pnnx"
    _convert(
        [pnnx, model, f"inputshape={shape}", "fp16=0"], folder / "model.ncnn.param"
    )


def prepare_mnn(precision: str, folder: Path) -> None:
    model = folder / "model.mnn"
    words = ["-f", "ONNX", "--modelFile", folder / "source.onnx", "--MNNModel", model]
    # MNN's command would install a client of a logging service and call it
    code = "import sys, _tools; _tools.mnnconvert(sys.argv)"
    _convert([sys.executable, "-c", code, *words], model)


def _convert(command: list, product: Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode or not product.exists():
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no word"]
        raise SystemExit(lines[-1])


def prepare_executorch(precision: str, folder: Path) -> None:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.load(folder / "source.pt2")
    if precision == "int8":
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        config = get_symmetric_quantization_config(is_per_channel=True)
        quantizer = XNNPACKQuantizer().set_global(config)
        rows = torch.from_numpy(np.load(folder / "rows.npy"))
        watched = prepare_pt2e(program.module(), quantizer)
        for row in rows:
            watched(row[None])
        program = torch.export.export(convert_pt2e(watched), (rows[:1],))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (folder / "model.pte").write_bytes(lowered.to_executorch().buffer)


def prepare_litert(precision: str, folder: Path) -> None:
    import litert_torch
    import torch
    from ai_edge_quantizer import quantizer, recipe

    rows = np.load(folder / "rows.npy")
    network = torch.export.load(folder / "source.pt2").module()
    model = str(folder / "model.tflite")
    litert_torch.convert(network, (torch.from_numpy(rows[:1]),)).export(model)
    if precision == "int8":
        quantized = quantizer.Quantizer(model, recipe.static_wi8_ai8())
        samples = {"serving_default": [{"args_0": row[None]} for row in rows]}
        result = quantized.quantize(quantized.calibrate(samples))
        result.export_model(model, overwrite=True)


def prepare_olive(precision: str, folder: Path) -> None:
    import os

    os.environ["OLIVE_DISABLE_TELEMETRY"] = "1"
    import onnx
    from olive import run
    from olive.data.registry import Registry

    source = folder / "source.onnx"
    name = onnx.load(source).graph.input[0].name

    @Registry.register_dataset("rows")
    def samples(**_) -> list:
        return [({name: row}, 0) for row in np.load(folder / "rows.npy")]

    accelerator = {"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}
    loader = {"type": "default_dataloader", "batch_size": 1}
    data = {"name": "rows", "type": "DataContainer", "dataloader_config": loader}
    config = {
        "input_model": {"type": "ONNXModel", "model_path": str(source)},
        "systems": {"here": {"type": "LocalSystem", "accelerators": [accelerator]}},
        "data_configs": [data | {"load_dataset_config": {"type": "rows"}}],
        "passes": {"int8": {"type": "OnnxStaticQuantization", "data_config": "rows"}},
        "host": "here",
        "target": "here",
        "output_dir": str(folder / "olive"),
        "cache_dir": str(folder / "cache"),
    }
    run(config)


def with_ncnn(precision: str, folder: Path, x: np.ndarray) -> Call:
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


def with_mnn(precision: str, folder: Path, x: np.ndarray) -> Call:
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


def with_executorch(precision: str, folder: Path, x: np.ndarray) -> Call:
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    torch.set_num_threads(1)
    portable_lib._unsafe_reset_threadpool(1)
    method = Runtime.get().load_program(folder / "model.pte").load_method("forward")
    image = torch.from_numpy(x)
    return lambda: method.execute([image])[0].numpy()


def with_litert(precision: str, folder: Path, x: np.ndarray) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(str(folder / "model.tflite"), num_threads=1)
    net.allocate_tensors()
    (source,), (target,) = net.get_input_details(), net.get_output_details()
    scale, zero = source["quantization"]
    if scale:
        x = np.clip(np.round(x / scale) + zero, -128, 127)
    x = x.astype(source["dtype"])

    def call() -> np.ndarray:
        net.set_tensor(source["index"], x)
        net.invoke()
        return net.get_tensor(target["index"])

    return call


def with_olive(precision: str, folder: Path, x: np.ndarray) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "olive" / "model.onnx", options)
    feed = {session.get_inputs()[0].name: x}
    return lambda: session.run(None, feed)[0]


PREPARE = {
    "MNN": prepare_mnn,
    "ncnn": prepare_ncnn,
    "ExecuTorch": prepare_executorch,
    "LiteRT": prepare_litert,
    "Olive": prepare_olive,
}
LOAD = {
    "MNN": with_mnn,
    "ncnn": with_ncnn,
    "ExecuTorch": with_executorch,
    "LiteRT": with_litert,
    "Olive": with_olive,
}


def run(library: str, precision: str, folder: Path, repeats: int) -> None:
    call = LOAD[library](precision, folder, np.load(folder / "x.npy"))
    np.save(folder / "y.npy", call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    print(statistics.median(times))


if __name__ == "__main__":
    action, library, precision, folder, *rest = sys.argv[1:]
    if action == "prepare":
        PREPARE[library](precision, Path(folder))
    else:
        run(library, precision, Path(folder), int(rest[0]))
