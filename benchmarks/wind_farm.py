"""A wind farm: how exact is the expected power, and which faults are found?

    python benchmarks/wind_farm.py [--quick] [--anew] [--part power faults]

Protocol. La Haute Borne, four turbines. 2014 is for learning and for choosing all settings,
2015 for the test.

*power*: the root mean square error, in percent of the rated power, for a turbine that the
model has not seen, in 2015; the model learns from the other three in 2014. Samples count
that lie near the power curve of 2014 (four scaled median deviations). IEC's curve, a
generalized additive model and gradient boosting (of wind, temperature and direction), and
the network with and without SC-attention, over seeds 0 to 2. The figure is the mean over
the four turbines. Before this script was written, the network and the curve had been
compared on 2015 twice, with seed 0, and the spread of the curve's residuals there had been
seen.

*faults*: nobody recorded faults, so those of `solutions.wind.faults` are injected into
2015: 20 onsets per case, drawn by seed, the same for all detectors, each in one turbine at
a time (80 injections). Found means: active within 3 or 14 days after the onset, and before
the untouched records are. False alarms are those of the untouched 2015, in which some are
real events. Expected power comes from four networks that learned 2014 (`monitor.CrossFit`).
Detectors: ours; ours on the curves instead of the networks; ours without neighbors; a CUSUM
(slack of 1 % of the rated power) and an average over 120 hours of a turbine's own residual.
The limits of ours are the package's, chosen on 2014 with these
injections; those of the others are the smallest with which the untouched 2014 has no more
alarms than with ours. CARE: 96 windows of 30 days in 2015, every second one with a fault
from day 10 on: the four cases with a target, in turn. What energy hardly shows is among the
cases: a cap at 95 % of the rated power. A stuck sensor is not: a rule finds it within an
hour. Intervals resample the onsets (or the windows) 1,000 times. The alarms of 2015 were
looked at in the full run, and before it in three quick runs (two onsets, networks of 20
steps), after which no setting was changed.

Targets, stated before the run: error at most 2.40 % (stretch 2.2). At no more than 1.5
false alarms per turbine-year: anemometer + 5 % at least 0.95 and a loss of 10 % at least
0.88 within 14 days, icing at least 0.78 within 3 days; stretch: yaw by 10 degrees 0.50
within 14 days. CARE at least 0.82. `--quick` trains for 20 steps, with one seed, two onsets
and eight windows.

Added later: the rate of false alarms got its exact Poisson interval, and icing is also
counted apart for injections that take at least one hour of rated power and for others: on
calm days there is little to lose, and little to see. The faults were computed a second time
with sums in double precision instead of single (differences of up to 1e-4 in a deviation).
A rate that reaches its target with more false alarms than the target allows gets a note and
no verdict, so that no table calls it met.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import numpy as np
import torch
from harness.interval import Estimate, bootstrap_of, spread
from harness.interval import share as share_of
from harness.script import Run, Script
from models import wind_peers as peers
from models.wind_peers import Active, Records

from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions.wind import faults, monitor, power
from deepseek_learn.solutions.wind.faults import CASES
from deepseek_learn.solutions.wind.measure import Window, care, hit
from deepseek_learn.solutions.wind.monitor import (
    BLOCK,
    PER_DAY,
    AlarmDetector,
    CrossFit,
)
from deepseek_learn.solutions.wind.power import ExpectedPower
from deepseek_learn.solutions.wind.scada import Scada, from_frame
from deepseek_learn.solutions.wind.train import FarmSamples
from deepseek_learn.solutions.wind.wind_farm import RATED_KW, wind_farm
from deepseek_learn.zoo.nets.power_net import PowerNet

SCRIPT = Script(
    __file__,
    __doc__,
    quick="few steps, one seed, two onsets",
    anew=True,
    parts=("power", "faults"),
    of_the_machine=False,
)
YEAR, SEEDS, ONSETS, WINDOWS, DAYS, HEALTHY = "2015-01-01", 3, 20, 96, 30, 10
BEFORE = 2 * 144  # steps of context that an injected span begins earlier
OURS = "ours"
SEEN = [name for name in CASES if name != "stuck anemometer"]
TARGETS = {  # case: days, target, source
    "anemometer +5 %": (14, 0.95),
    "loss of 10 %": (14, 0.88),
    "icing": (3, 0.78),
    "yaw 10 degrees": (14, 0.50),
}
MOST = 1.5  # false alarms per turbine-year, with which the targets must be reached
COMMON = {"claim": "C15", "source": "ours", "unit": "of 1", "better": "higher"}


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    scada = from_frame(wind_farm(), rated_kw=RATED_KW)
    runs, steps = run.finished_runs(anywhere=True), 20 if run.quick else power.STEPS
    if "power" in run.parts:
        for name, model in models(steps).items():
            seeds = range(SEEDS if name.startswith("network") and not run.quick else 1)
            errors = [
                runs.once(
                    {"model": name, "seed": seed},
                    partial(unseen, scada, model, seed),
                )["error"]
                for seed in seeds
            ]
            yield error_row(name, errors)
    if "faults" in run.parts:
        facts = runs.once(
            {"faults": True}, lambda: found(Farm(scada, steps), *sizes(run.quick))
        )
        yield from fault_rows(facts)
        yield from calm_rows(scada, facts, sizes(run.quick)[0])


def sizes(quick: bool) -> tuple[int, int]:
    return (2, 8) if quick else (ONSETS, WINDOWS)


Model = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Callable]


def models(steps: int) -> dict[str, Model]:
    """Name → what learns (inputs, power, near, seed) and returns a predictor."""

    def curve(x, y, near, seed):
        return lambda other: other[:, 0]

    def regression(make, x, y, near, seed):
        rows = x.transpose(0, 2, 1)[near]  # samples, channels
        model = make().fit(rows[:, 1:], y[near])
        return lambda other: np.stack([model.predict(each[1:].T) for each in other])

    def network(attention, x, y, near, seed):
        torch.manual_seed(seed)
        model = PowerNet(x.shape[1], attention=attention)
        power.learn(model, x, y, near, steps, seed)
        return partial(power.apply, model.eval())

    return {
        "IEC's curve": curve,
        "generalized additive model": partial(regression, peers.spline),
        "gradient boosting": partial(regression, peers.boosting),
        "network with SC-attention": partial(network, True),
        "network without attention": partial(network, False),
    }


def unseen(scada: Scada, model: Model, seed: int) -> dict[str, list[float]]:
    """The error for each turbine, in 2015, learned from the others in 2014."""
    errors = []
    for turbine in range(len(scada.turbines)):
        farm = FarmSamples.of(scada, turbine)
        near, rest, late = farm.near, farm.others, ~farm.early
        predict = model(farm.x[rest], farm.y[rest], (near & farm.early)[rest], seed)
        off = predict(farm.x[turbine : turbine + 1])[0] - farm.y[turbine]
        squares = off[near[turbine] & late] ** 2
        errors.append(100 * float(np.sqrt(np.mean(squares, dtype=np.float64))))
    return {"error": errors}


def error_row(name: str, errors: Sequence[Sequence[float]]) -> Row:
    means = [float(np.mean(each)) for each in errors]
    target = 2.40 if name == "network with SC-attention" else None
    return Row(
        claim="C15", source="ours", unit="% of rated power", better="lower",
        what=f"wind farm: error for an unseen turbine in an unseen year, {name}",
        target=target, **vars(spread(means, "range of the seeds")),
    )  # fmt: skip


class Farm:
    """The farm, what is expected of it, and the detectors."""

    def __init__(self, scada: Scada, steps: int):
        reference = scada.between(stop=YEAR)
        self.scada, self.start = scada, len(reference)
        fold = monitor.folds(reference.time, reference.time[0])
        trained = [
            power.train(reference, fold != number, steps=steps, seed=number)
            for number in range(monitor.FOLDS)
        ]
        end = np.datetime64(YEAR)
        self.curves = trained[0].curves
        flat = [ExpectedPower(model.curves) for model in trained]
        self.expect = {
            "networks": CrossFit(tuple(trained), reference.time[0], end),
            "curves": CrossFit(tuple(flat), reference.time[0], end),
        }
        self.expected = {name: model(scada) for name, model in self.expect.items()}
        self.records = {
            name: Records.of(scada, kw) for name, kw in self.expected.items()
        }

    @cache  # noqa: B019 - one object lives as long as the script
    def detectors(self) -> dict[str, tuple[str, Active, float]]:
        """Name → what is expected, where it alarms, and its limit."""
        split = self.start // BLOCK
        past = {name: each.part(0, split) for name, each in self.records.items()}
        ours = peers.compared(AlarmDetector.fit(past["networks"].energy))
        flat = peers.compared(AlarmDetector.fit(past["curves"].energy))
        first = monitor.MEMORY
        count = len(self.scada.turbines)
        most = np.mean(
            [
                peers.alarm_rate(ours(past["networks"], i, 1.0)[first:])
                for i in range(count)
            ]
        )
        others = {
            "ours, on the curves alone": ("curves", flat),
            "ours, without neighbors": (
                "networks",
                peers.alone(past["networks"].energy),
            ),
            "CUSUM": ("networks", peers.cumulative),
            "average over 120 hours": ("networks", peers.averaged),
        }
        return {OURS: ("networks", ours, 1.0)} | {
            name: (kind, active, peers.tuned(active, past[kind], most, first))
            for name, (kind, active) in others.items()
        }

    def injected(self, fault, turbine: int, onset: int, kind: str) -> Records:
        """The farm's records with a fault in one turbine, up to 31 days after it."""
        low = max(0, onset // BLOCK * BLOCK - BEFORE)
        span = self.scada.part(low, onset // BLOCK * BLOCK + 31 * 144)
        bad = fault.inject(span, turbine, onset - low, self.curves[turbine])
        model = self.expect[kind]
        if fault.kind == "anemometer":
            expected = model(bad)
        else:
            expected = self.expected[kind][:, low : low + len(span)]
        changed = Records.of(bad, expected)
        stop = low // BLOCK + len(changed.energy)
        whole = self.records[kind].part(0, stop)
        return whole.replaced(turbine, changed, low // BLOCK)


def found(farm: "Farm", onsets: int, windows: int) -> dict:
    """Hits per detector, case and days; false alarms; CARE's windows."""
    untouched = {
        name: [active(farm.records[kind], i, limit) for i in range(4)]
        for name, (kind, active, limit) in farm.detectors().items()
    }
    split = farm.start // BLOCK
    facts: dict = {
        "limits": {n: limit for n, (_, _, limit) in farm.detectors().items()}
    }
    facts["false"] = {
        name: [peers.alarm_rate(row[split:]) for row in rows]
        for name, rows in untouched.items()
    }
    facts["hits"] = {
        case: hits_of(farm, untouched, case, number, onsets)
        for number, case in enumerate(SEEN)
    }
    facts["care"] = {
        name: windows_of(farm, untouched[name], name, windows) for name in untouched
    }
    return facts


def hits_of(farm: Farm, untouched: dict, case: str, number: int, count: int) -> dict:
    """Detector → for each onset and turbine, found within 3 and within 14 days."""
    hits: dict = {name: [] for name in untouched}
    for onset, fault in injections(farm.scada, farm.start, case, number, count):
        block = -(-onset // BLOCK)
        for name, (kind, active, limit) in farm.detectors().items():
            rows = []
            for turbine in range(4):
                bad = active(farm.injected(fault, turbine, onset, kind), turbine, limit)
                own = untouched[name][turbine]
                rows.append([hit(bad, own, block, d * PER_DAY) for d in (3, 14)])
            hits[name].append(rows)
    return hits


def injections(
    scada: Scada, start: int, case: str, number: int, count: int
) -> list[tuple]:
    """The onsets of a case after a step, each with its fault."""
    rng = np.random.default_rng([2015, number])
    late = scada.part(start, len(scada))
    onsets = [start + n for n in faults.onsets(late, case, count, rng, 0)]
    return [(onset, faults.drawn(case, rng)) for onset in onsets]


def windows_of(farm: Farm, untouched: list, name: str, count: int) -> list:
    """For each window of CARE, where the detector alarms and where the fault is."""
    kind, active, limit = farm.detectors()[name]
    rng, cases, result = np.random.default_rng([2015, 99]), [*TARGETS], []
    length, healthy = DAYS * PER_DAY, HEALTHY * PER_DAY
    last = len(farm.records[kind].energy) - length
    for number in range(count):
        start = int(rng.integers(farm.start // BLOCK, last))
        turbine, case = int(rng.integers(4)), cases[number // 2 % len(cases)]
        truth, row = np.zeros(length, bool), untouched[turbine]
        if number % 2:
            fault, onset = faults.drawn(case, rng), (start + healthy) * BLOCK
            row = active(farm.injected(fault, turbine, onset, kind), turbine, limit)
            blocks = int(min(length - healthy, -(-fault.hours // 6)))
            truth[healthy : healthy + blocks] = True
        detected = row[start : start + length]
        result.append([detected.astype(int).tolist(), truth.astype(int).tolist()])
    return result


def fault_rows(facts: dict) -> Iterator[Row]:
    for name, rates in facts["false"].items():
        target = MOST if name == OURS else None
        what = f"wind farm: false alarms per turbine-year, {name}"
        yield Row(
            claim="C15", source="ours", unit="per year", better="lower", what=what,
            target=target, **vars(poisson(rates)),
        )  # fmt: skip
    for case, detectors in facts["hits"].items():
        for name, onsets in detectors.items():
            for column, days in enumerate((3, 14)):
                within, target = TARGETS.get(case, (0, None))
                own = target if name == OURS and within == days else None
                values = over_onsets(np.array(onsets)[:, :, column].mean(1))
                what = f"wind farm: {case} found within {days} days, {name}"
                goal = conditional(own, values.measured, facts["false"])
                yield Row(**COMMON, what=what, **goal, **vars(values))
    for name, windows in facts["care"].items():
        target = 0.82 if name == OURS else None
        what = f"wind farm: CARE, {name}"
        yield Row(**COMMON, what=what, target=target, **vars(care_of(windows)))


def conditional(target: float | None, value: float, false: dict) -> dict:
    """A row's target; one that is reached only with too many false alarms is not met."""
    rate = float(np.mean(false[OURS])) if target else 0.0
    if target and value >= target and rate > MOST:
        words = f"{target:g} was the target with at most {MOST:g} false alarms per "
        return {"note": f"{words}turbine-year: not met, there are {rate:.2f}"}
    return {"target": target}


def calm_rows(scada: Scada, facts: dict, onsets: int) -> Iterator[Row]:
    """Icing that takes an hour of rated power, and less."""
    start = len(scada.between(stop=YEAR))
    wind, share = power.normal_wind(scada), scada.power / scada.rated_kw
    curves = [
        power.Curve.fit(w[:start], p[:start]) for w, p in zip(wind, share, strict=True)
    ]
    expected = ExpectedPower(tuple(curves))(scada)
    runs = monitor.comparable(scada, expected)
    usable = np.where(runs, np.nan_to_num(expected), 0) / scada.rated_kw / 6  # hours
    lost = np.stack(
        [
            fault.size * usable[:, onset : onset + round(6 * fault.hours)].sum(1)
            for onset, fault in injections(
                scada, start, "icing", SEEN.index("icing"), onsets
            )
        ]
    )
    hits = np.array(facts["hits"]["icing"][OURS])[:, :, 0]
    for words, which in (("at least", lost >= 1), ("less than", lost < 1)):
        size = f"{words} 1 hour of rated power"
        what = f"wind farm: icing that takes {size}, found within 3 days"
        if which.any():
            counted = share_of(int(hits[which].sum()), int(which.sum()))
            yield Row(**COMMON, what=what, **vars(counted))


def poisson(rates: Sequence[float]) -> Estimate:
    """The mean rate of turbines over a year each, with its exact interval."""
    from scipy.stats import chi2

    count = round(sum(rates))
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    high = chi2.ppf(0.975, 2 * count + 2) / 2
    scale = float(np.mean(rates)) / count if count else 1 / len(rates)
    bounds = (float(low) * scale, float(high) * scale)
    return Estimate(float(np.mean(rates)), *bounds, "95 % Poisson", count)


def over_onsets(values: np.ndarray) -> Estimate:
    """The mean over the onsets, with a bootstrap interval."""
    words = "95 % bootstrap of onsets"
    return bootstrap_of(lambda onsets: values[onsets].mean(), len(values), words)


def care_of(windows: Sequence) -> Estimate:
    """The score of windows, healthy and faulty ones in turn, resampled in pairs."""
    parts = [Window(*(np.array(row, bool) for row in each)) for each in windows]
    pairs = [parts[i : i + 2] for i in range(0, len(parts) - 1, 2)]

    def score(chosen: np.ndarray) -> float:
        return care([w for i in chosen for w in pairs[i]], 24 / PER_DAY).score

    return bootstrap_of(score, len(pairs), n=len(parts))


if __name__ == "__main__":
    SCRIPT.main(measure)
