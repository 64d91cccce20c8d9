"""Train the small language models on which compression is measured: three seeds.

    python benchmarks/models/tang_lm.py

Protocol, fixed before the runs. `Decoder(dim=128, layers=3, heads=4, context=128)` with
ReLU (676,992 parameters) on the bytes of `data.tang_poems`. 2,200 steps of 32 random
windows of 128 bytes (9.0 million bytes, 3.5 times the train part): by a timing of 30
steps about seven minutes in one thread. AdamW, lr 2e-3, betas (0.9, 0.98), weight decay
0.05 on matrices and none on vectors, gradient norm clipped at 1, 100 steps of warm-up,
then a cosine to 5 %. The last step is kept. Seeds 0, 1, 2 decide the initial weights and
the windows. Measured is what is stored (matrices in half precision, vectors in single):
bits a byte and next-byte accuracy on the whole validation part in windows of 128 bytes
side by side, each begun without a past. The test part is not read here. No targets: the
models are the starting point of other benchmarks, whatever they reach.

While seed 0 was trained, three other scales of the initial weights were tried for 600
steps of it each; their training loss was no lower, and nothing was changed.

`tang_lm_SEED.safetensors` and, beside it, `tang_lm_SEED.json` are one seed's weights and
record; a finished seed is skipped when the script runs again.
"""

import argparse
import json
import math
import time
from datetime import date
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from deepseek_learn import data
from deepseek_learn.files import atomic_write
from deepseek_learn.lm import Decoder
from deepseek_learn.zoo import storage

FOLDER = Path(__file__).parent
SEEDS = (0, 1, 2)
MODEL = {"dim": 128, "layers": 3, "heads": 4, "context": 128, "activation": "relu"}
STEPS, WARM_UP, BATCH, LENGTH = 2200, 100, 32, MODEL["context"]
LR, BETAS, DECAY, CLIP, FLOOR = 2e-3, (0.9, 0.98), 0.05, 1.0, 0.05


def load(seed: int) -> Decoder:
    """The trained model of one seed, in single precision and evaluation mode.

    Raises:
        FileNotFoundError: when there is no record of that seed.
        DamagedFileError: when the weights are missing or do not match the record.
    """
    path = FOLDER / f"tang_lm_{seed}.json"
    weights, sha256 = path.with_suffix(".safetensors"), _read(path)["sha256"]
    return storage.load_into(Decoder(**MODEL), weights, sha256).eval()


def schedule(step: int) -> float:
    """The fraction of the learning rate at a step: linear warm-up, cosine decay."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    progress = (step - WARM_UP) / (STEPS - WARM_UP)
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * progress)) / 2


def train(seed: int) -> Decoder:
    """Train one model according to the protocol."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model, text = Decoder(**MODEL), data.tang_poems().train
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, weight_decay=DECAY)
    scheduler = LambdaLR(optimizer, schedule)
    losses = []
    for step in range(1, STEPS + 1):
        windows = data.windows(text, LENGTH, BATCH, generator)  # [B, T + 1]
        logits = model(windows[:, :-1])  # [B, T, 256]
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item() / math.log(2))
        if step % 100 == 0:
            mean = sum(losses[-100:]) / 100
            print(
                f"seed {seed} step {step}: {mean:.3f} train bits per byte", flush=True
            )
    return model


@torch.no_grad()
def evaluate(model: nn.Module, part: Tensor, batch: int = 64) -> dict[str, float]:
    """Bits per byte and next-byte accuracy over all of `part`, uint8 `[N]`.

    Adjacent windows of 128 bytes; bytes after the last full window are dropped.
    """
    count = (len(part) - 1) // LENGTH
    reads = part[: count * LENGTH].long().reshape(count, LENGTH)
    targets = part[1 : count * LENGTH + 1].long().reshape(count, LENGTH)
    nats, right = 0.0, 0
    for x, y in zip(reads.split(batch), targets.split(batch), strict=True):
        logits = model(x).flatten(0, 1)  # [B * T, 256]
        nats += F.cross_entropy(logits, y.flatten(), reduction="sum").item()
        right += int((logits.argmax(1) == y.flatten()).sum())
    total = count * LENGTH
    return {"bits_per_byte": nats / total / math.log(2), "accuracy": right / total}


def finished(seed: int) -> bool:
    """Whether a seed has weights and a record with this protocol's number of steps."""
    path = FOLDER / f"tang_lm_{seed}.json"
    weights = path.with_suffix(".safetensors")
    if not (path.exists() and weights.exists()):
        return False
    record = _read(path)
    return record["steps"] == STEPS and record["sha256"] == storage.checksum(weights)


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def run(seed: int) -> dict:
    """Train, store and evaluate one seed; returns its record."""
    start = time.process_time()
    model = train(seed)
    minutes = (time.process_time() - start) / 60
    path = storage.save(f"tang_lm_{seed}", model, FOLDER)
    storage.load_into(model, path)  # evaluate the stored weights
    record = {
        "sha256": storage.checksum(path),
        "seed": seed,
        "steps": STEPS,
        "date": date.today().isoformat(),
        "torch": torch.__version__.split("+")[0],
        "cpu_minutes": round(minutes, 1),
        "validation": evaluate(model.eval(), data.tang_poems().validation),
    }
    with atomic_write(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    torch.set_num_threads(1)
    for seed in parser.parse_args().seeds:
        print(f"seed {seed} is finished" if finished(seed) else run(seed), flush=True)


if __name__ == "__main__":
    main()
