"""Restore the global random number generators."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def isolate_rng() -> Iterator[None]:
    """Restore the generators of Python, NumPy and PyTorch at the end of the block.

    Even an import can draw: rich draws from Python's generator, and scikit-learn
    imports rich. NumPy and PyTorch are not imported here.
    """
    numpy, torch = (sys.modules.get(name) for name in ("numpy", "torch"))
    python = random.getstate()
    array = numpy.random.get_state() if numpy else None
    cpu = torch.get_rng_state() if torch else None
    gpus = None
    if torch and torch.cuda.is_initialized():
        gpus = torch.cuda.get_rng_state_all()
    try:
        yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(array)
        if torch:
            torch.set_rng_state(cpu)
        if torch and gpus is not None:
            torch.cuda.set_rng_state_all(gpus)
