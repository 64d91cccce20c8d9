"""What compressing and watching cost in time.

    python benchmarks/dpg_time.py [--quick] [--part PART ...]

*compress*. How long compressing takes: SmolLM2-135M in 4 bits, by default and to nearest.

Protocol. `dpg.compress(model, batches, progress=False)` of SmolLM2-135M (`zoo.smollm2`)
as it comes, and with `rounding="nearest"`, in turn in one process, by the clock, on all
cores of the machine, 3 rounds; medians, and the range as interval. Calibration: 16
windows of 256 tokens, 8 of prose and 8 of verse, of the training parts that
`latent_cache.py` has, in batches of 4. What it costs is measured beside it, on all 58
test windows of both texts: perplexity over the float32 model's.

Targets, stated before the run, for two cores: at most 60 s by default, at most 15 s to
nearest. No target for the perplexities. `--quick`: to nearest, one round, 4 windows.

*watch*. What watching the neurons costs: a forward with the monitor over one without.

Protocol. One thread, processor time; forward passes with and without
`DynamicParameterGroup` in turn in one process, 21 rounds after a warm-up; in a round,
three passes each, of which the shortest counts; the ratio within a round, median and
quartiles over rounds. Networks: the zoo's fashion_net (32
pictures) and solar_defects (2 photographs of 288 x 288), ResNet-50 (2 pictures of 224 x
224, random weights) and a language model of `models/tang_lm.py` (16 x 128 bytes).

Target, stated before the run: on each at most 5 % of the forward's time. Watching every
call is the default; with `every=4` one call in four is watched, and four calls are timed
together. (A first version in PyTorch operations cost 30 to 50 %, one that read each output
once 6 to 10 % in an earlier protocol with one pass a round. One that begins with what was
written last, which is still in the cache, cost 3.4, 5.8, 4.0 and 3.7 %; since then a ReLU
in an `nn.Sequential` counts what it reads, which is most of solar_defects.)

Added later: the note says how much counting reads in a call and how fast, in the median of
9 separate calls (in the reading of 2026-12-01, one call).
"""

import math
import statistics
import time
from collections.abc import Iterator
from unittest.mock import patch

import torch
from harness.interval import quartiles, spread
from harness.script import Run, Script
from latent_cache import windows
from models import tang_lm

from deepseek_learn import DynamicParameterGroup, dpg, zoo
from deepseek_learn.dpg.kernels import cpp_backend
from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row
from deepseek_learn.zoo import smollm2

SCRIPT = Script(__file__, __doc__, quick="one short round", parts=("compress", "watch"))
TARGETS = {"gptq": 60, "nearest": 15}
WORDS = {"gptq": "by default", "nearest": "to nearest"}
ROUNDS, WINDOWS, BATCH = 3, 8, 4
PASSES = 3


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


def compressing(run: Run) -> Iterator[Row]:
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


def networks():
    """Name, model and input of each."""
    from torchvision.models import resnet50

    generator = torch.Generator().manual_seed(0)

    def pictures(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    yield "fashion_net", zoo.load("fashion_net"), pictures(32, 1, 28, 28)
    yield "solar_defects", zoo.load("solar_defects"), pictures(2, 1, 288, 288)
    yield "ResNet-50", resnet50().eval(), pictures(2, 3, 224, 224)
    text = torch.randint(0, 256, (16, 128), generator=generator)
    yield "language model", tang_lm.load(0), text


def overhead(model, x, rounds: int, every: int) -> list[float]:
    """Monitoring overhead of a forward pass in each round, in percent."""
    watch, added = DynamicParameterGroup(model, every=every), []
    with torch.inference_mode():
        for i in range(rounds + 1):
            plain, watched = [], []
            for _ in range(PASSES):
                plain.append(seconds(model, x, every))
                with watch:
                    watched.append(seconds(model, x, every))
            if i:  # the first warms up and records which norms follow which layers
                added.append(100 * (min(watched) / min(plain) - 1))
    return added


def seconds(model, x, calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        model(x)
    return time.process_time() - start


def reading(model, x) -> str:
    """How much counting reads in one call, and how fast; "" without the C++ kernel."""
    count, passes, calls = cpp_backend.count_active, [], []

    def timed(y, *rest):
        start = time.process_time()
        result = count(y, *rest)
        passes.append((y.numel() * y.element_size(), time.process_time() - start))
        return result

    with torch.inference_mode(), DynamicParameterGroup(model):
        model(x)  # records which norms follow which layers
        with patch.object(cpp_backend, "count_active", timed):
            for _ in range(9):
                passes.clear()
                model(x)
                calls.append(sum(spent for _, spent in passes))
    if not passes:
        return ""
    size, spent = sum(size for size, _ in passes), statistics.median(calls)
    return f"counting reads {size / 1e6:.0f} MB at {size / spent / 1e9:.0f} GB/s"


def watching(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    watched = [(*network, reading(*network[1:])) for network in networks()]
    cases = [(*each, every) for every in (1, 4) for each in watched]
    for name, model, x, note, every in cases:
        added = quartiles(overhead(model, x, 5 if run.quick else 21, every))
        which = "every call" if every == 1 else f"one call in {every}"
        row = Row(
            claim="C1",
            source="ours",
            what=f"{name}: time that watching {which} adds",
            unit="% of a forward",
            better="lower",
            target=5,
            note=note,
            **vars(added),
        )
        print(f"{row.what}: {row.measured:.2f} %; {row.note}", flush=True)
        yield row.at(now())


PARTS = {"compress": compressing, "watch": watching}


def measure(run: Run) -> Iterator[Row]:
    for part, work in PARTS.items():  # in this order: the second takes one thread
        if part in run.parts:
            yield from work(run)


if __name__ == "__main__":
    SCRIPT.main(measure)
