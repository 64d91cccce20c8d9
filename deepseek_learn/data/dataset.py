"""The return types of the loaders: a dataset in three fixed parts, with a card."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..catalog import Text, spoken, text
from ..registry import Registry

datasets = Registry("dataset")


@dataclass(frozen=True)
class DataCard:
    """A dataset's origin, license and known pitfalls.

    A `Text` is a string, or one string per language; `Splits.card` has the selected one.
    """

    name: str
    title: Text
    origin: Text
    license: Text
    citation: str
    size: Text
    split: Text
    traps: tuple[Text, ...]

    def to_frame(self) -> pd.DataFrame:
        card = spoken(self)
        rows = vars(card) | {"traps": "\n".join(f"• {trap}" for trap in card.traps)}
        facts = {text(f"card.{field}"): value for field, value in rows.items()}
        return pd.DataFrame({"": facts})

    def _repr_html_(self) -> str:
        html = self.to_frame().to_html(header=False, escape=True)
        return html.replace("\\n", "<br>")


def read_card(name: str) -> DataCard:
    """The card in `cards/NAME.toml`."""
    content = (Path(__file__).parent / "cards" / f"{name}.toml").read_text("utf-8")
    facts = tomllib.loads(content)
    return DataCard(name=name, **facts | {"traps": tuple(facts["traps"])})


class ImageDataset(Dataset):
    """Images stored as bytes; an item is (`[C, H, W]` float in 0..1, label).

    Attributes:
        images: uint8 `[N, C, H, W]`.
        labels: int64 `[N]`; for masks, `[N, H, W]`.
        frame: one row of metadata per image.
    """

    def __init__(self, images: Tensor, labels: Tensor, frame: pd.DataFrame):
        if not len(images) == len(labels) == len(frame):
            raise ValueError(
                f"images, labels and frame must have the same length; got {len(images)}, "
                f"{len(labels)} and {len(frame)}."
            )
        self.images, self.labels = images, labels
        self.frame = frame.reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index].float() / 255, self.labels[index]

    def batch(self, index: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor]:
        """A batch: `[B, C, H, W]` float in 0..1, labels `[B]`."""
        return self.images[index].float() / 255, self.labels[index]

    def subset(self, index: np.ndarray | Tensor) -> "ImageDataset":
        """The images at `index` (positions, or one boolean per image)."""
        index = torch.as_tensor(np.array(index))
        frame = self.frame[index.numpy()] if index.dtype == torch.bool else None
        frame = self.frame.iloc[index.numpy()] if frame is None else frame
        return ImageDataset(self.images[index], self.labels[index], frame)

    def plot(
        self, titles: Sequence[str] | None = None, count: int = 8, columns: int = 4
    ):
        """A matplotlib figure of the first `count` images, each under its title."""
        from matplotlib.figure import Figure

        count = min(count, len(self))
        rows = -(-count // columns)
        size = (1.9 * columns, 2.1 * rows)
        figure = Figure(size, dpi=72, layout="constrained")
        for i, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
            axes.set_axis_off()
            if i < count:
                axes.imshow(
                    self.images[i].permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray"
                )
                axes.set_title(titles[i] if titles is not None else "", fontsize=9)
        return figure


@dataclass(frozen=True)
class Splits:
    """A dataset in three fixed parts."""

    train: ImageDataset
    validation: ImageDataset
    test: ImageDataset
    classes: tuple[str, ...]
    card: DataCard

    def __repr__(self) -> str:
        parts = (self.train, self.validation, self.test)
        return (
            f"Splits({self.card.name}: train/validation/test = "
            + "/".join(str(len(part)) for part in parts)
            + f", classes {self.classes})"
        )

    def to_frame(self) -> pd.DataFrame:
        """Images per class in each part; for masks, pixels per class."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        counts = {
            name: np.bincount(
                part.labels.flatten().numpy(), minlength=len(self.classes)
            )
            for name, part in parts.items()
        }
        return pd.DataFrame(counts, index=pd.Index(self.classes, name="class"))


