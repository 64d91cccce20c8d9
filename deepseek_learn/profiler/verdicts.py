"""Determine whether a layer is limited by compute, memory traffic or call overhead.

A layer's work and the machine's roofline yield three lower bounds on the layer's time,
which are called floors:

    compute   FLOPs / peak,  memory   bytes / bandwidth,  overhead   calls x cost per call

The layer is limited by the resource with the highest floor. That floor divided by the
measured time is the fraction of the roof that the layer reaches. A fraction above 100%
is marked as suspect. It can occur if data stays in a cache, or if an algorithm (such as
Winograd or a fast Fourier transform) needs fewer multiplications than are counted.
"""

from dataclasses import dataclass

import pandas as pd

from ..catalog import text
from ..measure.roof import Roof

BOUNDS = ("compute", "memory", "overhead")
FAR = 0.3  # below this fraction of the roof, no floor explains the time


@dataclass(frozen=True)
class Verdict:
    """The bottleneck of one layer.

    Attributes:
        bound: the limiting resource, which is one of `BOUNDS`.
        share: the layer's fraction of the total operator time of the model.
        of_roof: the highest floor divided by the measured time.
        intensity: the arithmetic intensity in FLOP/byte.
        speed_up: the overall speedup of the model if this layer ran at its roof.
        suspect: whether `of_roof` is above 1. If so, either the measurement or the cost
            model is wrong.

    >>> import torch
    >>> from deepseek_learn import profiler
    >>> net, x = torch.nn.Linear(64, 8), torch.rand(8, 64)
    >>> profile = profiler.profile(net, x, progress=False)
    >>> profile.verdicts()[0].type
    'Linear'
    """

    layer: str
    type: str
    bound: str
    share: float
    of_roof: float
    intensity: float
    speed_up: float

    @property
    def suspect(self) -> bool:
        return self.of_roof > 1

    @property
    def advice(self) -> str:
        """A sentence of advice on how to make the layer faster."""
        if self.suspect:
            return text("profiler.advice_suspect")
        if self.of_roof < FAR:
            return text("profiler.advice_far")
        return text(f"profiler.advice_{self.bound}")

    def __str__(self) -> str:
        return text(
            "profiler.verdict",
            layer=self.layer or "(model)",
            type=self.type,
            share=self.share,
            bound=text(f"profiler.bound_{self.bound}"),
            of_roof=self.of_roof,
            advice=self.advice,
        )


def floors(operators: pd.DataFrame, roof: Roof) -> pd.DataFrame:
    """Return three lower bounds on the time of each operator, in ms.

    The table has one row per operator and one column for each of `BOUNDS`.
    """
    # convolutions have a peak of their own, which differs from that of matrix products
    conv = operators["operator"].str.contains("conv")
    peak = conv.map({True: roof.conv_gflops, False: roof.gemm_gflops})
    moved = operators["bytes_read"] + operators["bytes_written"]
    return pd.DataFrame(
        {
            "compute": operators["flops"] / peak / 1e6,  # FLOP / (GFLOP/s) = 1e-9 s
            "memory": moved / roof.bandwidth_gbs / 1e6,
            "overhead": roof.overhead_us / 1e3,
        },
        index=operators.index,
    )


def judge(layers: pd.DataFrame, operators: pd.DataFrame, roof: Roof) -> list[Verdict]:
    """Return a verdict for each layer that runs operators itself, slowest first."""
    # Add up the bounds of all operators of a layer. The largest sum is the tightest lower
    # bound on its time, and names the resource to save.
    total = operators["latency_ms"].sum()
    floor = floors(operators, roof).groupby(operators["layer"]).sum()
    time = operators.groupby("layer")["latency_ms"].sum()
    work = operators.groupby("layer")[["flops", "bytes_read", "bytes_written"]].sum()
    verdicts = []
    for layer, latency in time.sort_values(ascending=False).items():
        if not latency > 0:
            continue
        bound = floor.loc[layer].idxmax()  # the first column if several are equal
        minimum = floor.loc[layer, bound]
        flops, *moved = work.loc[layer]
        verdicts.append(
            Verdict(
                layer=layer,
                type=layers.loc[layer, "type"],
                bound=bound,
                share=latency / total,
                of_roof=minimum / latency,
                intensity=flops / max(sum(moved), 1),
                # Amdahl: only the part of this layer's time above its bound can be saved
                speed_up=total / (total - max(latency - minimum, 0)),
            )
        )
    return verdicts
