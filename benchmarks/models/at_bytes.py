"""The allocation of DPG that is stored in at most so many bytes."""

from torch import nn

from deepseek_learn import dpg


def at_most(
    model: nn.Module, statistics: dpg.Calibration, most: int
) -> tuple[dpg.Allocation, float]:
    """The allocation with the largest budget that fits, and its bits a weight."""

    def allocation(bits: float) -> dpg.Allocation:
        return dpg.allocate(model, statistics, bits)

    # stored bytes are nearly linear in the bits
    points = {bits: allocation(bits).stored_bytes for bits in (3.0, 5.0)}
    slope = (points[5.0] - points[3.0]) / 2
    bits = 3.0 + (most - points[3.0]) / slope
    chosen = allocation(bits)
    while chosen.stored_bytes > most:
        bits -= 1e-3 + (chosen.stored_bytes - most) / slope
        chosen = allocation(bits)
    return chosen, bits
