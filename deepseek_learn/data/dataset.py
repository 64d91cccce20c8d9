"""A common interface for datasets of images, series, volumes and text.

All datasets support `len`, `batch`, `subset` and `plot`. Each kind of dataset defines
how to compute a batch from the stored values and how to draw an item. `groups`
identifies the items that a split must keep together (see `data.split`).
"""

import copy
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .card import DataCard

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class LabeledDataset(Dataset):
    """Base class for datasets of labeled images, series, volumes or text.

    Indexing a dataset returns an (input, label) pair.

    Attributes:
        inputs: the stored values, of shape `[N, ...]`. `batch` converts them to the
            model's inputs.
        labels: a tensor of shape `[N]`, or `[N, ...]` for masks and next tokens.
        frame: a DataFrame with one row of metadata per item.
        groups: the id of each item's group, of shape `[N]`, or None if there are no
            groups or they are unknown. A split must keep the items of a group together.
            A group can be a person, a turbine, a module, a patient or a document.
        card: the dataset's card, or None.

    Raises:
        ValueError: if the lengths differ or the inputs have the wrong number of axes.

    >>> from deepseek_learn import data
    >>> test = data.digits().test  # an ImageDataset
    >>> isinstance(test, data.LabeledDataset), test.kind
    (True, 'image')
    >>> len(test.subset(range(5)))
    5
    """

    kind: ClassVar[str]  # "image", "series", "volume" or "text"
    noun: ClassVar[str]  # the name of the inputs in error messages
    axes: ClassVar[tuple[str, ...]]  # the axes of the inputs
    size: ClassVar[tuple[float, float]]  # width and height of one plot, in inches
    columns: ClassVar[int]  # number of plots per row

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        frame: pd.DataFrame | None = None,
        *,
        groups: Iterable[Any] | np.ndarray | None = None,
        card: DataCard | None = None,
    ):
        frame = pd.DataFrame(index=range(len(inputs))) if frame is None else frame
        if not len(inputs) == len(labels) == len(frame):
            raise ValueError(
                f"{self.noun}, labels and frame must have the same length; got "
                f"{len(inputs)}, {len(labels)} and {len(frame)}."
            )
        if groups is not None and not isinstance(groups, np.ndarray):
            groups = list(groups)
        if groups is not None and len(groups) != len(inputs):
            raise ValueError(
                f"groups must contain one id for each of the {len(inputs)} items, or "
                f"be None; got {len(groups)}."
            )
        if inputs.dim() != len(self.axes):
            raise ValueError(
                f"{self.noun} must be [{', '.join(self.axes)}]; got shape "
                f"{list(inputs.shape)}."
            )
        self.inputs, self.labels, self.card = inputs, labels, card
        self.frame = frame.reset_index(drop=True)
        self.groups = None if groups is None else np.asarray(groups)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._values(self.inputs[index]), self.labels[index]

    def __repr__(self) -> str:
        groups = "" if self.groups is None else f", {len(set(self.groups))} groups"
        shape = list(self.inputs.shape[1:])
        return f"{type(self).__name__}({len(self)} of {shape}{groups})"

    def batch(self, index: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Return the model's inputs and the labels of the items at `index`."""
        return self._values(self.inputs[index]), self.labels[index]

    def subset(self, index: np.ndarray | Tensor | Sequence[int]) -> Self:
        """Return a dataset with only the items at `index`.

        `index` contains either positions or one boolean per item.
        """
        rows = np.asarray(index)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        part = copy.copy(self)
        part.inputs, part.labels = self.inputs[rows], self.labels[rows]
        part.frame = self.frame.iloc[rows].reset_index(drop=True)
        part.groups = None if self.groups is None else self.groups[rows]
        return part

    def plot(
        self,
        titles: Sequence[str] | None = None,
        count: int = 8,
        columns: int | None = None,
    ) -> "Figure":
        """Draw the first `count` items with matplotlib, each with its title."""
        from matplotlib.figure import Figure

        count, columns = min(count, len(self)), columns or self.columns
        rows, (width, height) = -(-count // columns), self.size
        size = (width * columns, height * rows)
        figure = Figure(size, dpi=72, layout="constrained")
        for i, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
            if i >= count:
                axes.set_axis_off()
                continue
            self._draw(axes, self.inputs[i])
            if titles is not None:
                side = "left" if columns == 1 else "center"
                axes.set_title(titles[i], fontsize=9, loc=side)
        return figure

    def _values(self, stored: Tensor) -> Tensor:
        """Convert stored values to the model's input."""
        return stored.float()

    def _draw(self, axes: "Axes", stored: Tensor) -> None:
        raise NotImplementedError


class ImageDataset(LabeledDataset):
    """A dataset of images, which are stored as bytes.

    A batch of images is a float tensor of shape `[B, C, H, W]` with values in 0..1.

    Attributes:
        images: a uint8 tensor of shape `[N, C, H, W]`.
        labels: an int64 tensor of shape `[N]`, or `[N, H, W]` for masks.

    >>> import torch
    >>> from deepseek_learn import data
    >>> images = torch.randint(256, (10, 1, 28, 28), dtype=torch.uint8)
    >>> photos = data.ImageDataset(images, torch.arange(10) % 2, groups=["a", "b"] * 5)
    >>> x, y = photos.batch()  # x: [B, 1, 28, 28] in 0..1
    >>> photos.kind, x.shape, x.dtype
    ('image', torch.Size([10, 1, 28, 28]), torch.float32)
    """

    kind, noun, axes = "image", "images", ("N", "C", "H", "W")
    size, columns = (1.9, 2.1), 4

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        frame: pd.DataFrame | None = None,
        *,
        groups: Iterable[Any] | np.ndarray | None = None,
        card: DataCard | None = None,
    ):
        super().__init__(images, labels, frame, groups=groups, card=card)

    @property
    def images(self) -> Tensor:
        return self.inputs

    def _values(self, stored: Tensor) -> Tensor:
        return stored.float() / 255

    def _draw(self, axes: "Axes", stored: Tensor) -> None:
        axes.set_axis_off()
        axes.imshow(stored.permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray")


class SeriesDataset(LabeledDataset):
    """A dataset of equal-length series, with C channels and T steps.

    A batch of series is a float tensor of shape `[B, C, T]`.

    >>> import torch
    >>> from deepseek_learn import data
    >>> series = data.SeriesDataset(torch.rand(10, 6, 128), torch.arange(10))
    >>> series.kind, series[0][0].shape
    ('series', torch.Size([6, 128]))
    """

    kind, noun, axes = "series", "series", ("N", "C", "T")
    size, columns = (2.6, 1.6), 4

    def _draw(self, axes: "Axes", stored: Tensor) -> None:
        axes.plot(stored.T.numpy(), linewidth=1)  # one line per channel
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)


class VolumeDataset(LabeledDataset):
    """A dataset of equally sized volumes.

    A batch of volumes is a float tensor of shape `[B, C, D, H, W]`. `plot` shows the
    middle slices of the first channel along D, H and W, side by side.

    >>> import torch
    >>> from deepseek_learn import data
    >>> volumes = data.VolumeDataset(torch.rand(2, 1, 8, 16, 16), torch.tensor([0, 1]))
    >>> volumes.kind, volumes[0][0].shape
    ('volume', torch.Size([1, 8, 16, 16]))
    """

    kind, noun, axes = "volume", "volumes", ("N", "C", "D", "H", "W")
    size, columns = (4.2, 1.8), 2

    def _draw(self, axes: "Axes", stored: Tensor) -> None:
        volume = stored[0].float()  # [D, H, W]
        slices = [volume.select(i, size // 2) for i, size in enumerate(volume.shape)]
        height = max(len(plane) for plane in slices)
        gap = max(height // 10, 1)
        padded = [
            torch.nn.functional.pad(
                plane, (0, gap, 0, height - len(plane)), value=float("nan")
            )
            for plane in slices
        ]
        axes.set_axis_off()
        axes.imshow(torch.cat(padded, 1).numpy(), cmap="gray")
