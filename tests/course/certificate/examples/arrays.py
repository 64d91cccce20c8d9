"""An honest project on series, images or volumes: a small convolutional network."""

import numpy as np
import torch
from torch import nn

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def predict(x, y, test_x, seed, config):
    torch.manual_seed(seed)
    dims = x.ndim - (1 if x.ndim == 4 and x.shape[1] > 4 else 2)
    inputs, tests = (
        as_channels(torch.from_numpy(np.array(a)), dims) for a in (x, test_x)
    )
    axes = (0, *range(2, 2 + dims))
    center, scale = inputs.mean(axes, keepdim=True), inputs.std(axes, keepdim=True)
    inputs, tests = (inputs - center) / scale, (tests - center) / scale
    labels = torch.from_numpy(np.asarray(y))
    network = net(inputs.shape[1], int(labels.max()) + 1, dims, config["width"])
    train(network, inputs, labels, config)
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(part) for part in tests.split(200)]).argmax(1)


def as_channels(values, dims):
    return values if values.ndim == dims + 2 else values[:, None]


def net(channels, classes, dims, width):
    layers = []
    for size in (width, 2 * width, 4 * width):
        layers += [
            CONVOLUTIONS[dims](channels, size, 5 if dims == 1 else 3, 2, 1),
            NORMS[dims](size),
            nn.ReLU(),
        ]
        channels = size
    pool = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
    return nn.Sequential(
        *layers, pool[dims](1), nn.Flatten(), nn.Linear(channels, classes)
    )


def train(network, inputs, labels, config):
    rarity = 1 / torch.bincount(labels).float()
    optimizer = torch.optim.AdamW(network.parameters(), config["lr"], weight_decay=0.05)
    steps = config["epochs"] * (len(labels) // 64 + 1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(config["epochs"]):
        for index in torch.randperm(len(labels)).split(64):
            batch = inputs[index]
            if inputs.ndim > 3 and torch.rand(()) < 0.5:
                batch = batch.flip(-1)
            loss = nn.functional.cross_entropy(network(batch), labels[index], rarity)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
