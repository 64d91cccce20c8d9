"""The industries' small models on a processor: the same answers, how small, how fast?

    python benchmarks/industries.py [--quick] [--anew] [--speed] [--part MODEL ...]

Protocol. One thread. Each model is in the zoo, and so is its sibling with DPG. The wizard
deploys the sibling for `cpp-cpu` (ONNX Runtime) in float32 and in INT8; INT8 is calibrated
on training data, and the guard's metric is the score on the validation part. The C++ engine
reads the whole test part from a file and answers it in one batch.

`exact`: the largest difference of an output of the engine from PyTorch's, and the score on
the test part (in points; the solution's own metric) of the original, with DPG, and of the
engine. Scores and their differences come with an interval over 1,000 resamplings: of the
groups of the test part, or of its inputs if it has fewer than five groups. `speed`: one
input, in each of 7 rounds in turn PyTorch eager with the original and the C++ engine in
both precisions (the median of 50 calls each); ratios within a round, median and quartiles.

Targets, stated before the run. The guide (C2, C12): DPG keeps 98 % of the score; INT8 loses
less than 1 point and is 3 times as fast as eager float32. Ours: float32 within 1e-4 of
PyTorch. `--quick` takes 64 test inputs and 2 rounds.

Added later: two models that read texts. These have different lengths, so their second axis
is dynamic; the engine answers 256 of them at a time, and the time is that of a text of
median length. The score of both is the accuracy.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from deploying.backends import Engine, timed
from harness.interval import Estimate, quartiles
from harness.runs import end_time
from harness.script import Run, Script, Skip
from torch import Tensor

from deepseek_learn import zoo
from deepseek_learn.data import LabeledDataset
from deepseek_learn.deploy import AccuracyError, BuildError, DeploymentWizard, native
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure.clock import in_turn
from deepseek_learn.measure.resampling import samples
from deepseek_learn.solutions.mail.train import evaluation as mail_reader
from deepseek_learn.solutions.movement.train import evaluation as movement_reader
from deepseek_learn.solutions.reviews.train import evaluation as review_reader
from deepseek_learn.solutions.wind.train import evaluation as wind_power
from deepseek_learn.zoo import Evaluation

CASES: dict[str, Callable[[], Evaluation]] = {
    "wind_power": wind_power,
    "movement_reader": movement_reader,
    "review_reader": review_reader,
    "mail_reader": mail_reader,
}
EAGER, ENGINES = "PyTorch eager, float32", ("fp32", "int8")
ROUNDS, CALLS, QUICK, GROUPS, BATCH, TEXTS = 7, 50, 64, 5, 16, 256
SCRIPT = Script(
    __file__,
    __doc__,
    quick="64 inputs, 2 rounds",
    anew=True,
    speed=True,
    parts=(*CASES,),
)


@dataclass(eq=False)
class Deployed:
    """A model of the zoo, its sibling, and the engine in both precisions."""

    name: str
    quick: bool

    @cached_property
    def evaluation(self) -> Evaluation:
        return CASES[self.name]()

    @cached_property
    def test(self) -> LabeledDataset:
        test = self.evaluation.test
        return test.subset(range(QUICK)) if self.quick else test

    @cached_property
    def models(self) -> dict[str, torch.nn.Module]:
        names = {"original": self.name, "dpg": f"{self.name}_dpg"}
        return {key: zoo.load(name).eval() for key, name in names.items()}

    @cached_property
    def place(self) -> TemporaryDirectory:
        return TemporaryDirectory()

    @cached_property
    def folders(self) -> dict[str, Path | float]:
        """Precision → the deployed folder, or the loss that the guard refused."""
        result, batches = {}, [*self.evaluation.calibration.split(BATCH)]
        wizard = DeploymentWizard(
            self.models["dpg"],
            batches[0][:2],
            batches,
            self.evaluation.metric,
            sequence_axis=1 if self.reads_text else None,
        )
        for precision in ENGINES:
            out = Path(self.place.name) / precision
            try:
                wizard.to("cpp-cpu", out, precision=precision, progress=False)
                result[precision] = out
            except AccuracyError as error:
                result[precision] = error.guard.loss
            except BuildError as error:
                raise Skip(str(error)) from error
        return result

    @property
    def reads_text(self) -> bool:
        return zoo.zoo[self.name].kind == "text"

    def answers(self, folder: Path) -> Tensor:
        """What the C++ engine answers on the test part."""
        count, answers = TEXTS if self.reads_text else len(self.test), []
        words = ["--library", native.library(), "--warmup", 0, "--repeat", 1]
        words += ["--input", folder / "x.npy", "--output", folder]
        for rows in torch.arange(len(self.test)).split(count):
            np.save(folder / "x.npy", self.test.batch(rows)[0].numpy())
            native.run(folder / "engine", folder / "model.onnx", *words)
            answers.append(torch.from_numpy(np.load(folder / "output_0.npy")))
        return torch.cat(answers)

    def example(self) -> Tensor:
        """The input whose time is measured."""
        if not self.reads_text:
            return self.test.batch(slice(0, 1))[0]
        lengths = (self.test.inputs != 0).sum(1)
        middle = int(lengths.argsort(stable=True)[len(lengths) // 2])
        return self.test.batch(slice(middle, middle + 1))[0]


def exact(deployed: Deployed) -> dict:
    score, part = deployed.evaluation.score, deployed.test
    inputs, labels = part.batch()
    with torch.inference_mode():
        answers = {
            key: torch.cat([model(x) for x in inputs.split(BATCH)])
            for key, model in deployed.models.items()
        }
    folders = {k: v for k, v in deployed.folders.items() if isinstance(v, Path)}
    answers |= {key: deployed.answers(folder) for key, folder in folders.items()}
    refused = {k: v for k, v in deployed.folders.items() if not isinstance(v, Path)}

    def points(rows: np.ndarray | slice) -> dict[str, float]:
        return {k: 100 * score(a[rows], labels[rows]) for k, a in answers.items()}

    whole = points(slice(None))
    drawn = [points(rows) for rows in resampled(part)]

    def estimate(statistic: Callable) -> list[float]:
        low, high = np.quantile([statistic(each) for each in drawn], (0.025, 0.975))
        return [statistic(whole), float(low), float(high)]

    card = zoo.card(f"{deployed.name}_dpg")
    settings = card.runs[card.model.split]["settings"]
    return {
        "inputs": len(part),
        "points": estimate(lambda p: p["original"]),
        "kept": estimate(lambda p: p["dpg"] / p["original"]),
        "lost": {k: estimate(lambda p, k=k: p["dpg"] - p[k]) for k in folders},
        "apart": {
            key: float((answers[key] - answers["dpg"]).abs().max()) for key in folders
        },
        "bytes": {k: (f / "model.onnx").stat().st_size for k, f in folders.items()},
        "refused": refused,
        "stored": settings["stored_bytes"] / settings["original_bytes"],
    }


def resampled(part: LabeledDataset, count: int = 1000) -> Iterator[np.ndarray]:
    """The rows of resamplings of the groups, or of the inputs."""
    groups = part.groups
    if groups is None or len(set(groups)) < GROUPS:
        return islice(samples(len(part)), count)
    return islice(samples(groups), count)


def speed(deployed: Deployed) -> dict:
    torch.set_num_threads(1)
    x, model = deployed.example(), deployed.models["original"]
    calls = 5 if deployed.quick else CALLS
    sides = {EAGER: partial(timed(lambda: model(x)), calls)}
    for precision, folder in deployed.folders.items():
        if isinstance(folder, Path):
            import onnx

            proto = onnx.load(folder / "model.onnx")
            words = ("--library", native.library())
            engine = Engine(folder / "engine", proto, x, folder, *words)
            sides[precision] = partial(engine, calls)
    with torch.inference_mode():
        for side in sides.values():
            side()  # warm up
        return in_turn(sides, 2 if deployed.quick else ROUNDS)


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    runs = run.finished_runs()
    for name in run.parts or CASES:
        deployed = Deployed(name, run.quick)
        key, timing = {"model": name, "part": "exact"}, partial(speed, deployed)
        if not run.speed:
            yield from exact_rows(name, runs.once(key, partial(exact, deployed)))
        key = {"model": name, "part": "speed"}
        times = runs.again(key, timing) if run.speed else runs.once(key, timing)
        yield from speed_rows(name, times)


def exact_rows(name: str, facts: dict) -> Iterator[Row]:
    def interval(value: float, low: float, high: float) -> Estimate:
        return Estimate(value, low, high, "95 % bootstrap", facts["inputs"])

    whole, kept = (interval(*facts[key]) for key in ("points", "kept"))
    yield row(name, "score", whole, unit="points", better="higher", claim="C15")
    yield row(name, "score with DPG, of the original's", kept, unit="of 1",
              better="higher", target=0.98, claim="C2", source="guide")  # fmt: skip
    stored = Estimate(facts["stored"])
    what = "bytes of the weights with DPG, of the original's"
    yield row(name, what, stored, unit="of 1", better="lower", claim="C2")
    for precision in ENGINES:
        what = f"points that the C++ engine loses, {precision}"
        more = {"unit": "points", "better": "lower", "claim": "C12"}
        if precision == "int8":
            more |= {"target": 1.0, "source": "guide"}
        if precision in facts["refused"]:
            note = "refused by the wizard's guard, on the validation part"
            lost = Estimate(facts["refused"][precision])
            yield row(name, what, lost, note=note, **more)
            continue
        yield row(name, what, interval(*facts["lost"][precision]), **more)
        what = f"largest difference of an output of the C++ engine, {precision}"
        target = 1e-4 if precision == "fp32" else None
        apart = Estimate(facts["apart"][precision])
        yield row(
            name, what, apart, unit="", better="lower", claim="C12", target=target
        )
        what = f"size of the deployed model, {precision}"
        size = Estimate(facts["bytes"][precision] / 1e3)
        yield row(name, what, size, unit="kB", better="lower", claim="C15")


def speed_rows(name: str, times: dict) -> Iterator[Row]:
    for precision in ENGINES:
        if precision not in times:
            continue
        ratios = [a / b for a, b in zip(times[EAGER], times[precision], strict=True)]
        what = f"the C++ engine ({precision}) is faster than {EAGER}"
        more = {"unit": "times", "better": "higher", "claim": "C12"}
        if precision == "int8":
            more |= {"target": 3.0, "source": "guide"}
        yield row(name, what, quartiles(ratios), **more).at(end_time(times))
        what = f"milliseconds per input of the C++ engine, {precision}"
        yield row(
            name, what, quartiles(times[precision]), unit="ms", better="lower",
            claim="C15",
        ).at(end_time(times))  # fmt: skip


def row(name: str, what: str, estimate: Estimate, **more) -> Row:
    fields = {"source": "ours", "what": f"{name}: {what}"}
    return Row(**fields | more | vars(estimate))


if __name__ == "__main__":
    SCRIPT.main(measure)
