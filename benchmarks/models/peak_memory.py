"""Activation memory of one pass: the system's measurement, and the tools' estimates.

    PYTHON -m models.peak_memory READER NET (infer|train)

prints bytes, from a separate process. The ground truth is the rise of the process's
resident memory during the pass: Linux's high-water mark, reset after two warm-up passes.
The environment in `MALLOC` returns each freed block of 16 KiB or more to the system at
once, so that resident memory is memory in use.
"""

import ctypes
import gc
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from models import profiled_nets
from models.flop_counters import TOOLS, answers, child, last_words, missing

MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_TOP_PAD_": "0",
}
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
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # reset VmHWM to VmRSS
    before = _status("VmRSS")
    run(model, x, train)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) * 1024


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
    process = child(["models.peak_memory", reader, net, mode], timeout, **MALLOC)
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
