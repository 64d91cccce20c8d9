"""A trained model on a processor: how fast, how small, how much worse for INT8?

    python benchmarks/deploy_cpu.py [--quick] [--anew]

Protocol. One thread, one sample. Every way to run a network has its turn in each of 9
rounds, about 0.4 s a turn; a ratio is PyTorch eager's median over the other's within a
round, and the row gives the median and quartiles of the rounds. Ways: PyTorch eager,
eager in channels-last, `torch.compile`, AOTInductor with freezing; ONNX Runtime and
OpenVINO from Python in float32 and INT8, OpenVINO in bfloat16; our C++ engine on both;
ExecuTorch (XNNPACK, float32 and INT8) in an environment of its own,
`benchmarks/.venv/deploy_peers` (not in git). What does not install or run is named.

Networks: ResNet-18 and ResNet-50, trained here on Fashion-MNIST for 4 epochs at 28 x 28
and timed on its pictures at 224 x 224; U-Net-64 (depth 4, 256 x 256, random weights, for
its time and size only); the zoo's U-Net and the zoo's solar-cell classifier.

INT8 is the wizard's: `guard` chooses the layers left in float on the validation part
(aim 0.1 points), once for each runtime; the loss in the rows is on the test part, on
which nothing was chosen, with the same batches for both. Accuracy, or IoU, in points.

Targets, stated before the run. The guide: 3 times as fast, less than 1 point lost, a
model of 87 MB (there for a factory's network). Ours: INT8 on the faster of the two
runtimes at least 4 times as fast as eager float32 where the processor has VNNI; at most
0.1 points lost; our engine at most 3 % slower than ONNX Runtime's own Python interface
on the same file; the engine started (library opened, model loaded) within 100 ms; one
picture through U-Net-64 within 0.3 s, its file at most 30 MB. Seen before, in a quick
look at the zoo's two networks: 4.2 to 4.8 times.

Finished networks are lines in `results/deploy_cpu.jsonl`; `--quick` takes the zoo's U-Net
alone, 3 rounds, without AOTInductor and ExecuTorch.

Added later: "the faster of the two runtimes" is chosen in each reading, and its row no
longer bears the runtime's name, so that readings of one row can be compared. `--speed`
takes one more reading of the speed rows: the ResNets untrained, for time does not depend
on the weights, INT8 with the layers in float that the guard chose in the full run, and
without torch.compile, AOTInductor and ExecuTorch.

Added later, with targets stated before the run: MNN and ncnn from Python, in an environment
of their own (`benchmarks/.venv/deploy_small`), in float32 and "low", the lower precision
that either takes on its own (neither wheel makes INT8 models); a wrong answer is named and
not timed. Our engine also with its Winograd kernel, as `cpp-cpu` deploys float32. The
fastest of ours is no slower than the fastest of the peers in float32, in at least bfloat16
(or "low"; ours in float32 counts), and in INT8. Ours are ONNX Runtime, OpenVINO and our
engine, all of which the wizard deploys to. Seen before: the float32 and low rows of all
networks, beside other work.

Added later: LiteRT, in float32 and in INT8 by its own quantizer, and Olive, in INT8 by its
static pass as it comes, run by ONNX Runtime; each in an environment of its own, with the
same targets. `--speed` times these and ExecuTorch too, which may be the fastest peers in
INT8; readings before 2026-12-01 have neither LiteRT nor Olive. Seen before: their times
on the zoo's networks, beside other work.

Added later: the points lost have an interval, 95 % of 2,000 resamplings of the test images,
the same for both models. For it the guard and the test parts were run again, the ResNets
trained again in the same way; nothing was chosen anew on the test parts.
"""

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from deploying import backends
from deploying.backends import Elsewhere, Engine, Timed
from deploying.elsewhere import PRECISIONS
from deploying.losses import scores
from deploying.rows import AIM, MB, OPENVINO, ORT, rows_of
from harness.outcomes import tally
from harness.script import Run, Script, Skip
from models.deployed_nets import NETS, Net

from deepseek_learn.deploy import Quantizer, guard, native, to_onnx
from deepseek_learn.deploy.runtimes import openvino_runner, runner
from deepseek_learn.deploy.winograd import with_winograd
from deepseek_learn.ledger.rows import Row

SCRIPT = Script(__file__, __doc__, quick="the zoo's U-Net only", anew=True, speed=True)
ROUNDS, SECONDS = 9, 0.4
RUNTIMES = {ORT: runner, OPENVINO: openvino_runner}


def losses(name: str) -> dict[str, dict]:
    """Runtime → the layers that the guard leaves in float, and the test images' scores."""
    net = NETS[name](True)
    if net.evaluation is None:
        return {runtime: {"in_float": []} for runtime in RUNTIMES}
    x, rows = net.small or (net.x, net.calibration)
    quantizer, facts = Quantizer(to_onnx(net.model, x), rows), {}
    before = scores(net.evaluation, net.model)
    for runtime, run in RUNTIMES.items():
        choice = guard(quantizer, net.evaluation.metric, AIM, run)
        after = scores(net.evaluation, _predict(run(choice.proto)))
        facts[runtime] = {
            "in_float": list(choice.in_float),
            "held_out_lost": choice.loss,
            "images": tally(*before, *after),
        }
    return facts


