"""Long lists in the lines of finished runs: compact, and exactly what was measured.

A list of numbers, of lists of numbers of one length, or of strings becomes
`{"packed": kind, "shape": [...], "data": ...}` where that is shorter; `data` is the base64
of zlib's compression. The kind says how the numbers are stored: `u1`, `i8`, `f4` and so on
are NumPy's types, a `d4` holds integers, each of them a number times 10^4, and `text` is
UTF-8 with one string per line. A list of objects with the same keys is stored by column,
and the values of an object as a list if that one can be packed.
"""

import base64
import json
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

SHORT = 200  # characters; what is no longer than this stays readable
INTEGERS = ("u1", "i1", "u2", "i2", "u4", "i4", "i8")
DECIMALS = range(1, 7)
OBJECT, TABLE, ARRAY = (
    {"packed", *keys} for keys in (("keys", "values"), ("columns",), ("shape", "data"))
)


def pack(value: Any) -> Any:
    """Return a value for a JSON line, with its long lists compact."""
    if isinstance(value, dict) and {*value} in (OBJECT, TABLE, ARRAY):
        raise ValueError(f"an object must not have just the keys {[*value]}.")
    if not isinstance(value, dict | list) or len(json.dumps(value)) <= SHORT:
        return value
    if isinstance(value, list):
        whole, parts = _whole(value), [pack(each) for each in value]
    else:
        listed = _whole([*value.values()])
        whole = listed and {"packed": "object", "keys": [*value], "values": listed}
        parts = {key: pack(each) for key, each in value.items()}
    return min(filter(None, [parts, whole]), key=lambda each: len(json.dumps(each)))


def unpack(value: Any) -> Any:
    """Return the value of which `pack` made this."""
    if isinstance(value, list):
        return [unpack(each) for each in value]
    if not isinstance(value, dict):
        return value
    keys = {*value}  # an object of its own may have a key "packed" as well
    if keys == OBJECT:
        return dict(zip(value["keys"], unpack(value["values"]), strict=True))
    if keys == TABLE:
        columns = unpack(value["columns"])
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]
    if keys == ARRAY:
        return _list(**value)
    return {key: unpack(each) for key, each in value.items()}


def _whole(value: list) -> dict[str, Any] | None:
    """Return a list as a table or an array, or None if it is neither."""
    first = value[0] if len(value) > 1 else None
    if isinstance(first, dict) and first:
        if not all(isinstance(row, dict) and [*row] == [*first] for row in value):
            return None
        columns = {key: pack([row[key] for row in value]) for key in first}
        return {"packed": "table", "columns": columns}
    return _array(value) if value else None


def _array(value: list) -> dict[str, Any] | None:
    """Return a rectangular list of one type in its smallest kind, or None."""
    try:
        array = np.array(value)
    except ValueError:  # its lists differ in length
        return None
    kinds = {type(each) for each in _scalars(value)}
    if len(kinds) != 1:
        return None
    if kinds == {str}:
        text = "\n".join(_scalars(value))
        whole = text.count("\n") == array.size - 1 and text.splitlines() == [
            *_scalars(value)
        ]
        return _facts("text", array.shape, text.encode()) if whole else None
    if kinds == {bool}:
        return _facts("b1", array.shape, array.tobytes())
    if kinds == {int}:
        kind = next((k for k in INTEGERS if _same(array.astype(k), array)), None)
        return kind and _facts(kind, array.shape, _planes(array.astype(kind)))
    return _floats(array) if kinds == {float} else None


def _floats(array: np.ndarray) -> dict[str, Any] | None:
    if not np.isfinite(array).all():
        return None
    if _same(array.astype("f4").astype(float), array):
        return _facts("f4", array.shape, _planes(array.astype("f4")))
    for digits in DECIMALS:
        whole = np.round(array * 10**digits)
        exact = np.abs(whole).max() < 2**31 and _same(whole / 10**digits, array)
        if exact and not np.signbit(array[array == 0]).any():
            return _facts(f"d{digits}", array.shape, _planes(whole.astype("i4")))
    return _facts("f8", array.shape, _planes(array))


def _list(packed: str, shape: list[int], data: str) -> list:
    content = zlib.decompress(base64.b64decode(data))
    if packed == "text":
        return np.array(content.decode().splitlines(), object).reshape(shape).tolist()
    kind = "i4" if packed.startswith("d") else packed
    size = np.dtype(kind).itemsize
    planes = np.frombuffer(content, np.uint8).reshape(size, -1)
    array = np.ascontiguousarray(planes.T).view(kind).reshape(shape)
    if packed.startswith("d"):
        return (array / 10 ** int(packed[1:])).tolist()
    return array.tolist()


def _planes(array: np.ndarray) -> bytes:
    """Return the first bytes of all numbers, then the second ones: they compress better."""
    flat = np.ascontiguousarray(array).reshape(-1, 1)
    return flat.view(np.uint8).T.tobytes()


def _facts(kind: str, shape: tuple[int, ...], content: bytes) -> dict[str, Any]:
    data = base64.b64encode(zlib.compress(content, 9)).decode()
    return {"packed": kind, "shape": [*shape], "data": data}


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other))


def _scalars(value: list) -> Iterator[Any]:
    nested = value and isinstance(value[0], list)
    return chain.from_iterable(map(_scalars, value)) if nested else iter(value)
