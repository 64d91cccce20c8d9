"""LoRA on SmolLM2: compressed by DPG against in float32, the same steps.

The protocol is in `benchmarks/lm_weights.py`.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from harness.interval import ratio_of_means, spread
from harness.script import BENCHMARKS, Run
from language.texts import CALIBRATION, LENGTH, TEST, material, spread_out

from deepseek_learn.ledger.rows import Row

STEPS, BATCH, RATE, RANK = 60, 2, 1e-3, 8
SIDES, SEEDS = ("float32", "dpg"), (0, 1, 2)
LOSS, MEMORY = 1.02, 0.75
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def train(side: str, name: str, steps: str, seed: str) -> None:
    """Train an adapter in this process; print the test losses and the peak memory.

    Args:
        side: one of `SIDES`.
        name: the folder with the models and the tokens.
    """
    import peft
    import torch
    import torch.nn.functional as F
    from transformers import LlamaForCausalLM

    from deepseek_learn import measure
    from deepseek_learn.dpg import hf, lora

    assert hf  # transformers loads what it stored
    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    folder = Path(name)
    rows, test = (
        torch.from_numpy(np.load(folder / f"{part}.npy")) for part in ("train", "test")
    )
    order = torch.randperm(len(rows))[: int(steps) * BATCH].split(BATCH)
    config = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=TARGETS)

    def loss(model, tokens):
        logits = model(tokens[:, :-1], use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def tested(model) -> list[float]:
        model.eval()
        with torch.no_grad():
            return [loss(model, row[None]).item() for row in test]

    facts: dict = {}

    def work() -> None:
        base = LlamaForCausalLM.from_pretrained(folder / side, dtype=torch.float32)
        add = lora.add if side == "dpg" else peft.get_peft_model
        model = add(base, config)
        facts["before"] = tested(model)
        used = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(used, lr=RATE)
        model.train()
        for batch in order:
            loss(model, rows[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
        facts["after"] = tested(model)

    facts["peak"] = measure.peak_resident_bytes(work)
    print(json.dumps(facts))


class Bench:
    """Both models and the tokens, in a folder that the child processes read."""

    def __init__(self, run: Run):
        self.quick = run.quick
        self.steps = 4 if run.quick else STEPS
        self._place = tempfile.TemporaryDirectory()
        self.runs = run.finished_runs(part="lora", anywhere=True)

    @cached_property
    def folder(self) -> Path:
        from language import weight_peers
        from language.smollm_files import export

        from deepseek_learn import data, dpg
        from deepseek_learn.dpg import hf
        from deepseek_learn.zoo import smollm2

        folder = Path(self._place.name)
        tests, few = (2, 8) if self.quick else (TEST, CALIBRATION)
        model, calibration, texts = material(tests, few)
        verses = bytes(data.english_verses().train.numpy()).decode()
        tokens = smollm2.load()[1].encode(verses).ids
        rows = spread_out(tokens, len(tokens) // LENGTH)
        np.save(folder / "train.npy", rows.numpy())
        np.save(folder / "test.npy", texts["verses"].numpy())
        export(model, folder)
        original = weight_peers.load(folder)
        original.save_pretrained(folder / "float32")
        small = dpg.compress(
            original,
            calibration.split(4),
            logits=lambda model, batch: model(batch).logits,
        ).model
        hf.prepare(small).save_pretrained(folder / "dpg")
        return folder

    def measure(self, side: str, seed: int) -> dict:
        words = [side, self.folder, self.steps, seed]
        command = [sys.executable, BENCHMARKS / "lm_weights.py", "--adapter", *words]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return json.loads(done.stdout.splitlines()[-1])

    def result(self, side: str, seed: int) -> dict:
        key = {"side": side, "steps": self.steps, "seed": seed}
        return self.runs.once(key, lambda: self.measure(side, seed))


def measure(run: Run) -> Iterator[Row]:
    bench = Bench(run)
    seeds = SEEDS[:1] if run.quick else SEEDS
    results = {s: [bench.result(s, seed) for seed in seeds] for s in SIDES}
    float32, ours = (results[side] for side in SIDES)

    def mean(runs: list[dict], when: str) -> np.ndarray:
        return np.mean([each[when] for each in runs], 0)  # [windows]

    before, after = ([mean(r, w).mean() for r in (ours, float32)] for w in WHEN)
    yield row(
        bench.steps,
        "loss on verses, over that of LoRA in float32",
        LOSS,
        ratio_of_means(mean(ours, "after"), mean(float32, "after")),
        f"{after[0]:.3f} against {after[1]:.3f} nats; before the first step "
        f"{before[0]:.3f} against {before[1]:.3f}",
    )
    peaks = [[each["peak"] / 2**20 for each in runs] for runs in (ours, float32)]
    yield row(
        bench.steps,
        "peak resident memory, over that of LoRA in float32",
        MEMORY,
        spread([a / b for a, b in zip(*peaks, strict=True)], "range over seeds"),
        "{:.0f} against {:.0f} MiB, the model and its loading included".format(
            *(np.median(peak) for peak in peaks)
        ),
    )


WHEN = "before", "after"


def row(steps: int, what: str, target: float, estimate, note: str) -> Row:
    return Row(
        claim="C2",
        source="ours",
        what=f"SmolLM2 in 4 bits, {steps} steps of LoRA: {what}",
        unit="ratio",
        better="lower",
        target=target,
        note=note,
        **vars(estimate),
    )
