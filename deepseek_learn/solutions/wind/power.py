r"""Expected power: what a healthy turbine gives at this wind.

The power curve is that of IEC 61400-12-1: the median power in bins of 0.5 m/s of the wind
speed, which is first reduced to standard density :math:`\rho_0`,

.. math:: v_n = v (\rho / \rho_0)^{1/3}, \qquad \rho = p / (R T).

The network (`zoo.nets.power_net`) corrects it from eight hours of wind, temperature and
direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ...optim import DeepOpt
from ...zoo.nets.power_net import PowerNet
from .scada import Scada

BIN, BINS = 0.5, 60  # m/s; their number
DENSITY, PRESSURE, GAS = 1.225, 1013.25, 287.05  # kg/m3; hPa; J/(kg K)
LEAST = 6  # samples in a bin of the curve
MADS = 4.0  # training leaves out what is farther from the curve, in scaled deviations
CUT_IN = 4.5  # m/s, from which a turbine that gives nothing is stopped
STOPPED, LOAD = 0.4, 0.05  # less than this part of the expected power, above this load
WINDOW, MARGIN = 288, 48  # steps of a training window; of context on either side
STEPS, BATCH, LR = 600, 32, 3e-3


def normal_wind(scada: Scada) -> np.ndarray:
    """Return the wind speed at standard density, `[N, T]`.

    Without a pressure sensor, standard pressure is assumed; without a thermometer, the wind
    is returned as it is.
    """
    warm, pressure = _filled(scada.temperature), _filled(scada.pressure)
    if not np.isfinite(warm).all():
        return scada.wind
    pressure = np.where(np.isfinite(pressure), pressure, PRESSURE)
    density = 100 * pressure / (GAS * (warm + 273.15))
    return scada.wind * np.cbrt(density / DENSITY)


def _filled(values: np.ndarray) -> np.ndarray:
    """Return the farm's median at each step, gaps bridged, `[T]`."""
    middle = pd.Series(farm_median(values))
    return middle.interpolate(limit_direction="both").to_numpy()


def farm_median(values: np.ndarray, least: int = 1) -> np.ndarray:
    """Return the median of the turbines that have a value, `[N, T]` → `[T]`.

    It is NaN at steps with fewer than `least` values. `np.nanmedian` takes several times
    as long for a few turbines and many steps.
    """
    if len(values) < least:  # a single turbine has no neighbors
        return np.full(values.shape[1], np.nan)
    count = (~np.isnan(values)).sum(0)
    order = np.sort(values, 0)  # NaN comes last
    places = np.maximum(count - 1, 0) // 2, np.minimum(count // 2, len(values) - 1)
    low, high = (np.take_along_axis(order, place[None], 0)[0] for place in places)
    return np.where(count >= least, (low + high) / 2, np.nan)


@dataclass(frozen=True, eq=False)
class Curve:
    """A power curve.

    Attributes:
        power: the median power in each bin, as a part of the rated power, `[60]`.
        spread: the median deviation from it, scaled to that of a normal distribution.
    """

    power: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, wind: np.ndarray, power: np.ndarray) -> "Curve":
        """Fit a curve to samples of normal wind and power (a part of the rated one)."""
        usable = (
            np.isfinite(wind) & np.isfinite(power) & ~((power <= 0) & (wind > CUT_IN))
        )
        bins = pd.Series(np.clip(wind[usable] / BIN, 0, BINS - 1).astype(int))
        values = pd.Series(power[usable])
        counts = values.groupby(bins).size().reindex(range(BINS), fill_value=0)
        if counts.max() < LEAST:
            raise ValueError("A power curve needs a day of records at least.")
        middle = values.groupby(bins).median().reindex(range(BINS))
        off = (values - middle.loc[bins].to_numpy()).abs()
        spread = 1.4826 * off.groupby(bins).median().reindex(range(BINS))
        full = [
            s.where(counts >= LEAST).interpolate(limit_direction="both").to_numpy()
            for s in (middle, spread)
        ]
        return cls(*full)

    def __call__(self, wind: np.ndarray) -> np.ndarray:
        """Return the power at some wind, between the middles of the bins."""
        return np.interp(wind, BIN * (np.arange(BINS) + 0.5), self.power)

    def near(self, wind: np.ndarray, power: np.ndarray) -> np.ndarray:
        """Return which samples lie near the curve: those to learn from."""
        bins = np.clip(np.nan_to_num(wind) / BIN, 0, BINS - 1).astype(int)
        close = np.abs(power - self.power[bins]) <= MADS * np.maximum(
            self.spread[bins], 0.002
        )
        return close & ~((power <= 0) & (wind > CUT_IN))


