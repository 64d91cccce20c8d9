"""Save a compressed model to a single file, and load it again.

The file contains planes, scales, float tensors and a manifest. It uses the safetensors
format with the manifest in the header, so a single rename replaces both at the same
time. A SHA-256 checksum over all tensors and the manifest detects any changed bit. The
refine planes can be memory-mapped, in which case they occupy memory only while they are
in use.
"""

import mmap
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import DamagedFileError
from .assembly import assemble, packed_layer, share_matrix
from .container import OpenFile, areas, opened, write
from .convolution import DPGConv
from .geometry import geometry, uneven_padding
from .layers import (
    DPGEmbedding,
    DPGLayer,
    DPGLinear,
    packed_layers,
    refuse_adapters,
)
from .matrix import CONVOLUTIONS, FloatLayer, Layers, uncompiled
from .packed import PackedMatrix, Segment
from .recurrent import settings_of, with_settings


def save(model: nn.Module, path: str | Path) -> Path:
    """Save a compressed model to a file atomically.

    Raises:
        ValueError: if `model` is not DPG-compressed, or has an adapter.
        OSError: if the file cannot be written, for example because the disk is full. An
            existing file at `path` is left unchanged.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> dpg.save(packed, "small.safetensors").stat().st_size < dpg.bytes_of(net)
    True
    """
    path = Path(path)
    packed = packed_layers(model)
    refuse_adapters(model)
    layers = {name: facts_of(layer) for name, layer in packed.items()}
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    # A tensor with two names (a layer that is used twice) is written only once.
    first = {t.data_ptr(): k for k, t in reversed(tensors.items()) if t.numel()}
    same = {k: first[t.data_ptr()] for k, t in tensors.items() if t.numel()}
    aliases = {k: v for k, v in same.items() if k != v}
    tensors = {k: v for k, v in tensors.items() if k not in aliases}
    manifest = {"model": type(model).__name__, "layers": layers, "aliases": aliases}
    if tied := tied_to(packed):
        manifest["tied"] = tied
    if recurrent := settings_of(model):
        manifest["stepwise"] = recurrent
    write(path, tensors, manifest)
    return path


def load(path: str | Path, model: nn.Module, map_refinement: bool = False) -> nn.Module:
    """Load a compressed model from a file into a copy of `model`.

    The weights of `model` are not used.

    Args:
        path: a file written by `save`.
        model: the network that was compressed, with arbitrary weights. Create it under
            `torch.device("meta")` if all of its buffers are in its state dict: float
            weights take several times the memory of the compressed model, and the
            process may keep that memory even after they are deleted.
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

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> path = dpg.save(packed, "small.safetensors")
    >>> loaded = dpg.load(path, net)
    >>> x = torch.rand(2, 64)
    >>> torch.equal(loaded(x), packed(x))
    True
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path must be a file written by dpg.save; got {path}.")
    with path.open("rb") as content:
        # The file stays open, so replacing it on disk has no effect on what is read.
        file, model = opened(content, path), uncompiled(model)
        result, new = _frame(file.manifest, model, path)
        _refuse_meta(model)
        state = result.state_dict()
        names = {key: file.manifest["aliases"].get(key, key) for key in state}
        _check_fit(file, state, names, path)
        tensors = _tensors(file, [*dict.fromkeys(names.values())], new, map_refinement)
    return _filled(result, {key: tensors[name] for key, name in names.items()})


def _refuse_meta(model: nn.Module) -> None:
    """Raise ValueError if the model has meta-device buffers outside its state dict."""
    keys = model.state_dict().keys()
    empty = [n for n, b in model.named_buffers() if b.is_meta and n not in keys]
    if empty:
        raise ValueError(
            f"model has buffers on the meta device that are not saved in any file "
            f"(persistent=False): {', '.join(empty)}. Compute them before loading, or "
            f"create only the parameters on the meta device, for example under "
            f"accelerate.init_empty_weights()."
        )


def _check_fit(
    file: OpenFile, state: dict[str, Tensor], names: dict[str, str], path: Path
) -> None:
    """Raise DamagedFileError unless the file has exactly the tensors of the model."""
    different = file.entries.keys() ^ set(names.values())
    different |= file.manifest["aliases"].keys() - names.keys()
    if different:
        raise DamagedFileError(
            f"{path} does not fit this model: it differs in {min(different)!r}."
        )
    for key, value in state.items():
        shape = file.entries[names[key]].shape
        if value.shape != shape:
            raise DamagedFileError(
                f"{path} does not fit this model: {key!r} has shape {list(shape)}, "
                f"not {list(value.shape)}."
            )


def _frame(manifest: dict, model: nn.Module, path: Path) -> tuple[nn.Module, dict]:
    """Return a copy of the model with empty packed layers, and those layers by name."""
    try:
        model = with_settings(model, manifest.get("stepwise", {}))
    except ValueError as error:
        raise DamagedFileError(f"{path} does not fit this model: {error}") from error
    layers = Layers.of(model).uses
    shapes = {name: shape_of(layer) for name, layer in layers.items()}
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

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4), refine=True)
    >>> path = dpg.save(packed, "small.safetensors")
    >>> small = dpg.load(path, net, map_refinement=True)
    >>> dpg.drop_refinement(small) > 0  # bytes
    True
    """
    mapped = [
        areas[tensor]
        for layer in packed_layers(model).values()
        for tensor in layer.matrix.buffers(recurse=False)
        if tensor in areas
    ]
    # Release the whole file, because reading a plane also maps the pages around it.
    for area in {id(area): area for area, _ in mapped}.values():
        area.madvise(mmap.MADV_DONTNEED)
    return sum(length for _, length in mapped)


