"""Answers to `tilt_of_the_gantry`: the starter, right ones and wrong ones."""

# %% starter
def tilt(positions, orientation):
    ...

# %% solution
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    direction = positions[-1] - positions[0]
    along = abs(direction @ normal)
    sideways = np.linalg.norm(direction - (direction @ normal) * normal)
    return np.degrees(np.arctan2(sideways, along))

# %% right: by the cosine
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    direction = positions[1] - positions[0]
    cosine = abs(direction @ normal) / np.linalg.norm(direction)
    return float(np.degrees(np.arccos(np.clip(cosine, 0, 1))))

# %% right: along row and column
import math


def tilt(positions, orientation):
    step = [b - a for a, b in zip(positions[0], positions[-1])]

    def dot(u, v):
        return sum(x * y for x, y in zip(u, v))

    sideways = math.hypot(dot(step, orientation[:3]), dot(step, orientation[3:]))
    return math.degrees(math.asin(min(1, sideways / math.hypot(*step))))

# %% wrong: in radians
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    direction = positions[-1] - positions[0]
    along = abs(direction @ normal)
    sideways = np.linalg.norm(direction - (direction @ normal) * normal)
    return np.arctan2(sideways, along)

# %% wrong: against the patient's axis
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    return np.degrees(np.arccos(np.clip(abs(normal[2]), 0, 1)))

# %% wrong: only along the columns
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    direction = positions[-1] - positions[0]
    return np.degrees(np.arctan(abs(direction @ orientation[3:] / (direction @ normal))))

# %% wrong: only along the rows
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    direction = positions[-1] - positions[0]
    return np.degrees(np.arctan(abs(direction @ orientation[:3] / (direction @ normal))))

# %% wrong: with a sign, or above 90
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    direction = positions[-1] - positions[0]
    return np.degrees(np.arccos(direction @ normal / np.linalg.norm(direction)))

# %% wrong: the direction against z
import numpy as np


def tilt(positions, orientation):
    direction = positions[-1] - positions[0]
    return np.degrees(np.arccos(abs(direction[2]) / np.linalg.norm(direction)))

# %% wrong: sideways over the whole length, by the tangent
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    direction = positions[-1] - positions[0]
    sideways = np.linalg.norm(direction - (direction @ normal) * normal)
    return np.degrees(np.arctan(sideways / np.linalg.norm(direction)))

# %% wrong: the angle to the plane
import numpy as np


def tilt(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    direction = positions[-1] - positions[0]
    return np.degrees(np.arcsin(abs(direction @ normal) / np.linalg.norm(direction)))
