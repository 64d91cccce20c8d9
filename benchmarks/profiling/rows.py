"""The ledger's rows for the readings of `profiler_truth.py`."""

import statistics
from dataclasses import replace
from functools import partial

from harness.interval import quartiles, spread
from harness.runs import end_time
from models import profiled_nets

from deepseek_learn.ledger.rows import Row

from . import recording_cost
from .flop_counters import OURS

RIGHT, NEARLY = 0.1, 1.0  # error in percent
EXACT, MEMORY, COST = 1e-4, 2, 1.35  # targets: percent, percent, ratio
row = partial(Row, claim="C10", source="ours")


def error(estimate: float | None, truth: float) -> float | None:
    """Relative error, in percent."""
    return None if estimate is None else 100 * abs(estimate / truth - 1)


def flop_rows(results: dict[str, dict], five: dict, zoo: dict) -> list[Row]:
    """One row per net, one for the zoo, one for ours on all, and one per tool."""
    errors = {
        tool: {n: error(result["flops"].get(n), net.flops) for n, net in five.items()}
        for tool, result in results.items()
    }
    peers = [
        tool for tool in results if tool != OURS and "missing" not in results[tool]
    ]
    rows = [_net_row(net, results, errors, peers, five) for net in five]
    rows.append(_zoo_row(results, zoo))
    counts = {tool: _within(errors[tool], RIGHT) for tool in (OURS, *peers)}
    best = max(peers, key=lambda tool: counts[tool])
    tied = ", ".join(t for t in peers if counts[t] == counts[best])
    what = f"FLOPs: nets counted right (within {RIGHT} %)"
    count_row = partial(row, unit=f"nets of {len(five)}", better="higher")
    peer = {"peer": tied, "peer_measured": counts[best]}
    rows.append(count_row(what=what, target=len(five), measured=counts[OURS], **peer))
    for tool in (t for t in results if t != OURS):
        note = _tool_note(results[tool], errors[tool], five)
        by = f"{what} by {tool}"
        rows.append(count_row(what=by, measured=counts.get(tool), note=note))
    return rows


def _within(errors: dict[str, float | None], bound: float) -> int:
    return sum(e is not None and e <= bound for e in errors.values())


def _net_row(net: str, results, errors, peers: list[str], five: dict) -> Row:
    counts = [
        f"{tool} {_giga(results[tool]['flops'].get(net))}" for tool in (OURS, *peers)
    ]
    near = [tool for tool in peers if errors[tool][net] is not None]
    best = min(near, key=lambda tool: errors[tool][net], default=None)
    truth = _giga(five[net].flops)
    return row(
        what=f"FLOPs of {net}: off the hand count",
        unit="%",
        better="lower",
        target=EXACT,
        measured=errors[OURS][net],
        peer=best,
        peer_measured=best and errors[best][net],
        note=f"G, by hand {truth}: {', '.join(counts)}",
    )


def _zoo_row(results: dict[str, dict], zoo: dict) -> Row:
    counts = results[OURS]["flops"]
    errors = {name: error(counts.get(name), net.flops) for name, net in zoo.items()}
    finite = [e for e in errors.values() if e is not None]
    pairs = [f"{n} {_giga(net.flops)} {_giga(counts.get(n))}" for n, net in zoo.items()]
    return row(
        what=f"FLOPs of the zoo's {len(zoo)} models: the worst off the hand count",
        unit="%",
        better="lower",
        target=EXACT,
        measured=max(finite) if len(finite) == len(zoo) else None,
        n=len(finite),
        note="G, by hand and ours: " + ", ".join(pairs),
    )


def _tool_note(result: dict, errors: dict, five: dict) -> str:
    if "missing" in result:
        return f"not installed: {result['missing']}"
    values = ", ".join(f"{net} {_giga(result['flops'].get(net))}" for net in five)
    version = f"version {result['version']}; " if result["version"] else ""
    failed = "".join(
        f"; {net}: {why}" for net, why in result["failed"].items() if net in five
    )
    within = _within(errors, NEARLY)
    return f"{version}{within} within {NEARLY:g} %; G: {values}{failed}"