@dataclass(frozen=True)
class TextSplits:
    """A text in three fixed parts: uint8 `[N]` of UTF-8, one poem or passage per line."""

    train: Tensor
    validation: Tensor
    test: Tensor
    card: DataCard

    def __repr__(self) -> str:
        sizes = "/".join(str(count) for count in self.to_frame()["bytes"])
        return f"TextSplits({self.card.name}: train/validation/test = {sizes} bytes)"

    def to_frame(self) -> pd.DataFrame:
        """Bytes, characters (line ends included) and poems of each part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        counts = {
            name: {
                "bytes": len(part),
                # every byte except 10xxxxxx starts a character
                "characters": int(((part & 0xC0) != 0x80).sum()),
                "poems": int((part == ord("\n")).sum()),
            }
            for name, part in parts.items()
        }
        return pd.DataFrame(counts).T.rename_axis("part")


ROUND = 20  # units: 18 of train, then one of validation, then one of test


def text_splits(lines: list[bytes], units: Iterable[int], card: DataCard) -> TextSplits:
    """Split a text into three parts, by the unit number of each line."""
    parts: dict[str, list[bytes]] = {"train": [], "validation": [], "test": []}
    for unit, line in zip(units, lines, strict=True):
        part = {ROUND - 2: "validation", ROUND - 1: "test"}.get(unit % ROUND, "train")
        parts[part].append(line)
    tensors = {
        part: torch.frombuffer(bytearray(b"".join(lines)), dtype=torch.uint8)
        for part, lines in parts.items()
    }
    return TextSplits(**tensors, card=card)


def windows(
    part: Tensor, length: int, batch: int, generator: torch.Generator | None = None
) -> Tensor:
    """Random windows of a text, each with the byte that follows it.

    A window starts at any byte, even inside a character or a poem. With
    `w = windows(...)` the inputs are `w[:, :-1]` and the targets `w[:, 1:]`.

    Args:
        part: uint8 `[N]`, a part of `TextSplits`.
        length: number of input bytes, at most N - 1.
        batch: B, the number of windows.
        generator: source of the random positions; by default torch's own.

    Returns:
        int64 `[B, length + 1]`.
    """
    if part.dtype != torch.uint8 or part.dim() != 1:
        raise ValueError(
            f"part must be uint8 [N], a text's bytes; got {part.dtype} "
            f"{list(part.shape)}."
        )
    if not 1 <= length < len(part):
        raise ValueError(
            f"length must be 1 to {len(part) - 1} for a text of {len(part)} bytes; "
            f"got {length}."
        )
    if batch < 1:
        raise ValueError(f"batch must be at least 1; got {batch}.")
    starts = torch.randint(len(part) - length, (batch, 1), generator=generator)
    return part[starts + torch.arange(length + 1)].long()


def split_by(parts: np.ndarray, whole: ImageDataset, classes, card) -> Splits:
    """Splits from one of "train", "validation", "test" per image."""
    names = ("train", "validation", "test")
    train, validation, test = (whole.subset(parts == name) for name in names)
    return Splits(train, validation, test, tuple(classes), spoken(card))


def random_parts(strata, fractions: tuple[float, float], seed: int = 0) -> np.ndarray:
    """A stratified random split: the name of the part of each row, `[N]`.

    Args:
        strata: `[N]` labels; each stratum is divided in the same proportions.
        fractions: of the validation and test parts.
    """
    rng = np.random.default_rng(seed)
    strata = np.asarray(strata)
    parts = np.full(len(strata), "train", dtype=object)
    for stratum in sorted(set(strata.tolist())):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        validation, test = (round(f * len(rows)) for f in fractions)
        parts[rows[:test]] = "test"
        parts[rows[test : test + validation]] = "validation"
    return parts
