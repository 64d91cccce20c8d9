"""Real datasets that can be loaded offline.

Call `load(name)` or the dataset's own function, such as `digits()`. Images, series,
volumes and text share one interface (`dataset.py`), which `training.fit` and
`data.split` accept. The datasets of industries stand in their solutions, as in
`solutions/mail/corpus.py`; `cards/` and `files/` hold those of all, since a sandbox hides
the files of exams as one folder.
Lesson: `notebooks/basic/00_tour.ipynb`.
"""

from typing import TYPE_CHECKING, Any

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
from .splits import Splits, datasets, random_parts, split, split_by
from .tang_poems import tang_poems
from .text import TextSplits, windows
from .text_dataset import TextDataset

if TYPE_CHECKING:
    from ..solutions.mail.corpus import mail
    from ..solutions.movement.hapt import movements
    from ..solutions.reviews.corpus import reviews

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


def __getattr__(name: str) -> Any:
    """Return a dataset that a solution registers, such as `data.mail` (PEP 562)."""
    if name in datasets.modules:
        return datasets[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
