"""What the wizard measures of a folder before it hands it over."""

import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import native
from .kit import Kit
from .result import COMPILED, MEASURED, UNVERIFIED, Line
from .runtimes import arrays
from .source import Source

ROUNDS, SECONDS = 5, 0.4  # of each side in turn; about so long a round
MB = 1e6


def lines(
    kit: Kit, goal, engine: bytes | None, refusal: str, source: Source, x: Any
) -> list[Line]:
    """Size, start, speed and self-check, each with what is known of it.

    Args:
        engine: the compiled engine; None: `refusal` says why there is none.
        source: the original; timed in turn with the engine on `x`, one thread each.

    Raises:
        EngineError: where its answers on this processor are not the stored ones.
    """
    found = [
        Line("size", MEASURED, (kit.folder / "model.onnx").stat().st_size / MB, "MB"),
        Line("size_before", MEASURED, source.bytes() / MB, "MB", source=source.label),
    ]
    if engine is None:
        return [*found, Line("engine", UNVERIFIED, note=refusal), _on_target(refusal)]
    program = kit.folder / "engine"
    program.write_bytes(engine)
    program.chmod(0o755)
    run = _Engine(kit, program, "cpu")
    check = run.answer(*_selfcheck(kit), "--repeat", 1)
    difference = check["selfcheck"]["relative_difference"]
    found.append(Line("check", MEASURED, difference, note=check["runtime"]))
    if goal.provider == "cpu":
        found.append(Line("start", MEASURED, check["load_ms"], "ms"))
        return found + _speed(run, source, x)
    program.unlink()  # it is to be compiled on the target
    found.append(Line("engine", COMPILED))
    return [*found, *_try_target(kit, goal, engine)]


class _Engine:
    """The engine on the kit's model, with the kit's runtime."""

    def __init__(self, kit: Kit, program: Path, provider: str):
        self.kit, self.program = kit, program
        openvino = kit.settings["RUNTIME"] == "openvino"
        self.words = ["--provider", provider]
        if openvino or provider == "tensorrt":
            self.words += ["--precision", kit.settings["PRECISION"]]
        if not openvino:
            self.words += ["--library", native.library()]

    def answer(self, *words: Any) -> dict:
        return native.run(
            self.program, self.kit.folder / "model.onnx", *self.words, *words
        )


def _selfcheck(kit: Kit) -> list[Any]:
    check, tolerance = kit.folder / "check", kit.settings["TOLERANCE"]
    return ["--selfcheck", check, "--tolerance", tolerance]


def _speed(run: _Engine, source: Source, x: Any) -> list[Line]:
    """The original and the engine in turn, one thread: medians of `ROUNDS` medians, the
    smallest and the largest of them. A ratio is of one round.
    """
    files = []
    for index, array in enumerate(arrays(x)):
        path = run.kit.folder / f".timed_{index}.npy"
        np.save(path, array)
        files += ["--input", path]
    try:
        first = run.answer(*files, "--repeat", 3)["latency_ms"]["median"]
        repeats = max(3, int(1e3 * SECONDS / first))
        pairs = []
        for _ in range(ROUNDS):
            before = source.milliseconds(x, SECONDS)
            after = run.answer(*files, "--repeat", repeats)["latency_ms"]["median"]
            pairs.append((before, after))
    finally:
        for path in files[1::2]:
            path.unlink()
    befores, afters = zip(*pairs, strict=True)
    ratios = [before / after for before, after in pairs]
    return [
        _spread("latency_eager", befores, "ms", source),
        _spread("latency", afters, "ms", source),
        _spread("speedup", ratios, "×", source),
    ]


def _spread(what: str, readings: Sequence[float], unit: str, source: Source) -> Line:
    """The median of the readings, with the smallest and the largest."""
    return Line(
        what,
        MEASURED,
        statistics.median(readings),
        unit,
        low=min(readings),
        high=max(readings),
        source=source.label,
    )


def _try_target(kit: Kit, goal, engine: bytes) -> list[Line]:
    """The target's own provider, in case this machine has it."""
    program = kit.folder / ".engine"
    program.write_bytes(engine)
    program.chmod(0o755)
    words = [*_selfcheck(kit), "--repeat", 50]
    try:
        answer = _Engine(kit, program, goal.provider).answer(*words)
    except native.EngineError as error:
        return [_on_target(str(error))]
    finally:
        program.unlink()
    return [
        Line("on_target", MEASURED, answer["selfcheck"]["relative_difference"]),
        Line("latency", MEASURED, answer["latency_ms"]["median"], "ms"),
    ]


def _on_target(why: str) -> Line:
    """The reason without the places of this machine, and of the one that built it."""
    reason = re.sub(r"^.* : FAIL : ", "", why)
    return Line("on_target", UNVERIFIED, note=re.sub(r"(?:/[^\s/]+)+/", "", reason))
