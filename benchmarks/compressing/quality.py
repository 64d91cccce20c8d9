"""DPG's answers against the best plain quantization, at equal bytes.

The protocol is in `benchmarks/dpg_quality.py`.
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch
from harness.interval import Estimate, ratio_of_means, spread
from harness.runs import Runs
from harness.script import Run
from models import peers, tang_lm

from deepseek_learn import data, dpg, zoo
from deepseek_learn.ledger.rows import Row
from deepseek_learn.training import predict
from deepseek_learn.zoo.metrics import divergence

WINDOW, WINDOWS, BATCH = 128, 256, 16
CRITERIA = ("sensitivity", "frequency", "frequency×error", "magnitude", "random")
DRAWS = 5  # for the random criterion
PEERS = {
    "torchao int4 (group 32)": peers.torchao_int4,
    "torchao int4 HQQ (group 32)": lambda model: peers.torchao_int4(model, hqq=True),
    "bitsandbytes nf4": peers.bitsandbytes_nf4,
    "torchao int8": peers.torchao_int8,
    "torch dynamic int8": peers.torch_int8,
}


class Language:
    """One language model with its inputs and float32 outputs."""

    answers_per_item = WINDOW  # the answers of a window are not independent

    def __init__(self, seed: int, quick: bool):
        self.model = tang_lm.load(seed)
        text = data.tang_poems()
        generator = torch.Generator().manual_seed(seed)
        windows = data.windows(text.train, WINDOW, WINDOWS, generator)
        self.calibration = windows[:, :-1].split(BATCH)
        count = (len(text.test) - 1) // WINDOW
        starts = torch.arange(0, count, 16 if quick else 2)[:, None] * WINDOW
        test = text.test.long()[starts + torch.arange(WINDOW + 1)]
        self.inputs, self.labels = test[:, :-1], test[:, 1:].flatten()
        self.reference = self.answer(self.model)

    def answer(self, model) -> torch.Tensor:
        with torch.inference_mode():
            parts = [model(x).float() for x in self.inputs.split(BATCH)]
        return torch.cat(parts).flatten(0, 1)


class Pictures:
    """One image classifier of the zoo, with its inputs and float32 outputs."""

    answers_per_item = 1

    def __init__(self, name: str, quick: bool):
        self.model = zoo.load(name)
        splits = data.fashion_mnist()
        samples = 512
        if name == "solar_defects":
            splits, samples = data.elpv(split="random", size=288), 256
        generator = torch.Generator().manual_seed(0)
        rows = torch.randperm(len(splits.train), generator=generator)[:samples]
        self.calibration = splits.train.batch(rows)[0].split(32)
        self.test = splits.test
        if quick:
            self.test = splits.test.subset(torch.arange(0, len(splits.test), 8))
        self.labels = self.test.labels
        self.reference = self.answer(self.model)

    def answer(self, model) -> torch.Tensor:
        return predict(model, self.test)[0]


def compare(of, model, stored_bytes: int | None = None, bits: float | None = None):
    """How the outputs of `model` differ from the float32 model's."""
    logits = of.answer(model)
    hits = [z.argmax(1) == of.labels for z in (logits, of.reference)]
    right = [each.view(-1, of.answers_per_item).sum(1) for each in hits]  # [items]
    pairs, counts = torch.stack(right, 1).unique(dim=0, return_counts=True)
    same = logits.argmax(1) == of.reference.argmax(1)
    return {
        "kl": divergence(logits, of.reference).mean().item(),
        "right": torch.column_stack([pairs, counts]).tolist(),
        "agreement": 100 * same.double().mean().item(),
        "accuracy": 100 * hits[0].double().mean().item(),
        "stored_share": stored_bytes and 100 * stored_bytes / dpg.bytes_of(of.model),
        "bits_a_weight": bits,
        "answers": len(logits),
    }


