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
from math import log2, prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry

from ..registry import Registry
from .tensor_state import within

LayerFormula = Callable[[Any, tuple, Any], "Cost"]

# Maps "namespace.operator" to a function formula(*args, out, **kwargs) that returns
# FLOPs. These formulas take precedence over the table in `torch.utils.flop_counter`,
# where most of them are missing.
operator_costs: Registry[Callable[..., float]] = Registry("operator cost")
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
        return flop_registry[packet](*args, **options, out_val=out) * _real(out)
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


def _real(out: Any) -> int:
    """Return the number of real multiply-adds that make up one multiply-add.

    This is 4 if the output is complex and 1 otherwise.
    """
    return 4 if any(t.is_complex() for t in tensors(out)) else 1


# --- formulas that are missing from PyTorch's table --------------------------------


def _attention(q: tuple, k: tuple, v: tuple, products: tuple[int, int]) -> int:
    """Count the FLOPs of attention from the shapes of q, k and v.

    `products` contains the number of matrix products of size L x S x E and the number
    of matrix products of size L x S x Ev, both per query head.
    """
    *batch, length, width = q
    of_keys, of_values = products
    return 2 * prod(batch) * length * k[-2] * (of_keys * width + of_values * v[-1])


@operator_costs.register("aten._scaled_dot_product_flash_attention_for_cpu")
@operator_costs.register("aten._scaled_dot_product_fused_attention_overrideable")
def _flash(
    q: Tensor, k: Tensor, v: Tensor, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    """Count the FLOPs of the scores QK' and of their product with V."""
    return _attention(q.shape, k.shape, v.shape, (1, 1))


@operator_costs.register("aten._scaled_dot_product_flash_attention_for_cpu_backward")
def _flash_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *args: Any,
    out: Tensor,
    **kwargs: Any,
) -> int:
    """Count the FLOPs of the five products in the backward pass of attention.

    These are the recomputed scores QK', dQ and dK (size L x S x E), and dV and the
    gradient of the scores (size L x S x Ev).
    """
    return _attention(q.shape, k.shape, v.shape, (3, 2))


def _lengths(x: Tensor) -> tuple[int, int]:
    """Return the number of tokens in a batch and the sum of the squared lengths."""
    sizes = [len(row) for row in x.unbind()] if x.is_nested else [x.shape[1]] * len(x)
    return sum(sizes), sum(n * n for n in sizes)


@operator_costs.register("aten._native_multi_head_attention")
def _fused_mha(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    *args: Any,
    out: Tensor,
    **kwargs: Any,
) -> int:
    """Count the FLOPs of four E x E projections, the scores, and the weighted sum."""
    tokens, pairs = _lengths(query)
    return 2 * tokens * 4 * embed_dim**2 + 4 * pairs * embed_dim


