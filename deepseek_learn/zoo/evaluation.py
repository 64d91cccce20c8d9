"""The metric for each zoo model, and its calibration, validation and test data.

Compression and deployment base their decisions on the validation set, `held_out`. The
test set is used only for the final results, and no decision depends on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import data
from ..data import ImageDataset, LabeledDataset
from ..errors import UnknownNameError, require
from ..training import accuracy
from .metrics import iou
from .models import load, zoo

BATCH, SEED = 4, 0


@dataclass(frozen=True)
class Evaluation:
    """The data and metric used to evaluate one model from the zoo.

    Attributes:
        calibration: inputs from the training set, as a tensor of shape `[N, ...]`.
        held_out: the validation set.
        test: the test set.
        score: a function that maps predictions and labels to a score from 0 to 1, where
            higher is better.

    >>> from deepseek_learn import zoo
    >>> evaluation = zoo.evaluation("fashion_net")
    >>> evaluation.calibration.shape, len(evaluation.test)
    (torch.Size([512, 1, 28, 28]), 4000)
    """

    calibration: Tensor
    held_out: LabeledDataset
    test: LabeledDataset
    score: Callable[[Tensor, Tensor], float]

    def metric(self, predict: Callable[[Tensor], Tensor]) -> float:
        """Return the score of `predict` on the validation set, in points (0..100)."""
        return self.points(predict, self.held_out)

    def points(
        self, predict: Callable[[Tensor], Tensor], part: LabeledDataset
    ) -> float:
        """Return the score of `predict` on a dataset, in points (0..100)."""
        rows = torch.arange(len(part)).split(BATCH)
        with torch.inference_mode():
            answers = torch.cat([predict(part.batch(index)[0]) for index in rows])
        return 100 * self.score(answers, part.labels)


def evaluation(name: str) -> Evaluation:
    """Return the evaluation images for the model `name`.

    A compressed model uses the same images as the original. For EfficientNet-Lite0,
    which was trained on ImageNet, no labeled images are available. It is calibrated on
    crops of two photographs, and its score is how often it agrees with the float model
    on crops of a third photograph. These crops serve as both the validation set and the
    test set.

    Raises:
        UnknownNameError: if the model has no evaluation images; the message lists the
            models that do.
        MissingPackageError: if the images are in a package that is not installed.

    >>> from deepseek_learn import zoo
    >>> from deepseek_learn.training import predict
    >>> evaluation = zoo.evaluation("bacteria_unet")
    >>> two = evaluation.test.subset(range(2))
    >>> logits, labels = predict(zoo.load("bacteria_unet"), two)
    >>> 0 <= evaluation.score(logits, labels) <= 1
    True
    """
    original = zoo[name].original or name
    if original not in SOURCES:
        raise UnknownNameError("model with evaluation images", name, SOURCES)
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
    images = crops(_third_photograph(), 300)
    model, rows = load("efficientnet_lite0"), torch.arange(300).split(BATCH)
    with torch.inference_mode():
        labels = [model(images[index].float() / 255).argmax(1) for index in rows]
    frame = pd.DataFrame({"crop": range(300)})
    part = ImageDataset(images, torch.cat(labels), frame)
    return Evaluation(calibration, part, part, accuracy)


SOURCES = {
    "fashion_net": fashion_net,
    "solar_defects": solar_defects,
    "bacteria_unet": bacteria_unet,
    "efficientnet_lite0": efficientnet_lite0,
}


def crops(photo: Tensor, count: int, size: int = 224) -> Tensor:
    """Return random square crops of a photograph, all resized to the same size.

    The side length of each crop ranges from one third of the photograph's shorter side
    to its full length.

    Args:
        photo: a photograph of shape `[H, W, 3]`.
        count: the number of crops.
        size: the side length of the resized crops.

    Returns:
        A uint8 tensor of shape `[count, 3, size, size]`.
    """
    generator, resized = _generator(), []
    image = photo.permute(2, 0, 1)[None].float()  # [1, 3, H, W]
    for _ in range(count):
        fraction = 1 / 3 + 2 / 3 * torch.rand((), generator=generator).item()
        side = int(fraction * min(photo.shape[:2]))
        top, left = (
            int(torch.randint(0, full - side + 1, (), generator=generator))
            for full in photo.shape[:2]
        )
        crop = image[:, :, top : top + side, left : left + side]
        resized.append(
            torch.nn.functional.interpolate(crop, (size, size), mode="bilinear")
        )
    return torch.cat(resized).round().byte()


def _third_photograph() -> Tensor:
    import matplotlib
    from PIL import Image

    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return torch.from_numpy(np.array(Image.open(path).convert("RGB")))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)
