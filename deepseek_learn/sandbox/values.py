"""Serialize values that are sent into a sandbox and out of it.

Lists, tuples, dictionaries, numbers, strings and bytes are encoded as JSON, tensors and
arrays as safetensors. Decoding these formats executes nothing, unlike pickle, torch.save
and NumPy's object arrays, so that replies of untrusted code can be decoded.
"""

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DeepSeekLearnError

if TYPE_CHECKING:
    from torch import Tensor

HEADER = struct.Struct(">QQQ")  # the lengths of the tree, the tensors and the arrays
MAX_DEPTH = 50  # how deeply lists and dictionaries may be nested
MAX_TREE_BYTES = (
    16 << 20
)  # bytes of a tree: a parsed one takes twenty times as much memory
MAX_TEXT_BYTES = (
    256 << 20
)  # bytes of all arrays of texts, each as wide as its longest text


class ValueRefused(DeepSeekLearnError):
    """Raised for a value that cannot be encoded, or bytes that cannot be decoded."""


def encode(value: Any) -> bytes:
    """Return `value` as bytes.

    Raises:
        ValueRefused: if it holds anything other than tensors, arrays, numbers, strings,
            bytes, booleans, None, lists, tuples and dictionaries with keys of str or
            int, or is too large.
    """
    tensors: dict[str, Tensor] = {}
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_tree(value, tensors, arrays, 0)).encode()
    if len(tree) > MAX_TREE_BYTES:
        raise ValueRefused(
            f"the value has {len(tree)} bytes without its tensors and arrays; at most "
            f"{MAX_TREE_BYTES} travel."
        )
    parts = [tree, b"", b""]
    if tensors:
        from safetensors.torch import save

        parts[1] = save(tensors)
    if arrays:
        from safetensors.numpy import save as save_arrays

        parts[2] = save_arrays(arrays)
    return HEADER.pack(*map(len, parts)) + b"".join(parts)


def decode(content: bytes) -> Any:
    """Return the value from which `encode` made these bytes.

    Raises:
        ValueRefused: if they are anything else, such as a pickle.
    """
    try:
        lengths = HEADER.unpack_from(content)
        if len(content) != HEADER.size + sum(lengths) or lengths[0] > MAX_TREE_BYTES:
            raise ValueError("wrong length")
        parts, start = [], HEADER.size
        for length in lengths:
            parts.append(content[start : start + length])
            start += length
        return _value(json.loads(parts[0]), _parts(parts[1], parts[2]), 0)
    except Exception as error:  # the bytes are untrusted: any exception is possible
        raise ValueRefused(
            f"the reply is not a value in JSON and safetensors, the only form that is "
            f"read ({type(error).__name__})."
        ) from error


@dataclass
class Buffers:
    """The tensors and arrays to which the tree of a value refers.

    Attributes:
        texts: how many more bytes the arrays of texts may take.
    """

    tensors: dict
    arrays: dict
    texts: int


def _parts(tensors: bytes, arrays: bytes) -> Buffers:
    buffers = Buffers({}, {}, MAX_TEXT_BYTES)
    if tensors:
        from safetensors.torch import load

        buffers.tensors = load(tensors)
    if arrays:
        from safetensors.numpy import load as load_arrays

        buffers.arrays = load_arrays(arrays)
    return buffers


def _tree(value: Any, tensors: dict, arrays: dict, depth: int) -> list:
    """Return `value` as [kind, content], and collect its tensors and arrays."""
    if depth > MAX_DEPTH:
        raise ValueRefused(f"the value is nested more than {MAX_DEPTH} levels deep.")
    if value is None or type(value) in (bool, int, float, str):
        return ["plain", value]
    if type(value) is bytes:
        return ["bytes", value.hex()]
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return ["texts", [list(value.shape), value.reshape(-1).tolist()]]
    if type(value) in (list, tuple):
        parts = [_tree(each, tensors, arrays, depth + 1) for each in value]
        return ["list" if type(value) is list else "tuple", parts]
    if type(value) is dict and all(type(key) in (str, int) for key in value):
        pairs = [[k, _tree(v, tensors, arrays, depth + 1)] for k, v in value.items()]
        return ["dict", pairs]
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        name = str(len(arrays))
        arrays[name] = np.array(value, order="C")  # a 0-d array for a NumPy number
        return ["array" if isinstance(value, np.ndarray) else "number", name]
    if hasattr(value, "detach") and hasattr(value, "contiguous"):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return ["tensor", name]
    raise ValueRefused(
        f"a {type(value).__name__} does not travel between a sandbox and its owner; "
        f"only tensors, arrays, numbers, strings, lists, tuples and dictionaries do."
    )


def _value(tree: Any, parts: Buffers, depth: int) -> Any:
    kind, content = tree
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if kind == "plain" and not isinstance(content, list | dict):
        return content
    if kind in ("list", "tuple"):
        values = [_value(each, parts, depth + 1) for each in content]
        return values if kind == "list" else tuple(values)
    if kind == "dict" and all(isinstance(key, str | int) for key, _ in content):
        return {k: _value(v, parts, depth + 1) for k, v in content}
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "texts" and all(isinstance(each, str) for each in content[1]):
        shape, texts = content
        return _texts(shape, texts, parts)
    if kind == "tensor":
        return parts.tensors[content]
    if kind == "array":
        return parts.arrays[content]
    if kind == "number":
        return parts.arrays[content][()]
    raise ValueError("unknown kind")


def _texts(shape: list[int], texts: list[str], parts: Buffers) -> np.ndarray:
    """Return an array of texts; one long text makes all others as wide as itself."""
    parts.texts -= 4 * len(texts) * max(map(len, texts), default=0)
    if parts.texts < 0:
        raise ValueError("too many long texts")
    return np.array(texts, dtype=np.str_).reshape(shape)
