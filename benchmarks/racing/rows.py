"""The ledger's rows for the runs of `benchmarks/deepopt.py`.

`bench` is its `Bench`; `pace` the result of its `speed` on a task; `ratios` holds for each
contestant the steps to AdamW's loss over AdamW's, and those of the resampled seeds.
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from harness.interval import Estimate
from harness.runs import end_time
from models.optimizer_tasks import TASKS
from models.optimizers import CONTESTANTS, PEERS, VARIANTS, axes_of, others, variants

from deepseek_learn.ledger.rows import Row

from . import race
from .race import LADDER

BLOCK = 10  # rounds: SOAP's costly step comes every tenth
STEPS, MEAN_STEPS, TIME, SLOW_MS = 0.60, 0.5, 0.67, 25.0
BYTES, INT8_BYTES, GUIDE = 2.7, 1.9, 1.4
FORM = "DeepOpt's form was chosen on poems, flights and bacteria"
CHOICES = dict.fromkeys(("poems", "flights", "bacteria"), FORM)
CHOICES["solar"] = "an axis was added after a race on its test part"


def curve(bench, task, name: str) -> dict[int, list[float]]:
    """Budget → test losses by seed, of the finished final runs."""
    losses: dict[int, dict[int, float]] = {}
    for run in bench.runs.rows:
        matches = run.get("task") == task.name and run.get("optimizer") == name
        if matches and run["seed"] in bench.seeds:
            losses.setdefault(run["steps"], {})[run["seed"]] = run["test"]
    complete = {b: v for b, v in losses.items() if len(v) == len(bench.seeds)}
    return {b: [complete[b][s] for s in bench.seeds] for b in sorted(complete)}


def block_ratio(rounds: list[dict], numerator: str, denominator: str) -> float:
    """Median over blocks of `BLOCK` rounds of the ratio of their sums."""
    blocks = [rounds[i : i + BLOCK] for i in range(0, len(rounds), BLOCK)]
    sums = [
        [sum(r[name] for r in block) for name in (numerator, denominator)]
        for block in blocks
    ]
    return statistics.median(a / b for a, b in sums)


def row(what: str, estimate: Estimate, unit: str = "ratio", **facts) -> Row:
    """A row of ours for claim C8."""
    facts |= {"claim": "C8", "source": "ours", "better": "lower", "unit": unit}
    return Row(what=what, **vars(estimate), **facts)


def title(name: str) -> str:
    return (CONTESTANTS.get(name) or VARIANTS[name]).title


def steps_ratios(bench, task) -> dict[str, tuple[float, np.ndarray]]:
    """Contestant → steps to AdamW's loss over AdamW's: the point and resamplings."""
    adamw, facts = curve(bench, task, "adamw")[task.steps], (task.steps, LADDER[-1])
    names = [*others(task.name, bench.quick), *variants(task.name)]
    curves = {name: curve(bench, task, name) for name in names}
    return {n: race.steps_ratio(adamw, c, *facts, task.name) for n, c in curves.items()}


def task_rows(bench, task, ratios: dict, pace: dict) -> Iterator[Row]:
    """Steps, time and bytes on one task; `ratios` as from `steps_ratios`."""
    best = min(PEERS, key=lambda name: ratios[name][0])
    n = len(bench.seeds)
    peer = {"peer": CONTESTANTS[best].title, "peer_measured": ratios[best][0]}
    seen = {"choices": CHOICES.get(task.name)}
    for name, (point, again) in ratios.items():
        what = f"{task.name}: {title(name)}, steps to AdamW's loss over AdamW's"
        facts = {"target": STEPS, **peer, **seen} if name == "deepopt" else {}
        words = note(bench, task, name, point)
        yield row(what, race.interval(point, again, n), note=words, **facts)
    point, again = ratios["deepopt"]
    behind = race.difference(point - ratios[best][0], again - ratios[best][1], n)
    what, unit = (
        f"{task.name}: DeepOpt's steps less the best peer's",
        "of AdamW's steps",
    )
    yield row(what, behind, unit, target=0.0, **peer, **seen)
    yield from pace_rows(bench, task, ratios, pace)
    yield from guide_rows(bench, task, ratios, pace)


def note(bench, task, name: str, point: float) -> str:
    """The losses behind a ratio, the settings, and their search."""
    searched = "deepopt" if name in VARIANTS else name
    search = bench.tuned(task, searched)
    losses = {b: statistics.mean(v) for b, v in curve(bench, task, name).items()}
    target = statistics.mean(curve(bench, task, "adamw")[task.steps])
    words = f"batch {task.batch}; AdamW {target:.4f} at {task.steps} steps; "
    words += ", ".join(f"{loss:.4f} at {b}" for b, loss in losses.items())
    words += f"; settings {search_in_words(search, axes_of(task, searched)[0])}"
    baseline = bench.tuned(task, "adamw"), axes_of(task, "adamw")[0]
    words += f"; AdamW's {search_in_words(*baseline)}"
    return words + ("; never reached: at least" if point >= LADDER[-1] else "")


def search_in_words(search: dict, axes: dict[str, tuple]) -> str:
    """The best settings of a search, the number tried, and any at the edge of its axis."""
    best = search["best"]
    numbers = {k: f"{v:.3g}" for k, v in best.items() if not isinstance(v, str)}
    words = " ".join(
        v if k == "schedule" else f"{k} {numbers.get(k, v)}" for k, v in best.items()
    )
    words += f" of {search['tried']} tried, "
    words += "interior" if search["interior"] else "not proved interior"
    ordered = {k: v for k, v in axes.items() if k in numbers}
    ends = [k for k, values in ordered.items() if best[k] in (values[0], values[-1])]
    return words + (f" but at the end of {', '.join(ends)}" if ends else "")


def pace_rows(bench, task, ratios: dict, pace: dict) -> Iterator[Row]:
    """Time to the target, state, the optimizer's own time."""
    time, n = end_time(pace), len(bench.seeds)
    adamw_ms = statistics.median(r["adamw"] for r in pace["step_ms"])
    for name in ("deepopt", *PEERS, *variants(task.name)):
        at, words = (
            f"{task.name}: {title(name)}",
            f"AdamW's step takes {adamw_ms:.1f} ms",
        )
        per_step = block_ratio(pace["step_ms"], name, "adamw")
        point, again = ratios[name][0] * per_step, ratios[name][1]
        promised = name == "deepopt" and adamw_ms >= SLOW_MS
        yield row(
            f"{at}, time to AdamW's loss over AdamW's",
            race.interval(point, again, n),
            target=TIME if promised else None,
            choices=CHOICES.get(task.name) if promised else None,
            note=f"{words}, {title(name)}'s {per_step:.2f} times as long",
        ).at(time)
        yield row(
            f"{at}, state",
            Estimate(pace["bytes"][name]),
            "bytes a parameter",
            target={"deepopt": BYTES, "int8": INT8_BYTES}.get(name),
            peer="AdamW",
            peer_measured=pace["bytes"]["adamw"],
        )
    what = f"{task.name}: DeepOpt's own time a step over Muon's with AdamW"
    own = Estimate(
        block_ratio(pace["own_ms"], "deepopt", "muon"), n=len(pace["own_ms"])
    )
    yield row(what, own, target=1.0).at(time)


