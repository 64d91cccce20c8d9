"""Compile the C++ kernels with the system's compiler on first use, cache and load them.

The binary selects its instruction set at run time, so it runs on every processor of its
architecture. The cached file is keyed by source, compiler, flags and architecture (see
`binary_cache.py`).
"""

import ctypes
import functools
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import suppress
from ctypes import POINTER, c_float, c_int, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path

from ...binary_cache import build_key, compiler, store, stored
from ...catalog import text
from ...errors import DeepSeekLearnError

# Without contraction to FMA, all instruction sets round identically.
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=off")
OPTIONS = (("-fopenmp",), ())  # tried in this order: with threads, then without


class KernelUnavailable(DeepSeekLearnError):
    """Raised if the CPU kernel cannot be built or loaded; the message explains why."""


class SegmentStruct(ctypes.Structure):
    """The C struct `dpg_segment`, which describes rows with the same bit width."""

    _fields_ = [
        ("planes", c_void_p * 3),  # uint8 [rows/16][K/(4P)][16][4], high plane first
        ("scale", c_void_p),  # bfloat16 [K/G][rows]
        ("order", c_void_p),  # int32 [rows]: the output column, or -1 for padding
        ("rows", c_int64),  # a multiple of 16
        ("widths", c_int32 * 3),  # bits of each plane; 0 if absent or unused
        ("accumulate", c_int32),  # whether to add to y instead of overwriting it
        ("step", c_float),  # value = step * (code - zero) * scale
        ("zero", c_float),
    ]


@dataclass(frozen=True)
class Library:
    """C++ files that are compiled into one shared library.

    Attributes:
        name: what the cached file's name starts with.
        source: the file that is compiled.
        included: the other files of this package that it includes.
    """

    name: str
    source: Path
    included: tuple[Path, ...] = ()

    def load(self) -> ctypes.CDLL:
        """Return the compiled library, building it first if necessary.

        It is built once into `cache_folder()`, which takes a few seconds and prints one
        line to stderr. If that folder is not writable, it is built into a temporary
        folder for this process only. A cached file is rebuilt if it is damaged or fails
        to load.

        Raises:
            KernelUnavailable: if there is no C++ compiler, if compilation fails, or if
                the binary fails to load.
        """
        compiler = find_compiler()
        key = self.key(compiler)
        for file in stored(self.name, key):
            with suppress(OSError):
                return ctypes.CDLL(str(file))
        print(text("dpg.building", compiler=Path(compiler[0]).name), file=sys.stderr)
        try:
            with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as folder:
                built = self.compile(compiler, Path(folder) / f"{self.name}.so")
                with suppress(OSError):  # if the cache is not usable
                    return ctypes.CDLL(str(store(built, self.name, key)))
                return ctypes.CDLL(str(built))
        except OSError as error:
            message = f"The C++ kernel cannot be loaded: {error}."
            raise KernelUnavailable(message) from error

    def key(self, compiler: list[str]) -> str:
        """Return a short hash of everything that the binary depends on."""
        version = run([*compiler, "--version"]).stdout
        machine = (sys.platform, platform.machine())
        parts = (compiler, version, FLAGS, OPTIONS, *machine)
        sources = b"".join(path.read_bytes() for path in (self.source, *self.included))
        return build_key(sources, *parts)

    def compile(self, compiler: list[str], target: Path) -> Path:
        """Compile to `target`, with threads if the compiler supports OpenMP."""
        for options in OPTIONS:
            process = run(
                [*compiler, *FLAGS, *options, str(self.source), "-o", str(target)]
            )
            if process.returncode == 0:
                return target
        lines = process.stderr.splitlines() or [f"exit status {process.returncode}"]
        message = next((line for line in lines if "error" in line), lines[0])
        raise KernelUnavailable(f"{compiler[0]} cannot compile the kernel: {message}")


FOLDER = Path(__file__).parent
LEVELS = ("portable", "avx2", "vnni", "amx")  # in the order of their numbers
PLANES = Library(
    "planes",
    FOLDER / "planes.cpp",
    tuple(FOLDER / f"{name}.cpp" for name in (*LEVELS, "count", "grouped")),
)


@functools.cache
def load() -> ctypes.CDLL:
    """Return the library of `planes.cpp`; see `Library.load`.

    Raises:
        KernelUnavailable: if it cannot be built or loaded.
    """
    return declare(PLANES.load())


def find_compiler() -> list[str]:
    """Return the C++ compiler command from CXX, or the system's compiler by default."""
    if command := compiler():
        return command
    cxx = os.environ.get("CXX")
    name = repr(cxx.split()[0]) if cxx else "a C++ compiler (c++, g++ or clang++)"
    raise KernelUnavailable(f"The C++ kernel needs {name}, which is not on the PATH.")


def run(command: list[str]) -> subprocess.CompletedProcess:
    """Run a compiler command, with its messages set to English."""
    environment = os.environ | {"LC_ALL": "C"}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
        )
    except OSError as error:
        raise KernelUnavailable(f"{command[0]} cannot be run: {error}.") from error


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Declare the C types of the functions in the library.

    Pointers to tensors are passed as addresses.
    """
    size = c_int64
    library.dpg_scratch_bytes.argtypes = [size, size, size]  # M, padded_K, G
    library.dpg_scratch_bytes.restype = size
    library.dpg_level.argtypes = []
    library.dpg_linear.argtypes = [
        *(c_void_p, size),  # x [M, K], ldx
        *(size, size, size, size),  # M, K, padded_K, G
        *(POINTER(SegmentStruct), size),  # segments, number of segments
        *(c_void_p, c_void_p, size),  # bias [N] or None, y [M, N], ldy
        *(c_void_p, c_int, c_int),  # scratch, level, threads
    ]
    library.dpg_count_active.argtypes = [
        *(c_void_p, size, size, size, c_void_p),  # x, outer, neurons, inner, counts
        *(c_void_p, c_float),  # y or None, upper
    ]
    library.dpg_count_active.restype = None
    library.grouped_float.argtypes = [
        *(c_void_p, c_void_p, size),  # x [n, K], starts [E + 1], E
        *(c_void_p, size, size),  # weight [E, N, K], N, K
        *(c_void_p, c_int, c_int),  # y [n, N], level, threads
    ]
    library.grouped_float.restype = None
    library.grouped_packed.argtypes = [
        *(c_void_p, c_void_p, size),  # x [n, K], starts [E + 1], E
        *(c_void_p, c_void_p),  # segments of each expert [E], their numbers [E]
        *(size, size, size),  # K, padded_K, G
        *(c_void_p, size),  # y [n, N], N
        *(c_void_p, size, c_int, c_int),  # scratch, bytes for a thread, level, threads
    ]
    return library  # the other functions return int
