"""A scale of either sign for each group of weights, against positive scales alone.

The protocol is in `benchmarks/dpg_quality.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from unittest.mock import patch

from harness.interval import ratio_of_means
from harness.runs import Runs
from harness.script import Run

from deepseek_learn.ledger.rows import Row

TARGET, BITS = 0.9, (2, 3, 4)
POSITIVE = {  # the ranges tried before, as fractions of the largest magnitude
    2: (1.0, 0.78, 0.68, 0.6, 0.52),
    3: (1.0, 0.92, 0.85, 0.78, 0.7),
    4: (1.0, 0.95, 0.9, 0.85, 0.78),
    8: (1.0,),
}


@contextmanager
def positive_scales():
    """Let `dpg` try positive scales alone, as it did before it tried both signs.

    2^(b-1) - 1/2 steps went to the largest magnitude: half a step more than the codes
    reach above zero, and half a step less than they reach below.
    """
    from deepseek_learn.dpg import codes, gptq, rounding

    def extreme_weight(group):
        # a negative one has a positive scale
        return -group.abs().amax(1).clamp(min=1e-9)

    clips = {
        bits: tuple(clip * 2 ** (bits - 1) / (2 ** (bits - 1) - 0.5) for clip in ranges)
        for bits, ranges in POSITIVE.items()
    }
    with (
        patch.object(codes, "CLIPS", clips),
        patch.object(gptq, "extreme_weight", extreme_weight),
        patch.object(rounding, "extreme_weight", extreme_weight),
    ):
        yield


class SmolLM2:
    """As in `lm_weights.py`: two texts, the head in 8 bits."""

    def __init__(self, quick: bool):
        from language.smollm_files import HEAD
        from language.texts import CALIBRATION, TEST, Losses, material

        self.wider = {HEAD: 8}
        counts = (2, 8) if quick else (TEST, CALIBRATION)
        self.model, calibration, texts = material(*counts)
        self.batches, self._losses = calibration.split(4), Losses(self.model, texts)
        self.texts = list(texts)

    def divergences(self, model) -> dict:
        losses = self._losses.of(self._losses.answers(model))
        return {text: losses[text] for text in self.texts}


class SmallDeepSeek:
    """As in the budgets of `lm_weights.py`."""

    def __init__(self, quick: bool):
        from language import budgets

        from deepseek_learn import lm, zoo

        writer = zoo.writer("small_deepseek")
        self.model = lm.separate(writer.model)
        del self.model.model.layers[self.model.config.num_hidden_layers :]
        self.wider, self._answers = {}, budgets.answers
        tests, few = (16, 16) if quick else (budgets.TEST, budgets.CALIBRATION)
        self._rows = budgets.windows(writer, "test", tests)
        self.batches = budgets.windows(writer, "train", few)[:, :-1].split(
            budgets.BATCH
        )
        self._reference = self._answers(self.model, self._rows)

    def divergences(self, model) -> dict:
        from deepseek_learn.zoo.metrics import divergence

        answers = self._answers(model, self._rows)
        kl = divergence(answers.flatten(0, 1), self._reference.flatten(0, 1))
        return {"poems and verses": kl.view(len(answers), -1).mean(1).tolist()}


class Classifier:
    """As in the part *quality*; the divergence is each picture's."""

    def __init__(self, name: str, quick: bool):
        from compressing.quality import Pictures

        self._of, self.wider = Pictures(name, quick), {}
        self.model, self.batches = self._of.model, self._of.calibration

    def divergences(self, model) -> dict:
        from deepseek_learn.zoo.metrics import divergence

        kl = divergence(self._of.answer(model), self._of.reference)
        return {"pictures": kl.tolist()}


SUBJECTS = {
    "SmolLM2": SmolLM2,
    "small_deepseek": SmallDeepSeek,
    "fashion_net": lambda quick: Classifier("fashion_net", quick),
    "solar_defects": lambda quick: Classifier("solar_defects", quick),
}


class Subject:
    """One model with its inputs, set up when the first unfinished run needs it."""

    def __init__(self, name: str, run: Run):
        self.name, self.quick = name, run.quick

    @cached_property
    def of(self):
        return SUBJECTS[self.name](self.quick)

    @cached_property
    def statistics(self):
        from deepseek_learn import dpg

        return dpg.calibrate(self.of.model, self.of.batches)

    def divergences(self, bits: int) -> dict:
        """Text → what GPTQ with so many bits in every row loses, item by item."""
        from deepseek_learn import dpg

        allocation = dpg.uniform(self.of.model, bits, 64, self.of.wider)
        small = dpg.simulate(self.of.model, allocation, self.statistics)
        return {"bytes": allocation.stored_bytes} | self.of.divergences(small)

    def pair(self, runs: Runs, bits: int) -> tuple[dict, dict]:
        """With scales of either sign, and with positive ones."""

        def before() -> dict:
            with positive_scales():
                return self.divergences(bits)

        key = {"model": self.name, "bits": bits}
        both = runs.once(
            key | {"scales": "of either sign"}, lambda: self.divergences(bits)
        )
        positive = runs.once(key | {"scales": "positive"}, before)
        if both["bytes"] != positive["bytes"]:
            raise RuntimeError(f"{self.name}: the bytes differ at {bits} bits.")
        return both, positive


def measure(run: Run) -> Iterator[Row]:
    runs = run.finished_runs(part="signs", anywhere=True)
    for name in ("fashion_net",) if run.quick else SUBJECTS:
        subject = Subject(name, run)
        for bits in BITS:
            both, positive = subject.pair(runs, bits)
            for text in [k for k, v in both.items() if isinstance(v, list)]:
                yield row(name, text, bits, both[text], positive[text])


def row(name: str, text: str, bits: int, both: list, positive: list) -> Row:
    means = [sum(kl) / len(kl) for kl in (both, positive)]
    what = f"{name}, {text}: KL of uniform GPTQ at {bits} bits, scales of either sign "
    return Row(
        claim="C2",
        source="ours",
        what=f"{what}over positive ones",
        unit="ratio",
        better="lower",
        target=TARGET,
        note="{:.4g} against {:.4g} nats, the same bytes".format(*means),
        **vars(ratio_of_means(both, positive)),
    )
