"""The cost of profiling: processor time of a profile, and of each recording pass.

    PYTHON -m profiling.recording_cost NET (infer|train) ROUNDS

prints one JSON line, from a separate process with one thread. Each reading alternates
with a plain pass; a round's ratios are relative to the median of its plain passes.
"""

import contextlib
import gc
import io
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from unittest import mock

import pandas as pd
import torch
from models import profiled_nets
from profiling.flop_counters import answers, child, last_words, missing
from profiling.peak_memory import output, run

REPEATS = 5  # the default of `profile`
PASSES = 1 + 1 + 1 + 2 * REPEATS  # warm-up, counting, allocator, timed and plain
RECORDINGS = ("counting", "timing", "allocator")
PEERS = ("FlopCounterMode", "torch.profiler", "DeepSpeed")


def seconds(call: Callable[[], Any]) -> float:
    """Processor time of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def recordings(model, x, train: bool) -> dict[str, Callable[[], Any]]:
    """One recording pass of ours of each kind, and one of each installed peer."""
    from torch.profiler import ProfilerActivity, profile
    from torch.utils.flop_counter import FlopCounterMode

    from deepseek_learn.measure import peak_bytes
    from deepseek_learn.profiler.module_paths import ModulePaths
    from deepseek_learn.profiler.recorder import Counter, Timer

    paths, cpu = ModulePaths(model), torch.device("cpu")

    def record_under(instrument) -> None:
        with instrument:
            run(model, x, train)
        if hasattr(instrument, "close"):
            instrument.close()

    def counting() -> None:
        record_under(Counter(paths, [*model.parameters(), *model.buffers(), x]))

    options = {"activities": [ProfilerActivity.CPU], "with_flops": True}
    passes = {
        "counting": counting,
        "timing": lambda: record_under(Timer(paths, cpu)),
        "allocator": lambda: peak_bytes(lambda: run(model, x, train), cpu),
        "FlopCounterMode": lambda: record_under(FlopCounterMode(display=False)),
        "torch.profiler": lambda: record_under(profile(profile_memory=True, **options)),
    }
    if not train and missing("DeepSpeed") is None:
        passes["DeepSpeed"] = _deepspeed(model, x)
    return passes


def _deepspeed(model, x) -> Callable[[], Any]:
    """A forward pass under its flops profiler, which does not support backward."""
    from deepspeed.profiling.flops_profiler import FlopsProfiler

    profiler = FlopsProfiler(model)

    def record() -> None:
        profiler.start_profile()
        run(model, x, False)
        profiler.get_total_flops()
        profiler.end_profile()

    return record


def rounds(model, x, train: bool, number: int) -> Iterator[dict[str, Any]]:
    """Ratios of each round; "layers" are the layers' times, not a ratio."""
    from deepseek_learn.profiler import model_profiler

    loss = (lambda answer: output(answer).sum()) if train else None
    profiles, roof, measured_roof = [], [], model_profiler.measured_roof

    def roof_timed(*args, **kwargs):
        start = time.process_time()
        answer = measured_roof(*args, **kwargs)
        roof.append(time.process_time() - start)
        return answer

    def whole_profile() -> None:
        options = {"loss": loss, "repeats": REPEATS, "progress": False}
        with mock.patch.object(model_profiler, "measured_roof", roof_timed):
            profiles.append(model_profiler.profile(model, x, train, **options))

    model.train(train)
    instruments = recordings(model, x, train) | {"profile": whole_profile}
    for index in range(number + 1):
        plain, times = [], {}
        roof.clear()
        for name, call in instruments.items():
            gc.collect()  # do not let one pass pay for garbage of another
            plain.append(seconds(lambda: run(model, x, train)))
            times[name] = seconds(call)
        if index:  # the first warms up and measures the roof
            times["roof"] = sum(roof)
            yield ratios(times, plain) | {"layers": _layers(profiles[-1])}


def ratios(times: dict[str, float], plain: list[float]) -> dict[str, float]:
    """Ratios to plain passes: a recording pass to one, a profile to as many as it runs.

    `roof`: the share of the profile spent on the machine's roof; `plain`: seconds.
    """
    unit = statistics.median(plain)
    totals = {
        "profile": times["profile"] / (PASSES * unit),
        "roof": times["roof"] / (PASSES * unit),
        "plain": unit,
    }
    return {k: v / unit for k, v in times.items() if k not in totals} | totals


def _layers(result) -> dict[str, float]:
    return result.operators.groupby("layer")["latency_ms"].sum().to_dict()


def rank_correlations(layers: list[dict[str, float]]) -> list[float]:
    """Spearman correlations of the layers' times in consecutive profiles."""
    frames = [pd.Series(times).rank() for times in layers]
    return [a.corr(b) for a, b in pairwise(frames) if len(a) > 2]


def read(net: str, mode: str, number: int, timeout: float = 3600) -> dict[str, Any]:
    """`{"rounds": [...], "spearman": [...]}`.

    Raises:
        RuntimeError: with the last output of the failed process.
    """
    process = child(["profiling.recording_cost", net, mode, str(number)], timeout)
    rows = answers(process)
    if not rows:
        raise RuntimeError(f"{net}, {mode}: {last_words(process)}")
    return rows[-1]


def main(net: str, mode: str, number: int) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    model, x = profiled_nets.ALL[net].build()
    with contextlib.redirect_stdout(io.StringIO()):  # DeepSpeed prints to stdout
        results = list(rounds(model, x, mode == "train", number))
    spearman = rank_correlations([result.pop("layers") for result in results])
    print(json.dumps({"rounds": results, "spearman": spearman}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
