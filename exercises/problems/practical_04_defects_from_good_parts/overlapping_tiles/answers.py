"""Answers to `overlapping_tiles`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def tiled_map(model, image, tile, overlap):
    ...

# %% solution
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% right: the last tile is moved back, in float32
import numpy as np


def starts(length, tile, overlap):
    return [*range(0, length - tile, tile - overlap), length - tile]


def tiled_map(model, image, tile, overlap):
    height, width = image.shape
    more = (0, max(0, tile - height)), (0, max(0, tile - width))
    image = np.pad(image.astype("float32"), more, "symmetric")
    total = np.zeros((2, *image.shape), "float32")
    i = np.arange(tile)
    w = 1 + np.minimum(i, tile - 1 - i)
    for y in starts(image.shape[0], tile, overlap):
        for x in starts(image.shape[1], tile, overlap):
            values = model(image[y : y + tile, x : x + tile])
            pair = np.stack([values, np.ones_like(values)])
            total[:, y : y + tile, x : x + tile] += w[:, None] * w * pair
    return total[0, :height, :width] / total[1, :height, :width]

# %% right: in PyTorch, with an index for each axis
import torch


def mirrored(side, length):
    i = torch.arange(length) % (2 * side)
    return torch.minimum(i, 2 * side - 1 - i)


def starts(length, tile, overlap):
    step = tile - overlap
    return [min(i, length - tile) for i in range(0, max(1, length - overlap), step)]


def tiled_map(model, image, tile, overlap):
    height, width = image.shape
    rows, columns = (mirrored(side, max(side, tile)) for side in image.shape)
    x = torch.from_numpy(image)[rows][:, columns]
    total, weights = torch.zeros(x.shape), torch.zeros(x.shape)
    w = 1 + torch.minimum(torch.arange(tile), tile - 1 - torch.arange(tile))
    for top in starts(len(rows), tile, overlap):
        for left in starts(len(columns), tile, overlap):
            values = torch.as_tensor(model(x[top : top + tile, left : left + tile]))
            total[top : top + tile, left : left + tile] += w[:, None] * w * values
            weights[top : top + tile, left : left + tile] += w[:, None] * w
    return (total / weights)[:height, :width]

# %% wrong: the rest at the end is left out
import numpy as np


def starts(length, tile, overlap):
    return [*range(0, length - tile + 1, tile - overlap)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: the last tile reaches beyond the image
import numpy as np


def starts(length, tile, overlap):
    return [*range(0, length, tile - overlap)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: rounds the number of tiles down
import math

import numpy as np


def starts(length, tile, overlap):
    if length < 2 * tile - overlap:
        return sorted({0, length - tile})
    count = 1 + math.floor((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: always one tile more
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 2 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: one tile more where it fits exactly
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 2 + (length - tile) // (tile - overlap)
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: steps of a whole tile
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / tile)
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: the overlap on both sides
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / max(1, tile - 2 * overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: the sum
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += model(padded[here])
            weights[here] += weight
    return total[: image.shape[0], : image.shape[1]]

# %% wrong: the weighted sum
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return total[: image.shape[0], : image.shape[1]]

# %% wrong: the plain mean
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.ones((tile, tile))
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: the last tile wins
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] = model(padded[here])
            weights[here] += weight
    return total[: image.shape[0], : image.shape[1]]

# %% wrong: the maximum
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] = np.maximum(total[here], model(padded[here]))
            weights[here] += weight
    return total[: image.shape[0], : image.shape[1]]

# %% wrong: no weight at the border
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1])
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: the smaller weight
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.minimum.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: more weight at the border
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = 1 / np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: a small image is not extended
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = image
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: extended with zeros
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="constant")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: the border is not repeated
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="reflect")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: extended on both sides
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def divide(count):
    return count // 2, count - count // 2


def tiled_map(model, image, tile, overlap):
    missing = [divide(max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]

# %% wrong: not cut back
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[0], tile, overlap):
        for x in starts(padded.shape[1], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return total / weights

# %% wrong: rows and columns exchanged
import math

import numpy as np


def starts(length, tile, overlap):
    if length <= tile:
        return [0]
    count = 1 + math.ceil((length - tile) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiled_map(model, image, tile, overlap):
    missing = [(0, max(0, tile - side)) for side in image.shape]
    padded = np.pad(image, missing, mode="symmetric")
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    weight = np.outer(ramp, ramp)
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for y in starts(padded.shape[1], tile, overlap):
        for x in starts(padded.shape[0], tile, overlap):
            here = slice(y, y + tile), slice(x, x + tile)
            total[here] += weight * model(padded[here])
            weights[here] += weight
    return (total / weights)[: image.shape[0], : image.shape[1]]
