"""Save a compressed model to a single file, and load it again.

The file contains planes, scales, float tensors and a manifest. It uses the safetensors
format with the manifest in the header, so a single rename replaces both at the same
time. A SHA-256 checksum over all tensors and the manifest detects any changed bit. The
refine planes can be memory-mapped, in which case they occupy memory only while they are
in use.
"""

import hashlib
import json
import mmap
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from ..errors import DamagedFileError
from ..files import atomic_write
from .arena import gather
from .compression import assemble
from .layers import (
    DPGConv,
    DPGEmbedding,
    DPGLayer,
    DPGLinear,
    packed_layer,
    packed_layers,
    share_matrix,
)
from .matrix import (
    CONVOLUTIONS,
    FloatLayer,
    float_layer,
    geometry,
    named_layers,
    tied_layers,
)
from .packed import PackedMatrix, Segment

FORMAT, VERSION = "deepseek_learn.dpg", 1
_areas = WeakTensorKeyDictionary()  # mapped tensor → (mmap, bytes)


def save(model: nn.Module, path: str | Path) -> Path:
    """Save a compressed model to a file atomically.

    Raises:
        ValueError: if `model` is not DPG-compressed.
        OSError: if the file cannot be written, for example because the disk is full or
            the directory does not exist. An existing file at `path` is left unchanged.
    """
    path = Path(path)
    packed = packed_layers(model)
    layers = {name: _facts(layer) for name, layer in packed.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    # A tensor with two names (a layer that is used twice) is written only once.
    first = {t.data_ptr(): k for k, t in reversed(tensors.items()) if t.numel()}
    same = {k: first[t.data_ptr()] for k, t in tensors.items() if t.numel()}
    aliases = {k: v for k, v in same.items() if k != v}
    tensors = {k: v for k, v in tensors.items() if k not in aliases}
    manifest = {"model": type(model).__name__, "layers": layers, "aliases": aliases}
    if tied := _tied(packed):
        manifest["tied"] = tied
    header = json.dumps(manifest, sort_keys=True)
    metadata = {"format": FORMAT, "version": str(VERSION), "manifest": header}
    metadata["sha256"] = _digest(tensors, header)
    with atomic_write(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise OSError(f"{path} could not be written: {error}") from error
    return path


def load(path: str | Path, model: nn.Module, map_refinement: bool = False) -> nn.Module:
    """Load a compressed model from a file into a copy of `model`.

    The weights of `model` are not used.

    Args:
        path: a file written by `save`.
        model: the network that was compressed, with arbitrary weights. It can also be
            created without weights under `torch.device("meta")`, provided that all of
            its buffers are in its state dict.
        map_refinement: whether to memory-map the refine planes instead of loading them.
            `drop_refinement` can then release their memory.

    Raises:
        FileNotFoundError: if the file does not exist.
        DamagedFileError: if the file is not a compressed model, is damaged, has a
            different format version, or contains a different network. `model` is never
            changed.
        ValueError: if the model is on the meta device and has buffers that are not in
            its state dict (`persistent=False`), because the file has no values for
            them.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a file written by dpg.save; got {path}.")
    file = _read(path, map_refinement)
    result, new = _frame(file.manifest, model, path)
    tensors = dict(file.tensors)
    if map_refinement:
        refine = tuple(f"{name}.matrix.refine".lstrip(".") for name in new)
        tensors |= _mapped(file, [k for k in tensors if k.startswith(refine)])
    _refuse_meta(model)
    names = result.state_dict().keys()
    tensors |= {k: tensors[v] for k, v in file.manifest["aliases"].items()}
    if names != tensors.keys():
        difference = sorted(names ^ tensors.keys())[0]
        raise DamagedFileError(
            f"{path} does not fit this model: it differs in {difference!r}."
        )
    result = _filled(result, tensors, path)
    gather(result)
    return result


def _refuse_meta(model: nn.Module) -> None:
    """Raise ValueError if the model has meta-device buffers outside its state dict."""
    keys = model.state_dict().keys()
    empty = [n for n, b in model.named_buffers() if b.is_meta and n not in keys]
    if empty:
        raise ValueError(
            f"model has buffers on the meta device that are not saved in any file "
            f"(persistent=False): {', '.join(empty)}. Create it on the CPU instead."
        )


def _frame(manifest: dict, model: nn.Module, path: Path) -> tuple[nn.Module, dict]:
    """Return a copy of the model with empty packed layers, and those layers by name."""
    layers = named_layers(model)
    layers |= {name: float_layer(model, name) for name in tied_layers(model)}
    shapes = {name: _shape(layer) for name, layer in layers.items()}
    if any(shapes.get(n) != f["shape"] for n, f in manifest["layers"].items()):
        raise DamagedFileError(
            f"{path} holds a compressed {manifest['model']} whose layers differ from "
            f"those of this {type(model).__name__}."
        )
    new = {}
    with torch.device("meta"):
        for name, facts in manifest["layers"].items():
            segments = tuple(Segment(**segment) for segment in facts["segments"])
            rows, columns, group_size = facts["matrix"]
            matrix = PackedMatrix(rows, columns, group_size, segments)
            new[name] = packed_layer(layers[name], matrix)
        for name, first in manifest.get("tied", {}).items():
            share_matrix(new[name], new[first])
        return assemble(model, new), new


def drop_refinement(model: nn.Module) -> int:
    """Release the memory of the memory-mapped refine planes.

    Returns the size of the mapped planes in bytes. The planes are read from the file
    again the next time they are used. Planes that are not mapped stay in memory.
    """
    mapped = [
        _areas[tensor]
        for layer in packed_layers(model).values()
        for tensor in layer.matrix.buffers(recurse=False)
        if tensor in _areas
    ]
    # Release the whole file, because reading a plane also maps the pages around it.
    for area in {id(area): area for area, _ in mapped}.values():
        area.madvise(mmap.MADV_DONTNEED)
    return sum(length for _, length in mapped)


def _tied(packed: dict) -> dict[str, str]:
    """Map each tied layer to the layer that owns the shared packed matrix."""
    first: dict[int, str] = {}
    embeddings_last = sorted(packed, key=lambda n: isinstance(packed[n], DPGEmbedding))
    names = {n: first.setdefault(id(packed[n].matrix), n) for n in embeddings_last}
    return {name: other for name, other in names.items() if name != other}


def _facts(layer: DPGLayer) -> dict:
    matrix = layer.matrix
    return {
        "shape": _shape(layer),
        "matrix": [matrix.rows, matrix.columns, matrix.group_size],
        "segments": [asdict(segment) for segment in matrix.segments],
    }


def _shape(layer: FloatLayer | DPGLayer) -> list:
    """Return the sizes, geometry and bias flag that a packed weight must match."""
    if isinstance(layer, nn.Embedding | DPGEmbedding):
        return ["embedding", layer.num_embeddings, layer.embedding_dim]
    if isinstance(layer, (*CONVOLUTIONS, DPGConv)):
        sizes = [layer.out_channels, layer.in_channels]
        settings = layer.geometry if isinstance(layer, DPGConv) else geometry(layer)
        for setting in settings:
            sizes += setting
    else:
        assert isinstance(layer, nn.Linear | DPGLinear)
        sizes = [layer.out_features, layer.in_features]
    return [*sizes, layer.bias is not None]


def _digest(tensors: dict[str, Tensor], header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class _File:
    """The contents of a file, all read from the same open file handle.

    Replacing the file on disk therefore has no effect on it.
    """

    tensors: dict[str, Tensor]
    manifest: dict
    header: dict  # the safetensors header, with the offsets of each tensor
    start: int  # the offset of the tensor data
    area: mmap.mmap | None  # the memory map of the file, if requested


def _read(path: Path, mapped: bool) -> _File:
    with path.open("rb") as file:
        content = file.read()
        area = None
        if mapped and content:
            area = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        metadata = header.get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise DamagedFileError(f"{path} is not a DPG-compressed model.")
        if metadata.get("version") != str(VERSION):
            raise DamagedFileError(
                f"{path} has format version {metadata.get('version')}; this library "
                f"reads version {VERSION}."
            )
        tensors = read_tensors(content)
        manifest = json.loads(metadata["manifest"])
    except (SafetensorError, KeyError, ValueError, AttributeError) as error:
        raise DamagedFileError(
            f"{path} is not a complete safetensors file: {error}"
        ) from error
    if _digest(tensors, metadata["manifest"]) != metadata.get("sha256"):
        raise DamagedFileError(
            f"{path} is damaged: its content does not match the checksum in its header."
        )
    return _File(tensors, manifest, header, start, area)


def _mapped(file: _File, names: list[str]) -> dict[str, Tensor]:
    """Return the named tensors as views into the memory-mapped file."""
    tensors = {}
    for name in names:
        facts = file.header[name]
        begin, end = (file.start + offset for offset in facts["data_offsets"])
        bytes_ = torch.frombuffer(
            file.area, dtype=torch.uint8, count=end - begin, offset=begin
        )
        dtype = {"U8": torch.uint8, "I16": torch.int16}[facts["dtype"]]
        tensor = bytes_.view(dtype).view(facts["shape"])
        _areas[tensor] = file.area, end - begin
        tensors[name] = tensor
    return tensors


def _filled(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> nn.Module:
    """Replace the tensors of the model, keeping tied parameters tied."""
    parameters: dict[int, nn.Parameter] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        owner, _, name = key.rpartition(".")
        module = model.get_submodule(owner)
        if value.shape != tensors[key].shape:
            raise DamagedFileError(
                f"{path} does not fit this model: {key!r} has shape "
                f"{list(tensors[key].shape)}, not {list(value.shape)}."
            )
        if name in module._parameters:
            parameter = nn.Parameter(tensors[key], requires_grad=False)
            parameter = parameters.setdefault(id(tensors[key]), parameter)
            module._parameters[name] = parameter
        else:
            module._buffers[name] = tensors[key]
    return model
