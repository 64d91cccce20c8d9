"""The networks of the deployment benchmark, with the data that measure their loss."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from deepseek_learn import data, zoo
from deepseek_learn.training import Recipe, cosine, fit
from deepseek_learn.zoo.evaluation import Evaluation
from deepseek_learn.zoo.nets.unet import UNet

WEIGHTS = Path(__file__).parents[1] / "tables" / "runs"  # not in git
EPOCHS, BATCH, LR = 4, 64, 1e-3


@dataclass(frozen=True)
class Net:
    """A network to time, and its data for evaluation.

    Attributes:
        model, x: timed on this input of one sample.
        calibration: inputs of the timed size.
        evaluation: None without evaluation data.
        small: for the metric, if its images differ in size from `x`.
    """

    model: nn.Module
    x: Tensor
    calibration: list[Tensor]
    evaluation: Evaluation | None = None
    small: tuple[Tensor, list[Tensor]] | None = None


def zoo_net(name: str, trained: bool) -> Net:
    """A model of the zoo, always trained."""
    evaluation = zoo.evaluation(name)
    batches = list(evaluation.calibration[:128].split(8))
    return Net(zoo.load(name), batches[0][:1], batches, evaluation)


def u_net_64(trained: bool) -> Net:
    """Random weights: used for time and size only."""
    torch.manual_seed(0)
    x = torch.rand(4, 1, 256, 256)
    return Net(UNet(width=64, depth=4).eval(), x[:1], list(x.split(1)))


class Color(nn.Module):
    """Feeds gray images to a network with three input channels."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.expand(-1, 3, -1, -1))


def resnet(name: str, trained: bool) -> Net:
    """Trained here on Fashion-MNIST at 28 x 28; timed on the same images at 224 x 224."""
    evaluation = zoo.evaluation("fashion_net")
    torch.manual_seed(0)
    model = Color(getattr(torchvision.models, name)(num_classes=10))
    path = WEIGHTS / f"deployed_{name}.pt"
    if path.exists():
        model.load_state_dict(torch.load(path))
    elif trained:
        train = data.fashion_mnist().train
        optimizer = torch.optim.AdamW(model.parameters(), LR, weight_decay=0.05)
        recipe = Recipe(batch_size=BATCH, schedule=cosine, autocast=None)
        fit(model, train, optimizer, epochs=EPOCHS, recipe=recipe, progress=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), path)
    small = list(evaluation.calibration[:128].split(8))
    large = [F.interpolate(x, (224, 224), mode="bilinear") for x in small[:4]]
    return Net(model.eval(), large[0][:1], large, evaluation, (small[0][:1], small))


# name → builder; its argument: whether to train
NETS: dict[str, Callable[[bool], Net]] = {
    "ResNet-18, 224 x 224": partial(resnet, "resnet18"),
    "ResNet-50, 224 x 224": partial(resnet, "resnet50"),
    "U-Net-64, 256 x 256": u_net_64,
    "bacteria_unet, 224 x 224": partial(zoo_net, "bacteria_unet"),
    "solar_defects, 288 x 288": partial(zoo_net, "solar_defects"),
}


def channels_last(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).to(memory_format=torch.channels_last)
