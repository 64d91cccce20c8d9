"""Train the nodule detector on phantoms and write its weights and card.

    python -m deepseek_learn.solutions.nodules.train          # into zoo_runs/
    python -m deepseek_learn.solutions.nodules.train --ship   # also into the package

The protocol was fixed before the run. It has two stages. The training data of the first are
200 phantoms with 8 nodules each (`scans.training_scans`), which are generated first and
kept in zoo_runs/chests. A batch holds four crops of 64 mm: three in four around a nodule,
the others anywhere in a lung. They are flipped, turned, blurred along z, made noisier and
given another contrast at random. The loss is the focal loss of the centers plus the L1 loss
of diameter and offset (those of CenterNet). The network is trained with DeepOpt and a
cosine schedule.

In the second stage, the network sees its mistakes. It marks 200 more phantoms, and the
training goes on with all 400: half of the crops lie around a nodule, and most of the others
around a false mark. Half of the crops also look as if another scanner had taken them, with
thicker slices, a softer kernel and coarser noise. The last weights are used. Probabilities,
intervals and thresholds are fitted on the validation scans. The test scans are not looked
at.

This is the fourth run. The first two, of 6,000 steps, reached a CPM of 0.80 and 0.78 on the
validation scans. Each time, the highest false marks were faults of the phantom, which
nobody could have told from nodules but which bore no label, and the generator was repaired
before the next run. After the first: thick vessels had ended in balls and grazed the
pleura, ribs had reached into the lungs. Now branches keep away from the pleura and end in
thin tips, and ribs stay outside. After the second: rods had lain at the curved pleura, of
which only bumps showed; strands had been as short as nodules; the rough surface of the
lungs had had bumps and islands; a nodule had been in an airway. Now plaques follow the
pleura, strands are at least 10 mm long, the surface is smooth, airways stay open. The
nodules, what makes one visible, and the split are unchanged. The validation scans have the
same nodules in new chests each time, so no command repeats the first two figures. The test
and the external scans were not looked at. The third run was the first stage alone: its
CPM was 0.91, and 0.78 on the validation scans of the other hospital.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...bar import Bar
from ...files import atomic_write
from ...optim import DeepOpt
from ...training import Fit, Limits, Recipe, cosine, fit
from ...zoo import storage
from ...zoo.nets.nodule_net import NoduleNet, nodule_net
from ..phantoms.scans import TRAINING_SCANS, WINDOW, training_scans
from . import evaluate
from .crops import CROP, Crops, Scans
from .detector import mark
from .uncertainty import calibrate

STEPS, EPOCH_STEPS, BATCH, LR, SEED = 7000, 200, 4, 3e-3, 0
MORE_SCANS, MORE_STEPS, MORE_LR = 200, 8000, 1.5e-3  # of the second stage
NAME = "nodule_detector"
CALIBRATION = Path(__file__).parent / "calibration.json"
VALIDATION = Path(__file__).parent / "validation.jsonl"  # the marks in the scans
ELSEWHERE = Path(__file__).parent / "validation_elsewhere.jsonl"
MISTAKES, MISTAKE_SCORE, MISTAKE_MM = 10, 0.05, 4.0  # at most so many per scan
ALPHA, BETA = 2, 4  # exponents of the focal loss


def loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the focal loss of the centers plus the L1 loss of diameter and offset.

    Args:
        prediction: `[B, 5, ...]`, the network's output.
        target: `[B, 6, ...]` of `target`.
    """
    logit, heat = prediction[:, 0], target[:, 0]
    p = logit.sigmoid().clamp(1e-4, 1 - 1e-4)
    center = (heat == 1).float()
    found = center * (1 - p) ** ALPHA * p.log()
    rest = (1 - center) * (1 - heat) ** BETA * p**ALPHA * (1 - p).log()
    focal = -(found + rest).sum() / center.sum().clamp_min(1)
    weight = target[:, 5:]
    distance = (prediction[:, 1:] - target[:, 1:5]).abs() * weight
    return focal + distance.sum() / (4 * weight.sum()).clamp_min(1)