def tied_to(packed: dict) -> dict[str, str]:
    """Map each tied layer to the layer that owns the shared packed matrix."""
    first: dict[int, str] = {}
    embeddings_last = sorted(packed, key=lambda n: isinstance(packed[n], DPGEmbedding))
    names = {n: first.setdefault(id(packed[n].matrix), n) for n in embeddings_last}
    return {name: other for name, other in names.items() if name != other}


def facts_of(layer: DPGLayer) -> dict:
    """Return what the manifest says of a packed layer: enough to build an empty one."""
    matrix = layer.matrix
    return {
        "shape": shape_of(layer),
        "matrix": [matrix.rows, matrix.columns, matrix.group_size],
        "segments": [asdict(segment) for segment in matrix.segments],
    }


def shape_of(layer: FloatLayer | DPGLayer) -> list:
    """Return the sizes, geometry and bias flag that a packed weight must match."""
    if isinstance(layer, nn.Embedding | DPGEmbedding):
        return ["embedding", layer.num_embeddings, layer.embedding_dim]
    if isinstance(layer, (*CONVOLUTIONS, DPGConv)):
        sizes: list = [layer.out_channels, layer.in_channels]
        for setting in geometry(layer):
            sizes += setting
        if sides := uneven_padding(layer):
            sizes += [*sides, layer.padding_mode]
    else:
        assert isinstance(layer, nn.Linear | DPGLinear)
        sizes = [layer.out_features, layer.in_features]
    return [*sizes, layer.bias is not None]


def _tensors(
    file: OpenFile, names: list[str], packed: Iterable[str], map_refinement: bool
) -> dict[str, Tensor]:
    """Read the tensors of a model with these packed layers.

    The matrices lie in one block in the order of the modules, as after `gather`, and the
    other tensors in another one, whose memory is free once the model is converted to
    another precision.
    """
    matrices = tuple(f"{name}.matrix.".lstrip(".") for name in packed)
    refine = tuple(f"{prefix}refine" for prefix in matrices)
    groups: dict[str, list[str]] = {"mapped": [], "matrices": [], "others": []}
    for name in names:
        is_mapped = map_refinement and name.startswith(refine)
        kind = "matrices" if name.startswith(matrices) else "others"
        groups["mapped" if is_mapped else kind].append(name)
    mapped = file.mapped(groups["mapped"]) if groups["mapped"] else {}
    return mapped | file.read(groups["matrices"]) | file.read(groups["others"])


def _filled(model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Replace the tensors of the model, keeping tied parameters tied."""
    parameters: dict[int, nn.Parameter] = {}
    for key, tensor in tensors.items():
        owner, _, name = key.rpartition(".")
        module = model.get_submodule(owner)
        if name in module._parameters:
            parameter = nn.Parameter(tensor, requires_grad=False)
            module._parameters[name] = parameters.setdefault(id(tensor), parameter)
        else:
            module._buffers[name] = tensor
    return model
