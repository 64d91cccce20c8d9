"""Compute the cost of operators: FLOPs from formulas and bytes from tensor sizes.

A multiply-add (MAC) is one multiplication and one addition, which count as 2 FLOPs. A
complex multiply-add counts as four real ones. As is customary, FLOPs cover only matrix
products, convolutions, attention and recurrent layers. Element-wise operations, norms
and reductions are counted separately as `element_ops`. A causal mask does not lower the
FLOP count of attention. Operators not covered by any rule are reported as *uncounted*.
Lesson: `notebooks/basic/05_profiler.ipynb`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..registry import Registry
from .flop_formulas import operator_costs, real_factor
from .tensor_state import within

LayerFormula = Callable[[Any, tuple[Any, ...], Any], "Cost"]

# Maps the "module.Class" of a layer to a function formula(layer, inputs, output) that
# returns a `Cost`. It is meant for layers whose work does not appear as operators, such
# as custom kernels, and also applies to subclasses.
layer_costs: Registry[LayerFormula] = Registry("layer cost")

KINDS = ("product", "element", "move", "view", "uncounted")


@dataclass(frozen=True)
class Cost:
    """The cost of a single call to a layer.

    Attributes:
        flops: the number of FLOPs, which is twice the number of multiply-adds.
        bytes_read, bytes_written: the bytes read and written if each tensor is accessed
            only once. This is a lower bound on the actual traffic.
        parameters: the number of weights that the layer stores in addition to its
            `nn.Parameter` objects, or None if there are none.
        parameter_bytes: the size of these additional weights in bytes.

    >>> from deepseek_learn import profiler
    >>> cost = profiler.Cost(flops=4096, bytes_read=8448, bytes_written=128)
    >>> round(cost.flops / (cost.bytes_read + cost.bytes_written), 2)  # FLOPs per byte
    0.48
    """

    flops: float
    bytes_read: int
    bytes_written: int
    parameters: int | None = None
    parameter_bytes: int | None = None


def operator_flops(func: Any, args: tuple, kwargs: dict, out: Any) -> float | None:
    """Return the FLOPs of one call to `func`, or None if there is no formula for it."""
    packet = packet_of(func)
    name = str(packet)
    options = {key: value for key, value in kwargs.items() if key != "out"}
    if name in operator_costs:
        return operator_costs[name](*args, out=out, **options)
    if packet in flop_registry:
        return flop_registry[packet](*args, **options, out_val=out) * real_factor(out)
    return None


def has_formula(func: Any) -> bool:
    """Return whether `operator_flops` has a formula for the operator."""
    packet = packet_of(func)
    return str(packet) in operator_costs or packet in flop_registry


def packet_of(func: Any) -> Any:
    """Return the overload packet of an operator.

    Higher-order operators have no overloads and are returned unchanged.
    """
    return getattr(func, "_overloadpacket", func)


def layer_cost(layer: nn.Module) -> LayerFormula | None:
    """Return the formula registered for the layer's class or a base class, or None."""
    return _formula_of(type(layer))  # type: ignore[arg-type]  # a class is hashable


@cache
def _formula_of(kind: type) -> LayerFormula | None:
    for base in kind.__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name in layer_costs:
            return layer_costs[name]
    return None


