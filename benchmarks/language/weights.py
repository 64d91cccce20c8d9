"""SmolLM2 in 4 and in 3 bits: what is lost at equal bytes, against seven ways to round.

The protocol is in `benchmarks/lm_weights.py`.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from deploying.backends import peer_python
from harness.interval import ratio_of_means
from harness.runs import Runs, end_time
from harness.script import BENCHMARKS, Run
from language.smollm_files import HEAD, export, in_gguf
from language.texts import CALIBRATION, TEST, Losses, material
from language.weight_peers import PACKAGES
from models.at_bytes import at_most

from deepseek_learn.ledger.rows import Row

ENVIRONMENT, WORKER = BENCHMARKS / ".venv" / "weights", "language/weight_peers.py"
GROUP = 64
BETTER, SECONDS = 0.8, 60
ELSEWHERE = {4: ("nncf", "nncf hawq", "autoround"), 3: ("nncf", "autoround")}
HERE = {4: ("Q4_0", "Q5_0", "torchao int4", "torchao int4 HQQ", "nf4"), 3: ()}
TEXTS = ("emails", "verses")


class Bench:
    """The model, its texts, and every way to round it."""

    def __init__(self, run: Run):
        counts = (2, 8) if run.quick else (TEST, CALIBRATION)
        self.model, self.calibration, self.texts = material(*counts)
        self._losses = Losses(self.model, self.texts)
        self.runs = run.finished_runs(anywhere=True)

    @cached_property
    def statistics(self):
        from deepseek_learn import dpg

        return dpg.calibrate(self.model, self.calibration.split(4))

    def answers(self, model) -> dict:
        return self._losses.answers(model)

    def losses(self, answers: dict) -> dict:
        return self._losses.of(answers)

    def ours(self, most: int) -> dict:
        """DPG with the largest budget that is stored in no more than `most` bytes."""
        from deepseek_learn import dpg

        chosen, bits = at_most(self.model, self.statistics, most)
        small = dpg.simulate(self.model, chosen, self.statistics)
        facts = {"bytes": chosen.stored_bytes, "bits": bits}
        return facts | self.losses(self.answers(small))

    def gptq(self, bits: int) -> dict:
        from deepseek_learn import dpg

        uniform = dpg.uniform(self.model, bits, GROUP, {HEAD: 8})
        small = dpg.simulate(self.model, uniform, self.statistics)
        return {"bytes": uniform.stored_bytes} | self.losses(self.answers(small))

    def here(self, method: str) -> dict:
        """A peer that runs in this process."""
        from models import peers

        from deepseek_learn import dpg

        if method.startswith("Q"):
            small, size = in_gguf(self.model, method)
            return {"bytes": size} | self.losses(self.answers(small))
        small = {
            "torchao int4": peers.torchao_int4,
            "torchao int4 HQQ": lambda model: peers.torchao_int4(model, hqq=True),
            "nf4": peers.bitsandbytes_nf4,
        }[method](self.model)
        look_up_rounded(small)
        linear = dpg.uniform(self.model, 4).bits
        weights = {n: self.model.get_submodule(n).weight.numel() for n in linear}
        size = dpg.bytes_of(self.model) - 4 * sum(weights.values())
        size += sum(peers.weight_bytes(small.get_submodule(n)) for n in linear)
        return {"bytes": size} | self.losses(self.answers(small))

    def elsewhere(self, method: str, bits: int) -> dict:
        """A peer in an environment and a process of its own."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            export(self.model, folder)
            facts, answers = rounded_by(
                method, bits, folder, self.calibration, self.texts
            )
        return facts | self.losses(answers)


def rounded_by(method: str, bits: float, folder: Path, calibration, texts: dict):
    """Run `weight_peers.py` on an exported model.

    Returns:
        Its facts, and text → log-probabilities `[N, T, V]`.
    """
    import torch

    python = peer_python(ENVIRONMENT, *PACKAGES)
    np.save(folder / "calibration.npy", calibration.numpy())
    rows = torch.cat([rows[:, :-1] for rows in texts.values()])
    np.save(folder / "texts.npy", rows.numpy())
    words = [python, BENCHMARKS / WORKER, method, bits, GROUP, folder]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    facts = json.loads((folder / "facts.json").read_text())
    logits = torch.from_numpy(np.load(folder / "logits.npy"))
    parts = logits.split([len(rows) for rows in texts.values()])
    pairs = zip(texts, parts, strict=True)
    return facts, {name: z.log_softmax(-1) for name, z in pairs}


