"""Do experts pay? A mixture against dense models of equal active and equal total size.

The protocol is in `benchmarks/lm_experts.py`.
"""

import time
from dataclasses import replace

from harness.interval import Estimate, student
from harness.runs import Runs, end_time
from harness.script import Run

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row

STEPS, SEEDS = 600, (0, 1, 2)
SEARCH, SEARCH_SEED, RATES = 200, 100, (0.003, 0.006, 0.012)
PACE_STEPS = 20
QUICK_RATE = 0.006
MIXTURE = "mixture"


def contestants() -> dict:
    from deepseek_learn.zoo.nets.small_deepseek import CONFIG, DENSE

    configs = {MIXTURE: CONFIG} | DENSE
    return {n: replace(c, num_nextn_predict_layers=0) for n, c in configs.items()}


def tokens_of(writer):
    """The lines of the training parts, shuffled, as tokens `[N]`."""
    import numpy as np
    import torch

    from deepseek_learn import data
    from deepseek_learn.zoo.nets.small_deepseek import TEXTS
    from deepseek_learn.zoo.writing import document

    documents = []
    for name, kind in TEXTS.items():
        text = bytes(data.load(name).train.numpy()).decode()
        documents += [(kind, line) for line in text.splitlines()]
    order = np.random.default_rng(0).permutation(len(documents))
    tokens = [t for i in order for t in document(writer.tokenizer, *documents[i])]
    return torch.tensor(tokens)


def train_one(name: str, seed: int, steps: int, lr: float, tokens):
    """One model of a contestant, trained for `steps` steps."""
    import torch

    from deepseek_learn.lm import LanguageModel
    from deepseek_learn.zoo.train.small_deepseek import train

    torch.manual_seed(seed)
    model = LanguageModel(contestants()[name])
    train(model, tokens, steps=steps, seed=seed, lr=lr, progress=False)
    return model


def one_run(name: str, seed: int, steps: int, lr: float, part: str = "test") -> dict:
    """Train one model and evaluate it."""
    from deepseek_learn import zoo

    writer = zoo.writer("small_deepseek")
    start = time.process_time()
    model = train_one(name, seed, steps, lr, tokens_of(writer))
    seconds = (time.process_time() - start) / steps
    return {
        **bits(model.eval(), writer.tokenizer, part),
        "cpu_seconds": seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def pace() -> dict[str, list[dict]]:
    """Contestant → processor seconds per step for each seed, interleaved."""
    from deepseek_learn import zoo

    tokens, readings = tokens_of(zoo.writer("small_deepseek")), {}
    for seed in SEEDS:
        for name in contestants():
            start = time.process_time()
            train_one(name, seed, PACE_STEPS, QUICK_RATE, tokens)
            seconds = (time.process_time() - start) / PACE_STEPS
            readings.setdefault(name, []).append(
                {"cpu_seconds": seconds, "time": now()}
            )
    return readings


def time_row(name: str, runs: dict[str, list[dict]], note: str) -> Row:
    """Step time of the mixture over that of a dense model: a speed reading."""
    pairs = zip(runs[MIXTURE], runs[name], strict=True)
    ratios = [m["cpu_seconds"] / d["cpu_seconds"] for m, d in pairs]
    what = f"mixture of experts, processor time of a step over that of {name}"
    facts = row(what, "ratio", student(ratios), LIMITS[name][1], note)
    return facts.at(end_time(*runs[MIXTURE], *runs[name]))


def bits(model, tokenizer, part: str) -> dict:
    """Bits per byte of both texts together and of each; imbalance of the loads."""
    from deepseek_learn import data
    from deepseek_learn.zoo.nets.small_deepseek import TEXTS
    from deepseek_learn.zoo.train.small_deepseek import bits_per_byte

    routers = model.routers()
    loads = [0] * len(routers)
    hooks = [
        router.register_forward_hook(
            lambda module, inputs, out, i=i: count(loads, i, out)
        )
        for i, router in enumerate(routers)
    ]
    frames = {
        text: bits_per_byte(model, tokenizer, kind, getattr(data.load(text), part))
        for text, kind in TEXTS.items()
    }
    for hook in hooks:
        hook.remove()
    sums = {text: frame.sum() for text, frame in frames.items()}
    every = sum(sums.values())
    return {
        "bits": float(every["bits"] / every["bytes"]),
        **{text: float(each["bits"] / each["bytes"]) for text, each in sums.items()},
        "violation": [float(load.max() / load.float().mean() - 1) for load in loads],
    }


def count(loads: list, layer: int, out: tuple) -> None:
    loads[layer] = loads[layer] + out[0].flatten().bincount(minlength=16)


def search(runs: Runs, name: str) -> float:
    """The learning rate with the fewest bits on the validation parts."""
    results = {
        lr: runs.once(
            {"contestant": name, "seed": SEARCH_SEED, "steps": SEARCH, "lr": lr},
            lambda lr=lr: one_run(name, SEARCH_SEED, SEARCH, lr, "validation"),
        )
        for lr in RATES
    }
    return min(results, key=lambda lr: results[lr]["bits"])


# per dense model: upper bounds on the bits difference and on the time ratio
LIMITS = {"dense, equal active": (0.0, None), "dense, equal total": (0.02, 1.0)}


def summarize(runs: dict[str, list[dict]], rates: dict[str, float]) -> list[Row]:
    rows, mixture = [], runs[MIXTURE]
    for name, (most_bits, _) in LIMITS.items():
        pairs = list(zip(mixture, runs[name], strict=True))
        ours, dense = (each["parameters"] for each in pairs[0])
        settings = (
            f"{ours:,} parameters against {dense:,}; learning rates {rates[MIXTURE]}"
        )
        settings += f" and {rates[name]}, of {', '.join(map(str, RATES))}"
        bits = ", ".join(f"{m['bits']:.4f} against {d['bits']:.4f}" for m, d in pairs)
        gain = student([m["bits"] - d["bits"] for m, d in pairs])
        what = f"mixture of experts, bits per byte less those of {name}"
        rows.append(row(what, "bits", gain, most_bits, f"{bits}; {settings}"))
        rows.append(time_row(name, runs, settings))
    worst = max(max(m["violation"]) for m in mixture)
    what = "mixture of experts, largest load over the mean less 1, worst layer and seed"
    each = "; ".join(", ".join(f"{v:.2f}" for v in m["violation"]) for m in mixture)
    rows.append(row(what, "violation", Estimate(worst, n=len(mixture)), 1.0, each))
    return rows


def row(
    what: str, unit: str, estimate: Estimate, target: float | None, note: str
) -> Row:
    return Row(
        claim="C7",
        source="ours",
        what=what,
        unit=unit,
        better="lower",
        target=target,
        note=note,
        **vars(estimate),
    )


def measure(run: Run) -> list[Row]:
    import torch

    torch.set_num_threads(1)
    if run.speed:
        readings, note = pace(), f"{PACE_STEPS} steps of each in turn"
        return [time_row(name, readings, note) for name in LIMITS]
    steps, seeds = (30, SEEDS[:1]) if run.quick else (STEPS, SEEDS)
    runs = run.finished_runs()
    rates = {n: QUICK_RATE if run.quick else search(runs, n) for n in contestants()}
    print("learning rates:", rates)
    results = {
        name: [
            runs.once(
                {"contestant": name, "seed": seed, "steps": steps, "lr": lr},
                lambda name=name, seed=seed, lr=lr: one_run(name, seed, steps, lr),
            )
            for seed in seeds
        ]
        for name, lr in rates.items()
    }
    return summarize(results, rates)