def packed_bits(model) -> float:
    """Stored bits per weight of packed layers, including scales and row order."""
    layers = [
        m for m in model.modules() if isinstance(m, dpg.DPGLinear | dpg.DPGConv2d)
    ]
    weights = sum(layer.matrix.rows * layer.matrix.columns for layer in layers)
    return 8 * sum(dpg.bytes_of(layer.matrix) for layer in layers) / weights


def peer_bits(model, original) -> float:
    """Stored bits per weight of a peer's linear layers."""
    linear = [n for n, m in original.named_modules() if type(m) is torch.nn.Linear]
    weights = sum(original.get_submodule(n).weight.numel() for n in linear)
    size = sum(peers.weight_bytes(model.get_submodule(n)) for n in linear)
    return 8 * size / weights


def pack(of, allocation, calibration) -> dict:
    small = dpg.convert(of.model, allocation, calibration)
    return compare(of, small, dpg.bytes_of(small), packed_bits(small))


def peer(of, quantize) -> dict:
    model = quantize(of.model)
    return compare(of, model, bits=peer_bits(model, of.model))


def criterion(of, name: str, bits: float, draw: int, calibration) -> dict:
    if name == "random" and draw:
        name = f"random{draw}"
        dpg.grouping.register(name)(lambda layer: _random(layer, draw))
    try:
        allocation = dpg.allocate(of.model, calibration, bits, name)
    finally:
        if draw:
            dpg.grouping.unregister(name)
    return compare(of, dpg.simulate(of.model, allocation, calibration))


def _random(layer, draw: int) -> torch.Tensor:
    seed = draw * 100_003 + sum(map(ord, layer.name))
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(layer.weight), generator=generator)


class Variants:
    """All variants of one model; each is recorded when it is finished."""

    def __init__(self, of: Language | Pictures, name: str, runs: Runs):
        self.of, self.name, self.runs = of, name, runs

    @cached_property
    def calibration(self):
        return dpg.calibrate(self.of.model, self.of.calibration)

    def once(self, variant: str, call, **more) -> None:
        self.runs.once({"model": self.name, "variant": variant} | more, call)

    def pack(self, allocation: dpg.Allocation) -> dict:
        return pack(self.of, allocation, self.calibration)

    def storage(self) -> None:
        """float32, DPG, and the same storage with 4 bits in every row."""
        model = self.of.model
        size = dpg.bytes_of(model)
        self.once("float32", lambda: compare(self.of, model, size, 32))
        self.once("dpg", lambda: self.pack(dpg.allocate(model, self.calibration, 4.0)))
        self.once("gptq4", lambda: self.pack(dpg.uniform(model, 4)))

    def peers(self) -> None:
        for name, quantize in PEERS.items():
            self.once(name, partial(peer, self.of, quantize))

    def criteria(self) -> None:
        for bits in (3.0, 4.0):
            for name in CRITERIA:
                for draw in range(DRAWS if name == "random" else 1):
                    self.once(
                        name,
                        lambda n=name, b=bits, d=draw: criterion(
                            self.of, n, b, d, self.calibration
                        ),
                        bits=bits,
                        draw=draw,
                    )


def values(rows, field: str, **conditions) -> list[float]:
    matches = [r for r in rows if all(r.get(k) == v for k, v in conditions.items())]
    return [row[field] for row in matches]


def ratio(runs, models: list[str], left: dict, right: dict) -> Estimate:
    """Mean over models of KL(left) / KL(right), with the range."""
    ratios = [
        statistics.mean(values(runs, "kl", model=m, **left))
        / statistics.mean(values(runs, "kl", model=m, **right))
        for m in models
    ]
    return spread(ratios, "range over seeds", statistics.mean)


