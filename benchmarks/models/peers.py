"""The other ways of quantizing, as their libraries do it: peers of the DPG benchmarks.

Each `quantize` below takes a float32 model and gives a quantized copy; `weight_bytes`
counts what it keeps for one layer's weight. They are development dependencies only.
"""

import copy
import logging
import warnings

import torch
from torch import Tensor, nn

# all of them warn about optional parts and deprecations on import
warnings.filterwarnings("ignore", module="torch|torchao|bitsandbytes")
logging.disable(logging.WARNING)


def torchao_int8(model: nn.Module) -> nn.Module:
    """torchao: int8 weights, bfloat16 activations."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    return _torchao(model, quantize_, Int8WeightOnlyConfig())


def torchao_int4(model: nn.Module, group_size: int = 32, hqq: bool = False):
    """torchao: int4 weights, a scale and a zero point per group; HQQ rounds better."""
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    from torchao.quantization import quantize_
    from torchao.quantization.quantize_.workflows import Int4ChooseQParamsAlgorithm

    method = "HQQ" if hqq else "TINYGEMM"
    config = PrototypeInt4WeightOnlyConfig(
        group_size=group_size,
        int4_choose_qparams_algorithm=Int4ChooseQParamsAlgorithm[method],
    )
    return _torchao(model, quantize_, config)


def _torchao(model: nn.Module, quantize_, config) -> nn.Module:
    model = copy.deepcopy(model).bfloat16()
    quantize_(model, config)
    return model


def torch_int8(model: nn.Module) -> nn.Module:
    """torch's dynamic int8: int8 weights, int8 activations quantized on each call."""
    from torch.ao.quantization import quantize_dynamic

    return quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)


def bitsandbytes_nf4(model: nn.Module) -> nn.Module:
    """bitsandbytes: 4-bit normal floats, one scale per 64 weights."""
    import bitsandbytes

    model = copy.deepcopy(model).bfloat16()
    linear = [n for n, layer in model.named_modules() if type(layer) is nn.Linear]
    for name in linear:
        owner, _, leaf = name.rpartition(".")
        layer = model.get_submodule(name)
        setattr(model.get_submodule(owner), leaf, _nf4(bitsandbytes, layer))
    return model


def _nf4(bitsandbytes, layer: nn.Linear) -> nn.Module:
    sizes = layer.in_features, layer.out_features
    new = bitsandbytes.nn.Linear4bit(
        *sizes,
        bias=layer.bias is not None,
        compute_dtype=torch.bfloat16,
        quant_type="nf4",
    )
    new.weight = bitsandbytes.nn.Params4bit(
        layer.weight.data, requires_grad=False, quant_type="nf4"
    )
    new.bias = layer.bias
    return new.to("cpu").eval()


def weight_bytes(layer: nn.Module) -> int:
    """Bytes that a peer's layer stores for its weight, scales and zero points."""
    if "DynamicQuantizedLinear" in type(layer).__name__ or hasattr(layer, "scale"):
        weight = layer.weight()
        channels = weight.q_per_channel_scales().numel() if _a_row(weight) else 1
        return weight.numel() + channels * 8  # a scale and a zero point each
    state = getattr(layer.weight, "quant_state", None)
    extra = state.absmax.numel() * state.absmax.element_size() if state else 0
    return _bytes(layer.weight) + extra


def _a_row(weight: Tensor) -> bool:
    return weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)


def _bytes(tensor: Tensor) -> int:
    if hasattr(tensor, "__tensor_flatten__"):  # a subclass that wraps several tensors
        names = tensor.__tensor_flatten__()[0]
        return sum(_bytes(getattr(tensor, name)) for name in names)
    return tensor.numel() * tensor.element_size()