def train(
    model: NoduleNet,
    scans: Scans,
    steps: int = STEPS,
    *,
    lr: float = LR,
    seed: int = SEED,
    mistakes: Sequence[np.ndarray] | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> Fit:
    """Train a detector in place.

    Args:
        scans: of `scans.training_scans`.
        steps: the number of batches of four crops; a multiple of 200, or less than 200.
        mistakes: of `false_marks`, one array per scan, for the second stage.
        checkpoint: written after each 200 steps; an interrupted run resumes from it.
    """
    per_epoch = min(EPOCH_STEPS, steps)
    model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    run = fit(
        model,
        Crops(scans, steps * BATCH, seed, mistakes=mistakes),
        DeepOpt(model, lr=lr),
        epochs=steps // per_epoch,
        recipe=Recipe(loss, batch_size=BATCH, schedule=cosine, autocast="auto"),
        limits=Limits(epoch_batches=per_epoch),
        checkpoint=checkpoint,
        seed=seed,
        progress=progress,
    )
    model.eval()
    return run


def false_marks(
    model: NoduleNet, scans: Scans, progress: bool = True
) -> list[np.ndarray]:
    """Return, for each scan, the centers of the highest marks off its nodules, `[K, 3]`."""
    low, high = WINDOW
    found = []
    with Bar(len(scans), progress, "false marks") as bar:
        for gray, nodules in scans:
            hu = low + np.asarray(gray, np.float32) * ((high - low) / 255)
            marks = mark(model, hu, (1, 1, 1))
            away = marks.centers_mm[:, None] - nodules[None, :, :3]  # [N, M, 3]
            reach = nodules[:, 3] / 2 + MISTAKE_MM
            false = (np.linalg.norm(away, axis=2) > reach).all(1)
            false &= marks.scores >= MISTAKE_SCORE
            found.append(marks.centers_mm[false][:MISTAKES])
            bar.advance(1)
    return found


def second_stage(model: NoduleNet, out: Path) -> Fit:
    """Go on with the training of a network that `train` trained, with its mistakes."""
    scans = training_scans(out / "chests", TRAINING_SCANS + MORE_SCANS)
    path = out / "false_marks.txt"  # the number of a scan, z, y, x
    if not path.exists():
        new = enumerate(false_marks(model, scans[TRAINING_SCANS:]), TRAINING_SCANS)
        rows = [[index, *center] for index, centers in new for center in centers]
        with atomic_write(path) as temporary:
            np.savetxt(temporary, rows, fmt="%.2f")
    table = np.loadtxt(path, ndmin=2).reshape(-1, 4)
    mistakes = [table[table[:, 0] == index, 1:] for index in range(len(scans))]
    checkpoint = out / f"{NAME}_2.checkpoint"
    return train(
        model,
        scans,
        MORE_STEPS,
        lr=MORE_LR,
        seed=SEED + 1,
        mistakes=mistakes,
        checkpoint=checkpoint,
    )


def main() -> None:
    arguments = storage.options(__doc__).parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.out / f"{NAME}.checkpoint"
    scans = training_scans(arguments.out / "chests")
    torch.manual_seed(SEED)
    model = nodule_net()
    first = train(model, scans, checkpoint=checkpoint)
    run = second_stage(model, arguments.out)
    print(first.history, run.history)
    run = replace(run, cpu_seconds=first.cpu_seconds + run.cpu_seconds)
    storage.load_into(model, storage.save(NAME, model, arguments.out))
    results = evaluate.mark_part(model, "validation")
    judged = evaluate.judged(results)
    calibration = calibrate(judged, evaluate.diameters(results))
    calibration.save(arguments.out / CALIBRATION.name)
    evaluate.save(results, arguments.out / VALIDATION.name)
    elsewhere = evaluate.mark_part(model, "validation_elsewhere")
    evaluate.save(elsewhere, arguments.out / ELSEWHERE.name)
    metrics = {
        "all": evaluate.metrics(judged),
        "elsewhere": evaluate.metrics(evaluate.judged(elsewhere)),
    }
    settings = {
        "seed": SEED,
        "batch_size": BATCH,
        "lr": LR,
        "steps": STEPS,
        "more_steps": MORE_STEPS,
        "crop": CROP,
    }
    storage.record(NAME, arguments.out, "patient", metrics, run, settings)
    if arguments.ship:
        storage.ship(NAME, arguments.out, "patient", weights=True)
        calibration.save(CALIBRATION)
        evaluate.save(results, VALIDATION)
        evaluate.save(elsewhere, ELSEWHERE)
    print(metrics)


if __name__ == "__main__":
    main()
