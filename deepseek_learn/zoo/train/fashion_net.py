"""Train the zoo's network for Fashion-MNIST and write its weights and card.

    python -m deepseek_learn.zoo.train.fashion_net             # into zoo_runs/
    python -m deepseek_learn.zoo.train.fashion_net --ship      # also into the package

The protocol was fixed before the run. The network is trained on 8,000 images with
AdamW, a cosine schedule over all epochs, horizontal flips, and shifts of up to 2
pixels. The weights are taken from the epoch with the best validation accuracy. The
target is an accuracy of at least 89% on the 4,000 test images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import data
from ...training import Recipe, cosine, fit, predict
from .. import storage
from ..metrics import multiclass_metrics
from ..nets.fashion_net import fashion_net

EPOCHS, BATCH, LR, SEED = 16, 64, 3e-3, 0


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip each image with probability 1/2, and shift the batch by up to two pixels."""
    mirror = torch.rand((len(images), 1, 1, 1), generator=generator) < 0.5
    images = torch.where(mirror, images.flip(3), images)
    down, right = (int(s) for s in torch.randint(0, 5, (2,), generator=generator))
    height, width = images.shape[2:]
    padded = F.pad(images, (2, 2, 2, 2))
    return padded[:, :, down : down + height, right : right + width]


def main() -> None:
    arguments = storage.options(__doc__).parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.out / "fashion_net.checkpoint"
    splits = data.fashion_mnist()
    torch.manual_seed(SEED)
    model = fashion_net()
    run = fit(
        model,
        splits.train,
        torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.05),
        epochs=EPOCHS,
        validation=splits.validation,
        recipe=Recipe(
            loss=lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1),
            batch_size=BATCH,
            schedule=cosine,
            augment=augment,
            autocast=None,
        ),
        checkpoint=checkpoint,
        seed=SEED,
    )
    print(run.history)
    storage.load_into(model, storage.save("fashion_net", model, arguments.out))
    metrics = {"all": multiclass_metrics(*predict(model, splits.test))}
    settings = {"seed": SEED, "batch_size": BATCH, "lr": LR}
    storage.record("fashion_net", arguments.out, "fixed", metrics, run, settings)
    checkpoint.unlink()
    if arguments.ship:
        storage.ship("fashion_net", arguments.out, "fixed", weights=True)
    print(metrics)


if __name__ == "__main__":
    main()
