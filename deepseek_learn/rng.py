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
    numpy, torch = map(sys.modules.get, ("numpy", "torch"))
    python = random.getstate()
    array = numpy.random.get_state() if numpy else None
    cpu = torch.get_rng_state() if torch else None
    gpus = (
        torch.cuda.get_rng_state_all() if torch and torch.cuda.is_initialized() else []
    )
    try:
        yield
    finally:
        random.setstate(python)
        if numpy:
            numpy.random.set_state(array)
        if torch:
            torch.set_rng_state(cpu)
            torch.cuda.set_rng_state_all(gpus)  # does nothing for an empty list
