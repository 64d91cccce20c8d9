"""What attention costs: time and memory against positions, and inside ResNet-50.

    python benchmarks/attention_cost.py [--quick]

Protocol. One thread; every variant of a comparison is timed in one process, round by
round in turn, by processor time; ratios are medians over the rounds of the ratio within
a round, with the quartiles as interval. Peak memory is the growth of the resident
high-water mark over one call in a fresh process. Weights are random (cost does not
depend on them), batch norms are folded in every network, the plain one included.

Part A: one module on 256 channels, batch 1, 28x28 to 112x112 positions. The exponent is
the slope of log time (memory) over log positions. Stated before the run: up to 1.25 is
called linear, from 1.75 quadratic.

Part B: ResNet-50 at 224x224, batch 1 and 8. "guide" is the guide's module with its shape
error mended and nothing else: a 3x3 convolution to one channel, two products, one sum.
"slim" is a trunk of 2-3-4-2 instead of 3-4-6-3 blocks with our folded module. Each
"faster" names its baseline. Targets: at least 1.15 x faster than the guide's code, at
most 1.12 x plain's time, faster than CBAM; slim at least 1.18 x faster than plain; the
guide's 18 % on the same trunk. At batch 1 a second reading on one machine has crossed
the second and third of these (1.10 and 1.12; 1.05 and 0.99): they are near the noise.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from harness.interval import quartiles
from harness.script import Run, Script

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure import memory

LINEAR, QUADRATIC = 1.25, 1.75
SIDES, CHANNELS = (28, 40, 56, 80, 112), 256
MODULES = ("sc", "self_attention", "self_attention_naive")


def build_module(name: str):
    from deepseek_learn.attention import SelfAttention, SpatialChannelAttention

    if name == "sc":
        return SpatialChannelAttention(CHANNELS).eval()
    return SelfAttention(CHANNELS, fused=name == "self_attention").eval()


def seconds(call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def peak_mib(name: str, side: int) -> float:
    """Growth of the resident high-water mark over one call, in a fresh process."""
    command = [sys.executable, __file__, "--peak", name, str(side)]
    environment = {k: v for k, v in os.environ.items() if k not in memory.REUSE_FREED}
    return float(subprocess.check_output(command, text=True, env=environment))


def print_peak(name: str, side: str) -> None:
    import torch

    torch.set_num_threads(1)
    module, x = build_module(name), torch.randn(1, CHANNELS, int(side), int(side))
    with torch.inference_mode():
        module(x[..., :8, :8])
        if sys.platform == "linux":
            memory.reset_high_water()
        before = memory.high_water_bytes()
        module(x)
    print((memory.high_water_bytes() - before) / 2**20)


def growth(quick: bool) -> Iterator[Row]:
    """Part A: exponents of time and memory for each module."""
    sides = SIDES[:3] if quick else SIDES
    times = {name: [] for name in MODULES}
    peaks = {name: [] for name in MODULES}
    for side in sides:
        seconds_by_module = module_seconds(side, rounds=3 if quick else 7)
        for name in MODULES:
            times[name].append(statistics.median(seconds_by_module[name]) * 1e3)
            peaks[name].append(peak_mib(name, side))
        summary = ", ".join(
            f"{n} {times[n][-1]:.2f} ms {peaks[n][-1]:.1f} MiB" for n in MODULES
        )
        print(f"{side * side:6d} positions: {summary}", flush=True)
    positions = [side * side for side in sides]
    for name in MODULES:
        yield exponent_row(name, "time", positions, times[name]).at(now())
        yield exponent_row(name, "peak memory", positions, peaks[name])


def module_seconds(side: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of one call of each module, interleaved in every round."""
    import torch

    modules = {name: build_module(name) for name in MODULES}
    return forward_seconds(modules, torch.randn(1, CHANNELS, side, side), rounds - 1)


def exponent_row(name: str, what: str, positions: list[int], values) -> Row:
    """The slope of log time, or log memory, over log positions."""
    import numpy as np

    linear, values = name == "sc", np.maximum(values, 1e-3)
    sizes = ", ".join(f"{v:.3g}" for v in values)
    unit = "ms" if what == "time" else "MiB"
    # the fused kernel never materializes the N x N matrix: no target
    fused = name == "self_attention" and what == "peak memory"
    return Row(
        claim="C5",
        source="ours",
        what=f"{name}: exponent of {what} over positions",
        unit="exponent",
        better="lower" if linear else "higher",
        target=None if fused else LINEAR if linear else QUADRATIC,
        measured=float(np.polyfit(np.log(positions), np.log(values), 1)[0]),
        n=len(positions),
        note=f"{positions} positions: {sizes} {unit}",
    )