def look_up_rounded(small) -> None:
    """Let the embedding of a quantized copy be its head's matrix again, as rounded."""
    import torch

    with torch.inference_mode():
        columns = torch.eye(small.config.hidden_size, dtype=torch.bfloat16)
        rounded = small.lm_head(columns).T.clone()
    small.model.embed_tokens.weight = torch.nn.Parameter(rounded, requires_grad=False)


def grid_row(model) -> Row:
    """How many groups of 32 weights have 16 evenly spaced values already."""
    import torch

    from deepseek_learn import dpg

    hits = []
    for name in dpg.uniform(model, 4).bits:
        if name == HEAD:
            continue
        groups = model.get_submodule(name).weight.detach().reshape(-1, 32)
        low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
        step = (high - low).clamp(min=1e-12) / 15
        error = ((groups - low) / step).round() * step + low - groups
        hits.append(error.norm(dim=1) <= 1e-3 * groups.norm(dim=1))
    hit = torch.cat(hits).double()
    return Row(
        claim="C2",
        source="ours",
        what="SmolLM2 outside the head: groups of 32 weights on a grid of 16 levels",
        unit="%",
        better="higher",
        measured=100 * hit.mean().item(),
        n=len(hit),
    )


def compress_once() -> None:
    """Compress with two threads, and print the seconds."""
    import torch

    from deepseek_learn import dpg

    torch.set_num_threads(2)
    model, calibration, _ = material(1, CALIBRATION)
    start = time.monotonic()
    dpg.compress(model, calibration.split(4), progress=False)
    print(time.monotonic() - start)


def time_row(runs: Runs, again: bool) -> Row:
    def measure() -> dict:
        command = [sys.executable, BENCHMARKS / "lm_weights.py", "--child"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return {"seconds": float(done.stdout.split()[-1])}

    result = (runs.again if again else runs.once)({"way": "dpg.compress"}, measure)
    return Row(
        claim="C2",
        source="ours",
        what="SmolLM2: dpg.compress, two threads",
        unit="s",
        better="lower",
        target=SECONDS,
        measured=result["seconds"],
    ).at(end_time(result))


CONDITION = "; calibrated, as all here, on 32 windows of 256 tokens, where "
CONDITIONS = {
    "autoround": f"{CONDITION}AutoRound's authors advise 128 of 2,048",
    "nncf": f"{CONDITION}NNCF takes 128 samples by default",
}


def against(name: str, bits: int, text: str, ours: dict, peer: dict, target) -> Row:
    """Our divergence over a peer's, at the peer's bytes or fewer."""
    a, b = (statistics.mean(side[text]) for side in (ours, peer))
    perplexity = f"{text}, perplexity"
    return Row(
        claim="C2",
        source="ours",
        what=f"SmolLM2, {text}: DPG's divergence over that of {name}, {bits} bits",
        unit="ratio",
        better="lower",
        target=target,
        note=f"{a:.3f} against {b:.3f} nats, perplexity "
        f"{ours[perplexity]:.1f} against {peer[perplexity]:.1f}, "
        f"{ours['bytes'] / 1e6:.1f} against {peer['bytes'] / 1e6:.1f} MB"
        f"{CONDITIONS.get(name.split()[0], '')}",
        **vars(ratio_of_means(ours[text], peer[text])),
    )


def measure(run: Run) -> Iterator[Row]:
    if run.speed:
        yield time_row(run.finished_runs(), again=True)
        return
    bench = Bench(run)
    once = bench.runs.once
    for bits in (4,) if run.quick else (4, 3):
        here = HERE[bits][:2] if run.quick else HERE[bits]
        there = () if run.quick else ELSEWHERE[bits]
        peers = {
            n: once({"way": n, "bits": bits}, lambda n=n: bench.here(n)) for n in here
        }
        for name in there:
            key = {"way": name, "bits": bits}
            peers[name] = once(key, lambda n=name, b=bits: bench.elsewhere(n, b))
        peers["gptq"] = once(
            {"way": "gptq", "bits": bits}, lambda b=bits: bench.gptq(b)
        )
        for text in TEXTS:
            for name, other in peers.items():
                key = {"way": "dpg", "most": other["bytes"]}
                ours = once(key, lambda o=other: bench.ours(o["bytes"]))
                target = None if name == "gptq" else BETTER
                yield against(name, bits, text, ours, other, target)
    yield grid_row(bench.model)
    if not run.quick:
        yield time_row(run.finished_runs(), again=False)
