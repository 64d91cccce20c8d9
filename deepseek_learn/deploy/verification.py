"""Verify a deployment on this machine and measure its performance.

The wizard runs these checks before it returns.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..catalog import text
from ..measure.clock import in_turn
from ..measure.measured import Measured
from ..measure.timing import compare
from . import native
from .kit import PACKED, Kit
from .result import COMPILED, MEASURED, UNVERIFIED, ReportLine
from .runtimes import arrays
from .source import Source

if TYPE_CHECKING:
    from .destinations import Target

ROUNDS, SECONDS = 6, 1 / 3  # SECONDS is the approximate time per model in a round
MB = 1e6


def lines(
    kit: Kit, goal: "Target", engine: bytes | None, refusal: str, source: Source, x: Any
) -> list[ReportLine]:
    """Verify and measure the deployment, and return the lines of the report.

    Args:
        kit: the deployment folder.
        goal: the target.
        engine: the compiled engine, or None if it could not be compiled.
        refusal: the reason why there is no engine.
        source: the original model. The model and the engine are timed alternately, on
            one thread each.
        x: the input used for timing.

    Raises:
        EngineError: if the outputs of the engine on this processor differ from the
            stored outputs.
    """
    size, before = (kit.folder / "model.onnx").stat().st_size, source.bytes()
    report = [
        ReportLine("size", MEASURED, size / MB, "MB"),
        ReportLine("size_before", MEASURED, before / MB, "MB", source=source.label),
    ]
    if source.packed_layers and kit.precision not in PACKED:
        note = text("deploy.unpacked_note", before=before, size=size)
        report.append(ReportLine("unpacked", MEASURED, source.packed_layers, note=note))
    if engine is None:
        return [
            *report,
            ReportLine("engine", UNVERIFIED, note=refusal),
            _on_target(refusal),
        ]
    run = _Engine(kit, "engine", engine, "cpu")
    check = run.answer(*_selfcheck(kit), "--repeat", 1)
    difference = check["selfcheck"]["relative_difference"]
    report.append(ReportLine("check", MEASURED, difference, note=check["runtime"]))
    if goal.provider == "cpu":
        report.append(ReportLine("start", MEASURED, check["load_ms"], "ms"))
        return report + _speed(run, source, x)
    run.program.unlink()  # it has to be compiled on the target
    report.append(ReportLine("engine", COMPILED))
    return [*report, *_try_target(kit, goal, engine)]


class _Engine:
    """The compiled engine in a kit's folder, with its command-line options."""

    def __init__(self, kit: Kit, name: str, engine: bytes, provider: str):
        self.kit, self.program = kit, kit.folder / name
        self.program.write_bytes(engine)
        self.program.chmod(0o755)
        openvino = kit.settings["RUNTIME"] == "openvino"
        self.words = ["--provider", provider]
        if openvino or provider == "tensorrt":
            self.words += ["--precision", kit.settings["PRECISION"]]
        if not openvino:
            self.words += ["--library", str(native.library())]

    def answer(self, *words: Any) -> dict:
        return native.run(
            self.program, self.kit.folder / "model.onnx", *self.words, *words
        )


def _selfcheck(kit: Kit) -> list[Any]:
    check, tolerance = kit.folder / "check", kit.settings["TOLERANCE"]
    return ["--selfcheck", check, "--tolerance", tolerance]


def _speed(run: _Engine, source: Source, x: Any) -> list[ReportLine]:
    """Measure the latency of the original and the engine alternately, on one thread.

    Each round yields the median time of a single call, measured for about `SECONDS`.
    The engine runs in a separate process and times its own calls.
    """
    files: list[Path] = []
    for index, array in enumerate(arrays(x)):
        path = run.kit.folder / f".timed_{index}.npy"
        np.save(path, array)
        files.append(path)
    inputs = [word for path in files for word in ("--input", path)]

    def engine_ms(repeats: int) -> float:
        return run.answer(*inputs, "--repeat", repeats)["latency_ms"]["median"]

    try:
        repeats = max(3, int(1e3 * SECONDS / engine_ms(3)))
        sides = {
            "latency": lambda: engine_ms(repeats),
            "latency_eager": lambda: source.milliseconds(x, SECONDS),
        }
        both = compare(in_turn(sides, ROUNDS), source.label)
    finally:
        for path in files:
            path.unlink()
    readings = {what: both[what] for what in ("latency_eager", "latency")}
    readings["speedup"] = both.ratios["latency_eager"]  # original / engine
    return [_line(what, reading, source) for what, reading in readings.items()]


def _line(what: str, reading: Measured, source: Source) -> ReportLine:
    unit, label = reading.unit or "×", source.label
    value, low, high = reading.value, reading.low, reading.high
    return ReportLine(what, MEASURED, value, unit, low=low, high=high, source=label)


def _try_target(kit: Kit, goal: "Target", engine: bytes) -> list[ReportLine]:
    """Run the self-check with the target's own provider, if it is available here."""
    run = _Engine(kit, ".engine", engine, goal.provider)
    try:
        answer = run.answer(*_selfcheck(kit), "--repeat", 50)
    except native.EngineError as error:
        return [_on_target(str(error))]
    finally:
        run.program.unlink()
    return [
        ReportLine("on_target", MEASURED, answer["selfcheck"]["relative_difference"]),
        ReportLine("latency", MEASURED, answer["latency_ms"]["median"], "ms"),
    ]


def _on_target(why: str) -> ReportLine:
    """Report why the deployment could not be verified on the target.

    File paths of this machine, or of the machine that built the library, are removed.
    """
    reason = re.sub(r"^.* : FAIL : ", "", why)
    return ReportLine(
        "on_target", UNVERIFIED, note=re.sub(r"(?:/[^\s/]+)+/", "", reason)
    )
