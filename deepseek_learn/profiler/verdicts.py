"""Why a layer takes its time: arithmetic, memory traffic, or the calling itself.

Three floors under the time of a layer, from what it does and the machine's roof:

    compute   FLOPs / peak,   memory   bytes / bandwidth,   overhead   calls x cost of one

The highest names the bound; its share of the measured time is how much of the roof is
reached. Over 100 % something is off, and said so: bytes that stay in a cache, or an
algorithm (Winograd, a fast Fourier transform) that does with fewer multiplications.
"""

from dataclasses import dataclass

import pandas as pd

from ..catalog import text
from ..measure.roof import Roof

BOUNDS = ("compute", "memory", "overhead")
FAR = 0.3  # under this share of the roof none of the three explains the time


@dataclass(frozen=True)
class Verdict:
    """What limits one layer.

    Attributes:
        share: of the operators' time of the whole model.
        of_roof: highest floor over measured time.
        intensity: FLOP/byte.
        speed_up: of the whole model, were this layer at its roof.
        suspect: over the roof: the reading or the model of it is wrong.
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
        """What to do about it, in words."""
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
    """Milliseconds that each operator takes at the least, for each of `BOUNDS`."""
    conv = operators["operator"].str.contains("conv")
    peak = conv.map({True: roof.conv_gflops, False: roof.gemm_gflops})
    moved = operators["bytes_read"] + operators["bytes_written"]
    return pd.DataFrame(
        {
            "compute": operators["flops"] / peak / 1e6,
            "memory": moved / roof.bandwidth_gbs / 1e6,
            "overhead": roof.overhead_us / 1e3,
        },
        index=operators.index,
    )


def judge(layers: pd.DataFrame, operators: pd.DataFrame, roof: Roof) -> list[Verdict]:
    """A verdict on each layer that runs operators itself, the slowest first."""
    whole = operators["latency_ms"].sum()
    floor = floors(operators, roof).groupby(operators["layer"]).sum()
    time = operators.groupby("layer")["latency_ms"].sum()
    work = operators.groupby("layer")[["flops", "bytes_read", "bytes_written"]].sum()
    verdicts = []
    for layer, spent in time.sort_values(ascending=False).items():
        if not spent > 0:
            continue
        bound = floor.loc[layer].idxmax()
        least = floor.loc[layer, bound]
        flops, *moved = work.loc[layer]
        verdicts.append(
            Verdict(
                layer=layer,
                type=layers.loc[layer, "type"],
                bound=bound,
                share=spent / whole,
                of_roof=least / spent,
                intensity=flops / max(sum(moved), 1),
                speed_up=whole / (whole - max(spent - least, 0)),
            )
        )
    return verdicts
