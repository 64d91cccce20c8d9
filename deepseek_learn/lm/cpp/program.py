"""Lists of operations that the C++ library executes in one call (`step.cpp`).

A `Program` is written once, with tensors whose memory stays where it is, and then run for
each token. The methods of `Program` are the operations; each docstring gives the equation.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from ...dpg.kernels.build import Segment
from ...dpg.kernels.cpp_backend import best_level, segment_of
from ...dpg.layers import DPGEmbedding, DPGLinear
from ...dpg.packed import PackedMatrix
from .library import load

ACTIVATIONS = ("silu", "relu", "gelu")
MOST_EXPERTS, MOST_GROUPS = 1024, 256  # arrays in `only_the_best_groups`
SCORES = ("sigmoid", "softmax", "sqrtsoftplus")


def _fields(pointers: str, integers: str = "", *others: tuple[str, Any]) -> list:
    return [
        *((name, c_void_p) for name in pointers.split()),
        *((name, c_int64) for name in integers.split()),
        *others,
    ]


class Operation(ctypes.Structure):
    """`step_operation`."""

    _fields_ = [("kind", c_int32), ("arguments", c_void_p)]


class Product(ctypes.Structure):
    _fields_ = [
        ("segments", POINTER(Segment)),
        ("again", POINTER(Segment)),
        *_fields("", "count K padded_K G N"),
        *_fields("x bias y scratch rest"),
    ]


class Dense(ctypes.Structure):
    _fields_ = _fields(
        "x weight y", "heads rows columns x_stride y_stride", ("add", c_int32)
    )


class Norm(ctypes.Structure):
    _fields_ = _fields(
        "x weight bias y", "rows n", ("eps", c_float), ("centered", c_int32)
    )


class Rotate(ctypes.Structure):
    _fields_ = _fields("x turns y", "heads dim x_stride y_stride")


class Store(ctypes.Structure):
    _fields_ = _fields(
        "x cache", "heads dim x_stride head_stride token_stride", ("bfloat16", c_int32)
    )


class Attend(ctypes.Structure):
    _fields_ = _fields(
        "q keys values y parts seen sinks",
        "heads groups key_dim value_dim key_head key_token value_head value_token",
        ("scale", c_float),
        ("bfloat16", c_int32),
    )


class Gate(ctypes.Structure):
    _fields_ = _fields("x up factor y", "n", ("kind", c_int32))


class Add(ctypes.Structure):
    _fields_ = _fields("x y", "n")


class Route(ctypes.Structure):
    _fields_ = _fields(
        "scores bias chosen weights biased",
        "experts top groups top_groups best_of_group",
        ("factor", c_float),
        ("scoring", c_int32),
        ("normalized", c_int32),
    )


class Experts(ctypes.Structure):
    _fields_ = [
        *_fields("chosen weights factor"),
        ("programs", POINTER(POINTER(Operation))),
        ("counts", POINTER(c_int64)),
        ("top", c_int64),
    ]


class Lookup(ctypes.Structure):
    _fields_ = [
        *_fields("index table"),
        ("segments", POINTER(Segment)),
        *_fields("stored y", "count columns padded_columns G", ("add", c_int32)),
    ]


class Compress(ctypes.Structure):
    _fields_ = _fields(
        "both tokens scratch bias weight turns entries",
        "rate overlap dim rope stride",
        ("eps", c_float),
        ("bfloat16", c_int32),
    )


class Choose(ctypes.Structure):
    _fields_ = _fields(
        "q weights entries chosen scores count",
        "heads dim stride rate top",
        ("bfloat16", c_int32),
    )


class Gather(ctypes.Structure):
    _fields_ = _fields(
        "recent entries chosen chosen_count keys count",
        "window rate dim recent_stride entry_stride",
        ("bfloat16", c_int32),
    )


Linear = nn.Linear | DPGLinear
Embedding = nn.Embedding | DPGEmbedding
KINDS = (
    *(Product, Dense, Norm, Rotate, Store, Attend, Gate, Add, Route, Experts, Lookup),
    *(Compress, Choose, Gather),
)


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
        self._append(
            Product(
                segments,
                again,
                len(segments),
                *(first.columns, first.padded, first.group_size, len(y)),
                *(_address(t) for t in (x, None, y, scratch, rest)),
            ),
            *(x, y, scratch, rest, segments, again, *matrices),
        )

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
        return (Segment * len(structs))(*structs)

    def lookup(
        self, layer: Embedding, index: Tensor, y: Tensor, add: bool = False
    ) -> None:
        """y = layer(index), with an int64 tensor of one element, which may change."""
        if isinstance(layer, DPGEmbedding):
            matrix, stored = layer.matrix, layer.matrix.stored_rows()
            segments = self._segments([matrix], False)
            self._append(
                Lookup(
                    *(_address(index), None, segments, _address(stored), _address(y)),
                    *(len(segments), matrix.columns, matrix.padded, matrix.group_size),
                    int(add),
                ),
                *(index, stored, y, segments, matrix),
            )
            return
        table = layer.weight.detach().float().contiguous()
        self._append(
            Lookup(
                *(_address(index), _address(table), None, None, _address(y)),
                *(0, table.shape[1], 0, 0, int(add)),
            ),
            *(index, table, y),
        )

    def dense(self, weight: Tensor, x: Tensor, y: Tensor, add: bool = False) -> None:
        """y = W x; with a matrix for each head, `[H, N, K]`, y_h = W_h x_h."""
        weight = weight.detach().float().contiguous()
        stack = weight if weight.dim() == 3 else weight[None]
        x, y = (t if t.dim() == 2 else t[None] for t in (x, y))
        strides = x.stride(0), y.stride(0)
        addresses = (_address(t) for t in (x, stack, y))
        self._append(Dense(*addresses, *stack.shape, *strides, int(add)), x, stack, y)

    def norm(self, x: Tensor, layer: nn.RMSNorm | nn.LayerNorm, y: Tensor) -> None:
        """y = layer(x)."""
        centered, bias = int(isinstance(layer, nn.LayerNorm)), None
        if isinstance(layer, nn.LayerNorm) and layer.bias is not None:
            bias = layer.bias.detach().float()
        tensors = (x, layer.weight.detach().float(), bias, y)
        addresses = (_address(t) for t in tensors)
        self._append(Norm(*addresses, 1, len(x), layer.eps, centered), *tensors)

    def norm_heads(self, x: Tensor, eps: float, y: Tensor) -> None:
        """y_h = x_h divided by its root mean square, with both of shape `[H, d]`."""
        addresses = (_address(x), None, None, _address(y))
        self._append(Norm(*addresses, *x.shape, eps, 0), x, y)

    def rotate(self, x: Tensor, turns: Tensor, y: Tensor) -> None:
        """y_h = x_h with its channel pairs turned (see `lm/rotary.py`).

        Args:
            x, y: `[H, d]`; they may be the same.
            turns: the cosines and sines at each position, `[capacity, d/2, 2]`.
        """
        sizes = (*x.shape, x.stride(0), y.stride(0))
        addresses = (_address(t) for t in (x, turns, y))
        self._append(Rotate(*addresses, *sizes), x, turns, y)

    def store(self, x: Tensor, cache: Tensor) -> None:
        """cache[h, position] = x_h, with `x` of shape `[H, d]`.

        The cache has the shape `[H, capacity, d]` and is float32 or bfloat16.
        """
        strides = (x.stride(0), cache.stride(0), cache.stride(1))
        kind = int(cache.dtype == torch.bfloat16)
        addresses = (_address(t) for t in (x, cache))
        self._append(Store(*addresses, *x.shape, *strides, kind), x, cache)

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
            keys, values: `[G, capacity, d]` and `[G, capacity, v]`, float32 or bfloat16.
                The heads are divided into G groups, which share keys and values.
            seen: how many vectors to attend to instead, an int64 tensor of one element.
            sinks: a score per head that takes part in the softmax, with the value 0.
        """
        heads, (groups, capacity, value_dim) = len(q), values.shape
        tokens = self._library.step_tokens_of_a_task()
        tasks = groups * -(-capacity // tokens)
        parts = torch.empty(tasks, heads // groups, 2 + value_dim)
        sinks = None if sinks is None else sinks.detach().float()
        tensors = (q, keys, values, y, parts, seen, sinks)
        self._append(
            Attend(
                *(_address(t) for t in tensors),
                *(heads, groups, q.shape[1], value_dim),
                *(keys.stride(0), keys.stride(1), values.stride(0), values.stride(1)),
                scale,
                int(keys.dtype == torch.bfloat16),
            ),
            *tensors,
        )

    def compress(
        self,
        both: Tensor,
        tokens: Tensor,
        bias: Tensor,
        norm: nn.RMSNorm,
        turns: Tensor,
        entries: Tensor,
    ) -> None:
        """Write an entry whenever its window is complete (see `lm.hybrid.Windows`).

        Args:
            both: the contents and the gates of the new token, `[2 width]`.
            tokens: memory for those of the last tokens, `[2 rate, 2 width]`.
            bias: added to the gates, `[rate, width]`; the width is that of an entry, or
                twice as much if windows overlap.
            turns: the cosines and sines at each position, `[capacity, r/2, 2]`.
            entries: the cache of the entries, `[1, windows, d]`.
        """
        bias, weight = bias.detach().float(), norm.weight.detach().float()
        rate, width, dim = *bias.shape, entries.shape[2]
        scratch = torch.empty(3, dim)
        tensors = (both, tokens, scratch, bias, weight, turns, entries)
        self._append(
            Compress(
                *(_address(t) for t in tensors),
                *(rate, width // dim - 1, dim, 2 * turns.shape[1], entries.stride(1)),
                *(norm.eps, int(entries.dtype == torch.bfloat16)),
            ),
            *tensors,
        )

    def choose(
        self, q: Tensor, weights: Tensor, entries: Tensor, rate: int, top: int
    ) -> tuple[Tensor, Tensor]:
        """Choose the complete entries with the best Σ_h w_h relu(q_h · e).

        Args:
            q, weights: `[H, d]` and `[H]`.
            entries: the cache of the entries, `[1, windows, d]`.

        Returns:
            The numbers of the chosen entries and how many they are, int32 tensors of
            shape `[windows]` and int64 of shape `[1]`.
        """
        windows = entries.shape[1]
        chosen = torch.empty(windows, dtype=torch.int32)
        count, scores = torch.zeros(1, dtype=torch.int64), torch.empty(windows)
        tensors = (q, weights, entries, chosen, scores, count)
        self._append(
            Choose(
                *(_address(t) for t in tensors),
                *(*q.shape, entries.stride(1), rate, top),
                int(entries.dtype == torch.bfloat16),
            ),
            *tensors,
        )
        return chosen, count

    def gather(
        self,
        recent: Tensor,
        window: int,
        entries: Tensor | None = None,
        rate: int = 1,
        choice: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Collect the vectors of the last tokens, and the entries that are chosen.

        Args:
            recent: the cache of the tokens, `[1, capacity, d]`.
            entries: the cache of the entries, `[1, windows, d]`.
            choice: of `choose`; without it, all complete entries are taken.

        Returns:
            The vectors, `[1, n, d]`, and how many there are, int64 of shape `[1]`.
        """
        most = min(window, recent.shape[1])
        most += entries.shape[1] if entries is not None else 0
        keys = torch.empty(1, most, recent.shape[2])
        count = torch.zeros(1, dtype=torch.int64)
        tensors = (recent, entries, *(choice or (None, None)), keys, count)
        stride = entries.stride(1) if entries is not None else 0
        self._append(
            Gather(
                *(_address(t) for t in tensors),
                *(window, rate, recent.shape[2], recent.stride(1), stride),
                int(recent.dtype == torch.bfloat16),
            ),
            *tensors,
        )
        return keys, count

    def gate(
        self,
        x: Tensor,
        up: Tensor | None,
        kind: str,
        y: Tensor,
        factor: Tensor | None = None,
    ) -> None:
        """y = f(x) * up * factor, where f is "silu", "relu" or "gelu"."""
        tensors = (x, up, factor, y)
        addresses = (_address(t) for t in tensors)
        self._append(Gate(*addresses, len(x), ACTIVATIONS.index(kind)), *tensors)

    def add(self, x: Tensor, y: Tensor) -> None:
        """y += x, with both of shape `[n]`."""
        self._append(Add(_address(x), _address(y), len(x)), x, y)

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
        number, best, each = groups
        tensors = (scores, bias, chosen, weights, biased)
        self._append(
            Route(
                *(_address(t) for t in tensors),
                *(count, top, number, best, each),
                *(scale, SCORES.index(scoring), int(normalized)),
            ),
            *tensors,
        )
        arrays = [program.array() for program in programs]
        pointers = (POINTER(Operation) * count)(
            *(ctypes.cast(array, POINTER(Operation)) for array in arrays)
        )
        counts = (c_int64 * count)(*map(len, arrays))
        self._append(
            Experts(
                *(_address(t) for t in (chosen, weights, factor)), pointers, counts, top
            ),
            *(chosen, weights, factor, pointers, counts, *programs),
        )

    def _append(self, arguments: ctypes.Structure, *kept: Any) -> None:
        self._operations.append((KINDS.index(type(arguments)), arguments))
        self._kept += kept


def _address(tensor: Tensor | None) -> int | None:
    if tensor is None:
        return None
    assert tensor.device.type == "cpu"
    assert tensor.stride(-1) == 1
    return tensor.data_ptr()
