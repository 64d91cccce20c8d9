"""energy-fault-detector on the wind farm: the faults of `wind_farm.py`, the same onsets.

    python benchmarks/wind_farm_peer.py [--quick] [--anew]

Protocol. Farm, injections, hits, false alarms and CARE are those of `wind_farm.py`. The
package, energy-fault-detector 0.8 (Fraunhofer IEE), in its own environment, learns one
autoencoder per turbine from the steps of 2014 in which it ran: of its power and wind (code
of 1), of all its sensors (also temperature and direction; code of 2), and of these with
the power and the wind of the three others (code of 4). It is trained twice, on every
second run of 15 days, and a step of 2014 is judged by the one that has not seen it, one of
2015 by the mean of both. Its anomaly scores, in spreads above their median of 2014 and
averaged over six hours, go to the two detectors that `wind_farm.py` has for single
turbines (CUSUM; average over 120 hours), whose limits are the smallest with which the
untouched 2014 has no more alarms than with ours. That makes six variants; all are
reported, so that whoever takes the best one gives the peer an advantage. No target. Before
this run, a quick run of the variants with more sensors had been seen (two onsets), and the
one of power and wind was added since they found nearly nothing. `--quick` takes two onsets
and eight windows.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from deploying.backends import peer_python
from harness.script import BENCHMARKS, Run, Script
from models import wind_peers as peers
from models.wind_peers import Records
from wind_farm import OURS, Farm, fault_rows, found, sizes

from deepseek_learn.ledger.rows import Row
from deepseek_learn.solutions.wind import monitor, power
from deepseek_learn.solutions.wind.monitor import BLOCK, Yield, comparable
from deepseek_learn.solutions.wind.scada import Scada, from_frame
from deepseek_learn.solutions.wind.wind_farm import RATED_KW, wind_farm

SCRIPT = Script(__file__, __doc__, quick="two onsets", anew=True, of_the_machine=False)
PEERS = BENCHMARKS / ".venv" / "wind_peers"
PACKAGES = ("energy-fault-detector==0.8.*",)
CODES = {"power and wind": 1, "own sensors": 2, "the farm's sensors": 4}
SPREAD = 0.025  # of a residual, to which the peers' detectors are used
ACTIVE = {"CUSUM": peers.cumulative, "average over 120 hours": peers.averaged}


def frame(scada: Scada, turbine: int, kind: str) -> np.ndarray:
    """What a detector sees of one turbine, `[T, C]`."""
    share = scada.power / scada.rated_kw
    own = (share, scada.wind, scada.temperature, scada.nacelle)
    columns = [each[turbine] for each in own]
    if kind == "power and wind":
        return np.stack(columns[:2], 1)
    if kind == "the farm's sensors":
        for each in (share, scada.wind):
            columns += [*np.delete(each, turbine, 0)]
    return np.stack(columns, 1)


class PeerFarm(Farm):
    """The farm, watched by the peer. `injected` first collects, then answers."""

    def __init__(self, scada: Scada, steps: int):
        super().__init__(scada, steps)
        self.collected: dict[tuple, tuple] = {}
        self.changed: dict[tuple, Records] = {}

    @cache  # noqa: B019 - one object lives as long as the script
    def detectors(self) -> dict:
        if not self.changed:  # collecting: the first one alarms nowhere
            return {
                "": ("curves", lambda r, i, _: np.zeros(r.residual.shape[1], bool), 1)
            }
        _, active, _ = super().detectors()[OURS]
        split, count = self.start // BLOCK, range(len(self.scada.turbines))
        past = self.records["networks"].part(0, split)
        first = monitor.MEMORY
        most = np.mean([peers.alarm_rate(active(past, i, 1.0)[first:]) for i in count])
        result = {}
        for kind in CODES:
            old = self.records[kind].part(0, split)
            for name, each in ACTIVE.items():
                limit = peers.tuned(each, old, most, first)
                result[f"energy-fault-detector, {kind}, {name}"] = (kind, each, limit)
        return result

    def injected(self, fault, turbine: int, onset: int, kind: str) -> Records:
        low = max(0, onset // BLOCK * BLOCK - 2 * 144)
        key = (fault, turbine, onset)
        if key not in self.collected:
            span = self.scada.part(low, onset // BLOCK * BLOCK + 31 * 144)
            bad = fault.inject(span, turbine, onset - low, self.curves[turbine])
            expected = self.expect["curves"](bad)
            self.collected[key] = (low, bad, comparable(bad, expected)[turbine])
        if not self.changed:
            return self.records[kind]
        changed = self.changed[(*key, kind)]
        whole = self.records[kind].part(0, low // BLOCK + changed.residual.shape[1])
        return whole.replaced(turbine, changed, low // BLOCK)

    def judge(self) -> None:
        """Let the peer judge the untouched records and all that were collected."""
        use = comparable(self.scada, self.expected["curves"])
        for kind, code in CODES.items():
            reference, spans = self._scores(kind, code, use)
            usual = [
                reference[i, : self.start][use[i, : self.start]]
                for i in range(len(reference))
            ]
            middle = [np.median(each) for each in usual]
            self.records[kind] = _records(reference - np.c_[middle], use)
            blocks = self.records[kind].residual[:, : self.start // BLOCK]
            scale = SPREAD / np.nanstd(blocks, 1)
            self.records[kind].residual[:] *= scale[:, None]
            for (key, (_, _, runs)), scores in zip(
                self.collected.items(), spans, strict=True
            ):
                turbine = key[1]
                off = (scores[: len(runs)] - middle[turbine]) * scale[turbine]
                rows = np.tile(off, (len(reference), 1))
                self.changed[(*key, kind)] = _records(
                    rows, np.tile(runs, (len(rows), 1))
                )

    def _scores(self, kind: str, code: int, use: np.ndarray) -> tuple:
        """The scores of all steps `[N, T]`, and of the collected spans `[S, R]`."""
        turbines, half = range(len(self.scada.turbines)), _halves(self.scada)
        late = slice(self.start, None)
        listed = [(n, self.scada.part(self.start, len(self.scada))) for n in turbines]
        listed += [(key[1], bad) for key, (_, bad, _) in self.collected.items()]
        longest = max(len(each) for _, each in listed)
        spans, halves = [], []
        for turbine, each in listed:
            values, own = frame(each, turbine, kind), _halves(each)
            pad = longest - len(each)
            spans.append(np.pad(values, ((0, pad), (0, 0)), mode="edge"))
            halves.append(np.pad(own, (0, pad), mode="edge"))
        early = slice(0, self.start)
        facts = {
            "reference": [frame(self.scada, n, kind)[early] for n in turbines],
            "normal": use[:, early],
            "half": half[early],
            "spans": spans,
            "halves": halves,
            "frame": [turbine for turbine, _ in listed],
            "columns": _columns(kind, len(turbines)),
            "code": code,
        }
        answer = judged(facts)
        whole = np.concatenate(
            [answer["reference"], answer["spans"][: len(turbines), : len(half[late])]],
            1,
        )
        return whole, answer["spans"][len(turbines) :]


def _columns(kind: str, turbines: int) -> list[str]:
    names = ["power", "wind", "temperature", "nacelle"]
    if kind == "power and wind":
        return names[:2]
    if kind == "the farm's sensors":
        names += [f"{n}{i}" for n in ("power", "wind") for i in range(1, turbines)]
    return names


def _halves(scada: Scada) -> np.ndarray:
    """The half to which a step of 2014 belongs; -1 later."""
    fold = monitor.folds(scada.time, np.datetime64("2014-01-01")) % 2
    return np.where(scada.time < np.datetime64("2015-01-01"), fold, -1)


def _records(residual: np.ndarray, use: np.ndarray) -> Records:
    count = residual.shape[1] // BLOCK
    off, steps = (
        np.nan_to_num(x[:, : count * BLOCK]).reshape(len(x), count, BLOCK).sum(2)
        for x in (np.where(use, residual, 0), use)
    )
    mean = np.where(steps >= 6, off / np.maximum(steps, 1), np.nan)
    return Records(Yield(mean, mean), mean)


def judged(facts: dict) -> dict:
    """The peer's scores (see `models.wind_efd`)."""
    python = peer_python(PEERS, *PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        source, out = (Path(folder) / name for name in ("in.npz", "out.npz"))
        np.savez(source, **{k: np.asarray(v) for k, v in facts.items()})
        script = BENCHMARKS / "models" / "wind_efd.py"
        command = [*map(str, (python, script, source, out))]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(result.stderr.strip().splitlines()[-1])
        return dict(np.load(out))


def watched(scada: Scada, steps: int, onsets: int, windows: int) -> dict:
    farm = PeerFarm(scada, steps)
    found(farm, onsets, windows)
    farm.detectors.cache_clear()
    farm.judge()
    return found(farm, onsets, windows)


def measure(run: Run) -> Iterator[Row]:
    torch.set_num_threads(1)
    scada = from_frame(wind_farm(), rated_kw=RATED_KW)
    steps = 20 if run.quick else power.STEPS
    runs = run.finished_runs(anywhere=True)
    facts = runs.once(
        {"faults": True}, partial(watched, scada, steps, *sizes(run.quick))
    )
    yield from fault_rows(facts)


if __name__ == "__main__":
    SCRIPT.main(measure)