def guide_module():
    """The guide's module, with its shape error fixed: a factory for `attach`."""
    import torch
    from torch import nn

    class GuideAttention(nn.Module):
        def __init__(self, channels: int):
            super().__init__()
            self.spatial_attn = nn.Conv2d(channels, 1, 3, padding=1)
            self.channel_attn = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, channels // 8, 1),
                nn.ReLU(),
                nn.Conv2d(channels // 8, channels, 1),
                nn.Sigmoid(),
            )

        def forward(self, x):
            spatial = torch.sigmoid(self.spatial_attn(x))
            return x * spatial + x * self.channel_attn(x)

    return GuideAttention


def networks() -> dict:
    """name → ResNet-50 variant, folded."""
    from torchvision.models.resnet import Bottleneck, ResNet

    from deepseek_learn import attention

    attention.register("guide", dims=(2,), native_scale=1.0)(guide_module())

    def build(name: str | None, layers=(3, 4, 6, 3)):
        model = ResNet(Bottleneck, list(layers))
        if name:
            attention.attach(model, name, where="residual", scale="native")
        return attention.fold(model)

    variants = {name: build(name) for name in ("se", "cbam", "eca", "guide", "sc")}
    return {"plain": build(None), **variants, "slim": build("sc", (2, 3, 4, 2))}


# (numerator, denominator, description of the ratio, target, whose claim)
COMPARISONS = [
    ("guide", "sc", "ours folded, speed against the guide's code", 1.15, "ours"),
    ("sc", "plain", "ours folded, time against plain ResNet-50", 1.12, "ours"),
    ("cbam", "sc", "ours folded, speed against CBAM", 1.0, "ours"),
    ("plain", "slim", "slim SC trunk, speed against plain ResNet-50", 1.18, "ours"),
    ("plain", "sc", "ours folded, speed against plain ResNet-50", 1.18, "guide"),
    ("se", "plain", "SE, time against plain ResNet-50", None, "ours"),
    ("eca", "plain", "ECA, time against plain ResNet-50", None, "ours"),
    ("cbam", "plain", "CBAM, time against plain ResNet-50", None, "ours"),
    ("guide", "plain", "guide's code, time against plain", None, "ours"),
]


def resnet(quick: bool) -> Iterator[Row]:
    """Part B: time ratios between networks."""
    import torch

    nets = networks()
    for batch in (1,) if quick else (1, 8):
        rounds = 3 if quick else (15 if batch == 1 else 8)
        times = forward_seconds(nets, torch.randn(batch, 3, 224, 224), rounds)
        for name, values in times.items():
            print(f"batch {batch} {name:6s} {statistics.median(values) * 1e3:8.1f} ms")
        yield from (ratio_row(times, batch, *comparison) for comparison in COMPARISONS)


def forward_seconds(
    nets: dict[str, Callable], x, rounds: int
) -> dict[str, list[float]]:
    """Seconds of one forward pass of each network, interleaved in every round."""
    import torch

    times = {name: [] for name in nets}
    for i in range(rounds + 1):
        for name, net in nets.items():
            with torch.inference_mode():
                value = seconds(lambda n=net: n(x))
            if i:  # the first round warms up
                times[name].append(value)
    return times


def ratio_row(times, batch: int, numerator, denominator, what, target, source) -> Row:
    """A ledger row: median and quartiles of the ratio within a round."""
    ratios = [a / b for a, b in zip(times[numerator], times[denominator], strict=True)]
    return Row(
        claim="C6",
        source=source,
        what=f"{what}, batch {batch}",
        unit="x",
        better="lower" if "time against" in what else "higher",
        target=target,
        note="the same trunk; the guide's 18 %" if source == "guide" else "",
        **vars(quartiles(ratios)),
    ).at(now())


def measure(run: Run) -> list[Row]:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    return [*growth(run.quick), *resnet(run.quick)]


SCRIPT = Script(
    __file__,
    __doc__,
    quick="fewer sizes and rounds",
    children={"peak": print_peak},
    environment=memory.REUSE_FREED,
)
if __name__ == "__main__":
    SCRIPT.main(measure)
