"""The C structs of the operations in `step.cpp`, with their arguments.

Every pointer is the address of a tensor's memory. Field names and order are those of the
structs in `step.cpp` and `hybrid.cpp`: C reads them by position, so that a field added on
one side alone shifts all that follow.
"""

import ctypes
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p
from typing import Any

from ...dpg.kernels.build import SegmentStruct


def _fields(pointers: str, integers: str = "", *others: tuple[str, Any]) -> list:
    return [
        *((name, c_void_p) for name in pointers.split()),
        *((name, c_int64) for name in integers.split()),
        *others,
    ]


class Operation(ctypes.Structure):
    """`step_operation`."""

    _fields_ = [("kind", c_int32), ("arguments", c_void_p)]


class Product(ctypes.Structure):
    _fields_ = [
        ("segments", POINTER(SegmentStruct)),
        ("again", POINTER(SegmentStruct)),
        *_fields("", "count K padded_K G N"),
        *_fields("x bias y scratch rest"),
    ]


class Dense(ctypes.Structure):
    _fields_ = _fields(
        "x weight y", "heads rows columns x_stride y_stride", ("add", c_int32)
    )


class Norm(ctypes.Structure):
    _fields_ = _fields(
        "x weight bias y", "rows n", ("eps", c_float), ("centered", c_int32)
    )


class Rotate(ctypes.Structure):
    _fields_ = _fields("x turns y", "heads dim x_stride y_stride")


class Store(ctypes.Structure):
    _fields_ = _fields(
        "x cache",
        "heads dim length x_stride head_stride token_stride",
        ("bfloat16", c_int32),
    )


class Attend(ctypes.Structure):
    _fields_ = _fields(
        "q keys values y parts seen sinks",
        "heads groups key_dim value_dim length key_head key_token value_head value_token",
        ("scale", c_float),
        ("bfloat16", c_int32),
    )


class Gate(ctypes.Structure):
    _fields_ = _fields("x up factor y", "n", ("kind", c_int32))


class Add(ctypes.Structure):
    _fields_ = _fields("x y", "n")


class Route(ctypes.Structure):
    _fields_ = _fields(
        "scores bias chosen weights biased",
        "experts top groups top_groups best_of_group",
        ("factor", c_float),
        ("scoring", c_int32),
        ("normalized", c_int32),
    )


class RunExperts(ctypes.Structure):
    _fields_ = [
        *_fields("chosen weights factor"),
        ("programs", POINTER(POINTER(Operation))),
        ("counts", POINTER(c_int64)),
        ("top", c_int64),
    ]


class Lookup(ctypes.Structure):
    _fields_ = [
        *_fields("index table"),
        ("segments", POINTER(SegmentStruct)),
        *_fields("stored y", "count columns padded_columns G", ("add", c_int32)),
    ]


class Compress(ctypes.Structure):
    _fields_ = _fields(
        "both tokens scratch bias weight turns entries",
        "rate overlap dim rope stride",
        ("eps", c_float),
        ("bfloat16", c_int32),
    )


class Choose(ctypes.Structure):
    _fields_ = _fields(
        "q weights entries chosen scores count",
        "heads dim stride rate top",
        ("bfloat16", c_int32),
    )


class Gather(ctypes.Structure):
    _fields_ = _fields(
        "recent entries chosen chosen_count keys count",
        "window rate dim recent_stride entry_stride",
        ("bfloat16", c_int32),
    )


# the kind of an operation is its place in this list, as in `step_run`
KINDS = (
    *(Product, Dense, Norm, Rotate, Store, Attend, Gate, Add),
    *(Route, RunExperts, Lookup, Compress, Choose, Gather),
)
