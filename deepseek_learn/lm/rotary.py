r"""Rotary position embedding, which encodes positions as rotations of channel pairs.

.. math:: (a, b) \mapsto (a \cos p\theta_i - b \sin p\theta_i, \;
          b \cos p\theta_i + a \sin p\theta_i), \quad \theta_i = base^{-2i/d}

As a result, the product of a query at :math:`p` and a key at :math:`q` depends on
:math:`p-q` (Su et al. 2021, "RoFormer", arXiv 2104.09864). For sequences longer than
those seen in training, all pairs may be slowed down by `factor` ("linear"; Chen et al.
2023, "Extending context window", arXiv 2306.15595). YaRN (Peng et al. 2023, "YaRN",
arXiv 2309.00071) and Llama 3 (Grattafiori et al. 2024, "The Llama 3 herd of models",
arXiv 2407.21783) slow down the slowly rotating pairs only.
Lesson: `notebooks/basic/07_latent_attention.ipynb`.
"""

import math

import torch
from torch import Tensor


def frequencies(dim: int, parameters: dict) -> tuple[Tensor, float]:
    """Return the rotation angles per position and YaRN's factor for cosines and sines.

    The angles have the shape `[dim/2]`. Without YaRN, the factor is 1.
    """
    base = parameters["rope_theta"]
    fast = base ** -(torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    kind = parameters.get("rope_type", "default")
    if kind == "linear":
        return fast / parameters["factor"], 1.0
    if kind == "factors":  # one per pair, as GGUF stores Llama 3's
        return fast / torch.tensor(parameters["factors"]), 1.0
    if kind == "llama3":
        return _of_llama_3(fast, parameters), 1.0
    return _of_yarn(fast, dim, parameters) if kind == "yarn" else (fast, 1.0)


def _of_llama_3(fast: Tensor, parameters: dict) -> Tensor:
    """Slow down by `factor` what turns less than `low_freq_factor` times in training.

    What turns at least `high_freq_factor` times keeps its angle; between the two, the
    share that keeps it grows linearly with the turns.
    """
    turns = parameters["original_max_position_embeddings"] * fast / (2 * math.pi)
    low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
    share = ((turns - low) / (high - low)).clamp(0, 1)
    return fast / parameters["factor"] * (1 - share) + fast * share


def _of_yarn(fast: Tensor, dim: int, parameters: dict) -> tuple[Tensor, float]:
    base, factor = parameters["rope_theta"], parameters["factor"]
    trained_length = parameters["original_max_position_embeddings"]

    def pair(turns: float) -> float:
        """Return the index of the pair that makes `turns` turns.

        The turns are counted over the length of the training sequences.
        """
        ratio = trained_length / (turns * 2 * math.pi)
        return dim * math.log(ratio) / (2 * math.log(base))

    # pairs below `low` turn often and keep their angles; those above `high` turn less than
    # once in training and are slowed down by the factor; a ramp mixes the ones between
    low = pair(parameters.get("beta_fast") or 32)
    high = pair(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = (torch.arange(dim // 2) - low) / (max(high - low, 0.001))
    slow_share = ramp.clamp(0, 1)
    scale = parameters.get("attention_factor")
    if scale is None:
        scale, all_dim = mscale(factor), parameters.get("mscale_all_dim")
        if parameters.get("mscale") and all_dim:
            scale = mscale(factor, parameters["mscale"]) / mscale(factor, all_dim)
    return fast / factor * slow_share + fast * (1 - slow_share), scale


def mscale(factor: float, weight: float = 1.0) -> float:
    """Return YaRN's temperature, `0.1 * weight * ln(factor) + 1`."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def angles(positions: Tensor, dim: int, parameters: dict) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines of the rotation angles at the given positions.

    `positions` has the shape `[B, T]`, and both results have the shape `[B, T, dim/2]`.
    """
    theta, scale = frequencies(dim, parameters)
    turn = positions[..., None].float() * theta.to(positions.device)  # [B, T, dim/2]
    return turn.cos() * scale, turn.sin() * scale


def rotate(x: Tensor, turn: tuple[Tensor, Tensor], interleaved: bool = True) -> Tensor:
    """Rotate the channel pairs of a tensor.

    Args:
        x: a tensor of shape `[B, T, ..., dim]`.
        turn: the cosines and sines of the angles, both of shape `[B, T, dim/2]`.
        interleaved: if True, each pair consists of two adjacent channels, as in (0, 1),
            (2, 3), .... If False, it consists of channels i and i + dim/2. DeepSeek's
            attention uses the first layout and V3.2's indexer the second. The first
            public demo of V3.2 confused the two, which no shape check can detect.
    """
    shape = (*turn[0].shape[:2], *(1,) * (x.dim() - 3), turn[0].shape[2])
    cos, sin = (t.view(shape) for t in turn)  # [B, T, 1..., dim/2]
    if interleaved and x.dtype == torch.float32 and not torch.compiler.is_compiling():
        # the same as a product of complex numbers, in one operation instead of seven
        numbers = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(numbers * torch.complex(cos, sin)).flatten(-2)
    a, b = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    pairs = torch.stack((a * cos - b * sin, b * cos + a * sin), -1 - (not interleaved))
    return pairs.flatten(-2).to(x)  # [B, T, ..., dim]