def inputs(scada: Scada, curves: Sequence[Curve]) -> np.ndarray:
    """Return what the network sees, `[N, 6 + N, T]` of float32.

    The channels are the curve's power, wind / 10, whether the wind is missing, sine and
    cosine of the nacelle's direction, temperature / 20, and which turbine it is.
    """
    wind = normal_wind(scada)
    base = np.stack([curve(each) for curve, each in zip(curves, wind, strict=True)])
    warm = np.nan_to_num(_filled(scada.temperature) / 20 - 0.5)
    angle = np.radians(scada.nacelle)
    direction = [np.nan_to_num(f(angle)) for f in (np.sin, np.cos)]
    absent = np.isnan(wind)
    rows = [np.nan_to_num(base), np.nan_to_num(wind) / 10, absent, *direction]
    rows.append(np.broadcast_to(warm, wind.shape))
    who = np.eye(len(wind))[:, :, None].repeat(wind.shape[1], 2)
    return np.concatenate([np.stack(rows, 1), who], 1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class ExpectedPower:
    """The expected power of a farm's turbines.

    Attributes:
        curves: one per turbine.
        network: a correction of the curves; None for the curves alone.
    """

    curves: tuple[Curve, ...]
    network: nn.Module | None = field(default=None)

    def __call__(self, scada: Scada) -> np.ndarray:
        """Return the expected power in kW, `[N, T]`; NaN where there is no wind."""
        x = inputs(scada, self.curves)
        power = x[:, 0] if self.network is None else apply(self.network, x)
        return np.where(np.isfinite(scada.wind), power * scada.rated_kw, np.nan)


@torch.inference_mode()
def apply(network: nn.Module, x: np.ndarray) -> np.ndarray:
    """Run a network over long series in overlapping windows, `[N, C, T]` → `[N, T]`."""
    length = x.shape[2]
    padded = np.pad(x, ((0, 0), (0, 0), (MARGIN, MARGIN + WINDOW)), mode="edge")
    step = WINDOW - 2 * MARGIN
    result = np.empty((len(x), -(-length // step) * step), np.float32)
    for start in range(0, length, step):
        window = torch.from_numpy(padded[:, :, start : start + WINDOW].copy())
        result[:, start : start + step] = network(window)[:, MARGIN:-MARGIN].numpy()
    return result[:, :length]


def train(
    scada: Scada,
    use: np.ndarray | None = None,
    *,
    steps: int = STEPS,
    seed: int = 0,
    attention: bool = True,
) -> ExpectedPower:
    """Learn the expected power of each turbine.

    Args:
        use: which steps to learn from, `[T]`; by default, all of them.
    """
    used = np.ones(len(scada), bool) if use is None else use
    wind, power = normal_wind(scada), scada.power / scada.rated_kw
    curves = tuple(
        Curve.fit(w[used], p[used]) for w, p in zip(wind, power, strict=True)
    )
    near = np.stack([c.near(w, p) for c, w, p in zip(curves, wind, power, strict=True)])
    x, y = inputs(scada, curves), np.nan_to_num(power).astype(np.float32)
    torch.manual_seed(seed)
    network = PowerNet(x.shape[1], attention=attention)
    learn(network, x, y, near & used, steps, seed)
    return ExpectedPower(curves, network.eval())


def learn(
    network: nn.Module,
    x: np.ndarray,
    y: np.ndarray,
    near: np.ndarray,
    steps: int,
    seed: int,
    lr: float = LR,
) -> None:
    """Train a network on random windows; the error counts where `near` is true."""
    rng = np.random.default_rng(seed)
    optimizer = DeepOpt(network, lr=lr)
    starts = np.flatnonzero(near.any(0))
    starts = starts[starts < x.shape[2] - WINDOW]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    offsets = np.arange(WINDOW)
    for _ in range(steps):
        rows = rng.integers(len(x), size=BATCH)
        at = rng.choice(starts, BATCH)[:, None] + offsets
        window = torch.from_numpy(x[rows[:, None], :, at].transpose(0, 2, 1).copy())
        target, weight = (
            torch.from_numpy(a[rows[:, None], at].astype(np.float32)) for a in (y, near)
        )
        loss = _error(network(window), target, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def _error(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return (weight * (prediction - target).square()).sum() / weight.sum().clamp_min(1)