@operator_costs.register("aten._transformer_encoder_layer_fwd")
def _encoder(
    src: Tensor, embed_dim: int, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    """Count the FLOPs of attention and the two feed-forward products."""
    hidden = args[12].shape[0]  # ffn_weight_1 [hidden, E]
    tokens, pairs = _lengths(src)
    dense = 4 * embed_dim**2 + 2 * embed_dim * hidden
    return 2 * tokens * dense + 4 * pairs * embed_dim


@operator_costs.register("aten.mkldnn_rnn_layer")
def _rnn_layer(
    x: Tensor, w_input: Tensor, w_hidden: Tensor, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    """Count the FLOPs of one direction of one RNN layer.

    The input `x` has shape `[T, B, I]`, and both weights are used in every time step.
    """
    return 2 * x.shape[0] * x.shape[1] * (w_input.numel() + w_hidden.numel())


@operator_costs.register("aten.mkldnn_rnn_layer_backward")
def _rnn_layer_backward(*args: Any, out: Tensor, **kwargs: Any) -> int:
    """Count the input gradients and the weight gradients as one forward pass each."""
    return 2 * _rnn_layer(*args, out=out)


@operator_costs.register("aten._cudnn_rnn")
def _cudnn_rnn(
    x: Tensor, weight: list[Tensor], *args: Any, out: Tensor, **kwargs: Any
) -> int:
    """Count the FLOPs of all RNN layers, skipping biases (one-dimensional weights)."""
    weights = sum(w.numel() for w in weight if w.dim() == 2)
    steps = x.shape[0] if x.dim() == 2 else x.shape[0] * x.shape[1]  # 2-D if packed
    return 2 * steps * weights


@operator_costs.register("aten.dot")
@operator_costs.register("aten.vdot")
def _dot(a: Tensor, b: Tensor, *, out: Tensor, **kwargs: Any) -> int:
    return 2 * a.numel() * _real(out)


@operator_costs.register("aten.mv")
def _mv(matrix: Tensor, vector: Tensor, *, out: Tensor, **kwargs: Any) -> int:
    return 2 * matrix.numel() * _real(out)


@operator_costs.register("aten.addmv")
@operator_costs.register("aten.addmv_")
def _addmv(
    y: Tensor, matrix: Tensor, vector: Tensor, *, out: Tensor, **kwargs: Any
) -> int:
    return 2 * matrix.numel() * _real(out)


@operator_costs.register("aten.addr")
def _addr(y: Tensor, a: Tensor, b: Tensor, *, out: Tensor, **kwargs: Any) -> int:
    return 2 * a.numel() * b.numel() * _real(out)


@operator_costs.register("aten.addbmm")
@operator_costs.register("aten.addbmm_")
def _addbmm(y: Tensor, a: Tensor, b: Tensor, *, out: Tensor, **kwargs: Any) -> int:
    return 2 * a.numel() * b.shape[-1] * _real(out)


@operator_costs.register("aten._int_mm")
@operator_costs.register("aten._weight_int8pack_mm")
@operator_costs.register("aten._weight_int4pack_mm")
@operator_costs.register("aten._weight_int4pack_mm_for_cpu")
def _packed_product(
    x: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    """Count the FLOPs of multiplying an `[M, K]` input by a packed weight.

    N is taken from the output, because the layout of the weight varies by operator.
    """
    return 2 * x.numel() * out.shape[-1]


@operator_costs.register("aten._grouped_mm")
def _grouped_product(
    x: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    """Count the FLOPs of multiplying each token by a weight of shape `[K, N]`.

    If only `x` is 3-D, the weight is grouped by columns, and each column is multiplied
    by only one group of `x`.
    """
    rows = x[0] if x.dim() > weight.dim() else x
    return 2 * rows.numel() * out.shape[-1]


@operator_costs.register("aten.convolution_backward")
def _convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    """Count one forward pass for each gradient that is computed.

    The formula in PyTorch's table is wrong for grouped convolutions.
    """
    transposed, mask = args[4], args[7]
    shapes = list(x.shape), list(weight.shape), list(grad.shape)
    forward = conv_flop_count(*shapes, transposed)
    return forward * (mask[0] + mask[1]) * _real(out)


@operator_costs.register("aten.mkldnn_convolution")
@operator_costs.register("mkldnn._convolution_pointwise")
def _mkldnn_convolution(
    x: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    return conv_flop_count(list(x.shape), list(weight.shape), list(out.shape))


@operator_costs.register("mkldnn._linear_pointwise")
@operator_costs.register("aten.mkldnn_linear")
@operator_costs.register("aten.linear")
def _linear(x: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any) -> int:
    return 2 * x.numel() * out.shape[-1] * _real(out)


@operator_costs.register("aten._fft_r2c")
@operator_costs.register("aten._fft_c2c")
@operator_costs.register("aten._fft_c2r")
def _fft(x: Tensor, dim: list[int], *args: Any, out: Tensor, **kwargs: Any) -> int:
    """Count the customary 5 N log2 N FLOPs for an FFT, or half that for a real FFT."""
    total = max(x.numel(), out.numel())
    length = prod(max(x.shape[d], out.shape[d]) for d in dim)
    return int(5 * total * log2(max(length, 2)) / (1 if x.dtype == out.dtype else 2))
