"""Fashion-MNIST: 28 x 28 grey pictures of clothes, a committed subset of the real set."""

from importlib.resources import files

import numpy as np
import pandas as pd
import torch

from ..catalogue import spoken
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
    title={"en": "Fashion-MNIST, subset", "zh": "Fashion-MNIST 子集"},
    origin={
        "en": "Zalando Research, by way of Debian's package dataset-fashion-mnist",
        "zh": "Zalando Research，取自 Debian 软件包 dataset-fashion-mnist",
    },
    licence="MIT, Copyright 2017 Zalando SE",
    citation="Xiao, Rasul & Vollgraf 2017 (arXiv 1708.07747)",
    size={
        "en": "14,000 of 70,000 pictures, 28 x 28 grey, 10 classes, equally many a class",
        "zh": "70,000 张图片中的 14,000 张，28 × 28 灰度，10 类，各类数量相等",
    },
    split={
        "en": "train and validation (8,000 / 2,000) are the first pictures of each class "
        "in the official training set; test (4,000) those of the official test set",
        "zh": "训练集和验证集（8,000 / 2,000）取自官方训练集中每一类最前面的图片；"
        "测试集（4,000）取自官方测试集中每一类最前面的图片",
    },
    traps=(
        {
            "en": "Figures on 8,000 training pictures are lower than published ones on "
            "60,000.",
            "zh": "只用 8,000 张训练图片，数字会低于用 60,000 张得到的公开结果。",
        },
        {
            "en": "Shirts, T-shirts, pullovers and coats overlap; human accuracy is "
            "about 84 %.",
            "zh": "衬衫、T 恤、套头衫和外套彼此相像；人的准确率约为 84 %。",
        },
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
    return Splits(**parts, classes=CLASSES, card=spoken(CARD))
