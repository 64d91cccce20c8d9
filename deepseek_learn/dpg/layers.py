"""Layers whose weights are stored as packed bit-planes.

`convert` replaces the float layers of a model with these layers, and convolutions with
those in `convolution.py`.
"""

from typing import Any, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..profiler.costs import Cost, layer_costs
from .frozen import FrozenWeight, refuse_edit, refuse_training
from .kernels import multiply
from .matrix import CompressedLayer
from .packed import PackedMatrix

Module = TypeVar("Module", bound=nn.Module)


class DPGLayer(CompressedLayer):
    """Base class for layers with a packed weight and a float bias.

    These layers do not support training.

    Attributes:
        tied: whether the matrix belongs to another layer, which then accounts for its
            bytes.
        adapted: whether the layer is part of a model with adapters (see `lora`), so that
            setting the mode for training is right although its own weights stay.
    """

    tied = adapted = False
    bias: Tensor | None

    def __init__(self, matrix: PackedMatrix, bias: Tensor | None):
        super().__init__()
        self.matrix = matrix
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.training = False

    def train(self, mode: bool = True) -> Self:
        refuse_training(mode and not self.adapted)
        return super().train(mode)

    @property
    def weight(self) -> Tensor:
        """The weight of the equivalent float layer, in float32.

        The weight is unpacked at the current precision on every access. An attempt to
        edit it raises FrozenModelError.
        """
        return self._unpacked().as_subclass(FrozenWeight)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            refuse_edit()
        super().__setattr__(name, value)

    def _unpacked(self) -> Tensor:
        return self.matrix.dequantize()

    def _multiply(self, rows: Tensor) -> Tensor:
        """Multiply rows of shape `[M, K]` by the weight, and add the bias.

        The result is a float32 tensor of shape `[M, N]`.
        """
        return multiply(self.matrix, rows.float(), self.bias)

    def _check(self, x: Tensor, size: int, axis: int, layout: str) -> None:
        if x.dim() <= -axis - 1 or x.shape[axis] != size:
            raise ValueError(f"x must be {layout}; got shape {list(x.shape)}.")
        if not x.is_floating_point():
            raise TypeError(f"x must contain floating-point numbers; got {x.dtype}.")
        self._check_device(x)

    def _check_device(self, x: Tensor) -> None:
        if x.device != self.matrix.order.device:
            raise ValueError(
                f"x is on {x.device}, but the compressed layer is on "
                f"{self.matrix.order.device}; move one of them with .to(...)."
            )


class DPGLinear(DPGLayer):
    """A linear layer with a packed weight.

    It maps inputs of shape `[..., K]` to outputs of shape `[..., N]` with the same
    dtype.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> type(packed[0]).__name__, packed(torch.rand(2, 64)).shape
    ('DPGLinear', torch.Size([2, 32]))
    """

    def __init__(self, matrix: PackedMatrix, bias: Tensor | None):
        super().__init__(matrix, bias)
        self.in_features, self.out_features = matrix.columns, matrix.rows

    def plain(self) -> nn.Linear:
        """Return an equivalent float layer for export, at the current precision."""
        bias = self.bias is not None
        layer = nn.Linear(self.in_features, self.out_features, bias, device="meta")
        return filled(layer, self)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, self.in_features, -1, f"[..., {self.in_features}]")
        y = self._multiply(x.reshape(-1, self.in_features))
        return y.view(*x.shape[:-1], self.out_features).to(x.dtype)


class DPGEmbedding(DPGLayer):
    """An embedding with a packed table.

    It maps indices of shape `[...]` to rows of shape `[..., K]`, and unpacks only the
    rows that are looked up.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Embedding(100, 64))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> type(packed[0]).__name__, packed(torch.tensor([3, 5])).shape
    ('DPGEmbedding', torch.Size([2, 64]))
    """

    answer: Tensor

    def __init__(self, matrix: PackedMatrix, dtype: torch.dtype = torch.float32):
        super().__init__(matrix, None)
        self.num_embeddings, self.embedding_dim = matrix.rows, matrix.columns
        # This buffer is empty. It records the output dtype, so that `model.half()`
        # changes it as well.
        self.register_buffer("answer", torch.empty(0, dtype=dtype))

    def plain(self) -> nn.Embedding:
        """Return an equivalent float layer for export, at the current precision."""
        sizes = self.num_embeddings, self.embedding_dim
        return filled(nn.Embedding(*sizes, device="meta"), self)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or x.device.type == "meta":
            return F.embedding(x, self._unpacked()).to(self.answer.dtype)
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise TypeError(f"x must contain integers; got {x.dtype}.")
        self._check_device(x)
        low, high = (int(n) for n in x.aminmax()) if x.numel() else (0, 0)
        if low < 0 or high >= self.num_embeddings:
            raise IndexError(
                f"x must contain indices from 0 to {self.num_embeddings - 1}; got "
                f"{low} to {high}."
            )
        return self.matrix.lookup(x.long()).to(self.answer.dtype)


