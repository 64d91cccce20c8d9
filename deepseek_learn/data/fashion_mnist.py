"""Fashion-MNIST: 28 x 28 grayscale images of clothing (a bundled subset)."""

from importlib.resources import files

import numpy as np
import pandas as pd
import torch

from ..catalog import spoken
from .card import read_card
from .dataset import ImageDataset
from .splits import Splits, datasets

CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

CARD = read_card("fashion_mnist")


@datasets.register("fashion_mnist")
def fashion_mnist() -> Splits[ImageDataset]:
    """Load the bundled subset, with images of shape `[1, 28, 28]` in 10 classes.

    >>> from deepseek_learn import data
    >>> splits = data.fashion_mnist()
    >>> splits.test[0][0].shape, splits.classes[:3]
    (torch.Size([1, 28, 28]), ('T-shirt/top', 'trouser', 'pullover'))
    """
    path = files("deepseek_learn.data") / "files" / "fashion_mnist.npz"
    card = spoken(CARD)
    with path.open("rb") as file, np.load(file) as arrays:
        parts = {}
        for part in ("train", "validation", "test"):
            images = torch.from_numpy(arrays[f"{part}_images"])[:, None]
            labels = torch.from_numpy(arrays[f"{part}_labels"]).long()
            frame = pd.DataFrame({"class": [CLASSES[i] for i in labels]})
            parts[part] = ImageDataset(images, labels, frame, card=card)
    return Splits(**parts, classes=CLASSES, card=card)
