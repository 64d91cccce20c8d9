"""The ledger's rows for the runs of `benchmarks/deepopt.py`.

`bench` is its `Bench`; `pace` the result of its `speed` on a task; `ratios` holds for each
contestant the steps to AdamW's loss over AdamW's, and those of the resampled seeds.
"""

import statistics

import numpy as np

from . import race
from .optimizer_tasks import TASKS
from .optimizers import CONTESTANTS, OTHERS, PEERS, VARIANTS, axes_of, variants
from .race import LADDER
from .runs import taken

BLOCK = 10  # rounds: SOAP's costly step comes every tenth
STEPS, MEAN_STEPS, TIME, SLOW_MS = 0.60, 0.5, 0.67, 25.0
BYTES, INT8_BYTES, GUIDE = 2.7, 1.9, 1.4


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


def row(claim: str, what: str, measured: float | None, **facts) -> dict:
    """A row of the ledger; "better" is "lower" and "source" "ours" by default."""
    empty = {"source": "ours", "unit": "ratio", "target": None, "better": "lower"}
    return empty | {"claim": claim, "what": what, "measured": measured} | facts


def task_rows(bench, task, ratios: dict, pace: dict) -> list[dict]:
    """Steps, time and bytes on one task; fills `ratios` name → (point, resamplings)."""
    adamw = curve(bench, task, "adamw")[task.steps]
    names = [*OTHERS, *variants(task.name)]
    for name in names:
        losses = curve(bench, task, name)
        facts = task.steps, LADDER[-1], task.name
        ratios[name] = race.steps_ratio(adamw, losses, *facts)
    best = min(PEERS, key=lambda name: ratios[name][0])
    at, n = f"{task.name}: ", len(bench.seeds)
    rows = []
    for name in names:
        title = (CONTESTANTS.get(name) or VARIANTS[name]).title
        point, again = ratios[name]
        target = {"target": STEPS if name == "deepopt" else None, "n": n}
        peer = {"peer": CONTESTANTS[best].title, "peer_measured": ratios[best][0]}
        rows.append(
            row("C8", f"{at}{title}, steps to AdamW's loss over AdamW's", point)
            | race.interval(point, again, n)
            | target
            | (peer if name == "deepopt" else {})
            | {"note": note(bench, task, name, point)}
        )
    point, again = ratios["deepopt"]
    facts = race.difference(point - ratios[best][0], again - ratios[best][1], n)
    rows.append(
        row("C8", f"{at}DeepOpt's steps less the best peer's", facts.pop("measured"))
        | {"target": 0.0, "unit": "of AdamW's steps", "n": n}
        | {"peer": CONTESTANTS[best].title, "peer_measured": ratios[best][0]}
        | facts
    )
    return rows + pace_rows(bench, task, ratios, pace)


def note(bench, task, name: str, point: float) -> str:
    """The losses behind a ratio, the settings, and their search."""
    searched = "deepopt" if name in VARIANTS else name
    search = bench.tuned(task, searched)
    losses = {b: statistics.mean(v) for b, v in curve(bench, task, name).items()}
    target = statistics.mean(curve(bench, task, "adamw")[task.steps])
    words = f"batch {task.batch}; AdamW {target:.4f} at {task.steps} steps; "
    words += ", ".join(f"{loss:.4f} at {b}" for b, loss in losses.items())
    words += f"; settings {found_in_words(search, axes_of(task, searched)[0])}"
    baseline = bench.tuned(task, "adamw"), axes_of(task, "adamw")[0]
    words += f"; AdamW's {found_in_words(*baseline)}"
    return words + ("; never reached: at least" if point >= LADDER[-1] else "")


def found_in_words(search: dict, axes: dict[str, tuple]) -> str:
    """The best settings of a search, the number tried, and any at the edge of its axis."""
    best = search["best"]
    words = " ".join(f"{k} {v:.3g}" if k != "schedule" else v for k, v in best.items())
    words += f" of {search['tried']} tried, "
    words += "interior" if search["interior"] else "not proved interior"
    ordered = {k: v for k, v in axes.items() if k != "schedule"}
    ends = [k for k, values in ordered.items() if best[k] in (values[0], values[-1])]
    return words + (f" but at the end of {', '.join(ends)}" if ends else "")


