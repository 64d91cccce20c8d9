"""One token at a time: SmolLM2 packed by DPG and read by `lm.Decoding`, beside llama.cpp.

    python benchmarks/lm_decode.py [--quick] [--anew]

Protocol. Ours: SmolLM2-135M-Instruct (`zoo.smollm2`), compressed by DPG to 4.2 bits a
weight on average, the head included, in rows of 4 or 8 bits (`dpg.allocate`, calibrated on
the windows of `lm_weights.py`), read by `lm.Decoding` with its cache in bfloat16. Rows of
3, 5 and 6 bits would lose less per byte, but take two planes, and reading those is slower
per byte. Peer: llama.cpp (the
wheel `xllamacpp`, in an environment and a process of its own) with the same weights in
Q4_0, the head in Q8_0, which is what its own tool makes of this model, and its settings
as they come. Q4_0 is the format for which it has its fastest products; "Q4_1" is the file
that the weights come from, for information. One round: the peer reads a prompt of so many
tokens and continues it by 64, then ours does; a ratio is the median over the rounds of the
ratio within a round, with the quartiles as interval. One thread: processor time. Two
threads: time by the clock. The peer's time of a token is the difference of a request for
65 tokens and one for 1, divided by 64: it includes sampling, of which ours has none.

"Ordinary path" is the same packed model called as it is, token by token. "AVX2": both
sides without AVX-512 and AMX in their products, as the wheel is built; ours lets the small
operators between them use what the processor has. The prompt is read by the model itself.

Quality: the divergence from the model of the file and the perplexity, on the windows of
`lm_weights.py`; ours is really run, with its 8-bit activations, of the peer's the weights
alone are rounded. Bytes: of all weights as they are stored. Memory: by how much a process
grows while it loads its file and reads 512 tokens, after the imports; room for 640 tokens.

Bound: the bytes of the weights and of the cache that a token reads, over the bandwidth
with which one core reads a large block with huge pages; the row is the fraction of it that
ours reaches.

Other models, one thread, processor time, after 64 tokens, in turn in one process: the
decoder of 100 M parameters of `dpg_memory.py`, in its mixture of bits, by `lm.Decoding`,
beside torchao's int4 in groups of 64 and float32 as they come; `small_deepseek` (hybrid
attention, experts) by `lm.Decoding`, in float32 and packed to 4 bits, beside itself called
as it is.

Targets, stated before the first run: a token in at most 0.5 of llama.cpp's time after up
to 512 tokens, 0.8 after up to 4,096, on one thread and on two; 0.75 at the AVX2 level; a
prompt of 512 in at most 0.5; its divergence and bytes at most the peer's, its memory at
most the peer's; 0.6 of the bound. After 8,192 tokens no target. The decoder of 100 M: at
least twice torchao int4's speed and 6 times float32's, 0.6 of the bound. Seen before: a
prototype, rounds of a first version, a full run that was ended after one thread at 4,096,
all against Q4_1; while the kernels were changed, a few readings of either side at 128 to
2,048, and one of each other model; with 2 to 8 bits a row, 4.0 on average, the contexts up
to 2,048 (0.63 of llama.cpp's time after 128, 0.52 after 512). The levels 4 and 8 at 4.2
bits were one of five choices whose divergence was looked at on 4 windows of each text.

What a run gives is one reading of each row; finished contexts are lines in
`results/lm_decode.jsonl`, from which a run of the same day goes on. `--quick`: 128 and 512
tokens, 2 rounds.

Added later: a prompt's attention is a C++ kernel of ours (`lm/attending.py`), the rest is
still the model itself. The first reading was taken without it. Since 5:00 on 2026-12-01
the block is read in each round; before, it was read once for each number of tokens.
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
from harness.script import Run, Script
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
from deepseek_learn.measure.memory import REUSE_FREED

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


SCRIPT = Script(
    __file__,
    __doc__,
    quick="short contexts, 2 rounds",
    anew=True,
    environment=REUSE_FREED,
    children={"grown": grown},
)


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
    command = [sys.executable, __file__, "--grown", str(sides.packed), facts]
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
    runs = run.finished_runs()
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


if __name__ == "__main__":
    SCRIPT.main(measure)
