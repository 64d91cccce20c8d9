"""Train the zoo's U-Net on the bacteria and write its weights and card.

    python -m deepseek_learn.zoo.train.bacteria_unet             # into zoo_runs/
    python -m deepseek_learn.zoo.train.bacteria_unet --ship      # also into the package

Protocol, fixed before the run: the tiles of 112 x 112 of the 25 training fields that show
bacteria and every fifth of the others, each in its eight orientations; cross-entropy plus
soft Dice, AdamW, one cosine over the epochs, brightness and contrast varied; the epoch
with the best intersection over union on the 8 validation fields is kept. Target: an IoU
of at least 0.70 on the 8 test fields (the best networks of a short search,
`benchmarks/tuner_unet.py`, had 0.60 to 0.70 on validation).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ... import data
from ...data.dataset import ImageDataset
from ...training import cosine, fit, predict
from .. import storage
from ..metrics import iou, overlap_metrics
from ..nets.unet import bacteria_unet

EPOCHS, BATCH, LR, SEED, TILE = 40, 16, 2e-3, 0, 112


def tiles() -> ImageDataset:
    """The training tiles, each turned and mirrored."""
    every = data.bacteria(tile=TILE).train
    shown = every.labels.flatten(1).any(1).numpy()  # [N]
    empty = np.flatnonzero(~shown)[::5]
    chosen = every.subset(np.sort([*np.flatnonzero(shown), *empty]))
    pairs = [(chosen.images, chosen.labels)]
    pairs += [(x.flip(-1), y.flip(-1)) for x, y in pairs]
    pairs = [
        (x.rot90(k, (-2, -1)), y.rot90(k, (-2, -1))) for x, y in pairs for k in range(4)
    ]
    images, masks = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return ImageDataset(images, masks, pd.concat([chosen.frame] * len(pairs)))


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy, and 1 - 2 |A B| / (|A| + |B|) of the bacteria (Milletari 2016)."""
    answered = logits.softmax(1)[:, 1]
    dice = 2 * (answered * masks).sum() / (answered.sum() + masks.sum() + 1)
    return F.cross_entropy(logits, masks) + 1 - dice


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Contrast by up to a fifth, brightness by up to a tenth."""
    gain, shift = torch.rand((2, len(images), 1, 1, 1), generator=generator)
    return (images - 0.5) * (0.8 + 0.4 * gain) + 0.5 + 0.2 * (shift - 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=storage.RUNS)
    parser.add_argument("--ship", action="store_true", help="put it into the package")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint, splits = arguments.out / "bacteria_unet.checkpoint", data.bacteria()
    torch.manual_seed(SEED)
    model = bacteria_unet()
    run = fit(
        model,
        tiles(),
        torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.01),
        epochs=EPOCHS,
        batch_size=BATCH,
        validation=splits.validation,
        schedule=cosine,
        autocast=None,
        loss=loss,
        metric=iou,
        augment=augment,
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
