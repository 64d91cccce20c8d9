"""SmolLM2 as `dpg.to_gguf` writes it: does llama.cpp compute what PyTorch does?

The protocol is in `benchmarks/lm_weights.py`.
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from harness.interval import Estimate, ratio_of_means, resampled
from harness.script import BENCHMARKS, Run, Skip
from language.texts import CALIBRATION, material

from deepseek_learn.ledger.rows import Row

WORKER = "language/llama_cpp_scores.py"
BITS, SHORT, WINDOWS, RESAMPLINGS = 4.5, 64, 16, 2000
HOW = {"group_size": 32, "levels": (4, 5, 8), "granularity": "layer"}
DIVERGENCE, PERPLEXITY = 0.01, 0.5


class Bench:
    """SmolLM2, compressed and written, and the windows."""

    def __init__(self, run: Run):
        self.quick = run.quick
        self.runs = run.finished_runs(part="gguf", anywhere=True)

    @cached_property
    def scores(self) -> dict:
        """Text → what each window's tokens cost, in nats, and the divergence."""
        from language import weight_peers
        from language.smollm_files import export
        from transformers import PreTrainedTokenizerFast

        from deepseek_learn import dpg
        from deepseek_learn.zoo import smollm2

        tests, few = (1, 8) if self.quick else (WINDOWS, CALIBRATION)
        model, calibration, texts = material(tests, few)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            export(model, folder)
            small = dpg.compress(
                weight_peers.load(folder),
                calibration.split(4),
                bits=BITS,
                logits=lambda model, batch: model(batch).logits,
                **HOW,
            )
            words = smollm2.load()[1]
            tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
            path = dpg.to_gguf(small.model, tokenizer, folder / "small.gguf")
            facts = {"bytes": small.stored_bytes, "file": path.stat().st_size}
            for text, rows in texts.items():
                short = rows[:, :SHORT]
                peer = self.answers(path, folder, short.numpy())
                facts |= compared(text, small.model, short, peer)
        return facts

    def answers(self, path: Path, folder: Path, tokens: np.ndarray) -> np.ndarray:
        np.save(folder / "tokens.npy", tokens)
        if importlib.util.find_spec("xllamacpp") is None:
            raise Skip("lm_weights needs the package xllamacpp (the extra dev)")
        command = [sys.executable, BENCHMARKS / WORKER, path, folder]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return np.load(folder / "log_p.npy")


def compared(text: str, model, tokens, answers: np.ndarray) -> dict:
    """Both sides' loss and their divergence, the mean of each window."""
    import torch

    from deepseek_learn import dpg

    with torch.inference_mode(), dpg.use_backend("torch"):
        ours = torch.cat([model(row[None, :-1]).logits for row in tokens])
    ours, peer = ours.log_softmax(-1), torch.from_numpy(answers)
    targets = tokens[:, 1:, None]
    loss = [-log_p.gather(-1, targets)[..., 0].mean(1) for log_p in (ours, peer)]
    divergence = (ours.exp() * (ours - peer)).sum(-1).mean(1)
    return {
        text: divergence.tolist(),
        f"{text}, ours": loss[0].tolist(),
        f"{text}, llama.cpp": loss[1].tolist(),
    }


def measure(run: Run) -> Iterator[Row]:
    bench = Bench(run)
    facts = bench.runs.once({"way": "to_gguf", "bits": BITS}, lambda: bench.scores)
    note = f"a file of {facts['file'] / 1e6:.1f} MB for {facts['bytes'] / 1e6:.1f} MB"
    for text in ("emails", "verses"):
        kl, ours = np.array(facts[text]), np.array(facts[f"{text}, ours"])
        peer = np.array(facts[f"{text}, llama.cpp"])
        estimate = ratio_of_means(kl, np.ones_like(kl))
        what = f"{text}: divergence of llama.cpp's answers from PyTorch's"
        yield row(what, "nats", DIVERGENCE, estimate, note)
        words = f"perplexity {np.exp(peer.mean()):.3f} and {np.exp(ours.mean()):.3f}"
        what = f"{text}: how far llama.cpp's perplexity is from PyTorch's"
        yield row(what, "%", PERPLEXITY, away(peer - ours), words)


def away(differences: np.ndarray) -> Estimate:
    """|exp(mean difference of losses) - 1| in percent, and 95 % of resamplings."""
    rng, count = np.random.default_rng(0), len(differences)

    def percent(values: np.ndarray) -> float:
        return 100 * abs(float(np.expm1(values.mean())))

    again = [
        percent(differences[rng.integers(0, count, count)]) for _ in range(RESAMPLINGS)
    ]
    return resampled(percent(differences), again, count)


def row(what: str, unit: str, target: float, estimate: Estimate, note: str) -> Row:
    return Row(
        claim="C2",
        source="ours",
        what=f"SmolLM2 as GGUF, {what}",
        unit=unit,
        better="lower",
        target=target,
        note=note,
        **vars(estimate),
    )
