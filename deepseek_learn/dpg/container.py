"""The file of a compressed model: safetensors with a manifest and a checksum.

The manifest is in the header, so a single rename replaces everything at the same time. A
SHA-256 checksum over all tensors and the manifest detects any changed bit.
"""

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ..errors import DamagedFileError
from ..files import atomic_write
from .arena import one_block

FORMAT, VERSION = "deepseek_learn.dpg", 1
DTYPES = {  # as safetensors names them
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}
CHUNK = 1 << 16  # bytes that are hashed at a time
areas = WeakTensorKeyDictionary()  # mapped tensor → (mmap, bytes)


def write(path: Path, tensors: dict[str, Tensor], manifest: dict) -> None:
    """Write a file atomically.

    Raises:
        OSError: if it cannot be written. An existing file is left unchanged.
    """
    header = json.dumps(manifest, sort_keys=True)
    metadata = {"format": FORMAT, "version": str(VERSION), "manifest": header}
    metadata["sha256"] = _digest(header, tensors, lambda name: [_bytes(tensors[name])])
    with writing(path), atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise the errors of a library that cannot write as an OSError that names `path`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path} could not be written: {error}") from error


def _digest(
    header: str, tensors: dict[str, Tensor], bytes_of: Callable[[str], Iterable]
) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        for part in bytes_of(name):
            digest.update(part)
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


@dataclass(frozen=True)
class OpenFile:
    """An open file whose checksum is right.

    Attributes:
        content: the open file, from which all is read.
        manifest: the description of the layers.
        entries: the tensors in the file, by name, without values (on the meta device).
        offsets: the position of each tensor in the file.
    """

    content: BufferedReader
    manifest: dict
    entries: dict[str, Tensor]
    offsets: dict[str, int]

    def chunks(self, name: str) -> Iterator[memoryview]:
        """Read the bytes of a tensor, one piece after the other into one buffer."""
        buffer, rest = memoryview(bytearray(CHUNK)), self.entries[name].nbytes
        self.content.seek(self.offsets[name])
        while rest and (size := self.content.readinto(buffer[: min(rest, CHUNK)])):
            yield buffer[:size]
            rest -= size

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Read tensors straight into one block of memory."""
        tensors = one_block([self.entries[name] for name in names])
        for name, tensor in zip(names, tensors, strict=True):
            self.content.seek(self.offsets[name])
            if self.content.readinto(_bytes(tensor)) != tensor.nbytes:
                raise DamagedFileError(f"{self.content.name} shrank while it was read.")
        return dict(zip(names, tensors, strict=True))

    def mapped(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Return tensors as views into the memory-mapped file."""
        area = mmap.mmap(self.content.fileno(), 0, access=mmap.ACCESS_COPY)
        tensors = {}
        for name in names:
            entry, offset = self.entries[name], self.offsets[name]
            part = torch.frombuffer(
                area, dtype=torch.uint8, count=entry.nbytes, offset=offset
            )
            tensors[name] = part.view(entry.dtype).view(entry.shape)
            areas[tensors[name]] = area, entry.nbytes
        return tensors


def opened(content: BufferedReader, path: Path) -> OpenFile:
    """Read the header of a file and verify its checksum."""
    size = os.fstat(content.fileno()).st_size
    try:
        length = int.from_bytes(content.read(8), "little")
        header = json.loads(content.read(min(length, size)))
        metadata = header.pop("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise DamagedFileError(f"{path} is not a DPG-compressed model.")
        if metadata.get("version") != str(VERSION):
            raise DamagedFileError(
                f"{path} has format version {metadata.get('version')}; this library "
                f"reads version {VERSION}."
            )
        start, entries, offsets = 8 + length, {}, {}
        for name, facts in header.items():
            begin, end = facts["data_offsets"]
            shape, dtype = tuple(facts["shape"]), DTYPES[facts["dtype"]]
            if end - begin != prod(shape) * dtype.itemsize or min(begin, *shape, 0) < 0:
                raise ValueError(f"the size of {name!r} is wrong")
            entries[name] = torch.empty(shape, dtype=dtype, device="meta")
            offsets[name] = start + begin
        expected = start + sum(entry.nbytes for entry in entries.values())
        if size != expected:
            raise ValueError(f"it has {size} bytes instead of {expected}")
        manifest, checksum = json.loads(metadata["manifest"]), metadata["sha256"]
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise DamagedFileError(
            f"{path} is not a complete safetensors file: {error}"
        ) from error
    file = OpenFile(content, manifest, entries, offsets)
    if _digest(metadata["manifest"], entries, file.chunks) != checksum:
        raise DamagedFileError(
            f"{path} is damaged: its content does not match the checksum in its header."
        )
    return file
