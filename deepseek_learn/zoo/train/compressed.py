"""Compress a model from the zoo with DPG, evaluate the result and write its card.

    python -m deepseek_learn.zoo.train.compressed fashion_net           # into zoo_runs/
    python -m deepseek_learn.zoo.train.compressed fashion_net --ship    # into the package

The protocol was fixed before the run. The model is compressed with the library's
default settings, `dpg.compress(model, batches)`. It is calibrated on inputs from the
training set and evaluated on the test set, and the original model is run on the same
images. EfficientNet-Lite0 cannot be evaluated on ImageNet, which is not available here.
Instead, it is calibrated on crops of two photographs and compared with the original on
crops of a third one. The target is at least 99.5% of the original's accuracy or IoU or,
if there are no labels, 99.5% agreement with its predictions.

With the default settings, EfficientNet-Lite0 missed the target by a wide margin. Two
photographs cannot show which of the thousand classes matter, and the rows of the
classifier received the fewest bits. The compressed EfficientNet-Lite0 therefore uses 8
bits in every row, which is safe even if the calibration data are not representative.
"""

import time

from torch import nn

from ... import dpg, zoo
from ...data.dataset import LabeledDataset
from ...training import predict
from .. import storage
from ..evaluation import SEED, evaluation
from ..metrics import (
    agreement_metrics,
    binary_metrics,
    multiclass_metrics,
    overlap_metrics,
)

GROUP_SIZE, BATCH = 64, 32
BITS = {
    "fashion_net": 4,
    "solar_defects": 4,
    "bacteria_unet": 4,
    "efficientnet_lite0": 8,
}
CRITERION = {"efficientnet_lite0": "uniform"}  # the others use the default


def measure(
    name: str, model: nn.Module, original: nn.Module, test: LabeledDataset
) -> dict:
    """Compute the metrics on the original's card, and the agreement with the original.

    The agreement is not computed for the U-Net.
    """
    logits, labels = predict(model, test)
    if name == "bacteria_unet":  # one prediction per pixel
        return overlap_metrics(logits, labels)
    metrics = agreement_metrics(logits, predict(original, test)[0])
    if name == "fashion_net":
        metrics |= multiclass_metrics(logits, labels)
    if name == "solar_defects":
        metrics |= binary_metrics(logits, labels)
    return metrics


def main() -> None:
    parser = storage.options(__doc__)
    parser.add_argument("name", choices=sorted(BITS))
    arguments = parser.parse_args()
    name, sibling = arguments.name, f"{arguments.name}_dpg"
    original = zoo.load(name)
    images = evaluation(name)
    calibration, test = images.calibration, images.test
    split = zoo.card(name).model.split or "crops"
    start = time.process_time()
    result = dpg.compress(
        original,
        calibration.split(BATCH),
        bits=BITS[name],
        criterion=CRITERION.get(name, "sensitivity"),
        group_size=GROUP_SIZE,
    )
    seconds = time.process_time() - start
    print(result.why())
    dpg.save(result.model, arguments.out / f"{sibling}.safetensors")
    metrics = {"all": measure(name, result.model, original, test)}
    settings = {"bits": BITS[name], "group_size": GROUP_SIZE, "seed": SEED}
    settings |= {"calibration": len(calibration), "stored_bytes": result.stored_bytes}
    settings |= {"original_bytes": result.original_bytes}
    storage.record(sibling, arguments.out, split, metrics, seconds, settings)
    if arguments.ship:
        storage.ship(sibling, arguments.out, split, weights=True)
    print(metrics)


if __name__ == "__main__":
    main()
