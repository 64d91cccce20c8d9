"""Make the DPG-compressed sibling of a zoo model, measure it and write its card.

    python -m deepseek_learn.zoo.train.compressed fashion_net           # into zoo_runs/
    python -m deepseek_learn.zoo.train.compressed fashion_net --ship    # into the package

Protocol, fixed before the run: the library's default, `dpg.compress(model, batches)`;
calibration inputs come from the training part, figures from the test part, on which
original and sibling answer the same pictures. For EfficientNet-Lite0 no ImageNet is
here: crops of two photographs calibrate it, crops of a third compare it. Target: at
least 99.5 % of the original's accuracy (of its answers, where no labels are).

The default missed the target for EfficientNet-Lite0, by far: two photographs cannot say
which of a thousand classes matter, and the classifier's rows got the fewest bits. So its
sibling has 8 bits in every row, which is safe where calibration is not representative.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ... import data, dpg, zoo
from ...data.dataset import ImageDataset
from ...errors import require
from ...training import predict
from .. import storage
from ..metrics import agreement_metrics, binary_metrics, multiclass_metrics

GROUP_SIZE, BATCH, SEED = 64, 32, 0
BITS = {"fashion_net": 4, "solar_defects": 4, "efficientnet_lite0": 8}
CRITERION = {"efficientnet_lite0": "uniform"}  # the others: the default


def fashion_net() -> tuple[Tensor, ImageDataset, str]:
    splits = data.fashion_mnist()
    return splits.train.batch(slice(0, 512))[0], splits.test, "fixed"


def solar_defects() -> tuple[Tensor, ImageDataset, str]:
    splits = data.elpv(split="random", size=288)
    rows = torch.randperm(len(splits.train), generator=_generator())[:256]
    return splits.train.batch(rows)[0], splits.test, "random"


def efficientnet_lite0() -> tuple[Tensor, ImageDataset, str]:
    samples = require("sklearn.datasets", extra="vision", purpose="calibration")
    photos = [torch.tensor(image) for image in samples.load_sample_images().images]
    calibration = torch.cat([crops(photo, 128) for photo in photos]).float() / 255
    compared = crops(_third_photograph(), 300)
    labels = torch.zeros(300, dtype=torch.int64)  # none are known
    frame = pd.DataFrame({"crop": range(300)})
    return calibration, ImageDataset(compared, labels, frame), "crops"


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


SOURCES = {
    "fashion_net": fashion_net,
    "solar_defects": solar_defects,
    "efficientnet_lite0": efficientnet_lite0,
}


def measure(name: str, model, original, test: ImageDataset) -> dict:
    """Accuracy as on the original's card, and agreement with the original."""
    logits, labels = predict(model, test)
    metrics = agreement_metrics(logits, predict(original, test)[0])
    if name == "fashion_net":
        metrics |= multiclass_metrics(logits, labels)
    if name == "solar_defects":
        metrics |= binary_metrics(logits, labels)
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(SOURCES))
    parser.add_argument("--out", type=Path, default=storage.RUNS)
    parser.add_argument("--ship", action="store_true", help="put it into the package")
    arguments = parser.parse_args()
    name, sibling = arguments.name, f"{arguments.name}_dpg"
    original = zoo.load(name)
    calibration, test, split = SOURCES[name]()
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
    storage.record_compression(
        sibling, arguments.out, split, metrics, seconds, settings
    )
    if arguments.ship:
        storage.ship(sibling, arguments.out, split, weights=True)
    print(metrics)


if __name__ == "__main__":
    main()
