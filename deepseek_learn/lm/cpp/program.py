"""Lists of operations that the C++ library executes in one call (`step.cpp`).

A `Program` is written once, with tensors whose memory stays where it is, and then run for
each token. The methods of `Program` are the operations; each docstring gives the equation.
Those of the hybrid attention are functions (see `hybrid.py`).
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_int64
from typing import Any

import torch
from torch import Tensor, nn

from ...dpg.kernels.build import SegmentStruct
from ...dpg.kernels.cpp_backend import best_level, segment_of
from ...dpg.layers import DPGEmbedding, DPGLinear
from ...dpg.packed import PackedMatrix
from .library import load
from .operations import (
    KINDS,
    Add,
    Attend,
    Dense,
    Gate,
    Lookup,
    Norm,
    Operation,
    Product,
    Rotate,
    Route,
    RunExperts,
    Store,
)

ACTIVATIONS = ("silu", "relu", "gelu", "gelu_pytorch_tanh", "tanh", "identity")
MOST_EXPERTS, MOST_GROUPS = 1024, 256  # arrays in `only_the_best_groups`
SCORES = ("sigmoid", "softmax", "sqrtsoftplus")
Linear = nn.Linear | DPGLinear
Embedding = nn.Embedding | DPGEmbedding


class Program:
    """Operations in the order in which they are executed.

    All tensors are float32 on the CPU, and the last axis of each is contiguous. A head is
    a row of a matrix. The program keeps references to them.
    """

    def __init__(self) -> None:
        self._library = load()
        self._operations: list[tuple[int, ctypes.Structure]] = []
        self._kept: list[Any] = []
        self._array: ctypes.Array | None = None

    def run(self, position: int, threads: int | None = None) -> None:
        """Execute the operations for the token at `position`."""
        array = self.array()
        threads = threads or torch.get_num_threads()
        error = self._library.step_run(
            ctypes.addressof(array), len(array), position, best_level(), threads
        )
        if error:
            raise AssertionError(f"step_run rejected its arguments: error {error}")

    def array(self) -> ctypes.Array:
        """Return the operations as an array of C structs."""
        if self._array is None or len(self._array) != len(self._operations):
            operations = [(k, ctypes.addressof(a)) for k, a in self._operations]
            self._array = (Operation * len(operations))(
                *(Operation(*each) for each in operations)
            )
        return self._array

    def linear(
        self, layers: Sequence[Linear], x: Tensor, y: Tensor, add: bool = False
    ) -> None:
        """y = [W_1 x + b_1; W_2 x + b_2; ...], or the same added to y.

        Args:
            layers: layers with the same input, `nn.Linear` or `DPGLinear`. If all are
                packed alike, `x` is rounded once for all of them.
        """
        sizes = [layer.out_features for layer in layers]
        packed = [layer.matrix for layer in layers if isinstance(layer, DPGLinear)]
        joined = len({(m.group_size, m.wide) for m in packed}) == 1
        if joined and len(packed) == len(layers):
            self._product(packed, x, y, add)
        else:
            for layer, part in zip(layers, y.split(sizes), strict=True):
                if isinstance(layer, DPGLinear):
                    self._product([layer.matrix], x, part, add)
                else:
                    self.dense(layer.weight, x, part, add)
        for layer, part in zip(layers, y.split(sizes), strict=True):
            if layer.bias is not None:
                self.add(layer.bias.detach().float(), part)

    def _product(
        self, matrices: list[PackedMatrix], x: Tensor, y: Tensor, add: bool
    ) -> None:
        first = matrices[0]
        size = self._library.dpg_scratch_bytes(1, first.padded, first.group_size)
        scratch = torch.empty(size, dtype=torch.uint8)
        segments = self._segments(matrices, add)
        again = self._segments(matrices, True) if first.wide else None
        rest = torch.empty(first.columns) if first.wide else None
        sizes = len(segments), first.columns, first.padded, first.group_size, len(y)
        self.append(Product, segments, again, *sizes, x, None, y, scratch, rest)
        self._kept += matrices

    def _segments(self, matrices: list[PackedMatrix], add: bool) -> ctypes.Array:
        """Return the segments of all matrices, whose outputs follow each other."""
        structs, offset = [], 0
        for matrix in matrices:
            for part in matrix.parts():
                shifted = torch.where(part.order < 0, -1, part.order + offset).int()
                segment = segment_of(part)
                segment.order = shifted.data_ptr()
                segment.accumulate = int(add or part.accumulate)
                structs.append(segment)
                self._kept += [part, shifted]
            offset += matrix.rows
        return (SegmentStruct * len(structs))(*structs)

    def lookup(
        self, layer: Embedding, index: Tensor, y: Tensor, add: bool = False
    ) -> None:
        """y = layer(index), with an int64 tensor of one element, which may change."""
        if isinstance(layer, DPGEmbedding):
            matrix, segments = layer.matrix, self._segments([layer.matrix], False)
            sizes = len(segments), matrix.columns, matrix.padded, matrix.group_size
            stored = matrix.stored_rows()
            self.append(Lookup, index, None, segments, stored, y, *sizes, int(add))
            self._kept.append(matrix)
            return
        table = layer.weight.detach().float().contiguous()
        sizes = 0, table.shape[1], 0, 0
        self.append(Lookup, index, table, None, None, y, *sizes, int(add))

    def dense(self, weight: Tensor, x: Tensor, y: Tensor, add: bool = False) -> None:
        """y = W x; with a matrix for each head, `[H, N, K]`, y_h = W_h x_h."""
        weight = weight.detach().float().contiguous()
        stack = weight if weight.dim() == 3 else weight[None]
        x, y = (t if t.dim() == 2 else t[None] for t in (x, y))
        strides = x.stride(0), y.stride(0)
        self.append(Dense, x, stack, y, *stack.shape, *strides, int(add))

    def norm(self, x: Tensor, layer: nn.RMSNorm | nn.LayerNorm, y: Tensor) -> None:
        """y = layer(x), where x is of shape `[n]`, or for each row of `[rows, n]`."""
        centered, bias = int(isinstance(layer, nn.LayerNorm)), None
        if isinstance(layer, nn.LayerNorm) and layer.bias is not None:
            bias = layer.bias.detach().float()
        weight = layer.weight.detach().float()
        rows, n = x.numel() // x.shape[-1], x.shape[-1]
        self.append(Norm, x, weight, bias, y, rows, n, layer.eps, centered)

    def norm_heads(self, x: Tensor, eps: float, y: Tensor) -> None:
        """y_h = x_h divided by its root mean square, with both of shape `[H, d]`."""
        self.append(Norm, x, None, None, y, *x.shape, eps, 0)

    def rotate(self, x: Tensor, turns: Tensor, y: Tensor) -> None:
        """y_h = x_h with its channel pairs turned (see `lm/rotary.py`).

        Args:
            x, y: `[H, d]`; they may be the same.
            turns: the cosines and sines at each position, `[capacity, d/2, 2]`.
        """
        self.append(Rotate, x, turns, y, *x.shape, x.stride(0), y.stride(0))

    def store(self, x: Tensor, cache: Tensor) -> None:
        """cache[h, position % length] = x_h, with `x` of shape `[H, d]`.

        The cache has the shape `[H, length, d]` and is float32 or bfloat16.
        """
        sizes = (*x.shape, cache.shape[1])
        strides = (x.stride(0), cache.stride(0), cache.stride(1))
        self.append(Store, x, cache, *sizes, *strides, is_bfloat16(cache))

    def attend(
        self,
        q: Tensor,
        keys: Tensor,
        values: Tensor,
        y: Tensor,
        scale: float,
        seen: Tensor | None = None,
        sinks: Tensor | None = None,
    ) -> None:
        """y_h = Σ_s softmax_s(scale q_h · k_s) v_s over the tokens so far.

        Args:
            q, y: `[H, d]` and `[H, v]`, contiguous.
            keys, values: `[G, length, d]` and `[G, length, v]`, float32 or bfloat16.
                The heads are divided into G groups, which share keys and values. If
                `length` tokens were read, all of them are attended to.
            seen: how many vectors to attend to instead, an int64 tensor of one element.
            sinks: a score per head that takes part in the softmax, with the value 0.
        """
        heads, (groups, length, value_dim) = len(q), values.shape
        tokens = self._library.step_tokens_of_a_task()
        tasks = groups * -(-length // tokens)
        parts = torch.empty(tasks, heads // groups, 2 + value_dim)
        sinks = None if sinks is None else sinks.detach().float()
        self.append(
            *(Attend, q, keys, values, y, parts, seen, sinks),
            *(heads, groups, q.shape[1], value_dim, length),
            *(keys.stride(0), keys.stride(1), values.stride(0), values.stride(1)),
            *(scale, is_bfloat16(keys)),
        )

    def gate(
        self,
        x: Tensor,
        up: Tensor | None,
        kind: str,
        y: Tensor,
        factor: Tensor | None = None,
    ) -> None:
        """y = f(x) * up * factor, where f is one of `ACTIVATIONS`."""
        self.append(Gate, x, up, factor, y, len(x), ACTIVATIONS.index(kind))

    def scale(self, x: Tensor, factor: float) -> None:
        """x = factor * x, with x of shape `[n]`."""
        self.gate(x, None, "identity", x, torch.tensor([factor]))

    def add(self, x: Tensor, y: Tensor) -> None:
        """y += x, with both of shape `[n]`."""
        self.append(Add, x, y, len(x))

    def experts(
        self,
        scores: Tensor,
        bias: Tensor | None,
        programs: Sequence["Program"],
        factor: Tensor,
        *,
        scoring: str,
        top: int,
        scale: float,
        normalized: bool,
        groups: tuple[int, int, int] = (1, 1, 1),
    ) -> None:
        """Run the programs of the `top` experts with the best scores.

        Before an expert's program runs, its weight is written to `factor`.

        Args:
            scores: the router's logits, `[E]`; they are overwritten.
            bias: added to the scores for the choice only.
            groups: the number of groups of experts, how many of them are considered, and
                how many of a group's scores are added to rank it.

        Raises:
            ValueError: if there are more experts or groups than the kernel has room for.
        """
        count = len(scores)
        if count > MOST_EXPERTS or groups[0] > MOST_GROUPS:
            raise ValueError(
                f"scores must be of at most {MOST_EXPERTS} experts in {MOST_GROUPS} "
                f"groups; got {count} in {groups[0]}."
            )
        chosen = torch.empty(top, dtype=torch.int32)
        weights, biased = torch.empty(top), torch.empty(count)
        bias = None if bias is None else bias.detach().float()
        self.append(
            *(Route, scores, bias, chosen, weights, biased),
            *(count, top, *groups, scale, SCORES.index(scoring), int(normalized)),
        )
        arrays = [program.array() for program in programs]
        pointers = (POINTER(Operation) * count)(
            *(ctypes.cast(array, POINTER(Operation)) for array in arrays)
        )
        counts = (c_int64 * count)(*map(len, arrays))
        self.append(RunExperts, chosen, weights, factor, pointers, counts, top)
        self._kept += programs

    def append(self, kind: type[ctypes.Structure], *arguments: Any) -> None:
        """Append an operation, and keep its tensors and arrays alive: C has addresses."""
        struct = kind(*map(_value, arguments))
        self._operations.append((KINDS.index(kind), struct))
        self._kept += arguments


def _value(argument: Any) -> Any:
    """Return the address of a tensor, and other arguments as they are."""
    if not isinstance(argument, Tensor):
        return argument
    assert argument.device.type == "cpu"
    assert argument.stride(-1) == 1  # the kernels read an axis without a stride
    return argument.data_ptr()


def is_bfloat16(cache: Tensor) -> int:
    return int(cache.dtype == torch.bfloat16)
