"""Layers whose weight is packed planes: what `convert` puts in place of the float ones."""

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import DeepSeekLearnError
from ..profiler.costs import Cost, layer_costs
from .kernels import multiply
from .matrix import output_size, patches
from .packed import PackedMatrix

# From so many patches on, copying them costs more than unpacking the weight once and
# convolving in float. A round number: where the two ways cross depends on the layer.
FLOAT_ROWS = 1024


class FrozenModelError(DeepSeekLearnError):
    """A compressed model was asked to train."""


class DPGLayer(nn.Module):
    """What all kinds share: packed weight, float bias, no training.

    Attributes:
        tied: another layer has the same matrix, and is where its bytes count.
    """

    tied = False

    def __init__(self, matrix: PackedMatrix, bias: Tensor | None):
        super().__init__()
        self.matrix = matrix
        self.register_buffer("bias", None if bias is None else bias.detach().clone())
        self.training = False

    def train(self, mode: bool = True):
        refuse_training(mode)
        return super().train(mode)

    def _multiply(self, rows: Tensor) -> Tensor:
        """`[M, K]` → float32 `[M, N]`, the bias added."""
        return multiply(self.matrix, rows.float(), self.bias)

    def _check(self, x: Tensor, size: int, axis: int, layout: str) -> None:
        if x.dim() <= -axis - 1 or x.shape[axis] != size:
            raise ValueError(f"x must be {layout}; got shape {list(x.shape)}.")
        if not x.is_floating_point():
            raise TypeError(f"x must hold floating-point numbers; got {x.dtype}.")
        self._check_place(x)

    def _check_place(self, x: Tensor) -> None:
        if x.device != self.matrix.order.device:
            raise ValueError(
                f"x is on {x.device}, the compressed layer on "
                f"{self.matrix.order.device}; move one with .to(...)."
            )


def refuse_training(mode: bool) -> None:
    """Raise if `mode` asks for training."""
    if mode:
        raise FrozenModelError(
            "a DPG-compressed model cannot train: its weights are packed integers. "
            "Train the original, then compress it again."
        )


class DPGLinear(DPGLayer):
    """`[..., K]` → `[..., N]` with a packed weight; the answer has the dtype of x."""

    def __init__(self, matrix: PackedMatrix, bias: Tensor | None):
        super().__init__(matrix, bias)
        self.in_features, self.out_features = matrix.columns, matrix.rows

    @property
    def weight(self) -> Tensor:
        """The weight in use, unpacked at each access, float32 `[N, K]`."""
        return self.matrix.dequantize()

    def plain(self) -> nn.Linear:
        """The float layer with the weight in use, for exporting."""
        bias = self.bias is not None
        layer = nn.Linear(self.in_features, self.out_features, bias, device="meta")
        return _filled(layer, self)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, self.in_features, -1, f"[..., {self.in_features}]")
        y = self._multiply(x.reshape(-1, self.in_features))
        return y.view(*x.shape[:-1], self.out_features).to(x.dtype)


class DPGEmbedding(DPGLayer):
    """Indices `[...]` → rows `[..., K]` of a packed table; only these are unpacked."""

    def __init__(self, matrix: PackedMatrix, dtype: torch.dtype = torch.float32):
        super().__init__(matrix, None)
        self.num_embeddings, self.embedding_dim = matrix.rows, matrix.columns
        # empty: it only remembers in which dtype to answer, also after `model.half()`
        self.register_buffer("answer", torch.empty(0, dtype=dtype))

    @property
    def weight(self) -> Tensor:
        """The table in use, unpacked at each access, float32 `[N, K]`."""
        return self.matrix.dequantize()

    def plain(self) -> nn.Embedding:
        """The float layer with the table in use, for exporting."""
        sizes = self.num_embeddings, self.embedding_dim
        return _filled(nn.Embedding(*sizes, device="meta"), self)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or x.device.type == "meta":
            return F.embedding(x, self.weight).to(self.answer.dtype)
        if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
            raise TypeError(f"x must hold integers; got {x.dtype}.")
        self._check_place(x)
        low, high = (int(n) for n in x.aminmax()) if x.numel() else (0, 0)
        if low < 0 or high >= self.num_embeddings:
            raise IndexError(
                f"x must hold rows 0 to {self.num_embeddings - 1}; got {low} to {high}."
            )
        return self.matrix.lookup(x.long()).to(self.answer.dtype)


