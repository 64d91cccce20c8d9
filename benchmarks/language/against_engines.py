"""Tokens and prompts of two Llamas by `lm.Decoding`, beside other engines.

The protocol is in `benchmarks/lm_engines.py`.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from harness.interval import Estimate, quartiles, ratio_of_means
from harness.script import BENCHMARKS, Run
from language import engine_files
from language.engine_files import LARGE, SMOLLM2, path, size
from language.other_decoders import row
from language.texts import TEST, Losses, material
from language.token_times import NEW, Ours, Peer, Process

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row

CONTEXTS = {SMOLLM2: (128, 512, 1024, 2048, 4096), LARGE: (128, 512, 4096)}
DETAILS = (1024,)  # contexts whose rows are details, to keep the ledger short
TARGET, PROMPT = 0.6, 512
WORKER = BENCHMARKS / "language/engines.py"


class Engine(NamedTuple):
    """What is started, with what file, and with which properties."""

    library: str
    kind: str
    options: dict = {}


LLAMA_CPP = "llama.cpp Q4_0"
ENGINES = {
    LLAMA_CPP: Engine("llama_cpp", "Q4_0"),
    "ik_llama.cpp Q4_0_R8": Engine("ik_llama_cpp", "Q4_0_R8"),
    "ik_llama.cpp IQ4_K": Engine("ik_llama_cpp", "IQ4_K"),
    "OpenVINO GenAI int4": Engine("openvino", "openvino"),
    "OpenVINO GenAI int4, activations in groups of 64": Engine(
        "openvino", "openvino", {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 64}
    ),
    "ONNX Runtime GenAI int4": Engine("onnxruntime", "onnxruntime"),
    "CTranslate2 int8": Engine("ctranslate2", "ctranslate2"),
}


def started(name: str, engine: Engine, threads: int, context: int) -> Process:
    file = path(name, engine.kind)
    if engine.library == "llama_cpp":
        return Peer(file, threads, context)
    command = [engine_files.python(), WORKER, engine.library, file, threads, context]
    return Process([*map(str, command), json.dumps(engine.options)], engine.library)


class Bench:
    """One of the Llamas, ours packed."""

    def __init__(self, run: Run, name: str):
        self.name, self.quick, self.runs = name, run.quick, run.finished_runs()

    @cached_property
    def packed(self):
        return _packed(self.name, self.quick)

    def times(self, read: int, threads: int) -> dict:
        """The seconds of a prompt and of a token of each engine, in each round."""
        key = {"day": now()[:10], "model": self.name, "read": read, "threads": threads}
        return self.runs.once(key, lambda: {"ways": self._times(read, threads)})["ways"]

    def _times(self, read: int, threads: int) -> dict[str, list]:
        import torch

        torch.set_num_threads(threads)
        clock = time.process_time if threads == 1 else time.perf_counter
        context = read + NEW + 8
        rounds = 2 if self.quick else 5 if read <= 512 else 3
        ways: dict[str, list] = {"ours": [], **{name: [] for name in ENGINES}}
        ours = Ours(self.packed, context, clock)
        with ExitStack() as stack:
            peers = {}
            for label, engine in ENGINES.items():
                peers[label] = started(self.name, engine, threads, context)
                stack.callback(peers[label].close)
            for turn in range(rounds + 1):
                length = read if turn else 128  # the first warms up
                for label, peer in peers.items():
                    ways[label].append(peer.times(length))
                ways["ours"].append(ours.fast(length))
        ways = {label: values[1:] for label, values in ways.items()}
        return ways


def _packed(name: str, quick: bool):
    import torch

    from deepseek_learn import dpg, lm

    torch.set_num_threads(2)
    if name == LARGE:
        model = lm.load(path(LARGE, "folder"))
        return dpg.convert(model, dpg.uniform(model, 4, layer_bits={"lm_head": 8}))
    from language.against_llama_cpp import BITS, LEVELS
    from language.texts import CALIBRATION

    model, windows, _ = material(2, 4 if quick else CALIBRATION)
    calibration = dpg.calibrate(model, windows.split(4), correlations=True)
    allocation = dpg.allocate(model, calibration, BITS, levels=LEVELS)
    return dpg.convert(model, allocation, calibration)


def rows_after(name: str, read: int, threads: int, ways: dict) -> Iterator[Row]:
    where = f"{threads} threads" if threads > 1 else "one thread"
    for part, what in enumerate(("a prompt of", "a token after")):
        times = {way: [each[part] for each in pairs] for way, pairs in ways.items()}
        medians = {way: statistics.median(values) for way, values in times.items()}
        ours = times.pop("ours")
        order = sorted(times, key=medians.__getitem__)
        for label in order:
            ratios = [a / b for a, b in zip(ours, times[label], strict=True)]
            note = f"{1e3 * medians['ours']:.2f} against {1e3 * medians[label]:.2f} ms"
            begin = f"{name}, {what} {read}, {where}: time over"
            if label == order[0]:
                decides = read not in DETAILS if part else read == PROMPT
                target = TARGET if decides else None
                facts = {"target": target, "note": f"{label}: {note}"}
                row_of_best = row(
                    f"{begin} the fastest's", "ratio", quartiles(ratios), **facts
                )
                yield row_of_best.at(now())
            facts = {"note": note}
            yield row(f"{begin} {label}'s", "ratio", quartiles(ratios), **facts).at(
                now()
            )


def quality_rows(bench: Bench) -> Iterator[Row]:
    """The divergence of ours over each engine's, and the bytes."""
    import numpy as np
    import torch

    from deepseek_learn import dpg

    ours_size = dpg.bytes_of(bench.packed)
    for label, engine in ENGINES.items():
        other = size(bench.name, engine.kind)
        note = f"{ours_size / 1e6:.1f} against {other / 1e6:.1f} MB"
        what = f"{bench.name}, bytes over {label}'s"
        yield row(what, "ratio", Estimate(ours_size / other), note=note)
    if bench.name == LARGE:
        return
    model, _, texts = material(2 if bench.quick else TEST, 4)
    losses = Losses(model, texts)
    ours = losses.of(losses.answers(bench.packed))
    for label, engine in ENGINES.items():
        if label == LLAMA_CPP:  # in `lm_speed.py`
            continue
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            peer = started(bench.name, engine, 2, 512)
            stack.callback(peer.close)

            def answer(tokens, peer=peer, folder=folder):
                np.save(folder / "tokens.npy", tokens[0].numpy())
                peer.ask(f"logits {folder / 'tokens.npy'} {folder / 'logits.npy'}")
                return torch.from_numpy(np.load(folder / "logits.npy"))[None]

            other = losses.of(losses.answers(answer))
        for text in texts:
            means = [statistics.mean(side[text]) for side in (ours, other)]
            note = f"{means[0]:.3f} against {means[1]:.3f} nats"
            what = f"{bench.name}, {text}: divergence over {label}'s"
            yield row(what, "ratio", ratio_of_means(ours[text], other[text]), note=note)


def measure(run: Run) -> Iterator[Row]:
    for name in (SMOLLM2,) if run.quick else (SMOLLM2, LARGE):
        bench = Bench(run, name)
        for read in CONTEXTS[name][:2] if run.quick else CONTEXTS[name]:
            for threads in (1, 2):
                yield from rows_after(name, read, threads, bench.times(read, threads))
        yield from quality_rows(bench)
