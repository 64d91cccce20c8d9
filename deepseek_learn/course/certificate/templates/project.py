"""My project: replace what `predict` does by something better.

The certificate asks for results above those of this simplest classifier, which takes
the class with the nearest mean.
"""

import zlib

import numpy as np


def predict(x, y, test_x, seed, config):
    """Learn from x and y, and return the class of each of test_x.

    Args:
        x: a list of texts, or a float32 array `[N, ...]`.
        y: their classes, an int64 array `[N]`.
        test_x: more inputs like x, whose classes you do not get.
        seed: seeds every random number that you draw, so that the run can be repeated.
            The data were drawn with another.
        config: the content of `config.json`: your settings.

    Returns:
        One class for each of test_x, as whole numbers.
    """
    x, test_x = features(x), features(test_x)
    classes = np.unique(y)
    means = np.stack([x[y == label].mean(axis=0) for label in classes])
    distances = ((test_x[:, None] - means[None]) ** 2).sum(axis=2)
    return classes[distances.argmin(axis=1)]


def features(inputs):
    """Return numbers `[N, K]`: an array's own, or how often letters follow each other."""
    if not isinstance(inputs, list):
        return inputs.reshape(len(inputs), -1)
    counts = np.zeros((len(inputs), 1024), dtype="float32")
    for row, text in enumerate(inputs):
        for start in range(len(text) - 1):
            counts[row, zlib.crc32(text[start : start + 2].encode()) % 1024] += 1
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
