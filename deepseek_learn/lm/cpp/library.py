"""Load the C++ library of the language models, which is compiled on first use."""

import ctypes
import functools
from ctypes import POINTER, c_float, c_int, c_int64, c_void_p
from pathlib import Path

from ...dpg.kernels.build import PLANES, Library

HERE = Path(__file__).parent
STEP = Library(
    "step",
    HERE / "step.cpp",
    (
        *(HERE / name for name in ("operations.h", "attend.cpp")),
        *(HERE / name for name in ("hybrid.cpp", "causal.cpp")),
        PLANES.source,
        *PLANES.included,
    ),
)


class CausalPrompt(ctypes.Structure):
    """The C struct `causal_prompt`, one layer's attention over a prompt."""

    _fields_ = [
        *((name, c_void_p) for name in ("q", "k", "v", "y", "scratch")),
        *((name, c_int64) for name in ("heads", "groups", "tokens", "dim")),
        ("value_dim", c_int64),
        *((f"{x}_{axis}", c_int64) for x in "qkvy" for axis in ("head", "token")),
        ("scale", c_float),
    ]


@functools.cache
def load() -> ctypes.CDLL:
    """Return the library of `step.cpp`; see `dpg.kernels.build.Library.load`.

    Raises:
        KernelUnavailable: if it cannot be built or loaded.
    """
    library = STEP.load()
    library.causal_scratch_floats.argtypes = [POINTER(CausalPrompt), c_int]  # threads
    library.causal_scratch_floats.restype = c_int64
    library.causal_attend.argtypes = [POINTER(CausalPrompt), c_int]
    library.causal_attend.restype = None
    # operations, their number, position, level, threads
    library.step_run.argtypes = [c_void_p, c_int64, c_int64, c_int, c_int]
    library.step_tokens_of_a_task.argtypes = []
    library.step_tokens_of_a_task.restype = c_int64
    return library
