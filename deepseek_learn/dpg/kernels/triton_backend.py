r"""A Triton kernel for GPUs that unpacks planes in registers, never in memory.

Each program computes one output tile of shape `[16, 32]`. For each group of G columns,
it combines the planes into codes, multiplies them by the activations, and scales the
sum: :math:`y_{mn} \mathrel{+}= s_{gn} \sum_{k \in g} x_{mk} (q_{nk} - z)`. Activations
are not rounded. Without a GPU, the tests run the kernel in Triton's interpreter.
"""

from torch import Tensor

from ..matrix import pad_columns
from ..packed import PackedMatrix, Part

try:
    import triton
    import triton.language as tl
except ImportError:  # no wheel for this platform
    triton = None

TILE_M, TILE_N = 16, 32
representable = None  # activations are not rounded


def problem() -> str:
    if triton is None:
        return "the package 'triton' is not installed"
    return ""


def facts() -> dict:
    return {}


def multiply(matrix: PackedMatrix, x: Tensor, bias: Tensor | None) -> Tensor:
    x = pad_columns(x, matrix.group_size).contiguous()
    y = x.new_zeros(len(x), matrix.rows)
    for part in matrix.parts():  # base terms before refine terms
        _launch(part, x, y, matrix.group_size)
    return y if bias is None else y.add_(bias.float())


def _launch(part: Part, x: Tensor, y: Tensor, group_size: int) -> None:
    planes = [*part.planes, *part.planes[:1] * (3 - len(part.planes))]
    widths = [*part.widths, 0, 0][:3]
    grid = (triton.cdiv(len(part.order), TILE_N), triton.cdiv(len(x), TILE_M))
    _planes_times_rows[grid](
        x,
        *planes,
        part.scale,
        part.order,
        y,
        len(x),
        len(part.order),
        x.shape[1],
        y.shape[1],
        part.step,
        part.zero,
        *widths,
        G=group_size,
        TILE_M=TILE_M,
        TILE_N=TILE_N,
    )


if triton is not None:
    # Triton parses the annotations, so only Triton types may appear here.

    @triton.jit
    def _plane_codes(plane, rows, k, K, mask, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
        """Read `[rows, k]` codes from a packed plane in the layout of `planes.py`."""
        per_byte: tl.constexpr = 8 // WIDTH
        line = (rows // 16) * (K // (4 * per_byte)) + k // (4 * per_byte)
        offset = line * 64 + (rows % 16) * 4 + k % 4
        byte = tl.load(plane + offset, mask=mask, other=0).to(tl.int32)
        return (byte >> (WIDTH * ((k // 4) % per_byte))) & ((1 << WIDTH) - 1)

    @triton.jit
    def _planes_times_rows(  # type: ignore[no-untyped-def]
        x, plane0, plane1, plane2, scale, order, y, M, N, K, columns, step, zero,
        W0: tl.constexpr, W1: tl.constexpr, W2: tl.constexpr,
        G: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr,
    ):  # fmt: skip
        n = tl.program_id(0) * TILE_N + tl.arange(0, TILE_N)
        m = tl.program_id(1) * TILE_M + tl.arange(0, TILE_M)
        row_mask = (n < N)[:, None]
        total = tl.zeros((TILE_M, TILE_N), dtype=tl.float32)
        for g in range(K // G):
            k = g * G + tl.arange(0, G)
            codes = _plane_codes(plane0, n[:, None], k[None, :], K, row_mask, W0)
            if W1 > 0:
                low = _plane_codes(plane1, n[:, None], k[None, :], K, row_mask, W1)
                codes = (codes << W1) | low
            if W2 > 0:
                low = _plane_codes(plane2, n[:, None], k[None, :], K, row_mask, W2)
                codes = (codes << W2) | low
            weights = codes.to(tl.float32) - zero  # [TILE_N, G]
            rows = x + m[:, None] * K + k[None, :]
            values = tl.load(rows, mask=(m < M)[:, None], other=0.0)
            part = tl.dot(values, tl.trans(weights), input_precision="ieee")
            factor = tl.load(scale + g * N + n, mask=n < N, other=0.0)
            total += part * (factor.to(tl.float32) * step)[None, :]
        out = tl.load(order + n, mask=n < N, other=-1)
        address = y + m[:, None] * columns + out[None, :]
        mask = (m < M)[:, None] & (out >= 0)[None, :]
        # A refine term is added to the output of its base term.
        tl.store(address, tl.load(address, mask=mask, other=0.0) + total, mask=mask)
