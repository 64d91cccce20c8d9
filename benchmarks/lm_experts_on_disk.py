"""A mixture of experts larger than its memory: the experts stay on disk, few in memory.

    python benchmarks/lm_experts_on_disk.py [--quick]

Protocol. A language model of `deepseek_learn.lm`: width 1,024, 24 layers of latent
attention, in each a shared expert and 64 routed ones of 1,216 neurons, 4 for a token;
5.7 billion weights in experts, which are files of 4-bit planes (3.05 GB with their
scales), mapped by `dpg.MappedExperts`. All else is bfloat16 in memory. The weights are
random (no trained model of that size is here): tokens then go to all experts alike,
which is the worst that a cache can meet; text has favourites. The prompt is 8 tokens,
32 more are written, greedily. What is given back is dropped from the system's cache of
files too, as if memory were short, and before each run all of it is: an expert that is
not in memory is read from the disk. One process for each number of experts a layer that
stay in memory (4, 8, 16, 32, 64), one after the other.

Measured: the largest anonymous memory of the process after any token, from the system
(`RssAnon`: what it could not drop and read again), tokens a second, and how many of the
wanted experts were in memory. `--quick`: 4 layers, 8 tokens.

Targets, stated before the run: the files hold at least 3.0 GB, and anonymous memory
stays below 1.0 GB (10^9 bytes) in every run. The pace has no target.

And by arithmetic, for ten billion parameters of this architecture (42 such layers): what
is always in memory, and with a quarter of the experts.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deepseek_learn.ledger.readings import now

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
    filled = {}
    for name, old in model.state_dict().items():
        if old.dim() > 1:
            new = torch.empty(old.shape, dtype=torch.bfloat16)
            new.normal_(0, old.shape[1] ** -0.5, generator=generator)
        else:
            new = torch.zeros(old.shape) if "bias" in name else torch.ones(old.shape)
        filled[name] = new.bfloat16() if "norm" in name else new
    model.load_state_dict(filled, assign=True)
    return model.eval()


def anonymous_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def run(folder: Path, layers: int, new: int, resident: int) -> None:
    """One process: prints anonymous bytes, seconds per token, used and read experts."""
    import os

    from deepseek_learn import dpg
    from deepseek_learn.lm import stream

    for path in folder.glob("*.bin"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    model = big_model(folder, layers, resident)
    peak, start = 0, time.perf_counter()
    first = None
    for _ in stream(model, [[*range(1, PROMPT + 1)]], new + 1):
        peak = max(peak, anonymous_bytes())
        first = first or time.perf_counter() - start
    seconds = (time.perf_counter() - start - first) / new
    mapped = [m for m in model.modules() if isinstance(m, dpg.MappedExperts)]
    print(peak, seconds, sum(m.used for m in mapped), sum(m.read for m in mapped))


def rows_of(folder: Path, layers: int, new: int, total: int) -> list[dict]:
    size = f"{total / 1e9:.2f} GB of experts on disk"
    base = {"claim": "C4", "source": "ours", "n": 1, "target": None, "note": ""}
    rows = [
        base
        | {
            "what": "experts of the model that is run, as 4-bit files",
            "unit": "GB",
            "target": FILES_GB,
            "better": "higher",
            "measured": total / 1e9,
            "note": f"{layers * EXPERTS * 3 * WIDTH * NEURONS / 1e9:.2f} billion weights",
        }
    ]
    for resident in RESIDENT:
        command = [sys.executable, __file__, "--run", str(folder), str(layers)]
        command += [str(new), str(resident)]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(process.stderr[-2000:])
        peak, seconds, used, read = (float(x) for x in process.stdout.split())
        hits = 1 - read / used
        where = f"{resident} of {EXPERTS} experts a layer in memory, {size}"
        print(
            f"{where}: {peak / 1e9:.3f} GB, {1 / seconds:.2f} tokens per second, {hits:.0%}"
        )
        note = f"{hits:.0%} of the wanted experts were in memory; {new} tokens"
        rows.append(
            base
            | {
                "what": f"anonymous memory, {where}",
                "unit": "GB",
                "target": CAP_GB,
                "better": "lower",
                "measured": peak / 1e9,
                "note": note,
            }
        )
        rows.append(
            base
            | {
                "what": f"pace, {where}",
                "unit": "tokens a second",
                "better": "higher",
                "measured": 1 / seconds,
                "note": note,
                "time": now(),
            }
        )
    return rows


def plan_rows() -> list[dict]:
    """Rows for ten billion parameters, calculated."""
    import torch

    from deepseek_learn.lm import LanguageModel

    layers = 42
    with torch.device("meta"):
        model = LanguageModel(config(layers))
    routed = layers * EXPERTS * 3 * WIDTH * NEURONS
    rest = sum(p.numel() for p in model.parameters()) - routed
    planes = routed * (0.5 + 2 / 64)
    rows = []
    for share, name in ((0.0, "none"), (0.25, "a quarter"), (1.0, "all")):
        size = (rest * 2 + planes * share) / 1e9
        rows.append(
            {
                "claim": "C4",
                "source": "ours",
                "what": f"arithmetic: {(routed + rest) / 1e9:.1f} billion parameters, "
                f"{name} of the routed experts in memory",
                "unit": "GB",
                "target": None,
                "better": "lower",
                "measured": size,
                "note": f"{rest / 1e9:.2f} billion always in memory, bfloat16; the rest "
                "4 bits and a scale for 64",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 layers, 8 tokens")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        folder, *numbers = arguments.run
        run(Path(folder), *map(int, numbers))
        return
    from deepseek_learn.ledger.results import write_result

    layers, new = (4, 8) if arguments.quick else (LAYERS, NEW)
    rows = plan_rows()
    if sys.platform == "linux":
        with tempfile.TemporaryDirectory() as folder:
            total = write_files(Path(folder), layers)
            rows = rows_of(Path(folder), layers, new, total) + rows
    mode = "quick" if arguments.quick else "full"
    command = "python benchmarks/lm_experts_on_disk.py"
    print(write_result("lm_experts_on_disk", rows, command, mode, protocol=__doc__))


if __name__ == "__main__":
    main()
