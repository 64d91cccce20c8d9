"""Answers to `unit_of_a_gyroscope`: the starter, right ones and wrong ones."""

# %% starter
def unit(acceleration, rotation, hz):
    ...

# %% solution
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.gradient(acceleration, axis=1) * hz
    said = -np.cross(rotation, acceleration, axis=0)
    size = np.sqrt((turned**2).sum() * (said**2).sum())
    if (turned * said).sum() / size < 0.65:
        return "unrelated"
    slope = (turned * said).sum() / (said**2).sum()
    return "deg/s" if slope < 0.1 else "rad/s"

# %% right: with differences and np.corrcoef
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.diff(acceleration, axis=1) * hz
    x, y, z = rotation[:, :-1]
    a, b, c = (acceleration[:, 1:] + acceleration[:, :-1]) / 2
    said = np.stack([z * b - y * c, x * c - z * a, y * a - x * b])
    if np.corrcoef(turned.ravel(), said.ravel())[0, 1] < 0.6:
        return "unrelated"
    slope = np.linalg.lstsq(said.reshape(-1, 1), turned.ravel(), rcond=None)[0][0]
    return "rad/s" if slope > 0.3 else "deg/s"

# %% right: with the speeds of both sides
import numpy as np


def unit(acceleration, rotation, hz):
    g = np.gradient(acceleration, 1 / hz, axis=1)
    w = np.cross(acceleration.T, rotation.T).T
    ratio = np.linalg.norm(g) / np.linalg.norm(w)
    alike = np.vdot(g, w) / np.linalg.norm(g) / np.linalg.norm(w)
    if alike < 0.7:
        return "unrelated"
    return "rad/s" if 0.5 < ratio < 2 else "deg/s"

# %% wrong: from the size of the numbers
import numpy as np


def unit(acceleration, rotation, hz):
    return "deg/s" if np.abs(rotation).max() > 10 else "rad/s"

# %% wrong: related or not is not asked
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.gradient(acceleration, axis=1) * hz
    said = -np.cross(rotation, acceleration, axis=0)
    slope = (turned * said).sum() / (said**2).sum()
    return "deg/s" if slope < 0.1 else "rad/s"

# %% wrong: the sign
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.gradient(acceleration, axis=1) * hz
    said = np.cross(rotation, acceleration, axis=0)
    size = np.sqrt((turned**2).sum() * (said**2).sum())
    if (turned * said).sum() / size < 0.65:
        return "unrelated"
    slope = (turned * said).sum() / (said**2).sum()
    return "deg/s" if slope < 0.1 else "rad/s"

# %% wrong: any sign will do
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.gradient(acceleration, axis=1) * hz
    said = np.cross(rotation, acceleration, axis=0)
    size = np.sqrt((turned**2).sum() * (said**2).sum())
    if abs((turned * said).sum() / size) < 0.65:
        return "unrelated"
    slope = abs((turned * said).sum() / (said**2).sum())
    return "deg/s" if slope < 0.1 else "rad/s"

# %% wrong: the rate is forgotten
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.gradient(acceleration, axis=1)
    said = -np.cross(rotation, acceleration, axis=0)
    size = np.sqrt((turned**2).sum() * (said**2).sum())
    if (turned * said).sum() / size < 0.65:
        return "unrelated"
    slope = (turned * said).sum() / (said**2).sum()
    return "deg/s" if slope < 0.1 else "rad/s"

# %% wrong: correlated with itself
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.gradient(acceleration, axis=1) * hz
    slope = np.abs(turned).mean() / np.abs(rotation).mean()
    return "deg/s" if slope < 0.1 else "rad/s"

# %% wrong: always radians
def unit(acceleration, rotation, hz):
    return "rad/s"

# %% wrong: the correlation decides about the unit
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.gradient(acceleration, axis=1) * hz
    said = -np.cross(rotation, acceleration, axis=0)
    size = np.sqrt((turned**2).sum() * (said**2).sum())
    related = (turned * said).sum() / size
    return "rad/s" if related > 0.9 else "deg/s" if related > 0.1 else "unrelated"

# %% wrong: 50 for the rate
import numpy as np


def unit(acceleration, rotation, hz):
    turned = np.gradient(acceleration, axis=1) * 50
    said = -np.cross(rotation, acceleration, axis=0)
    size = np.sqrt((turned**2).sum() * (said**2).sum())
    if (turned * said).sum() / size < 0.65:
        return "unrelated"
    slope = (turned * said).sum() / (said**2).sum()
    return "deg/s" if slope < 0.1 else "rad/s"