# Reductions, norms and pooling operators that PyTorch does not tag. They count as one
# operation per element.
_ELEMENT = set(
    """_softmax _log_softmax _softmax_backward_data _log_softmax_backward_data logsumexp
    native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training
    _batch_norm_with_update _batch_norm_no_update native_batch_norm_backward
    batch_norm_backward native_layer_norm native_layer_norm_backward native_group_norm
    native_group_norm_backward _fused_rms_norm _fused_rms_norm_backward max_pool2d
    max_pool2d_with_indices max_pool2d_with_indices_backward max_pool3d_with_indices
    max_pool3d_with_indices_backward avg_pool2d avg_pool2d_backward avg_pool3d
    avg_pool3d_backward _adaptive_avg_pool2d _adaptive_avg_pool2d_backward
    _adaptive_avg_pool3d _adaptive_avg_pool3d_backward adaptive_max_pool2d
    mkldnn_max_pool2d upsample_nearest2d upsample_nearest2d_backward upsample_nearest3d
    upsample_bilinear2d upsample_bilinear2d_backward _upsample_bilinear2d_aa
    upsample_bicubic2d upsample_trilinear3d native_dropout native_dropout_backward
    bernoulli_ nll_loss_forward nll_loss_backward nll_loss2d_forward nll_loss2d_backward
    mse_loss mse_loss_backward binary_cross_entropy binary_cross_entropy_backward
    binary_cross_entropy_with_logits cumsum cumprod sum mean var var_mean std amax amin
    max min argmax argmin topk sort norm linalg_vector_norm prod any all
    _foreach_norm gelu_backward glu glu_backward _thnn_fused_lstm_cell
    _thnn_fused_gru_cell histc bincount multinomial unique_dim _unique2 hardswish
    hardswish_backward smooth_l1_loss smooth_l1_loss_backward huber_loss
    huber_loss_backward log_sigmoid_forward log_sigmoid_backward _prelu_kernel
    _prelu_kernel_backward _safe_softmax std_mean count_nonzero cummax cummin
    logcumsumexp grid_sampler_2d grid_sampler_2d_backward grid_sampler_3d
    grid_sampler_3d_backward upsample_nearest1d upsample_linear1d
    _upsample_nearest_exact2d adaptive_max_pool2d_backward adaptive_max_pool3d
    _weight_norm_interface _weight_norm_interface_backward dequantize
    quantize_per_tensor fake_quantize_per_tensor_affine_cachemask polar complex renorm
    rrelu_with_noise isin floor_divide""".split()  # noqa: SIM905
)
# Copies, gathers and factory functions, which move bytes but do no arithmetic.
_MOVE = set(
    """cat stack copy_ _to_copy clone constant_pad_nd reflection_pad2d
    replication_pad2d index index_put index_put_ _index_put_impl_ index_select
    index_add index_add_ index_copy index_copy_ gather scatter scatter_ scatter_add
    scatter_add_ scatter_reduce embedding embedding_dense_backward _embedding_bag
    masked_fill masked_fill_ masked_select masked_scatter masked_scatter_backward nonzero
    repeat repeat_interleave roll flip tril triu zeros ones full zeros_like ones_like
    full_like rand randn rand_like randn_like randint randperm arange linspace eye
    scalar_tensor new_zeros new_ones new_full zero_ fill_ fill normal_ uniform_ im2col
    col2im pixel_shuffle pixel_unshuffle slice_backward select_backward unfold_backward
    slice_scatter select_scatter split_with_sizes_copy convert_element_type
    _local_scalar_dense is_nonzero equal channel_shuffle contiguous one_hot
    lift_fresh_copy reflection_pad1d reflection_pad3d replication_pad1d
    replication_pad3d reflection_pad2d_backward replication_pad2d_backward index_fill
    index_fill_ diag_embed diagonal_scatter diagonal_backward take tril_ triu_
    tril_indices triu_indices block_diag""".split()  # noqa: SIM905
)
# Views and allocations, which neither read nor write the data of a tensor.
_VIEW = set(
    """_unsafe_view empty empty_like new_empty empty_strided new_empty_strided set_
    resize_ alias detach_ lift_fresh lift unsafe_split unsafe_split_with_sizes
    unsafe_chunk squeeze_ unsqueeze_ t_ transpose_ as_strided_ _nested_tensor_size
    sym_size sym_stride sym_numel device""".split()  # noqa: SIM905
)


@cache
def kind_of(func: Any) -> str:
    """Return the kind of an operator that has no formula, which is one of `KINDS`.

    The kind "product" is never returned, because products have formulas.
    """
    if not isinstance(func, OpOverload):  # a higher-order operator
        return "uncounted"
    name = func._overloadpacket.__name__
    if func.is_view or name in _VIEW or func.namespace == "prim":
        return "view"
    if name in _MOVE:
        return "move"
    reduction = getattr(torch.Tag, "reduction", None)  # missing in older PyTorch
    if torch.Tag.pointwise in func.tags or (reduction and reduction in func.tags):
        return "element"
    # in-place and backward variants are not always tagged like the base operator
    base = name.rstrip("_")
    variants = (name, base, base.removesuffix("_backward"))
    is_element = any(n in _ELEMENT or _is_pointwise(n) for n in variants)
    return "element" if is_element else "uncounted"


def _is_pointwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet else ()
    return any(torch.Tag.pointwise in getattr(packet, o).tags for o in overloads)


def tensors(tree: Any) -> list[Tensor]:
    """Return all tensors in a nested structure, such as the arguments of a call."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def traffic(some: list[Tensor]) -> int:
    """Return the total size of the tensors in bytes.

    For an expanded tensor, only the size of its storage is counted.
    """
    plain = [part for tensor in some for part in within(tensor)]
    return sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in plain)
