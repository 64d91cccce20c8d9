"""Train the zoo's U-Net on the bacteria dataset and write its weights and card.

    python -m deepseek_learn.zoo.train.bacteria_unet             # into zoo_runs/
    python -m deepseek_learn.zoo.train.bacteria_unet --ship      # also into the package

The protocol was fixed before the run. The training data are tiles of 112 x 112 pixels
from the 25 training fields. Every tile that contains bacteria is used, along with every
fifth of the other tiles, each in all eight orientations. The loss is cross-entropy plus
soft Dice. The network is trained with AdamW, a cosine schedule over all epochs, and
random changes of brightness and contrast. The weights are taken from the epoch with the
best intersection over union (IoU) on the 8 validation fields. The target is an IoU of
at least 0.70 on the 8 test fields; the best networks found by a short search
(`benchmarks/tuner_unet.py`) reached 0.60 to 0.70 on the validation fields.
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import data
from ...data.dataset import ImageDataset
from ...training import Recipe, cosine, fit, predict
from .. import storage
from ..metrics import iou, overlap_metrics
from ..nets.unet import bacteria_unet

EPOCHS, BATCH, LR, SEED, TILE = 40, 16, 2e-3, 0, 112


def tiles() -> ImageDataset:
    """Return the training tiles in all eight rotations and reflections."""
    train = data.bacteria(tile=TILE).train
    occupied = train.labels.flatten(1).any(1).numpy()  # [N]
    empty = np.flatnonzero(~occupied)[::5]
    subset = train.subset(np.sort([*np.flatnonzero(occupied), *empty]))
    pairs = [(subset.images, subset.labels)]
    pairs += [(x.flip(-1), y.flip(-1)) for x, y in pairs]
    pairs = [
        (x.rot90(k, (-2, -1)), y.rot90(k, (-2, -1))) for x, y in pairs for k in range(4)
    ]
    images, masks = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return ImageDataset(images, masks, pd.concat([subset.frame] * len(pairs)))


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the sum of the cross-entropy and the soft Dice loss for the bacteria.

    Milletari et al. 2016, "V-Net", arXiv 1606.04797.

    The Dice loss is 1 - 2 |A B| / (|A| + |B|), where A are the predicted probabilities
    and B is the mask.
    """
    probability = logits.softmax(1)[:, 1]
    dice = 2 * (probability * masks).sum() / (probability.sum() + masks.sum() + 1)
    return F.cross_entropy(logits, masks) + 1 - dice


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Randomly change the contrast by up to 20% and the brightness by up to 10%."""
    gain, shift = torch.rand((2, len(images), 1, 1, 1), generator=generator)
    return (images - 0.5) * (0.8 + 0.4 * gain) + 0.5 + 0.2 * (shift - 0.5)


def main() -> None:
    arguments = storage.options(__doc__).parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint, splits = arguments.out / "bacteria_unet.checkpoint", data.bacteria()
    torch.manual_seed(SEED)
    model = bacteria_unet()
    run = fit(
        model,
        tiles(),
        torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01),
        epochs=EPOCHS,
        validation=splits.validation,
        recipe=Recipe(loss, iou, BATCH, cosine, augment, autocast=None),
        checkpoint=checkpoint,
        seed=SEED,
    )
    print(run.history)
    storage.load_into(model, storage.save("bacteria_unet", model, arguments.out))
    metrics = {"all": overlap_metrics(*predict(model, splits.test))}
    settings = {"seed": SEED, "batch_size": BATCH, "lr": LR, "tile": TILE}
    storage.record("bacteria_unet", arguments.out, "fixed", metrics, run, settings)
    checkpoint.unlink()
    if arguments.ship:
        storage.ship("bacteria_unet", arguments.out, "fixed", weights=True)
    print(metrics)


if __name__ == "__main__":
    main()
