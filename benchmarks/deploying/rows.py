"""The ledger's rows for the measurements of `deploy_cpu.py`."""

import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.interval import Estimate, quartiles
from harness.outcomes import in_words, points_lost
from harness.runs import end_time

from deepseek_learn.ledger.rows import Row

AIM, MB = 0.1, 1e6  # points of accuracy; bytes
EAGER, ORT, OPENVINO = "PyTorch eager", "ONNX Runtime", "OpenVINO"

row = partial(Row, claim="C12")


def vnni() -> bool:
    """Whether the processor has VNNI, 8-bit integer dot products of length four."""
    info = Path("/proc/cpuinfo")
    return "vnni" in info.read_text() if info.exists() else False


def ratio(result: dict, over: str, under: str) -> Estimate:
    """Median and quartiles of the ratio of `over`'s time to `under`'s."""
    pairs = zip(result["ms"][over], result["ms"][under], strict=True)
    return quartiles([a / b for a, b in pairs], "inclusive")


def best_int8(result: dict) -> str:
    """The faster of the two runtimes."""
    times = result["ms"]
    return min((ORT, OPENVINO), key=lambda r: statistics.median(times[f"{r} INT8"]))


def rows_of(name: str, result: dict, losses: dict) -> list[Row]:
    """All rows of one network.

    Args:
        result: its latencies and sizes.
        losses: runtime → what INT8 changes on the test images.
    """
    best, rows = best_int8(result), []
    rows += speed_rows(name, best, result)
    rows += loss_rows(name, best, losses[best])
    rows += engine_rows(name, result)
    rows += fastest_rows(name, result)
    for way in (way for way in result["ms"] if way != EAGER):
        comparison = row(
            source="ours",
            what=f"{name}: {way} over PyTorch eager",
            unit="x",
            better="higher",
            note=f"{statistics.median(result['ms'][way]):.4g} ms",
            **vars(ratio(result, EAGER, way)),
        )
        rows.append(comparison.at(end_time(result)))
    return rows


def speed_rows(name: str, best: str, result: dict) -> Iterator[Row]:
    """INT8 on the faster runtime over eager: the guide's row and ours."""
    ratios = {w: ratio(result, EAGER, w).measured for w in result["ms"] if w != EAGER}
    peers = [w for w in ratios if "engine" not in w and not w.startswith(best)]
    peer = max(peers, key=ratios.get)
    what = f"{name}: INT8 over PyTorch eager float32, one thread"
    failures = "; ".join(f"{way} ({why})" for way, why in result["failed"].items())
    note = f"{best}, {statistics.median(result['ms'][f'{best} INT8']):.4g} ms"
    guide = row(
        source="guide",
        what=what,
        unit="x",
        better="higher",
        target=3.0,
        peer=peer,
        peer_measured=ratios[peer],
        note=f"{note}; not run: {failures}" if failures else note,
        **vars(ratio(result, EAGER, f"{best} INT8")),
    )
    facts = {"target": 4.0, "what": f"{what}, processor with VNNI"}
    facts = facts if vnni() else {"target": None}
    ours = replace(guide, source="ours", note=None, **facts)
    yield from (each.at(end_time(result)) for each in (guide, ours))


FLOAT = ("fp32", "torch.compile", "AOTInductor", "last")  # the ends of the ways' names
PRECISIONS = {
    "float32": FLOAT,
    "at least bfloat16": (*FLOAT, "bf16", "low"),
    "INT8": ("INT8", "int8"),
}


def is_ours(way: str) -> bool:
    return way.startswith(("our engine", ORT, OPENVINO))


def fastest_rows(name: str, result: dict) -> Iterator[Row]:
    """The fastest of the peers over the fastest of ours, at each precision."""
    median = {way: statistics.median(ms) for way, ms in result["ms"].items()}
    for precision, endings in PRECISIONS.items():
        ways = [way for way in median if way.endswith(endings)]
        peers = [way for way in ways if not is_ours(way)]
        if not peers:
            continue
        best = min(filter(is_ours, ways), key=median.get)
        peer = min(peers, key=median.get)
        yield row(
            source="ours",
            what=f"{name}: the fastest peer over the fastest of ours, {precision}",
            unit="x",
            better="higher",
            target=1.0,
            peer=peer,
            note=f"{best} {median[best]:.4g} ms, {peer} {median[peer]:.4g} ms",
            **vars(ratio(result, peer, best)),
        ).at(end_time(result))


def loss_rows(name: str, best: str, facts: dict) -> list[Row]:
    if "images" not in facts:
        return []
    layers = ", ".join(facts["in_float"]) or "none"
    what = f"{name}: points lost by INT8 ({best}) on the test part"
    note = f"{in_words(facts['images'])}; on the held-out part "
    note += f"{facts['held_out_lost']:.2f}; layers left in float: {layers}"
    return lost_rows(what, facts["images"], note, "guide")


def lost_rows(
    what: str, images: list[list[int]], note: str, source: str = "ours"
) -> list[Row]:
    """The points lost on the test images: against a limit of one point, and our aim."""
    limit = row(
        source=source,
        what=what,
        unit="points",
        better="lower",
        target=1.0,
        note=note,
        **vars(points_lost(images)),
    )
    return [limit, replace(limit, source="ours", target=AIM, what=f"{what}, aim")]


def engine_rows(name: str, result: dict) -> Iterator[Row]:
    """What our engine costs, its start, its file, and for the large net its time."""
    lower, time = partial(row, source="ours", better="lower"), end_time(result)
    for precision in ("fp32", "INT8"):
        cost = ratio(result, f"our engine, {ORT} {precision}", f"{ORT} {precision}")
        bounds = ("measured", "low", "high")
        percent = {bound: 100 * (getattr(cost, bound) - 1) for bound in bounds}
        what = f"{name}: our engine over ONNX Runtime's Python interface, {precision}"
        facts = vars(replace(cost, **percent))
        yield lower(what=what, unit="%", target=3.0, **facts).at(time)
    start = vars(quartiles(result["start_ms"], "inclusive"))
    what = f"{name}: start of our engine, INT8"
    yield lower(what=what, unit="ms", target=100.0, **start).at(time)
    size = min(result["size_mb"][runtime] for runtime in (ORT, OPENVINO))
    large = name.startswith("U-Net-64")
    yield lower(
        what=f"{name}: INT8 model file",
        unit="MB",
        target=30.0 if large else None,
        measured=size,
        peer="its float32 weights",
        peer_measured=result["size_mb"]["fp32"],
        note=f"{size * MB / 2**20:.2f} MiB",
    )
    if large:
        best = best_int8(result)
        seconds = [ms / 1e3 for ms in result["ms"][f"{best} INT8"]]
        facts = vars(quartiles(seconds, "inclusive")) | {"note": best}
        what = f"{name}: one picture, one core, INT8"
        yield lower(what=what, unit="s", target=0.3, **facts).at(time)
