# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels."""

import numpy as np
import pandas as pd
import torch

from ..errors import require
from .dataset import DataCard, ImageDataset, Splits, datasets, random_parts, split_by

CARD = DataCard(
    name="digits",
    title={
        "en": "Optical recognition of handwritten digits",
        "zh": "手写数字的光学识别",
    },
    origin={
        "en": "UCI (Alpaydin & Kaynak), the test part, as shipped by scikit-learn",
        "zh": "UCI（Alpaydin & Kaynak）的测试部分，随 scikit-learn 附带",
    },
    licence={
        "en": "CC BY 4.0 (data), BSD-3-Clause (scikit-learn)",
        "zh": "CC BY 4.0（数据），BSD-3-Clause（scikit-learn）",
    },
    citation="Alpaydin & Kaynak 1998, UCI Machine Learning Repository",
    size={
        "en": "1,797 grey pictures of 8 x 8 pixels, 17 levels, 10 classes",
        "zh": "1,797 张 8 × 8 像素的灰度图片，17 级灰度，10 类",
    },
    split={
        "en": "random within class, seed 0: 60 / 15 / 25 % train / validation / test",
        "zh": "按类别分层随机划分，种子 0：训练、验证、测试为 60 / 15 / 25 %",
    },
    traps=(
        {
            "en": "13 people wrote these digits and the file does not say who wrote "
            "which: a random split has every writer on both sides.",
            "zh": "这些数字由 13 个人书写，文件没有说明哪个是谁写的：随机划分时，每个人的字迹两边都有。",
        },
        {
            "en": "At 8 x 8 pixels nearly every method exceeds 95 %: good for "
            "seconds-long experiments, not for ranking methods.",
            "zh": "只有 8 × 8 像素，几乎任何方法都超过 95 %：适合做几秒钟的小实验，不适合给方法排名。",
        },
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
