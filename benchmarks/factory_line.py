"""The inspector of the factory line: as exact, fast, small and robust as promised?

    python benchmarks/factory_line.py [--quick] [--anew] [--speed] [--part NAME ...]

Protocol. Surfaces: brushed metal and woven fabric (`solutions.factory.surfaces`), parts
of 1024 x 1024 pixels. From 80 good parts, half are learned: the segmenter is trained on
1,200 batches of eight crops of 256 x 256 pixels, compressed by DPG to 8 bits, and deployed
with tiles of 544 pixels that overlap by 64. The other half calibrates the threshold of
the C++ program, in float32 and in INT8, for 5 % false alarms.

`exact`: the program's scores against PyTorch's (the compressed model, the Python
inspector) on 30 new good and 32 new defective parts, and whether the verdicts agree.
`speed`: in each of 7 rounds, in turn, the INT8 and the float32 program (started anew,
with decoding, verdicts and overlays) and the PyTorch float32 pipeline (`inspect` with the
uncompressed segmenter, in a running process) judge the same 6 parts, one thread each;
seconds and processor seconds per part, and the ratios within a round.
`compression`: pixel AP and image AUROC of the segmenter before and after DPG, on 50 good
and 96 defective parts of 256 x 256 pixels; and the peak memory of a fresh process while it
judges a tile twice, weights included, above the memory after the imports; median of three.
`size`: bytes of model, program, settings and the system's ONNX Runtime library.
`kills`: the program judges 200 parts and is killed (SIGKILL) at 100 random moments; when
all parts have a verdict, it begins again.
`promise`: 400 more good parts. The rate of false alarms, averaged over 2,000 random
calibration sets of 40, which is what the promise of 5 % is about.
`drift`: of the same 400 parts in 20 random orders, how many sequences raise a drift alarm
although nothing has changed; and after how many parts 95 % of 200 random sequences raise
it when the light fades to 97 % at once (brightness and contrast times 0.97).
`hidden`: patch memory and threshold learned from 60 parts of 256 x 256 pixels of which 3
have a defect, against 60 good ones; recall and false alarms on 96 defective and 50 good
parts, five seeds.

Targets, stated before the run. The guide (C13): 0.3 s per part (was 1.2 s, a ratio of 4),
a fifth of the hardware's cost (taken as processor seconds), a model of 87 MB; C2: 98 % of
the accuracy (taken as pixel AP) at 35 % of the memory; C12: the quantized program loses
less than 1 % accuracy (taken as a point of image AUROC, of the same 62 parts) and runs 3
times as fast. Ours: at most 0.3 s per part in every reading; scores within 1e-4 in
float32 and 0.05 in INT8 of PyTorch's on every part, and no verdict differs in float32; at
most 20 MB in all; no part lost, judged twice, or half-written in 100 kills; at most 5 %
false alarms; no false drift alarm in the 20 sequences. What had been seen before: runs on
woven fabric with another segmenter took 0.27 s of processor time per part without
overlays.
`--quick` takes the woven fabric, 20 batches, few parts, and no `promise`.

Added later: the number of sequences with a false drift alarm has Wilson's 95 % interval.
"""

import json
import random
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from harness.script import Run, Script
from inspecting import rows
from inspecting.compression import compression
from inspecting.station import CROP, RATE, SIDE, Station, save
from PIL import Image
from sklearn.metrics import roc_auc_score

from deepseek_learn.deploy import native
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure.clock import in_turn
from deepseek_learn.solutions.factory import line
from deepseek_learn.solutions.factory.alarms import alarm
from deepseek_learn.solutions.factory.drift import Drift, statistics
from deepseek_learn.solutions.factory.memory import PatchMemory
from deepseek_learn.solutions.factory.solution import inspect
from deepseek_learn.solutions.factory.surfaces import parts

PARTS = ("exact", "speed", "compression", "size", "kills", "promise", "drift", "hidden")
SCRIPT = Script(
    __file__, __doc__, quick="one surface", anew=True, speed=True, parts=PARTS
)
SURFACES = ("brushed", "woven")
ROUNDS, TIMED, KILLS = 7, 6, 100
LIBRARY = Path("/usr/lib/x86_64-linux-gnu/libonnxruntime.so.1.21.0")  # Debian 13's