def _predict(answer):
    return lambda x: torch.from_numpy(answer(x)[0])


def quantize(net: Net, choices: dict[str, dict]) -> dict:
    """Runtime → its INT8 model for the timed size."""
    timed = Quantizer(to_onnx(net.model, net.x), net.calibration)
    return {name: timed.int8(in_float=choices[name]["in_float"]) for name in RUNTIMES}


def ways(
    net: Net, int8: dict, folder: Path, extent: str
) -> tuple[dict[str, Timed], dict]:
    """Every runtime that works here, and why the others do not."""
    model, x, proto = net.model, net.x, to_onnx(net.model, net.x)
    programs = engines(folder)
    options = {ORT: ("--library", native.library()), OPENVINO: ()}

    def engine(name: str, proto) -> Engine:
        return Engine(programs[name], proto, x, folder, *options[name])

    runtimes, failed = backends.eager(model, x), {}
    makers: dict[str, Callable[[], Timed]] = {
        f"{ORT} fp32": lambda: backends.onnx_runtime(proto, x),
        f"{ORT} INT8": lambda: backends.onnx_runtime(int8[ORT], x),
        f"{OPENVINO} fp32": lambda: backends.openvino(proto, x),
        f"{OPENVINO} bf16": lambda: backends.openvino(proto, x, "bf16"),
        f"{OPENVINO} INT8": lambda: backends.openvino(int8[OPENVINO], x),
        f"our engine, {ORT} fp32": lambda: engine(ORT, proto),
        f"our engine, {ORT} Winograd fp32": lambda: engine(ORT, with_winograd(proto)),
    }
    rows = torch.cat(net.calibration)
    for library, precisions in PRECISIONS.items():
        if extent == "quick" and library not in ("MNN", "ncnn"):
            continue  # their environments take gigabytes
        for precision in precisions:
            makers[f"{library} {precision}"] = partial(
                Elsewhere, library, precision, model, proto, rows, folder
            )
    for name in RUNTIMES:
        makers[f"our engine, {name} INT8"] = lambda name=name: engine(name, int8[name])
    if extent != "speed":
        makers["torch.compile"] = lambda: backends.compiled(model, x)
    if extent == "full":
        makers["AOTInductor"] = lambda: backends.aot_inductor(model, x, folder)
    for name, make in makers.items():
        try:
            runtimes[name] = make()
        except Exception as error:  # a peer may fail in any way
            failed[name] = excuse(name, error)
    return runtimes, failed


def engines(folder: Path) -> dict[str, Path]:
    """Runtime → our C++ engine on it.

    Raises:
        Skip: if cmake, a compiler or the headers are missing.
    """
    try:
        return {
            ORT: native.build(folder / "engine_ort"),
            OPENVINO: native.build(folder / "engine_openvino", "openvino"),
        }
    except native.BuildError as error:
        raise Skip(str(error)) from error


def excuse(name: str, error: Exception) -> str:
    """Why a peer is left out; our engine may not fail."""
    if name.startswith("our engine"):
        raise error
    return str(error).strip().split("\n")[0][:200]


def first_calls(sides: dict[str, Timed], failed: dict[str, str]) -> dict[str, float]:
    """A first call of each; those that do not run go to `failed`."""
    first = {}
    for way, run in list(sides.items()):
        try:
            first[way] = run(2)
        except Exception as error:  # a peer may fail in any way
            failed[way] = excuse(way, error)
            del sides[way]
    return first


def measure_net(name: str, extent: str, choices: dict[str, dict]) -> dict:
    """The latencies and sizes of one network.

    Args:
        extent: "full", "quick" or "speed".
        choices: what `losses` returned.
    """
    net, rounds = NETS[name](extent != "speed"), 3 if extent == "quick" else ROUNDS
    int8 = quantize(net, choices)
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        sides, failed = ways(net, int8, Path(place), extent)
        first = first_calls(sides, failed)
        repeats = {way: max(1, round(1e3 * SECONDS / ms)) for way, ms in first.items()}
        turns = [
            {way: run(repeats[way]) for way, run in sides.items()}
            for _ in range(rounds)
        ]
        engine = sides[f"our engine, {ORT} INT8"]
        starts = engine.starts
    sizes = {way: len(proto.SerializeToString()) / MB for way, proto in int8.items()}
    sizes["fp32"] = sum(p.numel() * 4 for p in net.model.parameters()) / MB
    return {
        "ms": {way: [turn[way] for turn in turns] for way in sides},
        "failed": failed,
        "start_ms": starts,
        "size_mb": sizes,
    }


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        engines(Path(place))  # at once, not after hours of training
    runs = run.finished_runs(anywhere=run.speed)
    for name in ["bacteria_unet, 224 x 224"] if run.quick else NETS:
        loss = runs.once({"loss of": name}, partial(losses, name))
        extent = "speed" if run.speed else "quick" if run.quick else "full"
        work = partial(measure_net, name, extent, loss)
        if run.speed:
            result = runs.again({"speed of": name}, work)
        else:
            result = runs.once({"net": name}, work)
        yield from rows_of(name, result, loss)


if __name__ == "__main__":
    SCRIPT.main(measure)