def pace_rows(bench, task, ratios: dict, pace: dict) -> list[dict]:
    """Time to the target, state, the optimizer's own time."""
    at, rows = f"{task.name}: ", []
    adamw_ms = statistics.median(r["adamw"] for r in pace["step_ms"])
    slow = adamw_ms >= SLOW_MS
    cost = f"AdamW's step takes {adamw_ms:.1f} ms"
    for name in ("deepopt", *PEERS, *variants(task.name)):
        title = (CONTESTANTS.get(name) or VARIANTS[name]).title
        per_step = block_ratio(pace["step_ms"], name, "adamw")
        point, again = ratios[name][0] * per_step, ratios[name][1]
        target = TIME if name == "deepopt" and slow else None
        what = f"{at}{title}, time to AdamW's loss over AdamW's"
        words = f"{cost}, {title}'s {per_step:.2f} times as long"
        facts = {"target": target, "n": len(bench.seeds), "note": words}
        facts |= {"time": taken(pace)}
        facts |= race.interval(point, again, len(bench.seeds))
        rows.append(row("C8", what, point) | facts)
        limit = {"deepopt": BYTES, "int8": INT8_BYTES}.get(name)
        what = f"{at}{title}, state"
        facts = {"unit": "bytes a parameter", "target": limit}
        facts |= {"peer": "AdamW", "peer_measured": pace["bytes"]["adamw"]}
        rows.append(row("C8", what, pace["bytes"][name]) | facts)
    what = f"{at}DeepOpt's own time a step over Muon's with AdamW"
    own = block_ratio(pace["own_ms"], "deepopt", "muon")
    facts = {"target": 1.0, "n": len(pace["own_ms"]), "time": taken(pace)}
    rows.append(row("C8", what, own) | facts)
    return rows + guide_rows(bench, task, ratios, pace)


def guide_rows(bench, task, ratios: dict, pace: dict) -> list[dict]:
    """The guide's 40 %, as AdamW's time over ours to one loss."""
    n = len(bench.seeds)
    guide = {"source": "guide", "target": GUIDE, "better": "higher"}
    guide |= {"n": n, "time": taken(pace)}
    per_step = block_ratio(pace["step_ms"], "deepopt", "adamw")
    point, again = ratios["deepopt"]
    what = f"{task.name}: AdamW's time to its loss over DeepOpt's"
    gain = 1 / (point * per_step)
    rows = [row("C3", what, gain) | guide | race.interval(gain, again, n)]
    if "rows" in ratios:
        beside = block_ratio(pace["step_ms"], "deepopt", "rows")
        gain = ratios["deepopt"][0] / ratios["rows"][0] * beside
        many = ratios["deepopt"][1] / ratios["rows"][1]
        what = f"{task.name}: what grouping by activity adds, time to one loss"
        rows.append(row("C3", what, gain) | guide | race.interval(gain, many, n))
    return rows


def summarize(bench, paces: dict[str, dict]) -> list[dict]:
    """All rows of the ledger."""
    rows, points, resampled = [], [], []
    for name in bench.tasks:
        ratios: dict[str, tuple[float, np.ndarray]] = {}
        rows += task_rows(bench, TASKS[name](), ratios, paces[name])
        points.append(ratios["deepopt"][0])
        resampled.append(np.log(ratios["deepopt"][1]))
    together = np.exp(np.mean(resampled, axis=0))
    what = "geometric mean over the tasks, DeepOpt's steps over AdamW's"
    mean = statistics.geometric_mean(points)
    bounds = race.interval(mean, together, len(bench.seeds))
    return [row("C8", what, mean, target=MEAN_STEPS, **bounds), *rows]
