"""Keep the weights of compressed layers packed in an ONNX file.

A linear layer becomes one `MatMulNBits` (an operator of ONNX Runtime and OpenVINO) for
the rows of each bit width, with activations in float. The rows of an embedding are
unpacked when they are looked up. A convolution has no such operator: its weight is
unpacked when the file is loaded.

The operator stores codes of 2, 4 or 8 bits in groups along a row, each with a scale:

.. math:: w = s\\,(q - z)

A 3-bit code is stored in 4 bits. Codes of 5 and 6 bits are the sum of two terms, of 4
and 2 bits, so that a 6-bit code takes 6 bits, and a 5-bit code as well. The codes of
convolutions take no more than their bits.
"""

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ..dpg.convolution import DPGConv
from ..dpg.layers import DPGEmbedding, DPGLayer, DPGLinear
from ..dpg.packed import PackedMatrix, Part
from ..dpg.planes import join
from .export import ExportError, packed_layers

DOMAIN = "com.microsoft"
# How a code of each width is stored: terms of (bits, shift to the right, bits of the code
# that are left, z).
TERMS = {
    2: ((2, 0, 2, 2),),
    3: ((4, 0, 3, 4),),
    4: ((4, 0, 4, 8),),
    5: ((4, 1, 4, 8), (2, 0, 1, 0)),
    6: ((4, 2, 4, 8), (2, 0, 2, 0)),
    8: ((8, 0, 8, 128),),
}
# of a convolution, whose weight no operator has to read
EXACT_TERMS = TERMS | {3: ((2, 1, 2, 2), (1, 0, 1, 0)), 5: ((4, 1, 4, 8), (1, 0, 1, 0))}


