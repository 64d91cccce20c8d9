"""Compress the nodule detector with DPG, measure the result and write its card.

    python -m deepseek_learn.solutions.nodules.compressed          # into zoo_runs/
    python -m deepseek_learn.solutions.nodules.compressed --ship   # also into the package

The protocol was fixed before the run. Every weight gets 8 bits (`criterion="uniform"`),
since a mark's diameter and offset matter as much as its score, of which a sensitivity alone
would be computed. The model is calibrated on 32 crops of four training scans. CPM and
sensitivity are those on the validation scans, as on the original's card.
"""

import argparse
import time
from pathlib import Path

from ... import dpg, zoo
from ...zoo import storage
from . import evaluate
from .crops import Crops
from .scans import training_scans
from .train import NAME

SIBLING, BITS, GROUP_SIZE, CROPS, SCANS = f"{NAME}_dpg", 8, 64, 32, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=storage.RUNS)
    parser.add_argument("--ship", action="store_true", help="copy it into the package")
    arguments = parser.parse_args()
    crops = Crops(training_scans(arguments.out / "chests", SCANS), CROPS, augment=False)
    calibration, _ = crops.batch(range(CROPS))
    start = time.process_time()
    result = dpg.compress(
        zoo.load(NAME),
        calibration.split(4),
        bits=BITS,
        criterion="uniform",
        group_size=GROUP_SIZE,
        logits=lambda model, x: model(x).flatten(1),
    )
    seconds = time.process_time() - start
    print(result.why())
    dpg.save(result.model, arguments.out / f"{SIBLING}.safetensors")
    judged = evaluate.judged(evaluate.mark_part(result.model.eval(), "validation"))
    metrics = {"all": evaluate.metrics(judged)}
    settings = {"bits": BITS, "group_size": GROUP_SIZE, "calibration": CROPS}
    settings |= {"stored_bytes": result.stored_bytes}
    settings |= {"original_bytes": result.original_bytes}
    storage.record_compression(
        SIBLING, arguments.out, "patient", metrics, seconds, settings
    )
    if arguments.ship:
        storage.ship(SIBLING, arguments.out, "patient", weights=True)
    print(metrics)


if __name__ == "__main__":
    main()
