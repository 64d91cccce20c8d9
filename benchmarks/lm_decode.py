"""One token at a time: SmolLM2 packed in 4 bits by `lm.Decoding`, beside llama.cpp.

    python benchmarks/lm_decode.py [--quick]

Protocol. Ours: SmolLM2-135M-Instruct (`zoo.smollm2`), every layer packed with 4 bits a
weight in groups of 64, the head with 8, read by `lm.Decoding` with its cache in bfloat16.
Peer: llama.cpp (the wheel `xllamacpp`, in an environment and a process of its own) with
the file that the weights come from, Q4_1, and its settings as they come. One round: the
peer reads a prompt of so many tokens and continues it by 64, then ours does; a ratio is
the median over the rounds of the ratio within a round, with the quartiles as interval. One
thread: processor time. Two threads: time by the clock. The peer's time of a token is the
difference of a request for 65 tokens and one for 1, divided by 64: it includes sampling,
of which ours has none.

"Ordinary path" is the same packed model called as it is, token by token. "AVX2": both
sides without AVX-512 and AMX in their products, as the wheel is built; ours lets the small
operators between them use what the processor has. The prompt is read by the model itself.

Targets, stated before the first run: a token in at most 0.5 of llama.cpp's time after up
to 512 tokens, 0.8 after up to 4,096, on one thread and on two; 0.75 at the AVX2 level; a
prompt of 512 in at most 0.5. After 8,192 tokens no target. Seen before: a prototype, and
rounds of a first version at 64, 500 and 4,000 tokens, and a full run that was ended
after one thread at 4,096.

Not compared here: quality. 4 bits of weights that were 4 bits before lose more than the
peer's file, so these are ratios of speed at fewer bytes, not at equal quality.

What a run gives is one reading of each row. `--quick`: 128 and 512 tokens, 2 rounds.
"""

import importlib.util
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

from deploying.backends import peer_python
from harness.interval import quartiles
from harness.script import BENCHMARKS, Run, Script, Skip

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure.memory import REUSE_FREED

SCRIPT = Script(
    __file__, __doc__, quick="short contexts, 2 rounds", environment=REUSE_FREED
)
PEER, WORKER = BENCHMARKS / ".venv" / "llama", "language/llama_cpp.py"
PACKAGES = ("xllamacpp==2026.10.*",)
CONTEXTS, NEW, FIRST, ROUNDS = (128, 512, 1024, 2048, 4096, 8192 - 80), 64, 100, 7
NEAR, FAR, NARROW, PROMPT = 0.5, 0.8, 0.75, 0.5
AVX2 = 1  # a level of the kernel
OVER = "over llama.cpp's"


class Peer:
    """llama.cpp, waiting for requests."""

    def __init__(self, file: Path, threads: int, context: int):
        python = peer_python(PEER, *PACKAGES)
        command = [python, BENCHMARKS / WORKER, file, str(threads), str(context)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._answer() != ["ready"]:
            raise Skip("llama.cpp does not start here")

    def times(self, read: int) -> tuple[float, float]:
        """The seconds of a prompt, and of a token after it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{read} {NEW}\n")
        self.process.stdin.flush()
        prompt, token = map(float, self._answer())
        return prompt, token

    def _answer(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def close(self) -> None:
        self.process.communicate()


class Ours:
    """The packed model, decoded in one call per token or called as it is."""

    def __init__(self, model, context: int, clock: Callable[[], float]):
        self.model, self.context, self.clock = model, context, clock

    def fast(self, read: int) -> tuple[float, float]:
        import torch

        from deepseek_learn.lm import Decoding

        decoding = Decoding(self.model, self.context)
        start = self.clock()
        decoding.read(torch.arange(FIRST, FIRST + read))
        middle = self.clock()
        for token in range(NEW):
            decoding.step(FIRST + token)
        return middle - start, (self.clock() - middle) / NEW

    def ordinary(self, read: int) -> tuple[float, float]:
        import torch

        from deepseek_learn.lm import Cache

        with torch.inference_mode():
            cache = Cache(self.model, 1, self.context)
            step = self.model.step(torch.arange(FIRST, FIRST + read)[None], cache)
            self.model.hidden(step)
            start = self.clock()
            for token in range(NEW // 8):
                self.model(torch.tensor([[FIRST + token]]), cache)
        return 0.0, (self.clock() - start) / (NEW // 8)


def packed():
    """SmolLM2 in 4 bits, its head in 8, and the file that llama.cpp reads."""
    from deepseek_learn import dpg
    from deepseek_learn.zoo import smollm2

    model, _ = smollm2.load()
    bits = dpg.uniform(model, 4, layer_bits={"lm_head": 8})
    spec = importlib.util.find_spec(smollm2.PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return dpg.convert(model, bits), Path(spec.origin).parent / smollm2.FILE


def row(what: str, values: list[float], target: float | None, note: str) -> Row:
    reading = Row(
        claim="C2",
        source="ours",
        what=f"SmolLM2, {what}",
        unit="ratio",
        better="lower",
        target=target,
        note=note,
        **vars(quartiles(values)),
    )
    print(f"{what}: {reading.measured:.2f} ({note})", flush=True)
    return reading.at(now())


def after(read: int, threads: int, rounds: int, model, file: Path) -> Iterator[Row]:
    """The rows of one context and number of threads."""
    import torch

    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    context = read + NEW + 8
    peer, ours = Peer(file, threads, context), Ours(model, context, clock)
    ways: dict[str, list] = {"llama.cpp": [], "ours": [], "AVX2": [], "ordinary": []}
    peer.times(read), ours.fast(read)  # warm up
    for turn in range(rounds):
        ways["llama.cpp"].append(peer.times(read))
        ways["ours"].append(ours.fast(read))
        if threads == 1:
            with patch("deepseek_learn.dpg.program.best_level", lambda: AVX2):
                ways["AVX2"].append(ours.fast(read))
            if turn < 2:
                ways["ordinary"].append(ours.ordinary(read))
    peer.close()
    peers_times = ways.pop("llama.cpp")
    where = f"{threads} threads" if threads > 1 else "one thread"
    targets = {"ours": NEAR if read <= 512 else FAR if read <= 4096 else None}
    targets["AVX2"] = NARROW if read <= 4096 else None
    for name, times in ways.items():
        if not times:
            continue
        pairs = list(zip(times, peers_times, strict=False))
        ratios = [mine[1] / other[1] for mine, other in pairs]
        medians = [
            statistics.median(t for _, t in side) for side in (times, peers_times)
        ]
        note = f"{1e3 * medians[0]:.1f} against {1e3 * medians[1]:.1f} ms"
        label = "" if name == "ours" else f", {name}"
        what = f"a token after {read}, {where}{label}: time {OVER}"
        yield row(what, ratios, targets.get(name), note)
        if name == "ours":
            ratios = [mine[0] / other[0] for mine, other in pairs]
            target = PROMPT if read == 512 else None
            note = f"{statistics.median(mine[0] for mine, _ in pairs):.2f} s"
            yield row(f"a prompt of {read}, {where}: time {OVER}", ratios, target, note)


def measure(run: Run) -> Iterator[Row]:
    model, file = packed()
    for read in CONTEXTS[:2] if run.quick else CONTEXTS:
        rounds = 2 if run.quick else ROUNDS if read <= 1024 else 3
        for threads in (1, 2):
            yield from after(read, threads, rounds, model, file)


if __name__ == "__main__":
    SCRIPT.main(measure)
