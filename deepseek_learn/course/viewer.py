"""A viewer for CT volumes: three planes, display windows, and the findings.

Lesson: `notebooks/practical/06_read_a_ct.ipynb`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets
import numpy as np

from ..catalog import text
from .widgets import Explore

if TYPE_CHECKING:
    import matplotlib.figure

    from ..solutions.nodules.finding import Finding
    from ..solutions.nodules.volume import Volume

PLANES = ("axial", "coronal", "sagittal")  # perpendicular to Z, Y and X
MARGIN_MM = 2.0  # between a finding and its circle


class CtViewer(Explore):
    """Show a CT volume slice by slice.

    The menus choose the plane, the display window and a finding to go to. With the slider
    focused, the arrow keys move by one slice, and Page Up and Page Down by several. Circles
    mark the findings that the slice cuts. Without a kernel, the notebook shows one slice:
    the one through the first finding, or the middle one.

    Args:
        volume: a volume with any orientation; it is shown upright, as seen from the feet,
            from the front and from the left.
        findings: places in it, in patient coordinates.
        window: the first display window: "lung", "soft tissue" or "bone".

    Raises:
        ValueError: if there is no such window.

    >>> import numpy as np
    >>> from deepseek_learn import course
    >>> from deepseek_learn.solutions.nodules.volume import Volume
    >>> hu = np.zeros((8, 16, 16), np.int16)
    >>> volume = Volume(hu, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3), "1.2.3")
    >>> viewer = course.CtViewer(volume)
    """

    def __init__(
        self,
        volume: "Volume",
        findings: Sequence["Finding"] = (),
        window: str = "lung",
    ):
        from ..solutions.nodules.detector import canonical
        from ..solutions.nodules.pictures import WINDOWS, windowed

        windowed(np.zeros(1), window)  # raises an error if there is no such window
        self._volume = canonical(volume)
        self._findings = [
            (self._volume.to_index(np.array(each.center_mm)), each) for each in findings
        ]
        menus = {
            "plane": [
                (text(f"viewer.{name}"), axis) for axis, name in enumerate(PLANES)
            ],
            "window": [(text(f"viewer.{name.split()[0]}"), name) for name in WINDOWS],
            "finding": [
                ("", None),
                *(
                    (f"{number}: {each.diameter_mm:.0f} mm", number - 1)
                    for number, each in enumerate(findings, 1)
                ),
            ],
        }
        start = self._center()
        position = ipywidgets.IntSlider(
            value=start[0],
            min=0,
            max=self._volume.hu.shape[0] - 1,
            continuous_update=True,
        )
        labels = {name: text(f"viewer.{name}") for name in (*menus, "position")}
        super().__init__(self._figure, labels, position=position, **menus)
        self.sliders["window"].value = window
        if not self._findings:
            self.sliders["finding"].layout.display = "none"
        self.sliders["plane"].observe(self._turn, "value")
        self.sliders["finding"].observe(self._go, "value")

    def _center(self, finding: int | None = None) -> np.ndarray:
        """Return the voxel to look at: a finding's center, or that of the volume."""
        if finding is None:
            finding = 0 if self._findings else None
        if finding is None:
            return np.array(self._volume.hu.shape) // 2
        index = np.round(self._findings[finding][0]).astype(int)
        return np.clip(index, 0, np.array(self._volume.hu.shape) - 1)

    def _turn(self, change: Any) -> None:
        """Look at the same point after the plane has changed."""
        axis, position = change["new"], self.sliders["position"]
        position.max = self._volume.hu.shape[axis] - 1
        position.value = int(self._center(self.sliders["finding"].value)[axis])

    def _go(self, change: Any) -> None:
        if change["new"] is not None:
            axis = self.sliders["plane"].value
            self.sliders["position"].value = int(self._center(change["new"])[axis])

    def _figure(
        self, position: int, plane: int, window: str, finding: int | None
    ) -> "matplotlib.figure.Figure":
        import matplotlib.pyplot as plt

        from ..solutions.nodules.pictures import windowed

        volume = self._volume
        position = min(position, volume.hu.shape[plane] - 1)
        rows, columns = (axis for axis in range(3) if axis != plane)
        dy, dx = volume.spacing_mm[rows], volume.spacing_mm[columns]
        image = windowed(volume.hu.take(position, plane), window)
        figure, axes = plt.subplots(figsize=(5, 5))
        height, width = image.shape[0] * dy, image.shape[1] * dx
        axes.imshow(
            image,
            cmap="gray",
            vmin=0,
            vmax=255,
            extent=(-dx / 2, width - dx / 2, height - dy / 2, -dy / 2),
        )
        for number, (index, each) in enumerate(self._findings):
            off = (index[plane] - position) * volume.spacing_mm[plane]
            radius = each.diameter_mm / 2 + MARGIN_MM
            if abs(off) < radius:
                center = index[columns] * dx, index[rows] * dy
                color = "#ff5500" if number == finding else "#ffaa00"
                size = float(np.sqrt(radius**2 - off**2))
                axes.add_patch(plt.Circle(center, size, fill=False, color=color))
        if plane:  # the head is at the top
            axes.invert_yaxis()
        axes.set(xlabel="mm", ylabel="mm")
        return figure
