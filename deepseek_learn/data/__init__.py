"""Real datasets that can be loaded offline.

Call `load(name)` or the dataset's own function, such as `digits()`. Images, series,
volumes and text share one interface (`dataset.py`), which `training.fit` and
`data.split` accept.
Lesson: `notebooks/basic/00_tour.ipynb`.
"""

from typing import Any

from .bacteria import bacteria
from .card import DataCard
from .dataset import (
    ImageDataset,
    LabeledDataset,
    SeriesDataset,
    VolumeDataset,
)
from .digits import digits
from .elpv import elpv, elpv_sample
from .english_verses import english_verses
from .fashion_mnist import fashion_mnist
from .leakage import Leak, leak
from .mail import mail
from .movements import movements
from .reviews import reviews
from .splits import Splits, datasets, random_parts, split, split_by
from .tang_poems import tang_poems
from .text import TextSplits, windows
from .text_dataset import TextDataset

__all__ = [
    "DataCard",
    "ImageDataset",
    "LabeledDataset",
    "Leak",
    "SeriesDataset",
    "Splits",
    "TextDataset",
    "TextSplits",
    "VolumeDataset",
    "bacteria",
    "digits",
    "elpv",
    "elpv_sample",
    "english_verses",
    "fashion_mnist",
    "leak",
    "load",
    "mail",
    "movements",
    "names",
    "random_parts",
    "reviews",
    "split",
    "split_by",
    "tang_poems",
    "windows",
]


def names() -> list[str]:
    """Return the names of all datasets.

    >>> from deepseek_learn import data
    >>> "digits" in data.names()
    True
    """
    return list(datasets)


def load(name: str, **options: Any) -> Splits[Any] | TextSplits:
    """Load a dataset by name.

    Args:
        name: one of `names()`.
        options: keyword arguments for the dataset's own function, such as `data.elpv`.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the known datasets.
        MissingPackageError: if a package is missing; the message tells you what to
            install.

    >>> from deepseek_learn import data
    >>> data.load("digits").classes
    ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    return datasets[name](**options)
