"""FLOP formulas for operators that PyTorch's own table lacks or gets wrong.

A multiply-add is 2 FLOPs, as in `costs.py`. Add a formula for another operator with
`@operator_costs.register("namespace.operator")`.
Lesson: `notebooks/basic/05_profiler.ipynb`.
"""

from collections.abc import Callable
from math import log2, prod
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count

from ..registry import Registry

# Maps "namespace.operator" to a function formula(*args, out, **kwargs) that returns
# FLOPs. These formulas take precedence over the table in `torch.utils.flop_counter`,
# where most of them are missing.
operator_costs: Registry[Callable[..., float]] = Registry("operator cost")


def real_factor(out: Any) -> int:
    """Return the number of real multiply-adds that make up one multiply-add.

    This is 4 if the output is complex and 1 otherwise.
    """
    leaves = tree_leaves(out)
    return 4 if any(isinstance(y, Tensor) and y.is_complex() for y in leaves) else 1


def _attention(q: tuple, k: tuple, v: tuple, products: tuple[int, int]) -> int:
    """Count the FLOPs of attention from the shapes of q, k and v.

    `products` contains the number of matrix products of size L x S x E and the number
    of matrix products of size L x S x Ev, both per query head.
    """
    *batch, length, width = q  # [B, H, L, E]; k [B, Hk, S, E], v [B, Hk, S, Ev]
    of_keys, of_values = products
    # count the heads of q: grouped query heads share keys, but each multiplies all of them
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
    # the scores and the weighted sum each take 2 E FLOPs per pair of tokens
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
    return 2 * a.numel() * real_factor(out)


@operator_costs.register("aten.mv")
@operator_costs.register("aten.addmv")
@operator_costs.register("aten.addmv_")
def _matrix_vector(*args: Tensor, out: Tensor, **kwargs: Any) -> int:
    *_, matrix, _ = args  # (y,) matrix, vector
    return 2 * matrix.numel() * real_factor(out)


@operator_costs.register("aten.addr")
def _addr(y: Tensor, a: Tensor, b: Tensor, *, out: Tensor, **kwargs: Any) -> int:
    return 2 * a.numel() * b.numel() * real_factor(out)


@operator_costs.register("aten.addbmm")
@operator_costs.register("aten.addbmm_")
def _addbmm(y: Tensor, a: Tensor, b: Tensor, *, out: Tensor, **kwargs: Any) -> int:
    return 2 * a.numel() * b.shape[-1] * real_factor(out)


@operator_costs.register("aten._int_mm")
@operator_costs.register("aten._weight_int8pack_mm")
@operator_costs.register("aten._weight_int4pack_mm")
@operator_costs.register("aten._weight_int4pack_mm_for_cpu")
@operator_costs.register("mkldnn._linear_pointwise")
@operator_costs.register("aten.mkldnn_linear")
@operator_costs.register("aten.linear")
def _product(x: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any) -> int:
    """Count the FLOPs of multiplying an `[M, K]` input by a weight, packed or not.

    N is taken from the output, because the layout of the weight varies by operator.
    """
    return 2 * x.numel() * out.shape[-1] * real_factor(out)


@operator_costs.register("aten._grouped_mm")
def _grouped_product(
    x: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    """Count the FLOPs of multiplying each token by a weight of shape `[K, N]`.

    If only `x` is 3-D, the weight is grouped by columns, and each column is multiplied
    by only one group of `x`.
    """
    rows = x[0] if x.dim() > weight.dim() else x  # [M, K] of one group
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
    return forward * (mask[0] + mask[1]) * real_factor(out)


@operator_costs.register("aten.mkldnn_convolution")
@operator_costs.register("mkldnn._convolution_pointwise")
def _mkldnn_convolution(
    x: Tensor, weight: Tensor, *args: Any, out: Tensor, **kwargs: Any
) -> int:
    return conv_flop_count(list(x.shape), list(weight.shape), list(out.shape))


@operator_costs.register("aten._fft_r2c")
@operator_costs.register("aten._fft_c2c")
@operator_costs.register("aten._fft_c2r")
def _fft(x: Tensor, dim: list[int], *args: Any, out: Tensor, **kwargs: Any) -> int:
    """Count the customary 5 N log2 N FLOPs for an FFT, or half that for a real FFT."""
    total = max(x.numel(), out.numel())
    length = prod(max(x.shape[d], out.shape[d]) for d in dim)
    return int(5 * total * log2(max(length, 2)) / (1 if x.dtype == out.dtype else 2))
