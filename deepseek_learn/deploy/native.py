"""Python interface to the C++ engine: build it, run it, and parse its output.

Lesson: `notebooks/innovation/02_engine_and_targets.ipynb`.
"""

import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import binary_cache
from ..errors import DeepSeekLearnError, MissingPackageError, require
from ..files import atomic_write

ENGINE = Path(__file__).with_name("engine")  # source code, copied into every kit
RUNTIMES = ("onnxruntime", "openvino")
# maps text in the output of cmake to what is missing and how to install it
MISSING = {
    "CMAKE_MAKE_PROGRAM": "make or ninja: apt-get install make, or pip install ninja and "
    "set the environment variable CMAKE_GENERATOR to Ninja",
    "CMAKE_CXX_COMPILER": "a C++ compiler, but {compiler} was not found: "
    "apt-get install g++, or xcode-select --install on macOS; to use another compiler, "
    "set the environment variable CXX",
}


class BuildError(DeepSeekLearnError):
    """Raised when the engine cannot be built; the message says what is missing."""


class EngineError(DeepSeekLearnError):
    """Raised when the engine fails or rejects its input, with the engine's message."""


def build(
    target: str | Path,
    runtime: str = "onnxruntime",
    source: Path = ENGINE,
    options: Sequence[str] = (),
) -> Path:
    """Compile the engine and write it to `target` atomically.

    Compilation takes a few seconds.

    Args:
        target: the path of the executable.
        runtime: "onnxruntime", which requires its headers, or "openvino", which
            requires the Python package with its headers and libraries.
        source: the folder with the source code of the engine.
        options: additional cmake options, such as `-DORT_INCLUDE=FOLDER`.

    Raises:
        BuildError: if cmake, a compiler or the headers are missing, or if compilation
            fails.
    """
    if runtime not in RUNTIMES:
        names = " or ".join(RUNTIMES)
        raise ValueError(f"runtime must be {names}; got {runtime!r}.")
    if shutil.which("cmake") is None:
        raise BuildError(
            "Building the engine needs cmake, which is not on the PATH: "
            "apt-get install cmake, brew install cmake, or pip install cmake."
        )
    cmake_options = [*options, *(_openvino() if runtime == "openvino" else ())]
    with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as folder:
        _run(["cmake", "-S", str(source), "-B", folder, *cmake_options])
        _run(["cmake", "--build", folder])
        with atomic_write(target) as temporary:
            shutil.copyfile(Path(folder) / "engine", temporary)
    Path(target).chmod(0o755)
    return Path(target)


@functools.cache
def compiled(runtime: str, program: Path = ENGINE / "engine.cpp") -> bytes:
    """Return the engine for `runtime`, which is compiled on first use and cached.

    Args:
        program: the source file with `main`, which may include the engine's headers.
    """
    key, name = _engine_key(runtime, program), f"{program.stem}-{runtime}"
    for file in binary_cache.stored(name, key) if key else ():
        return file.read_bytes()
    with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as folder:
        options = [f"-DENGINE_SOURCE={program}"]
        engine = build(Path(folder) / "engine", runtime, options=options)
        if key:
            with suppress(OSError):  # without a writable cache, each process compiles
                binary_cache.store(engine, name, key)
        return engine.read_bytes()


def _engine_key(runtime: str, program: Path) -> str | None:
    """Hash everything the program depends on; return None if there is no compiler.

    The version of the ONNX Runtime headers is not included, because the engine loads
    the library at run time and works with any library at least as new as the headers.
    """
    command = binary_cache.compiler()
    if not command:
        return None
    try:
        answer = subprocess.run([*command, "--version"], capture_output=True, text=True)
    except OSError:  # a compiler that does not run: cmake explains it
        return None
    folders = sorted({ENGINE, program.parent})
    files = [p for each in folders for p in sorted(each.rglob("*")) if p.is_file()]
    sources = b"".join(path.read_bytes() for path in files)
    installed = runtime == "openvino" and find_spec("openvino")
    # the program contains the path of OpenVINO's libraries: another environment has others
    package = f"{version('openvino')} {package_folder('openvino')}" if installed else ""
    flags = [os.environ.get(name) for name in ("CXXFLAGS", "LDFLAGS")]
    machine = (sys.platform, platform.machine())
    parts = (command, answer.stdout, package, flags, *machine)
    return binary_cache.build_key(sources, *parts)


def run(engine: str | Path, model: str | Path, *words: Any) -> dict:
    """Run the engine and return its report.

    The report contains "latency_ms" (min, median, p90, p99 and max of the timed runs),
    "load_ms", "batch", "outputs" (name, type and shape, plus the values of small
    outputs), and "selfcheck" if it was requested.

    Args:
        words: command-line options, such as `"--repeat", 50`. `--help` lists all of
            them.

    Raises:
        EngineError: if the engine fails. The message is the one printed by the engine.
    """
    command = [str(engine), str(model), *map(str, words)]
    process = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace"
    )
    if process.returncode:
        errors = process.stderr.strip().splitlines() or [
            f"exit status {process.returncode}"
        ]
        raise EngineError(errors[-1].removeprefix("engine: "))
    return json.loads(process.stdout)


def library() -> Path:
    """Return the path of the shared library in the installed `onnxruntime` package.

    Raises:
        MissingPackageError: if the package or its library is missing.
    """
    require("onnxruntime", extra="deploy", purpose="running the engine")
    folder = package_folder("onnxruntime") / "capi"
    for pattern in ("libonnxruntime.so.*", "libonnxruntime.*dylib"):
        for file in sorted(folder.glob(pattern)):
            return file
    raise MissingPackageError(
        f"the package onnxruntime has no shared library for this system in {folder}."
    )


def package_folder(package: str) -> Path:
    """Return the folder of an installed package."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _openvino() -> list[str]:
    require("openvino", extra="deploy", purpose="the engine on OpenVINO")
    folder = package_folder("openvino") / "cmake"
    return ["-DENGINE_OPENVINO=ON", f"-DOpenVINO_DIR={folder}"]


def _run(command: list[str]) -> None:
    """Run a cmake command in the C locale, which makes all messages English."""
    process = subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"LC_ALL": "C"},
    )
    if process.returncode == 0:
        return
    raise BuildError(_build_error(process.stderr + process.stdout))


def _build_error(output: str) -> str:
    """Return a message saying what is missing, or else the first error from cmake."""
    for pattern, missing in MISSING.items():
        if pattern in output:
            compiler = os.environ.get("CXX", "c++")
            return f"Building the engine needs {missing.format(compiler=compiler)}."
    lines = output.splitlines() or ["cmake printed nothing"]
    start = next((i for i, line in enumerate(lines) if "error" in line.lower()), 0)
    # the paragraph below "CMake Error at ..." explains what is missing
    ends = (i for i in range(start + 2, len(lines)) if not lines[i].strip())
    sentence = " ".join(line.strip() for line in lines[start : next(ends, start + 4)])
    sentence = re.sub(r"^CMake Error at \S+ \(message\): *", "", sentence)
    return f"The engine cannot be built: {sentence}"
