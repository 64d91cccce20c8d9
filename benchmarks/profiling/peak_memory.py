"""Activation memory of one pass: the system's measurement, and the tools' estimates.

    PYTHON -m profiling.peak_memory READER NET (infer|train)

prints bytes, from a separate process. The ground truth is the rise of the process's
resident memory during the pass: Linux's high-water mark, reset after two warm-up passes.
Each freed block of 16 KiB or more returns to the system at once, so that resident memory is
memory in use.
"""

import json
import logging
import sys
import warnings
from typing import Any

import torch
from models import profiled_nets
from profiling.flop_counters import TOOLS, answers, child, last_words, missing

from deepseek_learn.measure import memory, peak_resident_bytes

MODES = ("infer", "train")
TRUTH = "high-water mark"


def run(model, x, train: bool) -> None:
    """One forward pass, or one forward and backward pass as in a training loop."""
    for parameter in model.parameters():
        parameter.grad = None
    with torch.set_grad_enabled(train):
        answer = output(model(x))
        if train:
            loss = answer.sum()
            loss.backward()


def output(answer: Any):
    """The first of several outputs (a recurrent layer also returns its states)."""
    return answer[0] if isinstance(answer, tuple) else answer


def truth(model, x, train: bool) -> float:
    for _ in range(2):
        run(model, x, train)
    for parameter in model.parameters():
        parameter.grad = None
    return peak_resident_bytes(lambda: run(model, x, train))


def ours(model, x, train: bool) -> float:
    from deepseek_learn.profiler import profile

    loss = None if not train else lambda answer: output(answer).sum()
    result = profile(model, x, train, loss=loss, repeats=1, progress=False)
    return result.peak_mib * 2**20


def mem_tracker(model, x, train: bool) -> float:
    """PyTorch's `MemTracker`: its peak minus its count before the pass."""
    from torch.distributed._tools.mem_tracker import MemTracker

    run(model, x, train)
    for parameter in model.parameters():
        parameter.grad = None
    tracker = MemTracker()
    tracker.track_external(model, x)
    with tracker:
        run(model, x, train)
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    baseline = [*model.parameters(), *model.buffers(), x]
    return peak - sum(t.untyped_storage().nbytes() for t in baseline)


def torchinfo(model, x, train: bool) -> float:
    """Its "forward/backward pass size", the only size it reports."""
    import torchinfo

    return torchinfo.summary(model, input_data=x, verbose=0).total_output_bytes


def fvcore(model, x, train: bool) -> float:
    """The elements that it counts as activations, 4 bytes each."""
    from fvcore.nn import ActivationCountAnalysis

    with torch.no_grad():
        return 4 * ActivationCountAnalysis(model, x).total()


READERS = {
    TRUTH: truth,
    "deepseek_learn": ours,
    "MemTracker": mem_tracker,
    "torchinfo": torchinfo,
    "fvcore": fvcore,
}
PEERS = ("MemTracker", "torchinfo", "fvcore")


def available(reader: str) -> str | None:
    """Why a reader cannot run; None if it can."""
    return missing(reader) if reader in TOOLS else None


def read(reader: str, net: str, mode: str, timeout: float = 900) -> dict[str, Any]:
    """`{"bytes": ...}`, or `{"failed": why}`."""
    words = ["profiling.peak_memory", reader, net, mode]
    process = child(words, timeout, **memory.RETURN_FREED)
    rows = answers(process)
    return rows[-1] if rows else {"failed": last_words(process)}


def main(reader: str, net: str, mode: str) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    model, x = profiled_nets.ALL[net].build()
    train = mode == "train"
    model.train(train)
    print(json.dumps({"bytes": float(READERS[reader](model, x, train))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
