"""A program that trains with the recipe, for tests to kill or to run under torchrun.

python tests/training/training_run.py FOLDER [--norm] [--twice] [--apart] [--pair]
    [--wait SECONDS]
"""

import argparse
import dataclasses
import os
import socket
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from deepseek_learn.data import ImageDataset
from deepseek_learn.training import Limits, Recipe, fit


def blobs(n: int, seed: int) -> ImageDataset:
    """Bright left half: class 1; bright right half: class 0."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = torch.randint(0, 90, (n, 1, 8, 8), generator=generator)
    images[labels == 1, :, :, :4] += 120
    images[labels == 0, :, :, 4:] += 120
    return ImageDataset(images.byte(), labels, pd.DataFrame({"n": range(n)}))


def arranged(**options) -> dict:
    """Arguments of `fit`, with those of its recipe and of its limits put in place."""
    for name, kind in (("recipe", Recipe), ("limits", Limits)):
        fields = {f.name for f in dataclasses.fields(kind)} & set(options)
        options[name] = kind(**{field: options.pop(field) for field in fields})
    return options


def network(norm: bool = True) -> nn.Module:
    """A small convolutional network, with or without batch normalization."""
    torch.manual_seed(0)
    extra = [nn.BatchNorm2d(4), nn.Dropout(0.2)] if norm else []
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), *extra, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 8),
        nn.ReLU(), nn.Linear(8, 2),
    )  # fmt: skip


def join_pair() -> None:
    """Become one of two processes with torchrun's variables, which import only once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for rank in "01":
        if os.fork() == 0:
            os.environ.update(group, RANK=rank, LOCAL_RANK=rank)
            return
    failed = [os.wait()[1] for _ in range(2)]
    sys.exit(any(failed))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--norm", action="store_true")
    parser.add_argument("--apart", action="store_true", help="a folder a process")
    parser.add_argument("--twice", action="store_true", help="a training before it")
    parser.add_argument("--pair", action="store_true", help="two processes")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds a step")
    arguments = parser.parse_args()
    if arguments.pair:
        join_pair()

    def augment(images, generator):
        time.sleep(arguments.wait)
        return images.roll(int(torch.randint(3, (1,), generator=generator)), dims=3)

    rank = os.environ.get("RANK", "0")
    (arguments.folder / f"process_{rank}").write_text(str(os.getpid()))
    if arguments.twice:
        recipe = Recipe(batch_size=16)
        fit(network(), blobs(96, 3), epochs=1, recipe=recipe, progress=False)
    model = network(arguments.norm)
    own = arguments.folder / rank / "run.checkpoint"
    checkpoint = own if arguments.apart else arguments.folder / "run.checkpoint"
    checkpoint.parent.mkdir(exist_ok=True)
    run = fit(
        model,
        blobs(96, 0),
        epochs=5,
        validation=blobs(64, 1),
        recipe=Recipe(batch_size=16, augment=augment),
        checkpoint=checkpoint,
        progress=False,
    )
    content = {"weights": model.state_dict(), "loss": list(run.history["loss"])}
    torch.save(content, arguments.folder / f"end_{rank}.pt")


if __name__ == "__main__":
    main()
