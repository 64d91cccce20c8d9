"""Weights as llama.cpp, or its fork ik_llama.cpp, rounds them.

    PYTHON ggml_rounding.py PACKAGE FOLDER

runs under the interpreter of an environment that has the wheel PACKAGE (`xllamacpp` or
`ik_llama_cpp`), and imports nothing of ours. FOLDER holds `weights.npz`, matrices `[N, K]`,
`importance.npz`, the mean square of each input `[K]` (llama.cpp's imatrix), and
`types.json`, the name of ggml's type for each. It writes `rounded.npz` and `bytes.json`.
Each matrix goes through `ggml_quantize_chunk`, as in `llama-quantize`.
"""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np

LIBRARIES = {"xllamacpp": "xllamacpp.abi3.so", "ik_llama_cpp": "lib/libggml.so"}
# ggml.h of llama.cpp, and of ik_llama.cpp where it has others
TYPES = {"q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8}
TYPES |= {"q3_K": 11, "q4_K": 12, "q5_K": 13, "q6_K": 14}
TYPES |= {"iq4_nl": 20, "iq3_s": 21, "iq4_xs": 23}
TYPES |= {"iq3_k": 138, "iq4_k": 139, "iq5_k": 140}


class Memory(ctypes.Structure):
    """What `ggml_init` takes: it also fills the library's tables."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("buffer", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
    )


def library(package: str) -> ctypes.CDLL:
    spec = importlib.util.find_spec(package)
    ggml = ctypes.CDLL(
        str(Path(spec.submodule_search_locations[0]) / LIBRARIES[package])
    )
    ggml.ggml_init.argtypes, ggml.ggml_init.restype = [Memory], ctypes.c_void_p
    ggml.ggml_type_name.restype = ctypes.c_char_p
    integers, pointer = [ctypes.c_int64] * 3, ctypes.c_void_p
    quantize = ggml.ggml_quantize_chunk
    quantize.argtypes = [ctypes.c_int, pointer, pointer, *integers, pointer]
    quantize.restype = ctypes.c_size_t
    ggml.ggml_init(Memory(1 << 20, None, False))
    return ggml


def rounded(
    ggml: ctypes.CDLL, kind: str, weight: np.ndarray, importance: np.ndarray
) -> tuple[np.ndarray, int]:
    """A matrix as its type stores it, in float32 again, and the bytes that it takes."""
    number = TYPES[kind]
    if (name := ggml.ggml_type_name(number).decode()) != kind:
        raise RuntimeError(f"type {number} is {name}, not {kind}")
    weight, importance = (np.ascontiguousarray(a, "f4") for a in (weight, importance))
    packed, again = np.empty(weight.nbytes, np.uint8), np.empty_like(weight)
    size = ggml.ggml_quantize_chunk(
        number, weight.ctypes, packed.ctypes, 0, *weight.shape, importance.ctypes
    )
    unpack = getattr(ggml, f"dequantize_row_{kind}")
    unpack.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    unpack(packed.ctypes, again.ctypes, weight.size)
    return again, size


def main(package: str, folder: Path) -> None:
    ggml, types = library(package), json.loads((folder / "types.json").read_text())
    weights, means = (np.load(folder / f"{n}.npz") for n in ("weights", "importance"))
    results = {
        name: rounded(ggml, kind, weights[name], means[name])
        for name, kind in types.items()
    }
    np.savez(folder / "rounded.npz", **{name: w for name, (w, _) in results.items()})
    sizes = {name: size for name, (_, size) in results.items()}
    (folder / "bytes.json").write_text(json.dumps(sizes))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
