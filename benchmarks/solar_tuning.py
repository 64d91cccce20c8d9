"""Which settings train the solar-cell classifier best: accuracy, speed and energy.

    python benchmarks/solar_tuning.py [--quick]

Task. The training part of fold 0 of `solar_cells.py` (2,099 photographs), divided once
more, four fifths for training and one fifth for validation (stratified by type and
probability, seed 1). No test part of any fold is read. The model and the training are
the zoo's (`zoo.train.solar_defects`), with six epochs instead of sixteen, seed 0.

Search. `AutoTuner` as it comes, 16 trials: DeepOpt's learning rate (0.001 to 0.02), the
share of it for AdamW's parameters (0.05 to 1), the side of the photographs (192, 224, 256
or 288 pixels) and the dropout of the head (0 to 0.4). `DominationPruner` with a rung at
epoch 3. Objectives, all minimized: `error`, 1 - AUROC on the validation part with the
mean over four flips, of the best epoch (the accuracy of 420 photographs would be too
coarse); `latency_ms`
of one photograph, one thread; `energy_j` of the training.

Decision, stated before the run: of the front, the configuration of the lowest error whose
latency is at most 1.5 times that of 256 pixels is the one for `solar_cells.py`. There is
no target: the rows are for information (C11 has the tuner's targets).

Finished trials are in the journal in `tables/runs/` (not in git), so that a run that was
cut off goes on. Seen before: two trainings with other networks' heads, at learning rates
of 0.004 (ten epochs, AUROC 0.932 on the same validation part) and, with AdamW, 0.0006
(twelve epochs, 0.906).

Added later: the trials ran beside other work, so the latencies are not comparable (16 to
53 ms at the same 192 pixels). All configurations on the front have 192 pixels, which
takes about half the operations of 256, so the best of them fulfills the condition. The
training has mixup since, and is in `models/solar_net.py`: the zoo keeps its earlier model.
"""

import functools
from collections.abc import Iterator

import numpy as np
import torch
from harness.script import BENCHMARKS, Run, Script
from models import solar_net
from sklearn.model_selection import StratifiedKFold
from solar_cells import folds

from deepseek_learn import data
from deepseek_learn.data import ImageDataset
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure import memory
from deepseek_learn.training import predict
from deepseek_learn.tuner import (
    AutoTuner,
    DominationPruner,
    EnergyMeter,
    Measured,
    latency,
)
from deepseek_learn.zoo.metrics import auroc

SCRIPT = Script(
    __file__,
    __doc__,
    quick="two trials of one epoch",
    of_the_machine=False,
    environment=memory.REUSE_FREED,
)
SPACE = {
    "lr": (1e-3, 2e-2, "log"),
    "adamw_lr": (0.05, 1.0, "log"),
    "size": [192, 224, 256, 288],
    "dropout": (0.0, 0.4),
}
TRIALS, EPOCHS, RUNG = 16, 6, 3


@functools.cache
def parts(size: int, quick: bool) -> tuple[ImageDataset, ImageDataset]:
    """The inner training and validation parts of fold 0."""
    whole = data.elpv(size=size).whole()
    outer = whole.subset(folds(whole)[0][0])
    frame = outer.frame
    strata = frame["type"] + frame["probability"].round(2).astype(str)
    splitter = StratifiedKFold(5, shuffle=True, random_state=1)
    train, validation = next(splitter.split(np.zeros(len(frame)), strata))
    train = train[::20] if quick else train
    return outer.subset(train), outer.subset(validation)


class Epochs:
    """What `fit` calls after each epoch: scores it, adds its energy, and may prune."""

    def __init__(self, trial, ms: float, epochs: int):
        self.trial, self.ms, self.epochs = trial, ms, epochs
        self.meter, self.epoch, self.joules = EnergyMeter(), 0, 0.0
        self.meter.__enter__()

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> float:
        self.meter.__exit__()
        self.epoch, self.joules = (
            self.epoch + 1,
            self.joules + self.meter.energy_j.value,
        )
        score = auroc(logits, labels)
        if self.epoch == RUNG:
            # of a pruned trial the sampler knows only this report
            whole = self.joules * self.epochs / self.epoch
            objectives = {"latency_ms": self.ms, "energy_j": whole}
            self.trial.report(self.epoch, error=1 - score, **objectives)
        self.meter.__enter__()
        return score

    def energy(self) -> Measured:
        return Measured(self.joules, unit="J", source=self.meter.source)


def objective(trial, quick: bool = False) -> dict:
    """The three objectives of one configuration."""
    torch.set_num_threads(1)
    config, epochs = dict(trial), 1 if quick else EPOCHS
    train, validation = parts(config["size"], quick)
    image = validation.batch(slice(0, 1))[0]
    ms = latency(solar_net.SolarNet().eval(), image).ms
    each = Epochs(trial, ms.value, epochs)
    model, _ = solar_net.train(
        train,
        solar_net.Settings(**config, epochs=epochs),
        validation=validation,
        metric=each,
    )
    error = 1 - auroc(*predict(solar_net.Flips(model), validation))
    return {"error": error, "latency_ms": ms, "energy_j": each.energy()}


def measure(run: Run) -> Iterator[Row]:
    journal = BENCHMARKS / "tables" / "runs" / "solar_tuning.journal"
    journal.parent.mkdir(parents=True, exist_ok=True)
    if run.quick:
        journal = journal.with_suffix(".quick")
        journal.unlink(missing_ok=True)
    tuner = AutoTuner(
        functools.partial(objective, quick=run.quick),
        SPACE,
        ("error", "latency_ms", "energy_j"),
        storage=journal,
        pruner=DominationPruner(rungs=(RUNG,)),
    )
    missing = (2 if run.quick else TRIALS) - len(tuner.snapshot().trials)
    study = (
        tuner.run(trials=missing, progress=False) if missing > 0 else tuner.snapshot()
    )
    for solution in sorted(study.front, key=lambda s: s.results["error"].value):
        values = {name: m.value for name, m in solution.results.items()}
        config = ", ".join(f"{k} {v:.3g}" for k, v in solution.config.items())
        note = f"{values['latency_ms']:.3g} ms, {values['energy_j']:.4g} J"
        yield Row(
            claim="C11",
            source="ours",
            what=f"solar cells, on the front: {config}: 1 - AUROC on validation",
            unit="of 1",
            better="lower",
            measured=values["error"],
            note=note,
        )


if __name__ == "__main__":
    SCRIPT.main(measure)
