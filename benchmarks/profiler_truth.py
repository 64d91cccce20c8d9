"""The profiler against the truth, and against the tools that count and measure too.

    python benchmarks/profiler_truth.py [--quick] [--peers] [--part PART ...]

Protocol. 1 MAC = 2 FLOPs, products only; float32, one thread, random weights.

FLOPs. One inference pass of ResNet-50 (224 x 224), U-Net-64 (256 x 256), ViT-B/16 (224 x
224), an attention written with functions only (`scaled_dot_product_attention`, `einsum`,
`F.conv2d`; no modules) and a 2-layer LSTM, batch 1; and of the zoo's models. The truth is
counted by hand, layer by layer, from the architecture's numbers
(`models/profiled_nets.py`). Every tool counts in a process of its own; one that says
MACs is doubled. Some peers add norms and activations to the products: hence also how
many nets each has within 1 %. Targets: ours within 1e-4 % (relative 1e-6) on each net
and each model of the zoo, and 5 of 5 nets right within 0.1 %.

Memory. Peak activation memory of one pass, and of one training step (forward, sum,
backward; gradients included, weights not). The truth is what the operating system says
of a fresh process: its resident high-water mark, reset after two passes, less what was
resident (freed blocks of 16 KiB or more go back at once), median of 3 processes; ours
and the peers in processes of their own. Target: within 2 % on each. Known before: oneDNN
reserves more for an LSTM than it touches, and the profiler reports what is reserved, so
that the LSTM was 1.6 times the truth in a quick look; it stays in. Peers: PyTorch's
MemTracker; torchinfo's "forward/backward pass size", and 4 bytes for each of fvcore's
activations, which are not meant as peaks but are what one finds.

Cost. Processor time of `profile(...)` with its 5 repeats, the roof known already, over 13
times a plain pass: 13 passes it runs (1 warms up, 1 counts, 1 asks the allocator, 5 are
timed by operator, 5 plain). Each reading has a plain pass in turn with it, 7 rounds after
one that warms up; ratios within a round, their median and quartiles. On the five nets
(batch 1; 16 for the functional attention and 64 for the LSTM, so that a pass takes some
10 ms), inference and training. Target: at most 1.35 on each. For information: one
recording pass of each kind over a plain one, beside one under `FlopCounterMode`,
`torch.profiler` (FLOPs and memory) and DeepSpeed's flops profiler (it knows no
backward); a small network; and how alike two profiles order the layers by time.

Peers are no dependencies: a full run installs what it can of them into
`benchmarks/.venv/profiler_peers` (not in git); what could not be installed is named.
`--quick` (few nets, 2 rounds, under two minutes) takes the peers that are there and passes
over the others; with `--peers` it installs them first. `--part` runs only some of
"flops", "memory" and "cost"; the result is written when all three are there. Finished
readings are lines in `results/profiler_truth.jsonl`; those that rest on the profiler are
taken again when its code changed.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from harness.runs import Runs
from harness.script import Run, Script
from models import profiled_nets
from profiling import flop_counters, peak_memory, recording_cost
from profiling.rows import cost_rows, flop_rows, memory_rows

from deepseek_learn import profiler
from deepseek_learn.ledger.rows import Row

SCRIPT = Script(
    __file__,
    __doc__,
    quick="few nets, inference, 2 rounds",
    flags={"peers": "install them first"},
    parts=("flops", "memory", "cost"),
)
OURS = flop_counters.OURS
TRUTHS, ROUNDS = 3, 7
QUICK_NETS = ("ResNet-50", "functional attention")
QUICK_MEMORY = ("3-D network on 64 x 64 x 64, batch 1",)
QUICK_COST = ("functional attention, batch 16", "fashion_net, batch 1")
QUICK_ZOO, QUICK_MODES = ("fashion_net", "fashion_net_dpg"), ("infer",)
MEASURING = ("costs", "memory", "model_profiler", "module_paths", "recorder", "result")
MEASURING += ("restoring", "weights")
MEASURING = (*(f"profiler/{name}" for name in MEASURING), "measure/clock")
MEASURING += ("measure/memory", "measure/roof")


def fingerprint() -> str:
    """Hash of the profiler's measuring code: older readings are not reused."""
    folder = Path(profiler.__file__).parents[1]
    files = [folder / f"{name}.py" for name in MEASURING]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