def _giga(flops: float | None) -> str:
    return "failed" if flops is None else f"{flops / 1e9:.4g}"


def memory_rows(cases: dict[tuple, dict]) -> list[Row]:
    """One row per net and mode: ours, and the closest peer."""
    return [_memory_row(*case, **values) for case, values in cases.items()]


def _memory_row(net: str, mode: str, truth: list, estimates: dict) -> Row:
    doing = {"infer": "inference", "train": "training step"}[mode]
    memory_row = partial(
        row,
        what=f"peak activation memory, {net}, {doing}: off the system's count",
        unit="%",
        better="lower",
        target=MEMORY,
    )
    readings = [t for t in truth if t is not None]
    if not readings:
        note = "the system does not say (Linux's /proc is needed)"
        return memory_row(measured=None, note=note)
    true = statistics.median(readings)
    errors = {tool: error(value, true) for tool, value in estimates.items()}
    near = [t for t in errors if t != OURS and errors[t] is not None]
    best = min(near, key=lambda tool: errors[tool], default=None)
    times = ", ".join(
        f"{tool} " + ("failed" if value is None else f"{value / true:.3f}")
        for tool, value in estimates.items()
    )
    low, high = (f"{f(readings) / 2**20:.1f}" for f in (min, max))
    return memory_row(
        measured=errors[OURS],
        n=len(readings),
        peer=best,
        peer_measured=best and errors[best],
        note=f"truth {low} to {high} MiB; times the truth: {times}",
    )


def cost_rows(cases: dict[tuple, dict]) -> list[Row]:
    """The cost of a profile and of a recording pass, for each net and mode."""
    rows = []
    for (net, mode), case in cases.items():
        doing = {"infer": "inference", "train": "training"}[mode]
        rows.append(_profile_row(net, doing, case["rounds"]).at(end_time(case)))
        where = f"{net}, {doing}"
        rows.append(_recording_row(case["rounds"], where).at(end_time(case)))
    return [*rows, _order_row(cases)]


def _profile_row(net: str, doing: str, rounds: list[dict]) -> Row:
    plain, roof = median(rounds, "plain"), median(rounds, "roof")
    return row(
        what=f"processor time of a profile over that of its passes, {net}, {doing}",
        unit="x",
        better="lower",
        target=None if net in profiled_nets.SMALL else COST,
        note=f"a plain pass {1e3 * plain:.3g} ms; of it readings of the roof {roof:.2f}",
        **vars(_quartiles(rounds, "profile")),
    )


def _recording_row(rounds: list[dict], where: str) -> Row:
    """Our most expensive kind of pass against `torch.profiler`'s; others in the note."""
    kinds = (*recording_cost.RECORDINGS, *recording_cost.PEERS)
    medians = {kind: median(rounds, kind) for kind in kinds if kind in rounds[0]}
    dearest = max(recording_cost.RECORDINGS, key=lambda kind: medians[kind])
    summary = ", ".join(f"{kind} {value:.2f}" for kind, value in medians.items())
    return row(
        what=f"processor time of our dearest recording pass, {where}",
        unit="x",
        better="lower",
        peer="torch.profiler",
        peer_measured=medians["torch.profiler"],
        note=f"x a plain pass: {summary}",
        **vars(_quartiles(rounds, dearest)),
    )


def _order_row(cases: dict[tuple, dict]) -> Row:
    values = [r for case in cases.values() for r in case["spearman"]]
    empty = row(
        what="order of the layers' times in two profiles in a row",
        unit="rank correlation",
        better="higher",
        measured=None,
        note="no net of several layers",
    )
    return replace(empty, note=None, **vars(spread(values))) if values else empty


def _quartiles(rounds: list[dict], key: str):
    return quartiles([entry[key] for entry in rounds], "inclusive")


def median(rounds: list[dict], key: str) -> float:
    return statistics.median(entry[key] for entry in rounds)
