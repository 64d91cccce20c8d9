"""A decoder of ten billion parameters on a small machine: the plan, and the run.

The protocol is in `benchmarks/dpg_memory.py`.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import torch
from harness.script import BENCHMARKS, Run

from deepseek_learn import dpg
from deepseek_learn.dpg.assembly import packed_layer
from deepseek_learn.dpg.packed import PackedMatrix, Segment
from deepseek_learn.ledger.rows import Row
from deepseek_learn.lm import Decoder
from deepseek_learn.lm.decoder import KeyValueCache
from deepseek_learn.measure.memory import high_water_bytes

DIM, LAYERS, HEADS, VOCAB = 5120, 32, 40, 32_000
CARDS_GB, RUNTIME_BYTES, TOKENS, GROUP = (8, 12, 16, 24), 0.5 * 2**30, 1024, 64
CAP_GB, TARGET_GB, NEW, PROMPT = 8, 7.3, 8, 8
LEVELS = (2, 3, 4, 5, 6, 8)


def plan_bytes(bits: float, dim=DIM, layers=LAYERS, vocab=VOCAB) -> float:
    """Calculated peak bytes: weights, embeddings and head, cache, runtime."""
    weights = 12 * layers * dim**2
    scale = 16 / GROUP if bits <= 8 else 0
    embeddings = 2 * vocab * dim * 2
    cache = TOKENS * token_bytes(dim, layers)
    return weights * (bits + scale) / 8 + embeddings + cache + RUNTIME_BYTES


def token_bytes(dim=DIM, layers=LAYERS) -> int:
    """Bytes of the keys and values of one token."""
    return 2 * layers * dim * 2


def plan_rows() -> Iterator[Row]:
    """The largest bit width that fits on each card."""
    for card in CARDS_GB:
        fitting = [b for b in LEVELS if plan_bytes(b) <= card * 1e9]
        sizes = ", ".join(f"{b} bits {plan_bytes(b) / 1e9:.2f} GB" for b in LEVELS)
        tokens = TOKENS + (card * 1e9 - plan_bytes(4)) // token_bytes()
        yield Row(
            claim="C4",
            source="ours",
            what=f"arithmetic: most bits a weight that fit a {card} GB card",
            unit="bits",
            better="higher",
            measured=max(fitting, default=0),
            note=f"{sizes}, float16 {plan_bytes(16) / 1e9:.2f} GB; at 4 bits "
            f"{tokens:,.0f} tokens of context fit",
        )


def big_decoder(device: str, dim: int, layers: int, heads: int, vocab: int):
    """A decoder whose linear layers are packed at 4 bits, filled with random planes."""
    with torch.device("meta"):
        model = Decoder(vocab, dim, layers, heads, context=PROMPT + NEW)
    generator = torch.Generator(device).manual_seed(0)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and name != "head":
            owner, _, leaf = name.rpartition(".")
            new = random_layer(layer, device, generator)
            setattr(model.get_submodule(owner), leaf, new)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                noise = torch.empty(parameter.shape, device=device).normal_(0, 0.02)
                value = noise.bfloat16() if noise.dim() > 1 else noise
                setattr(module, name, torch.nn.Parameter(value, requires_grad=False))
    model.head.register_forward_pre_hook(lambda head, inputs: inputs[0].bfloat16())
    model.token.register_forward_hook(lambda m, inputs, y: y.float())
    model.position.register_forward_hook(lambda m, inputs, y: y.float())
    return model.eval()


def random_layer(layer, device: str, generator):
    rows, columns = layer.weight.shape
    with torch.device(device):
        matrix = PackedMatrix(rows, columns, GROUP, (Segment("base", 4, 0, rows),))
    matrix.base4_plane0.random_(0, 256, generator=generator)
    scale = torch.full_like(matrix.base4_scale, 0.02 / 8, dtype=torch.bfloat16)
    matrix.base4_scale.copy_(scale.view(torch.int16))
    matrix.order.copy_(torch.arange(rows))
    bias = torch.zeros(rows, device=device)
    frame = torch.nn.Linear(columns, rows, device="meta")
    frame.bias = torch.nn.Parameter(bias, requires_grad=False)
    return packed_layer(frame, matrix)


@torch.inference_mode()
def generate(model, device: str) -> float:
    """Greedy tokens after a prompt, and seconds per token."""
    tokens = torch.arange(PROMPT, device=device)[None]
    cache = KeyValueCache()
    logits = model(tokens, cache)
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(NEW):
        tokens = logits[:, -1:].argmax(2)
        if len(cache) < model.context:
            logits = model(tokens, cache)
        if not torch.isfinite(logits).all():
            raise ValueError("the decoder's output is not finite")
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / NEW


def print_generation(device: str, size: str) -> None:
    """Build, generate, print peak bytes and seconds per token."""
    sizes = (512, 32, 8, 3200) if size == "small" else (DIM, LAYERS, HEADS, VOCAB)
    if device == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(CAP_GB * 1e9 / total, 1.0))
    model = big_decoder(device, *sizes)
    seconds = generate(model, device)
    peak = torch.cuda.max_memory_reserved() if device == "cuda" else high_water_bytes()
    print(peak, seconds, parameters(model), dpg.backend(device).name)


def parameters(model) -> int:
    matrices = [m.matrix for m in model.modules() if isinstance(m, dpg.DPGLinear)]
    weights = sum(matrix.rows * matrix.columns for matrix in matrices)
    return weights + sum(p.numel() for p in model.parameters())


def run_row(device: str, quick: bool) -> Row:
    where = "a GPU under a cap of 8 GB" if device == "cuda" else "the CPU"
    size = "a 0.1-billion-parameter" if quick else "a 10-billion-parameter"
    missing = lacking(device, quick)
    return Row(
        claim="C4",
        source="guide" if device == "cuda" else "ours",
        what=f"peak memory of {size} decoder generating 8 tokens on {where}",
        unit="GB",
        better="lower",
        target=TARGET_GB,
        **({"measured": None, "note": missing} if missing else peak(device, quick)),
    )


def lacking(device: str, quick: bool) -> str:
    """What the run needs and this machine does not have."""
    if device == "cuda" and not torch.cuda.is_available():
        return "no GPU on this machine"
    if device == "cpu" and available() < CAP_GB * 1e9 and not quick:
        return "less than 8 GB of memory are free"
    return ""


def peak(device: str, quick: bool) -> dict:
    """Peak memory in GB of a fresh process that generates, and a note."""
    size = "small" if quick else "full"
    command = [sys.executable, BENCHMARKS / "dpg_memory.py", "--run", device, size]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(process.stderr[-2000:])
    peak, seconds, count, backend = process.stdout.split()
    note = f"{int(count) / 1e9:.2f} billion parameters, {float(seconds):.2f} s a token"
    return {"measured": int(peak) / 1e9, "n": NEW, "note": f"{note}, {backend}"}


def available() -> float:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def measure(run: Run) -> list[Row]:
    rows = [run_row(device, run.quick) for device in ("cuda", "cpu")]
    return [*rows, *plan_rows()]
