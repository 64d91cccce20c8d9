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

import argparse
import math
import statistics
import time

import torch
from latent_cache import windows

from deepseek_learn import dpg
from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.results import write_result
from deepseek_learn.zoo import smollm2

TARGETS = {"gptq": 60, "nearest": 15}
WORDS = {"gptq": "by default", "nearest": "to nearest"}
ROUNDS, WINDOWS, BATCH = 3, 8, 4


def perplexity(model, tests: torch.Tensor) -> float:
    return math.exp(smollm2.nats(model, tests).mean().item())


def measured(model, batches: list, rounding: str) -> tuple[float, torch.nn.Module]:
    start = time.perf_counter()
    small = dpg.compress(model, batches, rounding=rounding, progress=False)
    return time.perf_counter() - start, small.model


def rows(rounding: str, seconds: list[float], perplexity_ratio: float) -> list[dict]:
    common = {"claim": "C2", "source": "ours", "better": "lower"}
    what = f"SmolLM2-135M to 4 bits {WORDS[rounding]}"
    spread = {"low": min(seconds), "high": max(seconds), "interval": "range"}
    pace = {"what": f"{what}: time", "unit": "s", "target": TARGETS[rounding]}
    pace |= {"measured": statistics.median(seconds), "n": len(seconds), "time": now()}
    quality = {"what": f"{what}: perplexity", "unit": "of float32", "target": None}
    quality |= {"measured": perplexity_ratio}
    return [common | pace | spread, common | quality]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    quick = parser.parse_args().quick
    model, tokenizer = smollm2.load()
    texts = windows(tokenizer, None).values()
    count = WINDOWS // 4 if quick else WINDOWS
    batches = torch.cat([text["train"][:count] for text in texts]).split(BATCH)
    tests = torch.cat([text["test"][: count if quick else None] for text in texts])
    roundings = ["nearest"] if quick else list(TARGETS)
    seconds, small = {rounding: [] for rounding in roundings}, {}
    for _ in range(1 if quick else ROUNDS):
        for rounding in roundings:
            took, small[rounding] = measured(model, list(batches), rounding)
            seconds[rounding].append(took)
            print(f"{WORDS[rounding]}: {took:.1f} s", flush=True)
    before, ledger_rows = perplexity(model, tests), []
    for rounding in roundings:
        perplexity_ratio = perplexity(small[rounding], tests) / before
        ledger_rows += rows(rounding, seconds[rounding], perplexity_ratio)
        print(
            f"{WORDS[rounding]}: perplexity {perplexity_ratio:.3f} of {before:.2f}",
            flush=True,
        )
    mode, command = "quick" if quick else "full", "python benchmarks/dpg_time.py"
    print(write_result("dpg_time", ledger_rows, command, mode, protocol=__doc__))


if __name__ == "__main__":
    main()