def exact(station: Station) -> dict:
    good, bad = (4, 8) if station.quick else (30, 32)
    sample = parts(station.surface, good, bad, size=SIDE, seed=20)
    folder = save(station.folder / "exact", sample.images)
    with tempfile.TemporaryDirectory() as out:
        inspector = station.inspector(compressed=True)
        truth = inspect(inspector, folder, out, progress=False).verdicts
    result = {"parts": good + bad, "auroc": auroc(truth, good)}
    for precision in ("fp32", "int8"):
        judged = station.judge(precision, folder, "--no-overlays")
        pairs = list(zip(judged, truth, strict=True))
        assert all(a["name"] == b["name"] for a, b in pairs)
        result |= {
            f"{precision}_apart": max(abs(a["score"] - b["score"]) for a, b in pairs),
            f"{precision}_verdicts": sum(
                a["verdict"] != b["verdict"] for a, b in pairs
            ),
            f"{precision}_recall": recall(judged[good:]),
            f"{precision}_false": recall(judged[:good]),
            f"{precision}_auroc": auroc(judged, good),
        }
    return result | {"recall": recall(truth[good:]), "false": recall(truth[:good])}


def recall(verdicts: list[dict]) -> float:
    """The fraction of the parts that were called defective."""
    return float(np.mean([each["verdict"] == "defective" for each in verdicts]))


def auroc(verdicts: list[dict], good: int) -> float:
    """Image AUROC of verdicts of which the first `good` are of good parts."""
    scores = [each["score"] for each in verdicts]
    return float(roc_auc_score(np.arange(len(scores)) >= good, scores))


def cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def speed(station: Station) -> dict:
    torch.set_num_threads(1)
    images = parts(station.surface, TIMED // 2, TIMED // 2, size=SIDE, seed=30).images
    folder = save(station.folder / "timed", images)
    inspector = station.inspector(compressed=False)

    def timed(work, who: int) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as out:
            start, cpu = time.perf_counter(), cpu_seconds(who)
            work(out)
            return (
                (time.perf_counter() - start) / TIMED,
                (cpu_seconds(who) - cpu) / TIMED,
            )

    int8, fp32 = (
        partial(line.judge, station.line(precision), folder)
        for precision in ("int8", "fp32")
    )
    sides = {
        "program": lambda: timed(int8, resource.RUSAGE_CHILDREN),
        "fp32": lambda: timed(fp32, resource.RUSAGE_CHILDREN),
        "pytorch": lambda: timed(
            lambda out: inspect(inspector, folder, out, progress=False),
            resource.RUSAGE_SELF,
        ),
    }
    for side in sides.values():
        side()  # warm up
    readings = in_turn(sides, 2 if station.quick else ROUNDS)
    return {
        f"{name}_{what}": [reading[i] for reading in both]
        for name, both in readings.items()
        for i, what in enumerate(("s", "cpu_s"))
    }


def size(station: Station) -> dict:
    folder = station.line("int8")
    names = ("model.onnx", "inspector", "inspector.conf")
    files = {name: (folder / name).stat().st_size for name in names}
    library = LIBRARY if LIBRARY.exists() else native.library()
    return files | {
        "library": library.stat().st_size,
        "library_name": library.name,
        "wheel_library": native.library().stat().st_size,
        "fp32": (station.line("fp32") / "model.onnx").stat().st_size,
    }


def kills(station: Station) -> dict:
    count, wanted = (40, 10) if station.quick else (200, KILLS)
    images = parts(station.surface, count, size=CROP, seed=40).images
    folder = save(station.folder / "kills", images)
    chance, killed, starts, wrong = random.Random(0), 0, 0, 0
    with tempfile.TemporaryDirectory() as out:
        command = [
            station.line("int8") / "inspector",
            station.line("int8"),
            folder,
            out,
        ]
        while killed < wanted and starts < 20 * wanted:
            process = subprocess.Popen(
                [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            time.sleep(chance.uniform(0.02, 0.3))
            process.kill()
            process.communicate()
            killed += process.returncode == -signal.SIGKILL
            starts += 1
            log = Path(out) / "verdicts.jsonl"
            if log.exists() and log.read_text().count("\n") >= count:  # begin again
                wrong += check(log, folder)
                log.unlink()
        line.judge(*command[1:])
        wrong += check(log, folder)
    return {"kills": killed, "wrong": wrong}


def check(log: Path, folder: Path) -> int:
    """How many parts have no verdict, several, or an overlay that cannot be opened.

    The file is read as it is: a line that is not a complete verdict is counted too.
    """
    content = log.read_bytes()
    wrong, names = int(not content.endswith(b"\n")), list[str]()
    for each in content.splitlines():
        try:
            verdict = json.loads(each)
            names.append(verdict["name"])
            with Image.open(log.parent / verdict["overlay"]) as overlay:
                overlay.load()
        except (ValueError, LookupError, TypeError, OSError):
            wrong += 1
    expected = {path.name for path in folder.iterdir()}
    return wrong + len(expected ^ set(names)) + len(names) - len(set(names))


def promise(station: Station) -> dict:
    """The scores and the statistics of 400 good parts, and what follows from them."""
    images = parts(station.surface, 400, size=SIDE, seed=50).images
    judged = station.judge("int8", save(station.folder / "good400", images))
    scores = np.array([each["score"] for each in judged])
    rng, rates = np.random.default_rng(0), []
    for _ in range(2000):
        order = rng.permutation(len(scores))
        threshold = alarm(scores[order[:40]], RATE).threshold
        rates.append(float((scores[order[40:]] > threshold).mean()))
    own = recall(judged)
    facts = [{n: each[n] for n in statistics(np.eye(2))} for each in judged]
    return {"rate": float(np.mean(rates)), "own": own, "statistics": facts}


def drift(station: Station, facts: list[dict]) -> dict:
    rng, false, needed = np.random.default_rng(0), 0, []
    chart = station.inspector(compressed=True).drift

    def first(sequence, light: float) -> int | None:
        own = Drift(chart.mean, chart.deviation, chart.parts)
        for count, each in enumerate(sequence, 1):
            dimmed = {name: light * value for name, value in each.items()}
            if own.update(dimmed | {"size": each["size"]}):
                return count
        return None

    for _ in range(20):
        false += first((facts[i] for i in rng.permutation(len(facts))), 1.0) is not None
    for _ in range(200):
        order = rng.permutation(len(facts))[:200]
        needed.append(first((facts[i] for i in order), 0.97) or 10**6)
    return {"false": false, "needed": float(np.quantile(needed, 0.95))}


def hidden(surface: str, seed: int) -> dict:
    """Recall and false alarms of the memory, without and with hidden defects."""
    clean = parts(surface, 60, size=CROP, seed=600 + seed).images
    bad = parts(surface, 1, 3, size=CROP, seed=700 + seed).images[1:]
    test = parts(surface, 50, 96, size=CROP, seed=800 + seed, part="test")
    mixed = clean.copy()
    mixed[[5, 25, 45]] = bad
    result = {}
    for name, good in {"clean": clean, "hidden": mixed}.items():
        order = np.random.default_rng(seed).permutation(60)
        tiles = torch.from_numpy(good[order[:30]])[:, None]
        memory = PatchMemory().remember(tiles, seed=seed)
        held_out, tested = (
            scores_of(memory, x) for x in (good[order[30:]], test.images)
        )
        bad_parts = tested > alarm(held_out, RATE).threshold
        result |= {
            f"{name}_recall": float(bad_parts[50:].mean()),
            f"{name}_false": float(bad_parts[:50].mean()),
        }
    return result


def scores_of(model, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.array(
            [float(model(torch.from_numpy(x)[None, None]).max()) for x in images]
        )


def measure(run: Run) -> Iterator[Row]:
    for surface in ("woven",) if run.quick else SURFACES:
        yield from measure_surface(run, surface)


def measure_surface(run: Run, surface: str) -> Iterator[Row]:
    runs = run.finished_runs()
    station = cache(partial(Station, surface, run.quick))
    if run.speed:
        key = {"surface": surface, "part": "speed"}
        yield from rows.speed_rows(surface, runs.again(key, lambda: speed(station())))
        return
    works = {
        "exact": (exact, rows.exact_rows),
        "speed": (speed, rows.speed_rows),
        "compression": (compression, rows.compression_rows),
        "size": (size, rows.size_rows),
        "kills": (kills, rows.kill_rows),
        "promise": (promise, rows.promise_rows),
    }
    if run.quick:
        del works["promise"]
    results = {}
    for part, (work, rows_of) in works.items():
        if part in run.parts:
            key = {"surface": surface, "part": part}
            results[part] = runs.once(key, lambda work=work: work(station()))
            yield from rows_of(surface, results[part])
    if "drift" in run.parts and "promise" in results:
        facts = results["promise"]["statistics"]
        key = {"surface": surface, "part": "drift"}
        result = runs.once(key, lambda: drift(station(), facts))
        yield from rows.drift_rows(surface, result)
    if "hidden" in run.parts:
        yield from rows.hidden_rows(
            surface,
            [
                runs.once(
                    {"surface": surface, "part": "hidden", "seed": seed},
                    partial(hidden, surface, seed),
                )
                for seed in range(1 if run.quick else 5)
            ],
        )


if __name__ == "__main__":
    SCRIPT.main(measure)
