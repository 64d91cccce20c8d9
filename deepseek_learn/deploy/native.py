"""The C++ engine from Python: build it with cmake, run it, read its answer."""

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import DeepSeekLearnError, MissingPackageError, require
from ..files import whole

ENGINE = Path(__file__).with_name("engine")  # its source; a kit holds a copy
RUNTIMES = ("onnxruntime", "openvino")
# what cmake says → what it misses, and what brings that
MISSING = {
    "CMAKE_MAKE_PROGRAM": "make or ninja: apt-get install make, or pip install ninja and "
    "set the environment variable CMAKE_GENERATOR to Ninja",
    "CMAKE_CXX_COMPILER": "a C++ compiler, and there is none by the name "
    "{compiler}: apt-get install g++, or xcode-select --install on macOS; the environment "
    "variable CXX names another",
}


class BuildError(DeepSeekLearnError):
    """The engine cannot be built here; the sentence says what is missing."""


class EngineError(DeepSeekLearnError):
    """The engine refused or failed; the sentence is its own."""


def build(
    target: str | Path,
    runtime: str = "onnxruntime",
    source: Path = ENGINE,
    options: Sequence[str] = (),
) -> Path:
    """Compile the engine to the file `target`, whole or not at all (some seconds).

    Args:
        runtime: "onnxruntime" needs its headers; "openvino" its package, which brings
            headers and libraries.
        options: further ones for cmake, such as `-DORT_INCLUDE=FOLDER`.

    Raises:
        BuildError: without cmake, a compiler or the headers, or when compiling fails.
    """
    if runtime not in RUNTIMES:
        known = " or ".join(RUNTIMES)
        raise ValueError(f"runtime must be {known}; got {runtime!r}.")
    if shutil.which("cmake") is None:
        raise BuildError(
            "Building the engine needs cmake, which is not on the PATH: "
            "apt-get install cmake, brew install cmake, or pip install cmake."
        )
    wanted = [*options, *(_openvino() if runtime == "openvino" else ())]
    with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as folder:
        _run(["cmake", "-S", str(source), "-B", folder, *wanted])
        _run(["cmake", "--build", folder])
        with whole(target) as temporary:
            shutil.copyfile(Path(folder) / "engine", temporary)
    Path(target).chmod(0o755)
    return Path(target)


@functools.cache
def compiled(runtime: str) -> bytes:
    """The engine for `runtime`, compiled once in this process (see `build`)."""
    with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as folder:
        return build(Path(folder) / "engine", runtime).read_bytes()


def run(engine: str | Path, model: str | Path, *words: Any) -> dict:
    """Run the engine; what it answers: "latency_ms" (min, median, p90, p99, max over the
    timed runs), "load_ms", "batch", "outputs" (name, type, shape, and the values of small
    ones), and "selfcheck" where it was asked for.

    Args:
        words: its options, such as `"--repeat", 50`; `--help` names them.

    Raises:
        EngineError: with the engine's sentence.
    """
    command = [str(engine), str(model), *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise EngineError(said[-1].removeprefix("engine: "))
    return json.loads(done.stdout)


def library() -> Path:
    """The shared library inside the installed package `onnxruntime`.

    Raises:
        MissingPackageError: when there is none.
    """
    require("onnxruntime", extra="deploy", purpose="running the engine")
    folder = Path(find_spec("onnxruntime").origin).parent / "capi"
    for pattern in ("libonnxruntime.so.*", "libonnxruntime.*dylib"):
        for file in sorted(folder.glob(pattern)):
            return file
    raise MissingPackageError(
        f"the package onnxruntime holds no shared library for this system in {folder}."
    )


def _openvino() -> list[str]:
    require("openvino", extra="deploy", purpose="the engine on OpenVINO")
    folder = Path(find_spec("openvino").origin).parent / "cmake"
    return ["-DENGINE_OPENVINO=ON", f"-DOpenVINO_DIR={folder}"]


def _run(command: list[str]) -> None:
    """Run cmake; it and the compiler answer in English."""
    done = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"LC_ALL": "C"},
    )
    if done.returncode == 0:
        return
    raise BuildError(_why(done.stderr + done.stdout))


def _why(told: str) -> str:
    """What is missing and what brings it; else the first error in cmake's own words."""
    for sign, missing in MISSING.items():
        if sign in told:
            compiler = os.environ.get("CXX", "c++")
            return f"Building the engine needs {missing.format(compiler=compiler)}."
    lines = told.splitlines() or ["no word"]
    at = next((i for i, line in enumerate(lines) if "error" in line.lower()), 0)
    # cmake says what it misses in the paragraph below "CMake Error at ..."
    ends = (i for i in range(at + 2, len(lines)) if not lines[i].strip())
    sentence = " ".join(line.strip() for line in lines[at : next(ends, at + 4)])
    sentence = re.sub(r"^CMake Error at \S+ \(message\): *", "", sentence)
    return f"The engine cannot be built: {sentence}"
