"""What a compressed decoder of 100 M parameters costs: resident memory and latency.

The protocol is in `benchmarks/dpg_memory.py`.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness.interval import spread
from harness.script import BENCHMARKS, Run

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure import resident_bytes

SIZE = {"dim": 1024, "layers": 8, "heads": 16, "context": 192}
PREFILL = 64
VARIANTS = ("float32", "torch int8", "torchao int8", "torchao int4", "nf4", "dpg")
VARIANTS += ("gptq4", "dpg 4+4", "dpg 4+4 mapped")
DECODE_CALLS, PREFILL_CALLS = 40, 10
# (source of the claim, what, variant, peer, field, target, better)
TARGETS = [
    ("guide", "resident memory", "dpg", None, "resident", 35, "lower"),
    ("ours", "resident memory", "dpg", None, "resident", 17, "lower"),
    ("ours", "resident memory, all planes", "dpg 4+4", None, "resident", 30, "lower"),
    (
        "ours",
        "resident memory, planes dropped",
        "dpg 4+4 mapped",
        None,
        "dropped",
        17,
        "lower",
    ),
    ("ours", "decode", "dpg", "torchao int4", "decode", 1.4, "higher"),
    ("ours", "decode", "dpg", "torch int8", "decode", 1.25, "higher"),
    ("ours", "decode", "dpg", "float32", "decode", 5, "higher"),
    ("ours", "prefill", "dpg", "torch int8", "prefill", 1, "higher"),
    ("ours", "decode", "dpg", "nf4", "decode", None, "higher"),
    ("ours", "prefill", "dpg", "torchao int4", "prefill", None, "higher"),
    ("ours", "prefill", "dpg", "float32", "prefill", None, "higher"),
    ("ours", "decode", "gptq4", "torchao int4", "decode", None, "higher"),
    ("ours", "prefill", "gptq4", "torch int8", "prefill", None, "higher"),
]


def mixture() -> dict[str, float]:
    """Bits → fraction of the weights in the default allocation of 4 bits on average."""
    import torch
    from models import tang_lm

    from deepseek_learn import data, dpg

    counts: dict[str, float] = {}
    for seed in tang_lm.SEEDS:
        model = tang_lm.load(seed)
        generator = torch.Generator().manual_seed(seed)
        text = data.windows(data.tang_poems().train, 128, 256, generator)
        calibration = dpg.calibrate(model, text[:, :-1].split(16))
        default = dpg.allocate(model, calibration)
        for name, bits in default.bits.items():
            for b in bits.tolist():
                counts[str(b)] = counts.get(str(b), 0) + default.columns[name]
    total = sum(counts.values())
    return {b: counts[b] / total for b in sorted(counts)}


def allocation(model, shares: dict[str, float]):
    """Row bits of every layer with these fractions, in blocks of 16, shuffled."""
    import dataclasses

    import torch

    from deepseek_learn import dpg

    uniform, bits_by_layer = dpg.uniform(model, 4), {}
    generator = torch.Generator().manual_seed(0)
    for name, rows in uniform.bits.items():
        place = (torch.arange(len(rows)) // 16 + 0.5) / (len(rows) / 16)
        edges = torch.tensor(list(shares.values())).cumsum(0)[:-1]
        levels = torch.tensor([int(b) for b in shares])
        # in a trained layer the rows of a block are scattered
        order = torch.randperm(len(rows), generator=generator)
        bits_by_layer[name] = levels[torch.bucketize(place, edges)][order]
    return dataclasses.replace(uniform, bits=bits_by_layer, criterion="sensitivity")


def build(variant: str, shares: dict[str, float]):
    """The variant's model; the float32 original is freed on return."""
    import torch
    from models import peers

    from deepseek_learn import dpg
    from deepseek_learn.lm import Decoder

    if variant == "dpg 4+4 mapped":
        return mapped()
    torch.manual_seed(0)
    model = Decoder(**SIZE).eval()
    if variant == "float32":
        return model
    if variant in ("dpg", "gptq4"):
        plan = allocation(model, shares) if variant == "dpg" else dpg.uniform(model, 4)
        return dpg.convert(model, plan)
    if variant == "dpg 4+4":
        return dpg.convert(model, dpg.uniform(model, 4), refine=True)
    quantize = {
        "torch int8": peers.torch_int8,
        "torchao int8": peers.torchao_int8,
        "torchao int4": lambda m: peers.torchao_int4(m, group_size=64),
        "nf4": peers.bitsandbytes_nf4,
    }
    return quantize[variant](model)


