"""Fashion-MNIST: 28 x 28 grey pictures of clothes, a committed subset of the real set."""

from importlib.resources import files

import numpy as np
import pandas as pd
import torch

from .dataset import DataCard, ImageDataset, Splits, datasets

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

CARD = DataCard(
    name="fashion_mnist",
    title="Fashion-MNIST, subset",
    origin="Zalando Research, by way of Debian's package dataset-fashion-mnist",
    licence="MIT, Copyright 2017 Zalando SE",
    citation="Xiao, Rasul & Vollgraf 2017 (arXiv 1708.07747)",
    size="14,000 of 70,000 pictures, 28 x 28 grey, 10 classes, equally many a class",
    split="train and validation (8,000 / 2,000) are the first pictures of each class in "
    "the official training set; test (4,000) those of the official test set",
    traps=(
        "Figures on 8,000 training pictures are lower than published ones on 60,000.",
        "Shirts, T-shirts, pullovers and coats overlap; human accuracy is about 84 %.",
    ),
)


@datasets.register("fashion_mnist")
def fashion_mnist() -> Splits:
    """The committed subset: splits of `[1, 28, 28]` pictures of 10 classes."""
    path = files("deepseek_learn.data") / "files" / "fashion_mnist.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        parts = {}
        for part in ("train", "validation", "test"):
            images = torch.from_numpy(arrays[f"{part}_images"])[:, None]
            labels = torch.from_numpy(arrays[f"{part}_labels"]).long()
            frame = pd.DataFrame({"class": [CLASSES[i] for i in labels]})
            parts[part] = ImageDataset(images, labels, frame)
    return Splits(**parts, classes=CLASSES, card=CARD)
