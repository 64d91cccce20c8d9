"""A mixture of experts larger than its memory: the experts stay on disk, few in memory.

The protocol is in `benchmarks/lm_experts.py`.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness.script import BENCHMARKS, Run

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure import memory

CAP_GB, FILES_GB = 1.0, 3.0
WIDTH, LAYERS, EXPERTS, NEURONS, TOP, VOCAB = 1024, 24, 64, 1216, 4, 32_000
PROMPT, NEW = 8, 32
RESIDENT = (4, 8, 16, 32, 64)


def config(layers: int):
    from deepseek_learn.lm import Config

    return Config(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=8,
        kv_lora_rank=256,
        qk_nope_head_dim=64,
        qk_rope_head_dim=32,
        v_head_dim=64,
        first_k_dense_replace=0,
        n_routed_experts=EXPERTS,
        num_experts_per_tok=TOP,
        moe_intermediate_size=NEURONS,
        max_position_embeddings=256,
    )


def write_files(folder: Path, layers: int) -> int:
    """Write one file of random weights per layer; returns the total bytes."""
    import torch

    from deepseek_learn import dpg

    def experts(layer: int):
        generator = torch.Generator().manual_seed(layer)
        for _ in range(EXPERTS):
            gate_up = torch.randn(2 * NEURONS, WIDTH, generator=generator)
            down = torch.randn(WIDTH, NEURONS, generator=generator)
            yield gate_up * WIDTH**-0.5, down * NEURONS**-0.5

    total = 0
    for layer in range(layers):
        path = dpg.write_experts(folder / f"layer{layer}.bin", experts(layer))
        total += path.stat().st_size
        print(f"layer {layer}: {total / 1e9:.2f} GB", flush=True)
    return total


def big_model(folder: Path, layers: int, resident: int):
    """The model with memory-mapped routed experts; the rest is random in bfloat16."""
    import torch

    from deepseek_learn import dpg
    from deepseek_learn.lm import LanguageModel

    with torch.device("meta"):
        model = LanguageModel(config(layers))
    for layer, block in enumerate(model.model.layers):
        path = folder / f"layer{layer}.bin"
        block.mlp.experts = dpg.MappedExperts(path, resident, cold=True)
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, old in model.state_dict().items():
        if old.dim() > 1:
            new = torch.empty(old.shape, dtype=torch.bfloat16)
            new.normal_(0, old.shape[1] ** -0.5, generator=generator)
        else:
            new = torch.zeros(old.shape) if "bias" in name else torch.ones(old.shape)
        state[name] = new.bfloat16() if "norm" in name else new
    model.load_state_dict(state, assign=True)
    return model.eval()


def print_generation(place: str, layers: str, new: str, resident: str) -> None:
    """One process: prints anonymous bytes, seconds per token, used and read experts."""
    import os

    from deepseek_learn import dpg
    from deepseek_learn.lm import stream

    folder, count = Path(place), int(new)
    for path in folder.glob("*.bin"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    model = big_model(folder, int(layers), int(resident))
    peak, start = 0, time.perf_counter()
    first = None
    for _ in stream(model, [[*range(1, PROMPT + 1)]], count + 1):
        peak = max(peak, memory.status_bytes("RssAnon"))
        first = first or time.perf_counter() - start
    seconds = (time.perf_counter() - start - first) / count
    mapped = [m for m in model.modules() if isinstance(m, dpg.MappedExperts)]
    print(peak, seconds, sum(m.used for m in mapped), sum(m.read for m in mapped))


def rows_of(folder: Path, layers: int, new: int, total: int) -> Iterator[Row]:
    weights = layers * EXPERTS * 3 * WIDTH * NEURONS
    yield Row(
        claim="C4",
        source="ours",
        what="experts of the model that is run, as 4-bit files",
        unit="GB",
        better="higher",
        target=FILES_GB,
        measured=total / 1e9,
        n=1,
        note=f"{weights / 1e9:.2f} billion weights",
    )
    for resident in RESIDENT:
        where = f"{resident} of {EXPERTS} experts a layer in memory, "
        where += f"{total / 1e9:.2f} GB of experts on disk"
        peak, seconds, uses, reads = generate(folder, layers, new, resident)
        hits = 1 - reads / uses
        note = f"{hits:.0%} of the wanted experts were in memory; {new} tokens"
        yield Row(
            claim="C4",
            source="ours",
            what=f"anonymous memory, {where}",
            unit="GB",
            better="lower",
            target=CAP_GB,
            measured=peak / 1e9,
            n=1,
            note=note,
        )
        yield Row(
            claim="C4",
            source="ours",
            what=f"pace, {where}",
            unit="tokens a second",
            better="higher",
            measured=1 / seconds,
            n=1,
            note=note,
        ).at(now())


def generate(folder: Path, layers: int, new: int, resident: int) -> list[float]:
    """What `print_generation` prints, from a fresh process."""
    words = map(str, (folder, layers, new, resident))
    command = [sys.executable, BENCHMARKS / "lm_experts.py", "--run", *words]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(process.stderr[-2000:])
    print(f"{resident} experts a layer: {process.stdout.strip()}", flush=True)
    return [float(x) for x in process.stdout.split()]


def plan_rows() -> Iterator[Row]:
    """Rows for ten billion parameters, calculated."""
    import torch

    from deepseek_learn.lm import LanguageModel

    layers = 42
    with torch.device("meta"):
        model = LanguageModel(config(layers))
    routed = layers * EXPERTS * 3 * WIDTH * NEURONS
    rest = sum(p.numel() for p in model.parameters()) - routed
    planes = routed * (0.5 + 2 / 64)
    for share, name in ((0.0, "none"), (0.25, "a quarter"), (1.0, "all")):
        yield Row(
            claim="C4",
            source="ours",
            what=f"arithmetic: {(routed + rest) / 1e9:.1f} billion parameters, "
            f"{name} of the routed experts in memory",
            unit="GB",
            better="lower",
            measured=(rest * 2 + planes * share) / 1e9,
            note=f"{rest / 1e9:.2f} billion always in memory, bfloat16; the rest "
            "4 bits and a scale for 64",
        )


def measure(run: Run) -> Iterator[Row]:
    layers, new = (4, 8) if run.quick else (LAYERS, NEW)
    if sys.platform == "linux":
        with tempfile.TemporaryDirectory() as folder:
            total = write_files(Path(folder), layers)
            yield from rows_of(Path(folder), layers, new, total)
    yield from plan_rows()