def measure_variant(variant: str, shares: dict[str, float]) -> dict:
    """Resident memory and latencies of one variant, in this process."""
    import torch
    from models import peers  # noqa: F401 - import before reading the baseline

    from deepseek_learn import dpg, lm

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    warm = build_small()
    base = resident_bytes()
    model = build(variant, shares)
    parameters = sum(p.numel() for p in lm.Decoder(**SIZE).parameters())
    tokens = torch.randint(0, 256, (1, PREFILL))
    for _ in range(2):
        model(tokens[:, :1])
    result = {"resident": 100 * (resident_bytes() - base) / (4 * parameters)}
    cache = lm.decoder.KeyValueCache()
    model(tokens, cache)
    pairs = dict(cache.pairs)

    def decode():
        cache.pairs = dict(pairs)
        model(tokens[:, :1], cache)

    result["decode"] = quartile_ms(decode, DECODE_CALLS)
    result["prefill"] = quartile_ms(lambda: model(tokens), PREFILL_CALLS)
    result["variant"], result["backend"] = variant, str(dpg.backend())
    if variant == "dpg 4+4 mapped":
        dpg.set_precision(model, refined=False)
        dpg.drop_refinement(model)
        model(tokens[:, :1])
        result["dropped"] = 100 * (resident_bytes() - base) / (4 * parameters)
    del warm
    return result


def build_small():
    """Run a tiny network through every library, so that set-up is not counted."""
    import torch
    from models import peers

    from deepseek_learn import dpg

    model = torch.nn.Sequential(torch.nn.Linear(64, 64)).eval()
    x = torch.randn(1, 64)
    small = [dpg.convert(model, dpg.uniform(model, 4)), peers.torch_int8(model)]
    small += [peers.torchao_int4(model, 64), peers.torchao_int8(model)]
    small.append(peers.bitsandbytes_nf4(model))
    for each in small:
        each(x if each in small[:2] else x.bfloat16())
    return small


def mapped():
    """The model from a file written by another process; refine planes stay on disk."""
    import torch

    from deepseek_learn import dpg
    from deepseek_learn.lm import Decoder

    with tempfile.TemporaryDirectory() as folder:  # a mapped file may be unlinked
        path = Path(folder) / "model.safetensors"
        subprocess.run(
            [sys.executable, BENCHMARKS / "dpg_memory.py", "--save", str(path)],
            check=True,
        )
        with torch.device("meta"):
            frame = Decoder(**SIZE)
        return dpg.load(path, frame, map_refinement=True)


def quartile_ms(call, calls: int) -> float:
    """Lower quartile of the processor time of a call, in ms."""
    call()
    times = []
    for _ in range(calls):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * sorted(times)[calls // 4]


def in_a_process(variant: str, shares: dict[str, float]) -> dict:
    command = [sys.executable, BENCHMARKS / "dpg_memory.py", "--variant", variant]
    process = subprocess.run(
        command, input=json.dumps(shares), capture_output=True, text=True, check=False
    )
    if process.returncode:
        raise RuntimeError(f"{variant}: {process.stderr[-2000:]}")
    return json.loads(process.stdout.splitlines()[-1])


def summarize(rounds: list[dict[str, dict]]) -> Iterator[Row]:
    """The ledger's rows: medians over rounds of the ratio within a round."""
    for source, what, variant, peer, field, target, better in TARGETS:
        ratios = [
            r[variant][field] if peer is None else r[peer][field] / r[variant][field]
            for r in rounds
        ]
        summary = ", ".join(
            f"{name} {statistics.median(r[name][field] for r in rounds):.3g}"
            for name in VARIANTS
            if field in rounds[0][name]
        )
        row = Row(
            claim="C2",
            source=source,
            what=f"decoder of 100 M parameters, {variant}: {what}"
            + (f" against {peer}" if peer else ""),
            unit=f"x {peer}'s speed" if peer else "% of float32",
            better=better,
            target=target,
            note=f"medians in {'ms' if peer else '%'}: {summary}; "
            + rounds[0]["dpg"]["backend"],
            **vars(spread(ratios, "range over rounds")),
        )
        yield row.at(now()) if peer else row  # memory is not a speed reading


def print_variant(variant: str) -> None:
    print(json.dumps(measure_variant(variant, json.load(sys.stdin))))


def save(path: str) -> None:
    from deepseek_learn import dpg

    dpg.save(build("dpg 4+4", {}), path)


def measure(run: Run) -> Iterator[Row]:
    shares, rounds = mixture(), []
    for i in range(1 if run.quick else 5):
        rounds.append({v: in_a_process(v, shares) for v in VARIANTS})
        for variant, result in rounds[-1].items():
            print(
                f"round {i}: {variant:13s} resident {result['resident']:6.2f} %, decode "
                f"{result['decode']:7.2f} ms, prefill {result['prefill']:7.2f} ms",
                flush=True,
            )
    return summarize(rounds)