def guide_rows(bench, task, ratios: dict, pace: dict) -> Iterator[Row]:
    """The guide's 40 %, as AdamW's time over ours to one loss."""
    n, time = len(bench.seeds), end_time(pace)
    guide = {"claim": "C3", "source": "guide", "target": GUIDE, "better": "higher"}
    guide |= {"choices": CHOICES.get(task.name)}
    per_step = block_ratio(pace["step_ms"], "deepopt", "adamw")
    point, again = ratios["deepopt"]
    gain = row(
        f"{task.name}: AdamW's time to its loss over DeepOpt's",
        race.interval(1 / (point * per_step), again, n),
    )
    yield replace(gain, **guide).at(time)
    if "rows" in ratios:
        beside = block_ratio(pace["step_ms"], "deepopt", "rows")
        point = ratios["deepopt"][0] / ratios["rows"][0] * beside
        again = ratios["deepopt"][1] / ratios["rows"][1]
        gain = row(
            f"{task.name}: what grouping by activity adds, time to one loss",
            race.interval(point, again, n),
        )
        yield replace(gain, **guide).at(time)


def summarize(bench, paces: dict[str, dict]) -> list[Row]:
    """All rows of the ledger."""
    rows, points, resampled = [], [], []
    for name in bench.tasks:
        task = TASKS[name]()
        ratios = steps_ratios(bench, task)
        rows += task_rows(bench, task, ratios, paces[name])
        points.append(ratios["deepopt"][0])
        resampled.append(np.log(ratios["deepopt"][1]))
    together = np.exp(np.mean(resampled, axis=0))
    what = "geometric mean over the tasks, DeepOpt's steps over AdamW's"
    mean = statistics.geometric_mean(points)
    bounds = replace(race.interval(mean, together, len(bench.seeds)), n=None)
    return [row(what, bounds, target=MEAN_STEPS, choices=FORM), *rows]