def summarize(
    runs: list[dict], languages: list[str], pictures: list[str]
) -> Iterator[Row]:
    """The ledger's rows."""
    for name in [*languages, *pictures]:
        yield from _model_rows(runs, name)
    default, gptq4 = {"variant": "dpg"}, {"variant": "gptq4"}
    int4 = ratio(runs, languages, default, {"variant": "torchao int4 (group 32)"})
    what = "language models: KL of dpg over torchao int4's (group 32)"
    yield _row("C2", what, 1 / 3, int4, _peer_note(runs, languages))
    for kind, models in (("language models", languages), ("classifiers", pictures)):
        what = f"{kind}: KL of dpg over uniform GPTQ's at 4 bits, the same bytes"
        yield _row("C2", what, 0.7, ratio(runs, models, default, gptq4))
    models = [*languages, "fashion_net"]
    for bits in (3.0, 4.0):
        frequency = {"variant": "frequency", "bits": bits}
        note = ", ".join(
            f"{m}: {statistics.mean(values(runs, 'kl', model=m, **frequency)):.4g}"
            for m in models
        )
        for name, target in (("sensitivity", 0.5), ("random", None)):
            kl = ratio(runs, models, {"variant": name, "bits": bits}, frequency)
            what = f"KL of {name} over frequency's at {bits:g} bits"
            yield _row("C1", what, target, kl, f"frequency's KL: {note}")


def _row(
    claim: str, what: str, target, estimate, note="", unit="ratio", better="lower"
) -> Row:
    return Row(
        claim=claim,
        source="ours",
        what=what,
        unit=unit,
        better=better,
        target=target,
        note=note,
        **vars(estimate),
    )


def _model_rows(runs, name: str) -> Iterator[Row]:
    [run] = [r for r in runs if (r["model"], r["variant"]) == (name, "dpg")]
    accuracy = relative_accuracy(run["right"])
    share = Estimate(run["stored_share"], n=1)
    title = f"{name}: accuracy of dpg relative to float32"
    note = f"KL {run['kl']:.4g}, the same answer on {run['agreement']:.2f} % of "
    note += f"{run['answers']:,}"
    yield _row("C2", title, 99.5, accuracy, note, "%", "higher")
    guide = _row("C2", title, 98.0, accuracy, "", "%", "higher")
    yield replace(guide, source="guide")
    what = f"{name}: stored bytes of dpg relative to float32, the whole model"
    note = f"{run['bits_a_weight']:.2f} bits a weight where packed"
    yield replace(_row("C2", what, 35.0, share, note, "%"), source="guide")


def relative_accuracy(right: list[list[int]]) -> Estimate:
    """Accuracy over the float32 model's, in %.

    Args:
        right: for each window or picture, as a row, how many answers are right, how many
            of the float32 model's are, and how many windows or pictures that holds for.
    """
    ours, reference, counts = zip(*right, strict=True)
    pairs = [np.repeat(hits, counts) for hits in (ours, reference)]
    return ratio_of_means(*pairs).times(100)


def _peer_note(runs, languages: list[str]) -> str:
    parts = []
    for variant in ("dpg", "gptq4", *PEERS):
        kl = statistics.mean(
            v for m in languages for v in values(runs, "kl", model=m, variant=variant)
        )
        bits = values(runs, "bits_a_weight", model=languages[0], variant=variant)[0]
        parts.append(f"{variant} {kl:.3g} at {bits:.2f} bits a weight")
    return "mean KL: " + "; ".join(parts)


def measure(run: Run) -> Iterator[Row]:
    runs = run.finished_runs()
    seeds = tang_lm.SEEDS[:1] if run.quick else tang_lm.SEEDS
    languages = {f"tang_lm_{seed}": seed for seed in seeds}
    pictures = ["fashion_net"] if run.quick else ["fashion_net", "solar_defects"]
    for name, seed in languages.items():
        variants = Variants(Language(seed, run.quick), name, runs)
        variants.storage()
        variants.peers()
        variants.criteria()
    for name in pictures:
        variants = Variants(Pictures(name, run.quick), name, runs)
        variants.storage()
        if name != "solar_defects":  # a pass takes a minute
            variants.criteria()
    return summarize(runs.rows, list(languages), pictures)
