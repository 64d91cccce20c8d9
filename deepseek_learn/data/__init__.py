"""Real datasets, one loader each, with no network: `load(name)` or the loader itself."""

from .bacteria import bacteria
from .dataset import DataCard, ImageDataset, Splits, TextSplits, datasets, windows
from .digits import digits
from .elpv import elpv, elpv_sample
from .english_verses import english_verses
from .fashion_mnist import fashion_mnist
from .tang_poems import tang_poems

__all__ = [
    "DataCard",
    "ImageDataset",
    "Splits",
    "TextSplits",
    "bacteria",
    "digits",
    "elpv",
    "elpv_sample",
    "english_verses",
    "fashion_mnist",
    "load",
    "names",
    "tang_poems",
    "windows",
]


def names() -> list[str]:
    """The datasets there are."""
    return list(datasets)


def load(name: str, **options) -> Splits | TextSplits:
    """The dataset `name`; `options` go to its loader (see `data.elpv`).

    Raises:
        UnknownNameError: naming the datasets there are.
        MissingPackageError: with the command that installs what is missing.
    """
    return datasets[name](**options)
