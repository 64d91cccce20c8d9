"""Compress a solution's model with DPG, measure the result and write its card.

    python -m deepseek_learn.solutions.compressed wind_power        # into zoo_runs/
    python -m deepseek_learn.solutions.compressed wind_power --ship # and the package

The protocols were fixed before the runs. Models are compressed with the library's default
settings and calibrated on training data. The metrics are those of the original's card, on
the same data.

`nodule_detector`: every weight gets 8 bits (`criterion="uniform"`), since a mark's diameter
and offset matter as much as its score, of which a sensitivity alone would be computed. The
model is calibrated on 32 crops of four training scans. CPM and sensitivity are those on the
validation scans, as on the original's card.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from .. import dpg, zoo
from ..training import predict
from ..zoo import storage

GROUP_SIZE = 64


@dataclass(frozen=True, eq=False)
class CompressionRecipe:
    """How a model is compressed and measured.

    Attributes:
        calibration: inputs from the training data, and how many of them make a batch.
        measure: returns the metrics of a compressed model for its card.
    """

    calibration: Tensor
    batch: int
    measure: Callable[[nn.Module], dict]
    bits: int = 4
    criterion: str = "sensitivity"


def nodule_detector(out: Path) -> CompressionRecipe:
    from .nodules import evaluate
    from .nodules.crops import Crops
    from .phantoms.scans import training_scans

    crops = Crops(training_scans(out / "chests", 4), 32, augment=False)

    def measure(model: nn.Module) -> dict:
        judged = evaluate.judged(evaluate.mark_part(model, "validation"))
        return {"all": evaluate.metrics(judged)}

    return CompressionRecipe(
        crops.batch(range(32))[0], 4, measure, bits=8, criterion="uniform"
    )


def wind_power(out: Path) -> CompressionRecipe:
    from .wind import train

    farm = train.farm_samples()
    return CompressionRecipe(
        train.evaluation().calibration,
        16,
        lambda model: train.score(lambda part: predict(model, part), farm),
    )


def movement_reader(out: Path) -> CompressionRecipe:
    from .movement import train

    return CompressionRecipe(train.evaluation().calibration, 32, train.measure)


def mail_reader(out: Path) -> CompressionRecipe:
    from .mail import train

    parts = train.evaluation()
    return CompressionRecipe(
        parts.calibration, 32, lambda model: train.measure(model, parts.test)
    )


def review_reader(out: Path) -> CompressionRecipe:
    from .reviews import train

    parts = train.evaluation()
    return CompressionRecipe(
        parts.calibration, 32, lambda model: train.measure(model, parts.test)
    )


RECIPES: dict[str, Callable[[Path], CompressionRecipe]] = {
    "mail_reader": mail_reader,
    "movement_reader": movement_reader,
    "nodule_detector": nodule_detector,
    "review_reader": review_reader,
    "wind_power": wind_power,
}


def main() -> None:
    parser = storage.options(__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    arguments = parser.parse_args()
    name, sibling, out = arguments.name, f"{arguments.name}_dpg", arguments.out
    recipe = RECIPES[name](out)
    start = time.process_time()
    result = dpg.compress(
        zoo.load(name),
        recipe.calibration.split(recipe.batch),
        bits=recipe.bits,
        criterion=recipe.criterion,
        group_size=GROUP_SIZE,
        logits=lambda model, x: model(x).flatten(1),
    )
    seconds = time.process_time() - start
    print(result.why())
    dpg.save(result.model, out / f"{sibling}.safetensors")
    metrics = recipe.measure(result.model.eval())
    settings = {"bits": recipe.bits, "group_size": GROUP_SIZE}
    settings |= {"calibration": len(recipe.calibration)}
    settings |= {"stored_bytes": result.stored_bytes}
    settings |= {"original_bytes": result.original_bytes}
    split = str(zoo.zoo[name].split)
    storage.record(sibling, out, split, metrics, seconds, settings)
    if arguments.ship:
        storage.ship(sibling, out, split, weights=True)
    print(metrics)


if __name__ == "__main__":
    main()