class Term(nn.Module):
    """Codes of some rows in the layout of `MatMulNBits`.

    Attributes:
        bits: 2, 4 or 8, or 1 in a convolution.
        zero: the code z of the weight 0.
        shift: where the code's lowest bit is in the code of the weight.
        codes: packed codes, uint8 of shape `[n, K' / G, G bits / 8]`. The first code of
            a byte is in its low bits.
        scale: a scale per group, float32 of shape `[n, K' / G]`.
        table: the codes in each byte, uint8 of shape `[256, 8 / bits]`.
        zeros: the codes z as the operator wants them if they are not its default.
    """

    codes: Tensor
    scale: Tensor
    table: Tensor
    zeros: Tensor | None

    def __init__(self, bits: int, zero: int, shift: int, codes: Tensor, scale: Tensor):
        super().__init__()
        self.bits, self.zero, self.shift = bits, zero, shift
        per_byte = 8 // bits
        packed = codes.new_zeros(*codes.shape[:2], codes.shape[2] // per_byte)
        for j in range(per_byte):
            packed |= codes[:, :, j::per_byte] << (bits * j)
        self.register_buffer("codes", packed)
        self.register_buffer("scale", scale)
        self.register_buffer("table", codes_in_byte(bits))
        zeros = None
        if zero != 2 ** (bits - 1):
            per_row = -(-codes.shape[1] // per_byte)  # bytes
            byte = sum(zero << (bits * j) for j in range(per_byte))
            zeros = torch.full((len(codes), per_row), byte, dtype=torch.uint8)
        self.register_buffer("zeros", zeros)

    def multiply(self, x: Tensor, columns: int) -> Tensor:
        """Multiply rows `[..., K]` by the weights, as ONNX Runtime will.

        PyTorch has no such operator: outside of an export, the result is 0.
        """
        inputs = [x, self.codes, self.scale]
        rows, _, size = self.codes.shape
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::MatMulNBits",
            inputs if self.zeros is None else [*inputs, self.zeros],
            {
                "K": columns,
                "N": rows,
                "bits": self.bits,
                "block_size": size * 8 // self.bits,
            },
            dtype=torch.float32,
            shape=[*x.shape[:-1], rows],
            version=1,
        )

    def lookup(self, rows: Tensor) -> Tensor:
        """Unpack the weights of some rows, float32 of shape `[*rows.shape, K']`."""
        values = gather(self.codes, rows)  # [..., K' / G, bytes]
        if self.bits < 8:
            values = gather(self.table, values.int()).flatten(-2)  # [..., K' / G, G]
        values = values.float()
        weights = (values - self.zero) * gather(self.scale, rows)[..., None]
        return weights.flatten(-2)


def gather(table: Tensor, index: Tensor) -> Tensor:
    """Return `table[index]` for indices that are not negative, as one ONNX `Gather`."""
    rows = table.index_select(0, index.flatten())
    return rows.view(*index.shape, *table.shape[1:])


def codes_in_byte(bits: int) -> Tensor:
    """Return the codes that each byte holds, uint8 of shape `[256, 8 / bits]`."""
    shifts = torch.arange(0, 8, bits)
    return ((torch.arange(256)[:, None] >> shifts) & (2**bits - 1)).to(torch.uint8)


class PackedRows(nn.Module):
    """The rows of a packed matrix, sorted by bit width, as terms to be added.

    Attributes:
        segments: the terms of each bit width, whose rows follow one another.
        refine: the terms that are added to all rows, if any.
        place: where each row of the matrix is stored, int32 of shape `[N]`.
        in_order: whether that is the order of the matrix.
    """

    place: Tensor

    def __init__(self, matrix: PackedMatrix, name: str, kinds: Mapping = TERMS):
        super().__init__()
        self.columns = matrix.columns
        self.segments: list[list[Term]] = []
        self.refine: list[Term] = []
        order = []
        for segment, part in zip(matrix.segments, matrix.parts(), strict=False):
            if sum(part.widths) != segment.bits:
                raise ExportError(
                    f"precision 'packed' deploys all bits of the codes, but {name} reads "
                    f"{sum(part.widths)} of {segment.bits}; call dpg.set_precision(model)."
                )
            kind = kinds[segment.bits]
            terms = list(_terms(part, kind, matrix.group_size))
            if part.accumulate:
                self.refine.extend(terms)
            else:
                self.segments.append(terms)
                order.append(part.order[part.order >= 0])
        terms = [term for segment in (*self.segments, self.refine) for term in segment]
        self.terms = nn.ModuleList(terms)  # registers their buffers
        place = torch.cat(order).long().argsort()
        self.in_order = torch.equal(place, torch.arange(matrix.rows))
        self.register_buffer("place", place.int())

    def multiply(self, x: Tensor) -> Tensor:
        """Multiply `[..., K]` by the matrix; the result has shape `[..., N]`."""
        parts = [_sum(t.multiply(x, self.columns) for t in s) for s in self.segments]
        y = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
        for term in self.refine:
            y = y + term.multiply(x, self.columns)
        return y if self.in_order else y.index_select(-1, self.place)

    def lookup(self, index: Tensor) -> Tensor:
        """Unpack the rows of the matrix at `index`, of shape `[*index.shape, K]`."""
        stored = gather(self.place, index)
        values, first = stored.new_zeros(()), 0
        for segment in self.segments:
            rows = len(segment[0].codes)
            inside = (stored - first).clamp(0, rows - 1)
            own = _sum(term.lookup(inside) for term in segment)  # [..., K']
            before = (stored < first)[..., None]
            values = torch.where(before, values, own) if first else own
            first += rows
        for term in self.refine:
            values = values + term.lookup(stored)
        return values[..., : self.columns]


def _terms(part: Part, kind: tuple, group_size: int) -> Iterator[Term]:
    kept = part.order >= 0  # without the rows that only fill a register
    codes = join(part.planes, part.widths)[kept].unflatten(1, (-1, group_size))
    scale = part.scale.float().T[kept]  # [n, K' / G]
    for width, shift, left, zero in kind:
        own = (codes >> shift) & (2**left - 1)
        yield Term(width, zero, shift, own, scale * 2.0**shift)


def _sum(values: Iterator[Tensor]) -> Tensor:
    total = next(values)
    for value in values:
        total = total + value
    return total


class PackedLinear(nn.Module):
    """A compressed linear layer in the form in which it is exported."""

    bias: Tensor | None

    def __init__(self, layer: DPGLinear, rows: PackedRows):
        super().__init__()
        self.rows = rows
        self.register_buffer("bias", None if layer.bias is None else layer.bias.float())

    def forward(self, x: Tensor) -> Tensor:
        y = self.rows.multiply(x)
        return y if self.bias is None else y + self.bias


class PackedEmbedding(nn.Module):
    """A compressed embedding in the form in which it is exported."""

    def __init__(self, rows: PackedRows):
        super().__init__()
        self.rows = rows

    def forward(self, x: Tensor) -> Tensor:
        return self.rows.lookup(x)


def packed_form(model: nn.Module) -> tuple[nn.Module, dict[str, PackedRows]]:
    """Return a copy of the model whose packed layers can be exported as they are.

    Convolutions are exported in float. Their rows are returned as well, by the layer's
    name, for `packed_weights.with_packed_weights`.

    Raises:
        ExportError: if the model has no packed layer, or if a layer does not use all its
            bits.
    """
    copied = copy.deepcopy(model)
    rows: dict[int, PackedRows] = {}  # of each matrix, which tied layers share
    forms: dict[nn.Module, nn.Module] = {}  # of each layer, which may have many names
    convolutions = {}
    for name, layer in packed_layers(copied).items():
        if not isinstance(layer, DPGLayer):
            continue
        if layer in forms:
            copied.set_submodule(name, forms[layer])
            if isinstance(layer, DPGConv):
                convolutions[name] = rows[id(layer.matrix)]
            continue
        key = id(layer.matrix)
        if key not in rows:
            kinds = EXACT_TERMS if isinstance(layer, DPGConv) else TERMS
            rows[key] = PackedRows(layer.matrix, f"layer {name!r}", kinds)
        own = rows[key]
        if isinstance(layer, DPGConv):
            convolutions[name] = own
            form: nn.Module = layer.plain()
        elif isinstance(layer, DPGEmbedding):
            form = PackedEmbedding(own)
        else:
            assert isinstance(layer, DPGLinear)
            form = PackedLinear(layer, own)
        forms[layer] = form
        if not name:
            copied = form
        else:
            copied.set_submodule(name, form)
    if not rows:
        raise ExportError(
            f"precision 'packed' needs a model that dpg.compress made; "
            f"{type(model).__name__} has no packed layer."
        )
    return copied, convolutions