class DPGConv(DPGLayer):
    """A convolution `[B, C, *size]` → `[B, N, *size']` with a packed weight.

    Few positions in the batch: a product of packed planes with patches. Many: the weight
    is unpacked for this call, and dropped again; activations are then not rounded, so
    that a picture's answer depends a little on the size of its batch.
    """

    float_layer: type[nn.Module]
    _convolve: Callable
    size: str  # the names of the axes, for error messages

    def __init__(
        self,
        matrix: PackedMatrix,
        bias: Tensor | None,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...] | None = None,
        padding: tuple[int, ...] | None = None,
        dilation: tuple[int, ...] | None = None,
    ):
        super().__init__(matrix, bias)
        axes = len(kernel_size)
        self.kernel_size = tuple(kernel_size)
        self.stride = tuple(stride or (1,) * axes)
        self.padding = tuple(padding or (0,) * axes)
        self.dilation = tuple(dilation or (1,) * axes)
        self.in_channels = matrix.columns // prod(self.kernel_size)
        self.out_channels = matrix.rows

    @property
    def geometry(self) -> tuple:
        return self.kernel_size, self.stride, self.padding, self.dilation

    @property
    def weight(self) -> Tensor:
        """The weight in use, unpacked at each access, float32 `[N, C, *kernel]`."""
        matrix = self.matrix.dequantize()
        shape = (self.out_channels, *self.kernel_size, self.in_channels)
        return matrix.view(shape).movedim(-1, 1)

    def plain(self) -> nn.Module:
        """The float layer with the weight in use, for exporting."""
        sizes = self.in_channels, self.out_channels, *self.geometry
        bias = self.bias is not None
        return _filled(self.float_layer(*sizes, bias=bias, device="meta"), self)

    def forward(self, x: Tensor) -> Tensor:
        layout = f"[B, {self.in_channels}, {self.size}]"
        if x.dim() != len(self.kernel_size) + 2:
            raise ValueError(f"x must be {layout}; got shape {list(x.shape)}.")
        self._check(x, self.in_channels, 1, layout)
        size = output_size(x.shape[2:], *self.geometry)
        if min(size) < 1:
            raise ValueError(
                f"x is smaller than the kernel {self.kernel_size}: got {list(x.shape)}."
            )
        if len(x) * prod(size) > FLOAT_ROWS:
            bias = None if self.bias is None else self.bias.float()
            y = self._convolve(x.float(), self.weight, bias, *self.geometry[1:])
            return y.to(x.dtype)
        y = self._multiply(patches(x, *self.geometry))  # [B * prod(size'), N]
        y = y.view(len(x), *size, self.out_channels).movedim(-1, 1)
        return y.to(x.dtype)


class DPGConv1d(DPGConv):
    """`[B, C, L]` → `[B, N, L']`, see `DPGConv`."""

    float_layer, _convolve, size = nn.Conv1d, staticmethod(F.conv1d), "L"


class DPGConv2d(DPGConv):
    """`[B, C, H, W]` → `[B, N, H', W']`, see `DPGConv`."""

    float_layer, _convolve, size = nn.Conv2d, staticmethod(F.conv2d), "H, W"


class DPGConv3d(DPGConv):
    """`[B, C, D, H, W]` → `[B, N, D', H', W']`, see `DPGConv`."""

    float_layer, _convolve, size = nn.Conv3d, staticmethod(F.conv3d), "D, H, W"


