"""One token at a time: SmolLM2 packed by DPG and read by `lm.Decoding`, beside llama.cpp.

The protocol is in `benchmarks/lm_speed.py`.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

from harness.interval import Estimate, quartiles, ratio_of_means
from harness.script import BENCHMARKS, Run
from language.gguf_files import weights, written
from language.other_decoders import (
    SHARE,
    bound_note,
    decoder_rows,
    large_block,
    row,
    seconds_per_byte,
    small_rows,
)
from language.texts import CALIBRATION, TEST, Losses, material
from language.token_times import FIRST, NEW, Ours, Peer

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row

CONTEXTS, ROUNDS = (128, 512, 1024, 2048, 4096, 8192 - 80), 7
NEAR, FAR, NARROW, PROMPT = 0.5, 0.8, 0.75, 0.5
BITS, LEVELS = 4.2, (4, 8)
AVX2 = 1  # a level of the kernel
OVER = "over llama.cpp's"
ROOM, READ = 640, 512  # for memory


def grown(path: str, config: str) -> None:
    """Print by how many bytes this process grows to load a model and read a prompt."""
    import torch

    from deepseek_learn import dpg
    from deepseek_learn.lm import Config, Decoding, LanguageModel
    from deepseek_learn.measure import resident_bytes
    from deepseek_learn.zoo import smollm2

    assert smollm2.GROUPED  # registers the kind of attention
    with torch.device("meta"):
        model = LanguageModel(Config(**json.loads(config)))
        model.lm_head.weight = model.model.embed_tokens.weight
    before = resident_bytes()
    decoding = Decoding(dpg.load(path, model), ROOM, torch.bfloat16)
    decoding.read(torch.arange(FIRST, FIRST + READ))
    decoding.step(FIRST)
    print(resident_bytes() - before)


class Sides:
    """The model, ours packed, and the files that llama.cpp reads."""

    def __init__(self, folder: Path, quick: bool):
        import torch

        from deepseek_learn import dpg
        from deepseek_learn.zoo import smollm2

        torch.set_num_threads(2)
        counts = (2, 4) if quick else (TEST, CALIBRATION)
        model, windows, texts = material(*counts)
        self.losses, self.config = Losses(model, texts), model.config
        calibration = dpg.calibrate(model, windows.split(4), correlations=True)
        allocation = dpg.allocate(model, calibration, BITS, levels=LEVELS)
        self.small = dpg.convert(model, allocation, calibration)
        self.packed = dpg.save(self.small, folder / "small")
        self.bytes = {"ours": dpg.bytes_of(self.small)}
        spec = importlib.util.find_spec(smollm2.PACKAGE)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).parent / smollm2.FILE
        self.files = {"Q4_0": folder / "q4_0.gguf", "Q4_1": source}
        self.bytes["Q4_0"] = written(source, self.files["Q4_0"], "Q4_0")


def reading(what: str, values: list[float], target: float | None, note: str) -> Row:
    estimate = quartiles(values)
    return row(what, "ratio", estimate, target=target, note=note).at(now())


def quality_rows(sides: Sides) -> Iterator[Row]:
    ours = sides.losses.of(sides.losses.answers(sides.small))
    peer = sides.losses.of(sides.losses.answers(weights(sides.files["Q4_0"])))
    for text in sides.losses.texts:
        kl, kl_of_peer = (statistics.mean(side[text]) for side in (ours, peer))
        words = [f"{side[f'{text}, perplexity']:.2f}" for side in (ours, peer)]
        note = f"{kl:.3f} against {kl_of_peer:.3f} nats, "
        note += f"perplexity {words[0]} and {words[1]}"
        what = f"SmolLM2, {text}: divergence {OVER} Q4_0"
        estimate = ratio_of_means(ours[text], peer[text])
        yield row(what, "ratio", estimate, target=1.0, note=note)
    share = sides.bytes["ours"] / sides.bytes["Q4_0"]
    sizes = [f"{sides.bytes[name] / 1e6:.1f}" for name in ("ours", "Q4_0")]
    note = f"{sizes[0]} against {sizes[1]} MB"
    what = f"SmolLM2, bytes {OVER} Q4_0"
    yield row(what, "ratio", Estimate(share), target=1.0, note=note)


def memory_row(sides: Sides) -> Row:
    peer = Peer(sides.files["Q4_0"], 1, ROOM)
    peer.times(READ)
    by_peer = peer.grown()
    peer.close()
    facts = json.dumps(asdict(sides.config), default=list)
    command = [
        sys.executable,
        BENCHMARKS / "lm_speed.py",
        "--grown",
        str(sides.packed),
        facts,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    by_ours = int(done.stdout.split()[-1])
    note = f"{by_ours / 1e6:.0f} against {by_peer / 1e6:.0f} MB"
    what = f"SmolLM2, growth of the process, a prompt of {READ}: {OVER}"
    result = row(what, "ratio", Estimate(by_ours / by_peer, n=1), target=1.0, note=note)
    return result.at(now())


def measured(sides: Sides, read: int, threads: int, rounds: int) -> dict:
    """The times of each side in each round, after one number of tokens."""
    import torch

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    context = read + NEW + 8
    peers = {name: Peer(file, threads, context) for name, file in sides.files.items()}
    ours = Ours(sides.small, context, clock)
    ways: dict[str, list] = {
        "ours": [],
        "AVX2": [],
        "ordinary": [],
        **{n: [] for n in peers},
    }
    for peer in peers.values():
        peer.times(read)  # warm up
    ours.fast(read)
    block, rates = large_block(), []
    for turn in range(rounds):
        for name, peer in peers.items():
            if name == "Q4_0" or turn < 3:
                ways[name].append(peer.times(read))
        ways["ours"].append(ours.fast(read))
        if threads == 1:
            with patch("deepseek_learn.lm.cpp.program.best_level", lambda: AVX2):
                ways["AVX2"].append(ours.fast(read))
            rates.append(seconds_per_byte(block))
            if turn < 2:
                ways["ordinary"].append(ours.ordinary(read))
    for peer in peers.values():
        peer.close()
    c = sides.config
    cache = read * len(sides.small.model.layers) * 2 * 3 * c.head_dim * 2
    size = sides.bytes["ours"] + cache
    return {"ways": ways, "bounds": [size * rate for rate in rates]}


def rows_after(read: int, threads: int, result: dict) -> Iterator[Row]:
    ways = result["ways"]
    peer = ways["Q4_0"]
    where = f"{threads} threads" if threads > 1 else "one thread"
    targets = {"ours": NEAR if read <= 512 else FAR if read <= 4096 else None}
    targets["AVX2"] = NARROW if read <= 4096 else None
    for name in ("ours", "AVX2", "ordinary"):
        times = ways[name]
        if not times:
            continue
        pairs = list(zip(times, peer, strict=False))
        ratios = [ours[1] / other[1] for ours, other in pairs]
        medians = [statistics.median(t for _, t in side) for side in (times, peer)]
        note = f"{1e3 * medians[0]:.1f} against {1e3 * medians[1]:.1f} ms"
        label = {"ours": "", "ordinary": ", ordinary path"}.get(name, f", {name}")
        what = f"SmolLM2, a token after {read}, {where}{label}: time {OVER}"
        yield reading(what, ratios, targets.get(name), note)
        if name == "ours":
            ratios = [ours[0] / other[0] for ours, other in pairs]
            target = PROMPT if read == 512 else None
            seconds = [statistics.median(t for t, _ in side) for side in (times, peer)]
            note = f"{seconds[0]:.2f} against {seconds[1]:.2f} s"
            what = f"SmolLM2, a prompt of {read}, {where}: time {OVER}"
            yield reading(what, ratios, target, note)
    pairs = list(zip(ways["ours"], ways["Q4_1"], strict=False))
    ratios = [ours[1] / other[1] for ours, other in pairs]
    note = f"{1e3 * statistics.median(t for _, t in ways['Q4_1']):.1f} ms"
    yield reading(
        f"SmolLM2, a token after {read}, {where}: time {OVER} with Q4_1",
        ratios,
        None,
        note,
    )
    if threads == 1:
        pairs = zip(result["bounds"], ways["ours"], strict=True)
        shares = [bound / token for bound, (_, token) in pairs]
        note = bound_note(result["bounds"])
        what = f"SmolLM2, a token after {read}: fraction of the bound of memory"
        estimate = quartiles(shares)
        target = SHARE if read <= 512 else None
        yield row(what, "of 1", estimate, "higher", target=target, note=note).at(now())


def measure(run: Run) -> Iterator[Row]:
    runs = run.finished_runs(part="llama_cpp")
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(Path(folder), run.quick)
        yield from quality_rows(sides)
        yield memory_row(sides)
        for read in CONTEXTS[:2] if run.quick else CONTEXTS:
            rounds = 2 if run.quick else ROUNDS if read <= 1024 else 3
            for threads in (1, 2):
                key = {"day": now()[:10], "read": read, "threads": threads}
                key |= {"bound": "in each round"}  # lines before hold one
                values = (sides, read, threads, rounds)
                result = runs.once(key, lambda v=values: measured(*v))
                yield from rows_after(read, threads, result)
    yield from decoder_rows(2 if run.quick else ROUNDS)
    yield from small_rows(2 if run.quick else ROUNDS)
