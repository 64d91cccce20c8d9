"""The scikit-learn digits dataset, with 1,797 handwritten digits of 8 x 8 pixels."""

import numpy as np
import pandas as pd
import torch

from ..errors import require
from .card import read_card
from .dataset import ImageDataset
from .splits import Splits, datasets, random_parts, split_by

CARD = read_card("digits")


@datasets.register("digits")
def digits() -> Splits[ImageDataset]:
    """Load the digits dataset, which has images of shape `[1, 8, 8]` in 10 classes.

    Raises:
        MissingPackageError: if scikit-learn is missing; the message tells you how to
            install it.

    >>> from deepseek_learn import data
    >>> image, label = data.digits().train[0]
    >>> image.shape, int(label)
    (torch.Size([1, 8, 8]), 2)
    """
    sklearn = require("sklearn.datasets", extra="vision", purpose="data.digits()")
    bunch = sklearn.load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = torch.from_numpy(bunch.target).long()
    frame = pd.DataFrame({"digit": bunch.target})
    whole = ImageDataset(torch.from_numpy(images)[:, None], labels, frame)
    parts = random_parts(bunch.target, fractions=(0.15, 0.25))
    return split_by(parts, whole, [str(i) for i in range(10)], CARD)