def count_all(runs: Runs, five: dict, zoo: dict, code: str) -> dict[str, dict]:
    """Tool → its counts of the five (ours of the zoo too), or `{"missing": why}`."""
    counts = {}
    for tool in flop_counters.TOOLS:
        why = flop_counters.missing(tool)
        if why is not None:
            counts[tool] = {"missing": why, "flops": {}, "failed": {}}
            continue
        nets = [*five, *zoo] if tool == OURS else [*five]
        key = {"stage": "flops", "tool": tool, "nets": nets}
        key |= {"code": code} if tool == OURS else {}
        counts[tool] = runs.once(
            key, lambda t=tool, nets=nets: flop_counters.count(t, nets)
        )
    return counts


def read_all(runs: Runs, nets, modes, truths: int, code: str) -> dict[tuple, dict]:
    """(net, mode) → reader → bytes or None, and the true values."""
    readings = {}
    for net in nets:
        for mode in modes:
            key = {"stage": "memory", "net": net, "mode": mode}

            def read(reader: str, key=key, **extra) -> float | None:
                def measure() -> dict:
                    return peak_memory.read(reader, key["net"], key["mode"])

                row = runs.once(key | {"reader": reader} | extra, measure)
                return row.get("bytes")

            truth = [read(peak_memory.TRUTH, process=i) for i in range(truths)]
            estimates = {OURS: read(OURS, code=code)}
            for peer in peak_memory.PEERS:
                if peak_memory.available(peer) is None:
                    estimates[peer] = read(peer)
            readings[net, mode] = {"truth": truth, "estimates": estimates}
    return readings


def cost_all(runs: Runs, nets, modes, rounds: int, code: str) -> dict[tuple, dict]:
    """(net, mode) → ratios and rank correlations of the rounds."""
    costs = {}
    for net in nets:
        for mode in modes:
            key = {"stage": "cost", "net": net, "mode": mode, "number": rounds}
            key |= {"code": code}
            costs[net, mode] = runs.once(
                key, lambda n=net, m=mode: recording_cost.read(n, m, rounds)
            )
    return costs


def subset(table: dict, names: Iterable[str], quick: bool) -> dict:
    return {name: table[name] for name in names} if quick else table


def rows_of(part: str, runs: Runs, quick: bool) -> list[Row]:
    """The rows of one part."""
    code = fingerprint()
    modes = QUICK_MODES if quick else peak_memory.MODES
    if part == "flops":
        five = subset(profiled_nets.FIVE, QUICK_NETS, quick)
        zoo = subset(profiled_nets.ZOO, QUICK_ZOO, quick)
        return flop_rows(count_all(runs, five, zoo, code), five, zoo)
    if part == "memory":
        nets = subset(profiled_nets.MEMORY, QUICK_MEMORY, quick)
        return memory_rows(read_all(runs, nets, modes, 1 if quick else TRUTHS, code))
    nets = subset(profiled_nets.COST | profiled_nets.SMALL, QUICK_COST, quick)
    return cost_rows(cost_all(runs, nets, modes, 2 if quick else ROUNDS, code))


def measure(run: Run) -> list[Row]:
    torch.set_num_threads(1)
    if run.has("peers") or not run.quick:
        packages = [tool.package for tool in flop_counters.TOOLS.values()]
        flop_counters.install(dict.fromkeys(filter(None, packages)))
    runs = run.finished_runs()
    return [row for part in run.parts for row in rows_of(part, runs, run.quick)]


if __name__ == "__main__":
    SCRIPT.main(measure)
