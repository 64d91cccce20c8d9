"""How long compressing takes: SmolLM2-135M in 4 bits, by default and to nearest.

    python benchmarks/dpg_time.py [--quick]

Protocol. `dpg.compress(model, batches, progress=False)` of SmolLM2-135M (`zoo.smollm2`)
as it comes, and with `rounding="nearest"`, in turn in one process, by the clock, on all
cores of the machine, 3 rounds; medians, and the range as interval. Calibration: 16
windows of 256 tokens, 8 of prose and 8 of verse, of the training parts that
`latent_cache.py` has, in batches of 4. What it costs is measured beside it, on all 58
test windows of both texts: perplexity over the float32 model's.

Targets, stated before the run, for two cores: at most 60 s by default, at most 15 s to
nearest. No target for the perplexities. `--quick`: to nearest, one round, 4 windows.
"""

import math
import time
from collections.abc import Iterator

import torch
from harness.interval import spread
from harness.script import Run, Script
from latent_cache import windows

from deepseek_learn import dpg
from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row
from deepseek_learn.zoo import smollm2

SCRIPT = Script(__file__, __doc__, quick="one short round")
TARGETS = {"gptq": 60, "nearest": 15}
WORDS = {"gptq": "by default", "nearest": "to nearest"}
ROUNDS, WINDOWS, BATCH = 3, 8, 4


def perplexity(model, tests: torch.Tensor) -> float:
    return math.exp(smollm2.nats(model, tests).mean().item())


def compress(model, batches: list, rounding: str) -> tuple[float, torch.nn.Module]:
    """Seconds, and the compressed model."""
    start = time.perf_counter()
    small = dpg.compress(model, batches, rounding=rounding, progress=False)
    return time.perf_counter() - start, small.model


def rows_of(rounding: str, seconds: list[float], perplexity_ratio: float) -> list[Row]:
    facts = {"claim": "C2", "source": "ours", "better": "lower"}
    what = f"SmolLM2-135M to 4 bits {WORDS[rounding]}"
    pace = facts | {"what": f"{what}: time", "unit": "s", "target": TARGETS[rounding]}
    quality = facts | {"what": f"{what}: perplexity", "unit": "of float32"}
    return [
        Row(**pace, **vars(spread(seconds))).at(now()),
        Row(**quality, measured=perplexity_ratio),
    ]


def measure(run: Run) -> Iterator[Row]:
    model, tokenizer = smollm2.load()
    texts = windows(tokenizer, None).values()
    count = WINDOWS // 4 if run.quick else WINDOWS
    batches = torch.cat([text["train"][:count] for text in texts]).split(BATCH)
    tests = torch.cat([text["test"][: count if run.quick else None] for text in texts])
    roundings = ["nearest"] if run.quick else list(TARGETS)
    times, small = {rounding: [] for rounding in roundings}, {}
    for _ in range(1 if run.quick else ROUNDS):
        for rounding in roundings:
            seconds, small[rounding] = compress(model, list(batches), rounding)
            times[rounding].append(seconds)
            print(f"{WORDS[rounding]}: {seconds:.1f} s", flush=True)
    before = perplexity(model, tests)
    for rounding in roundings:
        ratio = perplexity(small[rounding], tests) / before
        yield from rows_of(rounding, times[rounding], ratio)


if __name__ == "__main__":
    SCRIPT.main(measure)
