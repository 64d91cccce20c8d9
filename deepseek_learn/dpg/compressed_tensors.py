"""Write a compressed transformers model in the format of compressed-tensors (for vLLM).

Its symmetric integers of 2 to 8 bits in groups are the codes of a packed matrix, so that
nothing is rounded anew. A group of layers has one bit width: compress with
`granularity="layer"`.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import DeepSeekLearnError, require
from .layers import DPGLayer, DPGLinear, packed_layers, refuse_adapters
from .recurrent import settings_of

FORMAT = "pack-quantized"
PACKED = 32  # numbers that fill whole words at every bit width


class CompressedTensorsError(DeepSeekLearnError):
    """Raised when the format cannot hold a model without changing its weights."""


def to_compressed_tensors(model: Any, folder: str | Path, **options: Any) -> Path:
    """Write a model to a folder that compressed-tensors, transformers and vLLM read.

    Linear layers keep their codes and scales. An embedding, and a head that shares its
    matrix, are stored in float, because the format has no packed embeddings.

    Args:
        model: `dpg.compress(..., granularity="layer").model`, a transformers model.
        options: those of `save_pretrained`, such as `max_shard_size`.

    Returns:
        The folder.

    Raises:
        CompressedTensorsError: if rows of a layer differ in their bits, if there is a
            refine term, if a row does not consist of whole groups, or if experts,
            GPT-2's layers or recurrent layers were written as linear layers.
        TypeError: if the model is not one of transformers.
        ValueError: if the model is not DPG-compressed, or has an adapter.
        MissingPackageError: if transformers is not installed.
        OSError: if the files cannot be written; the folder's files are then as before.

    >>> import torch, transformers
    >>> from deepseek_learn import dpg
    >>> sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 128}
    >>> sizes |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    >>> model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    >>> batches = [torch.randint(64, (2, 8))]
    >>> small = dpg.compress(model, batches, bits=4, granularity="layer")
    >>> folder = dpg.to_compressed_tensors(small.model, "for_vllm")
    >>> (folder / "model.safetensors").exists()
    True
    """
    require("transformers", extra="hf", purpose="Writing compressed tensors")
    from .hf_saving import replace_files

    packed = packed_layers(model)
    refuse_adapters(model)
    if not hasattr(model, "save_pretrained"):
        raise TypeError(
            f"model must be a transformers model; got a {type(model).__name__}."
        )
    replaced = getattr(getattr(model.config, "quantization_config", 0), "replaced", [])
    if replaced := [*replaced, *settings_of(model)]:
        raise CompressedTensorsError(
            f"{replaced[0]!r} was written as linear layers, whose names and shapes other "
            f"programs do not expect: compress this {type(model).__name__} with "
            f"dpg.compress and a filter that leaves this layer in float."
        )
    layers = {
        n: x for n, x in packed.items() if isinstance(x, DPGLinear) and not x.tied
    }
    shared = {id(x.matrix) for n, x in packed.items() if n not in layers}
    layers = {n: x for n, x in layers.items() if id(x.matrix) not in shared}
    kinds = {name: _kind(name, layer) for name, layer in layers.items()}
    # The state of the model as it was, with other tensors in place of some weights.
    prefixes = tuple(f"{name}." for name in packed)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(prefixes)}
    for name, layer in packed.items():
        tensors = _packed(layer) if name in layers else {"weight": layer.weight.clone()}
        state |= {f"{name}.{key}": value for key, value in tensors.items()}
        if layer.bias is not None:
            state[f"{name}.bias"] = layer.bias
    for name, first in _tied_in_float(packed, layers).items():
        state[f"{name}.weight"] = state[f"{first}.weight"]
    plain = copy.copy(model)  # shares all, but for the configuration
    vars(plain).pop("hf_quantizer", None)
    plain.config = copy.deepcopy(model.config)
    plain.config.quantization_config = _configuration(model, kinds)

    def write(place: Path) -> None:
        type(model).save_pretrained(plain, place, state_dict=state, **options)

    return replace_files(Path(folder), write)


def _kind(name: str, layer: DPGLinear) -> tuple[int, int]:
    """Return bits and group size of a layer."""
    matrix = layer.matrix
    widths = sorted({s.bits for s in matrix.segments if s.term == "base"})
    if len(widths) > 1:
        raise CompressedTensorsError(
            f"layer {name!r} has rows of {' and '.join(map(str, widths))} bits, and the "
            f'format has one width per layer: compress with granularity="layer".'
        )
    if matrix.has_refinement:
        raise CompressedTensorsError(
            f"layer {name!r} has a refine term, for which the format has no place: "
            f"compress with refine=False."
        )
    if matrix.columns % matrix.group_size:
        raise CompressedTensorsError(
            f"layer {name!r} has {matrix.columns} columns, which groups of "
            f"{matrix.group_size} do not fill; the format stores whole groups only. "
            f"Leave the layer in float with filter=."
        )
    return widths[0], matrix.group_size


def _packed(layer: DPGLayer) -> dict[str, Tensor]:
    """Return the tensors of a layer: a dense stream of bits, scales, and the shape."""
    codes, matrix = layer.matrix.codes(), layer.matrix
    bits = int(codes.bits[0])
    numbers = codes.codes[:, : matrix.columns].numpy()  # [N, K], 0 to 2^b - 1
    numbers = np.pad(numbers, ((0, 0), (0, -matrix.columns % PACKED)))
    each = np.unpackbits(numbers[:, :, None], axis=2, count=bits, bitorder="little")
    words = np.packbits(each.reshape(len(numbers), -1), axis=1, bitorder="little")
    words = words.view("<i4")[:, : -(-matrix.columns * bits // 32)]
    return {
        "weight_packed": torch.from_numpy(words.copy()),
        "weight_scale": codes.scale.T.float().contiguous(),  # [N, K / G]
        "weight_shape": torch.tensor([matrix.rows, matrix.columns]),
    }


def _tied_in_float(packed: Mapping, layers: Mapping) -> dict[str, str]:
    """Map each layer in float to the first one with its matrix."""
    first: dict[int, str] = {}
    names = {n: first.setdefault(id(x.matrix), n) for n, x in packed.items()}
    return {n: o for n, o in names.items() if n != o and n not in layers}


def _configuration(model: Any, kinds: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Return what config.json says: which layers have how many bits, and which none."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, kind in kinds.items():
        groups.setdefault(kind, []).append(name)
    config_groups = {
        f"group_{number}": {
            "targets": names,
            "weights": {
                "num_bits": bits,
                "type": "int",
                "symmetric": True,
                "strategy": "group",
                "group_size": size,
                "dynamic": False,
            },
            "input_activations": None,
            "output_activations": None,
            "format": FORMAT,
        }
        for number, ((bits, size), names) in enumerate(sorted(groups.items()))
    }
    linear = (torch.nn.Linear, DPGLinear)
    modules = model.named_modules()
    return {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": config_groups,
        "ignore": [n for n, m in modules if isinstance(m, linear) and n not in kinds],
        "kv_cache_scheme": None,
    }
