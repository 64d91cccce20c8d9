"""The allocation of DPG that is stored in at most so many bytes."""

from typing import Any

from torch import nn

from deepseek_learn import dpg


def at_most(
    model: nn.Module, statistics: dpg.Calibration, most: int, **options: Any
) -> tuple[dpg.Allocation, float]:
    """The allocation with the largest budget that fits, and its bits a weight.

    The options are those of `dpg.allocate`.
    """

    def allocation(bits: float) -> dpg.Allocation:
        return dpg.allocate(model, statistics, bits, **options)

    # stored bytes are nearly linear in the bits
    low = float(max(3, min(options.get("levels", (3,)))))
    first, last = (allocation(bits).stored_bytes for bits in (low, low + 2))
    slope = (last - first) / 2
    bits = low + (most - first) / slope
    chosen = allocation(bits)
    while chosen.stored_bytes > most:
        bits -= 1e-3 + (chosen.stored_bytes - most) / slope
        chosen = allocation(bits)
    return chosen, bits
