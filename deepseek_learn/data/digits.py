"""scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels."""

import numpy as np
import pandas as pd
import torch

from ..errors import require
from .dataset import DataCard, ImageDataset, Splits, datasets, random_parts, split_by

CARD = DataCard(
    name="digits",
    title="Optical recognition of handwritten digits",
    origin="UCI (Alpaydin & Kaynak), the test part, as shipped by scikit-learn",
    licence="CC BY 4.0 (data), BSD-3-Clause (scikit-learn)",
    citation="Alpaydin & Kaynak 1998, UCI Machine Learning Repository",
    size="1,797 grey pictures of 8 x 8 pixels, 17 levels, 10 classes",
    split="random within class, seed 0: 60 / 15 / 25 % train / validation / test",
    traps=(
        "13 people wrote these digits and the file does not say who wrote which: a "
        "random split has every writer on both sides.",
        "At 8 x 8 pixels nearly every method exceeds 95 %: good for seconds-long "
        "experiments, not for ranking methods.",
    ),
)


@datasets.register("digits")
def digits() -> Splits:
    """The digits: splits of `[1, 8, 8]` pictures of 10 classes.

    Raises:
        MissingPackageError: with the command that installs scikit-learn.
    """
    sklearn = require("sklearn.datasets", extra="vision", purpose="data.digits()")
    bunch = sklearn.load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = torch.from_numpy(bunch.target).long()
    frame = pd.DataFrame({"digit": bunch.target})
    whole = ImageDataset(torch.from_numpy(images)[:, None], labels, frame)
    parts = random_parts(bunch.target, fractions=(0.15, 0.25))
    return split_by(parts, whole, [str(i) for i in range(10)], CARD)
