"""Answers to `power_in_a_band`: the starter, right ones and wrong ones."""

# %% starter
def band_power(x, hz, low, high):
    ...

# %% solution
import numpy as np


def band_power(x, hz, low, high):
    n = len(x)
    spectrum = np.fft.rfft((x - x.mean()) * np.hanning(n))
    frequency = np.fft.rfftfreq(n, 1 / hz)
    inside = (frequency >= low) & (frequency < high)
    return (np.abs(spectrum[inside]) ** 2).sum()

# %% right: the transform by hand
import numpy as np


def band_power(x, hz, low, high):
    n = len(x)
    t = np.arange(n)
    y = (x - np.mean(x)) * 0.5 * (1 - np.cos(2 * np.pi * t / (n - 1)))
    total = 0.0
    for k in range(n // 2 + 1):
        if low <= k * hz / n < high:
            c = (y * np.cos(2 * np.pi * k * t / n)).sum()
            s = (y * np.sin(2 * np.pi * k * t / n)).sum()
            total += c * c + s * s
    return total

# %% right: in torch
import torch


def band_power(x, hz, low, high):
    x = torch.as_tensor(x, dtype=torch.float64)
    n = len(x)
    window = torch.hann_window(n, periodic=False, dtype=torch.float64)
    power = torch.fft.rfft((x - x.mean()) * window).abs().square()
    frequency = torch.fft.rfftfreq(n, 1 / hz, dtype=torch.float64)
    return power[(frequency >= low) & (frequency < high)].sum()

# %% wrong: no window
import numpy as np


def band_power(x, hz, low, high):
    spectrum = np.fft.rfft(x - x.mean())
    frequency = np.fft.rfftfreq(len(x), 1 / hz)
    inside = (frequency >= low) & (frequency < high)
    return (np.abs(spectrum[inside]) ** 2).sum()

# %% wrong: the mean stays
import numpy as np


def band_power(x, hz, low, high):
    spectrum = np.fft.rfft(x * np.hanning(len(x)))
    frequency = np.fft.rfftfreq(len(x), 1 / hz)
    inside = (frequency >= low) & (frequency < high)
    return (np.abs(spectrum[inside]) ** 2).sum()

# %% wrong: no square
import numpy as np


def band_power(x, hz, low, high):
    spectrum = np.fft.rfft((x - x.mean()) * np.hanning(len(x)))
    frequency = np.fft.rfftfreq(len(x), 1 / hz)
    inside = (frequency >= low) & (frequency < high)
    return np.abs(spectrum[inside]).sum()

# %% wrong: the upper end is included
import numpy as np


def band_power(x, hz, low, high):
    spectrum = np.fft.rfft((x - x.mean()) * np.hanning(len(x)))
    frequency = np.fft.rfftfreq(len(x), 1 / hz)
    inside = (frequency >= low) & (frequency <= high)
    return (np.abs(spectrum[inside]) ** 2).sum()

# %% wrong: positions instead of frequencies
import numpy as np


def band_power(x, hz, low, high):
    spectrum = np.fft.rfft((x - x.mean()) * np.hanning(len(x)))
    return (np.abs(spectrum[int(low) : int(high)]) ** 2).sum()

# %% wrong: the rate is forgotten
import numpy as np


def band_power(x, hz, low, high):
    spectrum = np.fft.rfft((x - x.mean()) * np.hanning(len(x)))
    frequency = np.fft.rfftfreq(len(x))
    inside = (frequency >= low) & (frequency < high)
    return (np.abs(spectrum[inside]) ** 2).sum()

# %% wrong: the mean over the band
import numpy as np


def band_power(x, hz, low, high):
    spectrum = np.fft.rfft((x - x.mean()) * np.hanning(len(x)))
    frequency = np.fft.rfftfreq(len(x), 1 / hz)
    inside = (frequency >= low) & (frequency < high)
    return (np.abs(spectrum[inside]) ** 2).mean()

# %% wrong: a periodic window
import torch


def band_power(x, hz, low, high):
    x = torch.as_tensor(x, dtype=torch.float64)
    window = torch.hann_window(len(x), dtype=torch.float64)
    power = torch.fft.rfft((x - x.mean()) * window).abs().square()
    frequency = torch.fft.rfftfreq(len(x), 1 / hz, dtype=torch.float64)
    return power[(frequency >= low) & (frequency < high)].sum()

# %% wrong: both halves of the spectrum
import numpy as np


def band_power(x, hz, low, high):
    spectrum = np.fft.fft((x - x.mean()) * np.hanning(len(x)))
    frequency = np.abs(np.fft.fftfreq(len(x), 1 / hz))
    inside = (frequency >= low) & (frequency < high)
    return (np.abs(spectrum[inside]) ** 2).sum()
