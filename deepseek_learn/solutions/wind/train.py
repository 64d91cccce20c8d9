"""Train the zoo's `wind_power` on La Haute Borne and write its weights and card.

    python -m deepseek_learn.solutions.wind.train          # into zoo_runs/
    python -m deepseek_learn.solutions.wind.train --ship   # also into the package

The protocol was fixed before the run. The network learns from three turbines in 2014. Its
card says how far it is off on the fourth one (R80790) in 2015, and on the three in 2015,
beside their power curve of 2014. Samples count that lie near this curve (`Curve.near`).
Settings are those of `power.learn`, seed 0. Compression and deployment are judged on the
fourth turbine in 2014.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ...data.dataset import SeriesDataset
from ...measure import bootstrap
from ...training import Fit, predict
from ...zoo import Evaluation, storage
from ...zoo.nets.power_net import PowerNet
from . import power
from .power import MARGIN, WINDOW, Curve
from .scada import Scada, from_frame
from .wind_farm import RATED_KW, wind_farm

NAME, SPLIT, UNSEEN, YEAR, SEED = "wind_power", "turbine", "R80790", "2015-01-01", 0
STEP = WINDOW - 2 * MARGIN
CALIBRATION = 64  # windows


@dataclass(frozen=True, eq=False)
class FarmSamples:
    """A farm and what a network learns from it: a curve, inputs, targets and weights.

    Attributes:
        curve: that of the other turbines in 2014.
        x, y: the network's inputs `[N, 6, T]` and the power, as a part of the rated one.
        near: where a sample lies near the curve, `[N, T]`.
        early: the steps of 2014, `[T]`.
        others: the turbines to learn from.
    """

    curve: Curve
    x: np.ndarray
    y: np.ndarray
    near: np.ndarray
    early: np.ndarray
    others: list[int]

    @classmethod
    def of(cls, scada: Scada, unseen: int) -> "FarmSamples":
        """Prepare a farm without one of its turbines."""
        wind, share = power.normal_wind(scada), scada.power / scada.rated_kw
        early = scada.time < np.datetime64(YEAR)
        others = [i for i in range(len(wind)) if i != unseen]
        curve = Curve.fit(*(a[others][:, early].ravel() for a in (wind, share)))
        x = power.inputs(scada, [curve] * len(wind))[:, :6]  # without its name
        near = np.stack([curve.near(w, p) for w, p in zip(wind, share, strict=True)])
        y = np.nan_to_num(share).astype(np.float32)
        return cls(curve, x, y, near, early, others)

    def windows(self, turbines: list[int], use: np.ndarray) -> SeriesDataset:
        """Cut the steps in `use` into windows whose middles do not overlap.

        Labels are (power, power of the curve), `[N, 2, 288]`, NaN where a step does not
        count or belongs to the middle of another window.
        """
        steps = np.flatnonzero(use)
        starts = np.arange(steps[0], steps[-1] - WINDOW, STEP)
        middle = np.zeros(WINDOW, bool)
        middle[MARGIN:-MARGIN] = True
        inputs, labels = [], []
        for turbine in turbines:
            for start in starts:
                span = slice(start, start + WINDOW)
                counts = middle & self.near[turbine, span]
                truth = np.stack([self.y[turbine, span], self.x[turbine, 0, span]])
                inputs.append(self.x[turbine, :, span])
                labels.append(np.where(counts, truth, np.nan))
        frame = pd.DataFrame({"turbine": np.repeat(turbines, len(starts))})
        return SeriesDataset(
            torch.from_numpy(np.stack(inputs)),
            torch.from_numpy(np.stack(labels)),
            frame,
            groups=frame["turbine"].to_numpy(),
        )


def farm_samples() -> FarmSamples:
    """Prepare La Haute Borne without the turbine R80790."""
    scada = from_frame(wind_farm(), rated_kw=RATED_KW)
    return FarmSamples.of(scada, scada.turbines.index(UNSEEN))


def evaluation() -> Evaluation:
    """Return the windows on which the model is compressed, deployed and tested.

    The score is the part of the power curve's error that the network takes away, `skill`.
    """
    farm = farm_samples()
    unseen = [i for i in range(len(farm.y)) if i not in farm.others]
    training = farm.windows(farm.others, farm.early)
    rows = np.random.default_rng(SEED).choice(len(training), CALIBRATION, replace=False)
    return Evaluation(
        calibration=training.subset(rows).batch()[0],
        held_out=farm.windows(unseen, farm.early),
        test=farm.windows(unseen, ~farm.early),
        score=skill,
    )


def skill(prediction: Tensor, labels: Tensor) -> float:
    """Return 1 minus the error as a part of the curve's.

    Args:
        prediction: `[N, 288]`.
        labels: those of `FarmSamples.windows`.
    """
    error, curve_error = (
        _squares(p, labels[:, 0]).nansum() for p in (prediction, labels[:, 1])
    )
    return 1 - float((error / curve_error).sqrt())


def _squares(prediction: Tensor, truth: Tensor) -> Tensor:
    return (prediction - truth).double().square()


def metrics(prediction: Tensor, labels: Tensor, resamples: int = 1000) -> dict:
    """Return the errors in percent of the rated power, with intervals of windows."""
    squares = {
        name: _squares(p, labels[:, 0])
        for name, p in (("rmse", prediction), ("rmse_of_curve", labels[:, 1]))
    }
    counts = labels[:, 0].isfinite().sum(1).double()
    sums = {name: each.nansum(1) for name, each in squares.items()}  # [N]

    def percent(name: str, rows: np.ndarray) -> float:
        return float(100 * (sums[name][rows].sum() / counts[rows].sum()).sqrt())

    def skill(rows: np.ndarray) -> float:
        return 1 - percent("rmse", rows) / percent("rmse_of_curve", rows)

    statistics = {name: partial(percent, name) for name in sums} | {"skill": skill}
    return {
        name: bootstrap(statistic, len(counts), repeats=resamples).to_dict()
        | {"n": int(counts.sum())}
        for name, statistic in statistics.items()
    }


def score(
    predict_windows: Callable[[SeriesDataset], tuple[Tensor, Tensor]], farm: FarmSamples
) -> dict:
    """Return the metrics of a card: the unseen turbine, and the others, in 2015."""
    unseen = [i for i in range(len(farm.y)) if i not in farm.others]
    parts = {"all": unseen, "seen turbines": farm.others}
    return {
        name: metrics(*predict_windows(farm.windows(turbines, ~farm.early)))
        for name, turbines in parts.items()
    }


def main() -> None:
    arguments = storage.options(__doc__).parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    farm, start = farm_samples(), time.process_time()
    torch.manual_seed(SEED)
    model = PowerNet()
    near = (farm.near & farm.early)[farm.others]
    power.learn(
        model, farm.x[farm.others], farm.y[farm.others], near, power.STEPS, SEED
    )
    storage.load_into(model, storage.save(NAME, model, arguments.out))
    run = Fit(pd.DataFrame(index=[1]), 1, "epochs", time.process_time() - start)
    settings = {"seed": SEED, "batch_size": power.BATCH, "lr": power.LR}
    settings |= {"steps": power.STEPS}
    result = score(lambda part: predict(model.eval(), part), farm)
    storage.record(NAME, arguments.out, SPLIT, result, run, settings)
    if arguments.ship:
        storage.ship(NAME, arguments.out, SPLIT, weights=True)
    print(result)


if __name__ == "__main__":
    main()
