"""An honest project on texts: logistic regression on letters in twos to fours."""

import zlib

import numpy as np
import torch
from torch import nn


def predict(x, y, test_x, seed, config):
    torch.manual_seed(seed)
    size = config["buckets"]
    inputs, tests = (torch.from_numpy(counts(texts, size)) for texts in (x, test_x))
    spread = inputs.gt(0).float().mean(0).add(1e-3).log().neg()  # rare letters count
    network = nn.Linear(size, int(max(y)) + 1)
    optimizer = torch.optim.AdamW(
        network.parameters(), config["lr"], weight_decay=config["decay"]
    )
    labels = torch.from_numpy(np.asarray(y))
    rarity = 1 / torch.bincount(labels).float()
    for _ in range(config["epochs"]):
        for index in torch.randperm(len(labels)).split(64):
            scores = network(nn.functional.normalize(inputs[index] * spread) * 8)
            loss = nn.functional.cross_entropy(scores, labels[index], rarity)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        return network(nn.functional.normalize(tests * spread) * 8).argmax(1)


def counts(texts, size):
    result = np.zeros((len(texts), size), "float32")
    for row, text in enumerate(texts):
        for letters in (2, 3, 4):
            for start in range(len(text) - letters + 1):
                piece = text[start : start + letters].encode()
                result[row, zlib.crc32(piece) % size] += 1
    return np.log1p(result)
