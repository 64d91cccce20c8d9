"""Watch a wind farm: each turbine against its neighbors, from a date on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...catalog import text
from ..runner import IndustrySolution, Item, solutions
from ..verdicts import RefusedError
from .power import STEPS
from .report import JUDGED, Watch, lost_time, save_picture, weekly
from .scada import csv_files, read_scada
from .watch import Watched, watch


@solutions.register("wind")
@dataclass(frozen=True, kw_only=True)
class WindFarm(IndustrySolution):
    """Watch the turbines of a farm.

    The input is a CSV file, or a folder of them. A turbine is refused if it could be
    compared with its neighbors in less than half of the watched time.

    Attributes:
        healthy_until: a date like 2015-01-01, which must be given; see `watch.watch`.
        columns, rated_kw: see `scada.read_scada`.
        steps, seed: see `watch.watch`.
    """

    healthy_until: str | None = None
    columns: Mapping[str, str] | None = None
    rated_kw: float | None = None
    steps: int = STEPS
    seed: int = 0
    name: ClassVar[str] = "wind"

    def sources(self, folder: Path, out: Path) -> list[Path]:
        """Return the folder: its files are the records of one farm."""
        csv_files(folder)
        if self.healthy_until is None:
            raise ValueError(text("wind.healthy_until"))
        return [folder]

    def learn(self, folder: Path, progress: bool) -> Watched:
        """Learn from the records before the date, and compare those after it."""
        assert self.healthy_until is not None
        scada = read_scada(folder, columns=self.columns, rated_kw=self.rated_kw)
        return watch(
            scada,
            self.healthy_until,
            steps=self.steps,
            seed=self.seed,
            progress=progress,
        )

    def weights(self, model: Watched) -> str:
        """Return the checksum of the networks' weights."""
        return model.model

    def items(self, source: Path, model: Watched) -> Iterator[Item]:
        """Yield the turbines, each of which is judged by the records of all."""
        digest, week = model.scada.sha256(), weekly(model)
        for number, turbine in enumerate(model.scada.turbines):
            yield Item(turbine, digest, (number, week))

    def judge(self, item: Item, model: Watched, out: Path) -> dict[str, Any]:
        """Return a turbine's alarms, and draw its weekly deviation."""
        number, week = item.content
        picture = f"turbine_{number + 1}.png"
        alarms = [a.to_dict() for a in model.alarms if a.turbine == item.name]
        save_picture(out / picture, model, number, week)
        facts: dict[str, Any] = {
            "alarms": alarms,
            "judged": float(model.judged[number]),
            **lost_time(model, number),
            "picture": picture,
        }
        if not alarms and facts["judged"] < JUDGED:
            raise RefusedError(text("wind.too_rarely"), **facts)
        return {"verdict": "alarm" if alarms else "clear", **facts}

    def report(self, verdicts: list[dict[str, Any]], model: Watched) -> Watch:
        """Return the alarms of the farm."""
        return Watch(verdicts, model)
