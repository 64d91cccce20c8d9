"""Prints the peak memory of inference and of training in bytes: `MODEL...`.

"process" is the operating system's reading, `peak_resident_bytes`. Each model has a new
process, which is forked once everything has been imported, and one line.
"""

import json
import os
import sys

import torch
from torch import nn

from deepseek_learn.measure import peak_resident_bytes
from deepseek_learn.profiler import profile
from deepseek_learn.zoo.nets.unet import UNet


def convolutions():
    layers, width = [], 3
    for out in (32, 64, 64):
        layers += [nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
        width = out
    return nn.Sequential(*layers), torch.randn(4, 3, 96, 96)


def unet():
    return UNet(in_channels=1, out_channels=2, width=24), torch.randn(1, 1, 256, 256)


def transformer():
    layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
    return nn.TransformerEncoder(layer, 2), torch.randn(16, 256, 128)


def volume():
    model = nn.Sequential(
        nn.Conv3d(1, 16, 3),
        nn.ReLU(),
        nn.Conv3d(16, 32, 3),
        nn.ConvTranspose3d(32, 8, 2, 2),
    )
    return model, torch.randn(1, 1, 32, 48, 48)


def of_the_process(model, x, train: bool) -> int:
    def run():
        with torch.set_grad_enabled(train):
            y = model(x)
            if train:
                y.sum().backward()

    for _ in range(2):
        run()
        model.zero_grad(set_to_none=True)
    return peak_resident_bytes(run)


def read(name: str) -> dict[str, dict[str, int]]:
    torch.manual_seed(0)
    model, x = globals()[name]()
    readings = {}
    for mode, train in (("inference", False), ("training", True)):
        model.train(train)
        process = of_the_process(model, x, train)
        peak = profile(model, x, train=train, repeats=1).peak_mib * 2**20
        readings[mode] = {"process": process, "profiler": peak}
    return readings


def main() -> None:
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        if os.fork() == 0:
            print(json.dumps(read(name)))
            return
        if os.wait()[1]:
            sys.exit(f"{name} failed")


if __name__ == "__main__":
    main()