def filled(layer: Module, packed: DPGLayer) -> Module:
    """Give a float layer the weight and the bias of a packed one."""
    layer.weight = nn.Parameter(packed._unpacked(), requires_grad=False)
    if packed.bias is not None:
        layer.bias = nn.Parameter(packed.bias.float(), requires_grad=False)
    return layer.eval()


@layer_costs.register("deepseek_learn.dpg.layers.DPGLayer")
def layer_cost(layer: DPGLayer, inputs: tuple, output: Tensor) -> Cost:
    """Return the cost of a packed layer for the profiler.

    The profiler cannot see inside a kernel, so this function counts one multiply-add
    per weight and output position. The bytes read include the input, the bias, and the
    planes and scales in use at the current precision.
    """
    matrix = layer.matrix
    plane_bytes = sum(
        sum(plane.nbytes for plane in part.planes) + part.scale.nbytes
        for part in matrix.parts()
    )
    bias = 0 if layer.bias is None else layer.bias.nbytes
    return Cost(
        flops=2 * output.numel() * matrix.columns,
        bytes_read=plane_bytes + inputs[0].nbytes + bias,
        bytes_written=output.nbytes,
        **_parameters(layer),
    )


@layer_costs.register("deepseek_learn.dpg.layers.DPGEmbedding")
def embedding_cost(layer: DPGEmbedding, inputs: tuple, output: Tensor) -> Cost:
    """Return the cost of a packed embedding lookup for the profiler.

    A lookup requires no FLOPs. It reads the indices and the rows that are looked up.
    Every row is assumed to take the mean number of bytes per row.
    """
    total, rows = sum(b.nbytes for b in layer.matrix.buffers()), inputs[0].numel()
    return Cost(
        flops=0,
        bytes_read=rows * total // layer.matrix.rows + inputs[0].nbytes,
        bytes_written=output.nbytes,
        **_parameters(layer),
    )


def _parameters(layer: DPGLayer) -> dict[str, int]:
    """Count the parameters of a layer and their bytes, excluding a tied matrix."""
    matrix, bias = layer.matrix, 0 if layer.bias is None else len(layer.bias)
    weights = 0 if layer.tied else matrix.rows * matrix.columns
    size = sum(b.nbytes for b in layer.buffers(recurse=not layer.tied))
    return {"parameters": weights + bias, "parameter_bytes": size}


def packed_layers(model: nn.Module) -> dict[str, DPGLayer]:
    """Return the packed layers of `model` as a dictionary keyed by name.

    Raises:
        ValueError: if the model has no packed layer.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, DPGLayer)}
    if not layers:
        raise ValueError(
            f"model must be DPG-compressed; {type(model).__name__} has no packed layer."
        )
    return layers


def refuse_adapters(model: nn.Module) -> None:
    """Raise ValueError if a layer has an adapter of PEFT, which only PEFT can save."""
    for name, module in model.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "active_adapters"):
            raise ValueError(
                f"model must have no adapter, and its layer {name!r} has one: save the "
                f"adapter with the save_pretrained of its PeftModel, and take it off with "
                f"unload()."
            )


def set_precision(
    model: nn.Module,
    max_bits: int = 8,
    refined: bool | None = None,
    wide: bool | None = None,
) -> nn.Module:
    """Limit the number of bits that are read from each code, and return the model.

    Args:
        max_bits: the maximum number of bits per code, from 2 to 8. The first plane of a
            code is always read.
        refined: whether to add the refine terms. None leaves the setting unchanged.
        wide: whether to use about 16 bits instead of 8 for activations. None leaves the
            setting unchanged.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=8))
    >>> x = torch.rand(2, 64)
    >>> exact = packed(x)
    >>> coarse = dpg.set_precision(packed, max_bits=4)(x)  # reads four of eight planes
    >>> torch.equal(exact, coarse)
    False
    """
    if not isinstance(max_bits, int) or not 2 <= max_bits <= 8:
        raise ValueError(f"max_bits must be from 2 to 8; got {max_bits!r}.")
    for layer in packed_layers(model).values():
        matrix = layer.matrix
        matrix.max_bits = max_bits
        matrix.refined = matrix.refined if refined is None else refined
        matrix.wide = matrix.wide if wide is None else wide
    return model
