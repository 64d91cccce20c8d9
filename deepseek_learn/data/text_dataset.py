"""Datasets of text windows, and how a window is drawn in any script."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .card import DataCard
from .dataset import LabeledDataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def utf8(tokens: Sequence[int]) -> str:
    """Decode UTF-8 bytes, dropping trailing zeros.

    A character that is cut off at either end is replaced by �.
    """
    return bytes(tokens).rstrip(b"\0").decode("utf-8", errors="replace")


class TextDataset(LabeledDataset):
    """A dataset of text windows, stored as tokens.

    A batch of windows is an int64 tensor of shape `[B, T]`.

    Attributes:
        tokens: a tensor of shape `[N, T]` with any integer dtype.
        labels: a tensor of shape `[N]`, or `[N, T]` if the labels are the next tokens.
        decode: a function that converts tokens to text for `plot`. By default, tokens
            are decoded as UTF-8 bytes.

    >>> from deepseek_learn import data
    >>> documents = ["good food", "cold soup"]
    >>> texts = data.TextDataset.from_documents(documents, [1, 0], length=4)
    >>> texts.kind, len(texts)
    ('text', 6)
    """

    kind, noun, axes = "text", "tokens", ("N", "T")
    size, columns = (9.0, 0.4), 1
    fonts = (
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "PingFang SC",
        "Heiti TC",
        "SimHei",
    )

    def __init__(
        self,
        tokens: Tensor,
        labels: Tensor,
        frame: pd.DataFrame | None = None,
        *,
        groups: Iterable[Any] | np.ndarray | None = None,
        card: DataCard | None = None,
        decode: Callable[[Sequence[int]], str] = utf8,
    ):
        super().__init__(tokens, labels, frame, groups=groups, card=card)
        if tokens.is_floating_point() or tokens.is_complex():
            raise ValueError(f"tokens must be integers; got {tokens.dtype}.")
        self.decode = decode

    @classmethod
    def from_documents(
        cls,
        documents: Sequence[str],
        labels: Sequence[int],
        length: int,
        card: DataCard | None = None,
    ) -> Self:
        """Cut documents into windows of `length` UTF-8 bytes.

        Each document becomes a group, and its last window is padded with zeros. The
        frame has the columns `document` (the position of the document) and `start` (the
        position of the window's first byte).

        Raises:
            ValueError: if `length` is less than 1 or the number of labels differs from
                the number of documents.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1; got {length}.")
        if len(documents) != len(labels):
            raise ValueError(
                f"labels must contain one label for each of the {len(documents)} "
                f"documents; got {len(labels)}."
            )
        encoded = [document.encode() for document in documents]
        windows = [
            (document, start, content[start : start + length].ljust(length, b"\0"))
            for document, content in enumerate(encoded)
            for start in range(0, max(len(content), 1), length)
        ]
        frame = pd.DataFrame([w[:2] for w in windows], columns=["document", "start"])
        joined = bytearray(b"".join(window for _, _, window in windows))
        tokens = torch.frombuffer(joined, dtype=torch.uint8).reshape(-1, length)
        targets = torch.from_numpy(np.asarray(labels)[frame["document"]])
        return cls(tokens, targets, frame, groups=frame["document"], card=card)

    @property
    def tokens(self) -> Tensor:
        return self.inputs

    def _values(self, stored: Tensor) -> Tensor:
        return stored.long()

    def _draw(self, axes: "Axes", stored: Tensor) -> None:
        line = " ".join(self.decode(stored.tolist()).split())
        line = line if len(line) <= 100 else line[:99] + "…"
        families = _fonts("DejaVu Sans", *(() if line.isascii() else self.fonts))
        characters = {c for family in families.values() for c in family}
        shown = "".join(c if ord(c) in characters else "\ufffd" for c in line)
        axes.set_axis_off()
        shown = shown.replace("$", r"\$")
        axes.text(0, 0.5, shown, fontfamily=list(families), fontsize=10, va="center")


@lru_cache
def _fonts(*names: str) -> dict[str, set[int]]:
    """Return the installed ones of some font families, each with its characters.

    Matplotlib keeps its list of fonts from its first import on this machine. When none of
    the families but the first is in it, the machine is searched again.
    """
    from matplotlib import font_manager, ft2font

    def known() -> dict[str, str]:
        return {font.name: font.fname for font in font_manager.fontManager.ttflist}

    if len(names) > 1 and not known().keys() & set(names[1:]):
        listed = set(known().values())
        for path in font_manager.findSystemFonts():
            if path not in listed:
                with suppress(Exception):  # a broken font file is no reason to stop
                    font_manager.fontManager.addfont(path)
    paths = known()
    return {
        name: set(ft2font.FT2Font(paths[name]).get_charmap())
        for name in names
        if name in paths
    }