def packed_layer(layer: nn.Module, matrix: PackedMatrix) -> DPGLayer:
    """The compressed layer that takes the place of `layer`."""
    if isinstance(layer, nn.Embedding):
        return DPGEmbedding(matrix, layer.weight.dtype)
    for kind in DPGConv.__subclasses__():
        if isinstance(layer, kind.float_layer):
            geometry = layer.kernel_size, layer.stride, layer.padding, layer.dilation
            return kind(matrix, layer.bias, *geometry)
    return DPGLinear(matrix, layer.bias)


def share_matrix(layer: DPGLayer, first: DPGLayer) -> None:
    """Let `layer` use the matrix of `first`, stored once."""
    layer.matrix, layer.tied = first.matrix, True


def _filled(layer: nn.Module, packed: DPGLayer) -> nn.Module:
    layer.weight = nn.Parameter(packed.weight, requires_grad=False)
    if packed.bias is not None:
        layer.bias = nn.Parameter(packed.bias.float(), requires_grad=False)
    return layer.eval()


@layer_costs.register("deepseek_learn.dpg.layers.DPGLayer")
def layer_cost(layer: DPGLayer, inputs: tuple, output: Tensor) -> Cost:
    """For the profiler, which cannot see into a kernel: a multiply-add a weight and output.

    Read are the planes and scales in use at the layer's precision, and the input.
    """
    matrix = layer.matrix
    stored = sum(
        sum(plane.nbytes for plane in part.planes) + part.scale.nbytes
        for part in matrix.parts()
    )
    bias = 0 if layer.bias is None else layer.bias.nbytes
    return Cost(
        flops=2 * output.numel() * matrix.columns,
        bytes_read=stored + inputs[0].nbytes + bias,
        bytes_written=output.nbytes,
        **_held(layer),
    )


@layer_costs.register("deepseek_learn.dpg.layers.DPGEmbedding")
def embedding_cost(layer: DPGEmbedding, inputs: tuple, output: Tensor) -> Cost:
    """A lookup multiplies nothing. Read are the rows looked up, at their mean bytes."""
    stored, rows = sum(b.nbytes for b in layer.matrix.buffers()), inputs[0].numel()
    return Cost(
        flops=0,
        bytes_read=rows * stored // layer.matrix.rows + inputs[0].nbytes,
        bytes_written=output.nbytes,
        **_held(layer),
    )


def _held(layer: DPGLayer) -> dict[str, int]:
    """Weights of the layer and their bytes; a matrix counts with one of its layers."""
    matrix, bias = layer.matrix, 0 if layer.bias is None else len(layer.bias)
    weights = 0 if layer.tied else matrix.rows * matrix.columns
    held = sum(b.nbytes for b in layer.buffers(recurse=not layer.tied))
    return {"parameters": weights + bias, "parameter_bytes": held}


def packed_layers(model: nn.Module) -> dict[str, DPGLayer]:
    """Name → compressed layer.

    Raises:
        ValueError: when `model` has none.
    """
    found = {n: m for n, m in model.named_modules() if isinstance(m, DPGLayer)}
    if not found:
        raise ValueError(
            f"model must be DPG-compressed; {type(model).__name__} has no packed layer."
        )
    return found


def set_precision(
    model: nn.Module,
    max_bits: int = 8,
    refined: bool | None = None,
    wide: bool | None = None,
) -> nn.Module:
    """Read only the first planes of each code, up to `max_bits`; returns the model.

    Args:
        max_bits: 2 to 8. A code's first plane is always read.
        refined: whether refine terms are added; None leaves that as it is.
        wide: whether activations count with about 16 bits instead of 8; None likewise.
    """
    if not isinstance(max_bits, int) or not 2 <= max_bits <= 8:
        raise ValueError(f"max_bits must be from 2 to 8; got {max_bits!r}.")
    for layer in packed_layers(model).values():
        matrix = layer.matrix
        matrix.max_bits = max_bits
        matrix.refined = matrix.refined if refined is None else refined
        matrix.wide = matrix.wide if wide is None else wide
    return model
