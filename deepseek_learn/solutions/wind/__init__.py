"""Watch a wind farm: turbines against their neighbors, from the records of its SCADA.

`solutions.load("wind").run(folder, out, healthy_until="2015-01-01")` learns from the
records before a date and watches those from that date on.
Lesson: `notebooks/practical/10_watch_a_wind_farm.ipynb`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..solution import places, solutions

if TYPE_CHECKING:
    from .report import Watch


@solutions.register("wind")
class WindFarm:
    """Watch the turbines of a farm."""

    def run(
        self,
        input: str | Path,
        out: str | Path,
        *,
        progress: bool = True,
        healthy_until: str,
        **options: Any,
    ) -> "Watch":
        """Learn from a farm's records before a date, and watch those from that date on.

        Args:
            input: a CSV file, or a folder of them.
            out: the folder for the verdicts, the pictures and the page.
            healthy_until: see `watch.watch`.
            options: passed to `scada.read_scada` (`columns`, `rated_kw`) or `watch.watch`
                (`steps`, `seed`).

        Raises:
            FileNotFoundError, ScadaError, ValueError: see `scada.read_scada` and
                `watch.watch`.
            FileExistsError: see `places`.
        """
        from .report import Watch
        from .scada import read_scada
        from .watch import watch

        input, out = places(input, out)
        of_reader = {k: options.pop(k) for k in ("columns", "rated_kw") if k in options}
        scada = read_scada(input, **of_reader)
        watched = watch(scada, healthy_until, progress=progress, **options)
        report = Watch.of(watched, healthy_until=healthy_until, **of_reader, **options)
        report.save(out)
        return report
