"""On which data a model of the zoo is calibrated, held out and tested, and by what.

Compression and deployment take their choices on `held_out`; a final figure comes from
`test`, on which nothing was chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import data
from ..data.dataset import ImageDataset
from ..errors import UnknownNameError, require
from ..training import accuracy
from .metrics import iou
from .models import load, zoo

BATCH, SEED = 4, 0


@dataclass(frozen=True)
class Evaluation:
    """Pictures for one model of the zoo.

    Attributes:
        calibration: `[N, C, H, W]` of the training part.
        held_out: the validation part.
        test: the test part.
        score: `(answers, labels) -> 0..1`, higher is better.
    """

    calibration: Tensor
    held_out: ImageDataset
    test: ImageDataset
    score: Callable[[Tensor, Tensor], float]

    def metric(self, predict: Callable[[Tensor], Tensor]) -> float:
        """Points (0..100) of what `predict` answers on the held-out pictures."""
        return self.points(predict, self.held_out)

    def points(self, predict: Callable[[Tensor], Tensor], part: ImageDataset) -> float:
        """Points (0..100) of what `predict` answers on the pictures of `part`."""
        rows = torch.arange(len(part)).split(BATCH)
        with torch.inference_mode():
            answers = torch.cat([predict(part.batch(some)[0]) for some in rows])
        return 100 * self.score(answers, part.labels)


def evaluation(name: str) -> Evaluation:
    """The pictures for the model `name`; a compressed sibling has its original's.

    For EfficientNet-Lite0, which was trained on ImageNet, there are no labeled pictures:
    crops of two photographs calibrate it, and the score on crops of a third, held out and
    tested alike, is how often it agrees with the model in float.

    Raises:
        UnknownNameError: naming the models there are.
        MissingPackageError: when the pictures come in a package that is not installed.
    """
    original = zoo[name].original or name
    if original not in SOURCES:
        raise UnknownNameError("model with pictures to judge it by", name, SOURCES)
    return SOURCES[original]()


def fashion_net() -> Evaluation:
    splits = data.fashion_mnist()
    calibration = splits.train.batch(slice(0, 512))[0]
    return Evaluation(calibration, splits.validation, splits.test, accuracy)


def solar_defects() -> Evaluation:
    splits = data.elpv(split="random", size=288)
    rows = torch.randperm(len(splits.train), generator=_generator())[:256]
    calibration = splits.train.batch(rows)[0]
    return Evaluation(calibration, splits.validation, splits.test, accuracy)


def bacteria_unet() -> Evaluation:
    splits = data.bacteria()
    return Evaluation(splits.train.batch()[0], splits.validation, splits.test, iou)


def efficientnet_lite0() -> Evaluation:
    samples = require("sklearn.datasets", extra="vision", purpose="calibration")
    photos = [torch.tensor(image) for image in samples.load_sample_images().images]
    calibration = torch.cat([crops(photo, 128) for photo in photos]).float() / 255
    compared = crops(_third_photograph(), 300)
    model, rows = load("efficientnet_lite0"), torch.arange(300).split(BATCH)
    with torch.inference_mode():
        said = [model(compared[some].float() / 255).argmax(1) for some in rows]
    frame = pd.DataFrame({"crop": range(300)})
    part = ImageDataset(compared, torch.cat(said), frame)
    return Evaluation(calibration, part, part, accuracy)


SOURCES = {
    "fashion_net": fashion_net,
    "solar_defects": solar_defects,
    "bacteria_unet": bacteria_unet,
    "efficientnet_lite0": efficientnet_lite0,
}


def crops(photo: Tensor, count: int, size: int = 224) -> Tensor:
    """Square crops of a `[H, W, 3]` photograph, a third to all of its height."""
    generator, found = _generator(), []
    picture = photo.permute(2, 0, 1)[None].float()
    for _ in range(count):
        part = 1 / 3 + 2 / 3 * torch.rand((), generator=generator).item()
        side = int(part * min(photo.shape[:2]))
        top, left = (
            int(torch.randint(0, full - side + 1, (), generator=generator))
            for full in photo.shape[:2]
        )
        crop = picture[:, :, top : top + side, left : left + side]
        found.append(
            torch.nn.functional.interpolate(crop, (size, size), mode="bilinear")
        )
    return torch.cat(found).round().byte()


def _third_photograph() -> Tensor:
    import matplotlib
    from PIL import Image

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return torch.from_numpy(np.array(Image.open(path).convert("RGB")))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)
