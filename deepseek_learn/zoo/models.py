"""The models in the zoo, and their cards with the training data and metrics.

A model is described in `cards/NAME.toml`, and its training record is stored in
`weights/NAME.json`.
"""

import dataclasses
import importlib
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from .. import dpg
from ..catalog import LANGUAGES, Text, spoken, text
from ..errors import UnknownNameError
from ..registry import Registry
from .storage import WEIGHTS, check_weights, load_into, read_runs

zoo: Registry["Model"] = Registry("zoo model")
CARDS = Path(__file__).parent / "cards"
TOKENS = ("vocabulary", "tokenizer", "tokenizer_sha256")


@dataclass(frozen=True)
class Model:
    """The description of a model, which does not depend on a training run.

    Fields of type `Text` contain either a single string or one string per language,
    from which `card` selects one.

    Attributes:
        build: the function that builds the untrained model, as `"module:callable"`
            relative to this package.
        weights: a function that loads weights from another package into an untrained
            model, as `"module:callable"`; None if the weights are in this package.
        shape: the shape of one input, without the batch dimension.
        split: the split on which the weights in this package were trained.
        original: the name of the original model, if this is a DPG-compressed sibling.
        vocabulary: the number of tokens, if the model reads text.
        tokenizer, tokenizer_sha256: the name of the tokenizer file, which is stored
            next to the weights, and its checksum, if the model reads text.

    >>> from deepseek_learn import zoo
    >>> model = zoo.card("fashion_net").model
    >>> model.shape, model.license
    ((1, 28, 28), 'Apache-2.0 (weights), MIT (data)')
    """

    name: str
    title: Text
    build: str
    input: Text
    output: Text
    data: Text
    license: Text
    command: Text
    limits: Text
    shape: tuple[int, ...]
    split: str | None = None
    weights: str | None = None
    original: str | None = None
    vocabulary: int | None = None
    tokenizer: str | None = None
    tokenizer_sha256: str | None = None

    @property
    def kind(self) -> str:
        """What the model takes: "picture", "series", "text" or "volume"."""
        if self.vocabulary is not None:
            return "text"
        return {2: "series", 3: "picture", 4: "volume"}[len(self.shape)]

    def resolve(self, target: str) -> Callable[..., Any]:
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module, __package__), attribute)


@dataclass(frozen=True)
class Card:
    """The card of a model, with its description and the metrics of its training runs.

    Attributes:
        model: the description, in the language selected when the card was created.
        runs: a mapping from each split to its training run, with the date, the torch
            version, the seed and other settings, the checksum and the metrics.
        parameters: the number of parameters.
        size_mib: the size of the weights file in MiB; None if the weights are in
            another package.

    >>> from deepseek_learn import zoo
    >>> card = zoo.card("fashion_net")
    >>> card.parameters, card.metrics("fixed").index.tolist()
    (308074, ['accuracy'])
    """

    model: Model
    runs: dict[str, Any]
    parameters: int
    size_mib: float | None

    @property
    def sha256(self) -> str | None:
        """The checksum of the weights in this package, or None if there are none."""
        return self.runs[self.model.split]["sha256"] if self.model.split else None

    def metrics(self, split: str | None = None, part: str = "all") -> pd.DataFrame:
        """Return each metric on the test set of `split`, with its 95% interval.

        Args:
            split: the name of a split; by default, the one on which the weights in this
                package were trained.
            part: `"all"`, or a part of the test set that the card lists separately.

        Raises:
            UnknownNameError: if `split` or `part` is unknown; the message lists the
                known names.
        """
        split = split or self.model.split
        if split not in self.runs:
            raise UnknownNameError(f"split of {self.model.name}", split, self.runs)
        parts = self.runs[split]["metrics"]
        if part not in parts:
            raise UnknownNameError(f"{self.model.name} test set", part, parts)
        return pd.DataFrame(parts[part]).T[["value", "low", "high", "n"]]

    def to_frame(self) -> pd.DataFrame:
        """Return the card as a table with one fact per row."""
        hidden = ("title", "build", "weights", "split", "original", "shape", *TOKENS)
        facts = {
            text(f"card.{field}"): value
            for field, value in vars(self.model).items()
            if value is not None and field not in hidden
        }
        facts[text("card.parameters")] = f"{self.parameters:,}"
        if self.size_mib is not None and self.sha256 is not None:
            file = f"{self.size_mib:.1f} MiB, SHA-256 {self.sha256[:16]}..."
            facts[text("card.weights_file")] = file
        for split in self.runs:
            facts[text("card.measured", split=split)] = self._measured(split)
        return pd.DataFrame({self.model.title: facts})

    def _measured(self, split: str) -> str:
        run = self.runs[split]
        metrics = ", ".join(
            f"{name} {m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}]"
            for name, m in run["metrics"]["all"].items()
        )
        facts = {key: run[key] for key in ("date", "epochs", "cpu_minutes", "torch")}
        facts["settings"] = ", ".join(f"{k} {v:g}" for k, v in run["settings"].items())
        kind = "card.compressed_run" if self.model.original else "card.run"
        summary = text(kind, metrics=metrics, **facts)
        if split == self.model.split:
            return text("card.shipped", run=summary)
        return summary

    def _repr_html_(self) -> str:
        return self.to_frame().to_html()


def card(name: str) -> Card:
    """Return the card of the model `name`.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the known models.
        DamagedFileError: if the training record is missing or damaged.

    >>> from deepseek_learn import zoo
    >>> zoo.card("fashion_net").model.input
    '[B, 1, 28, 28], gray in 0..1'
    """
    model: Model = spoken(zoo[name])
    runs, size = {}, None
    if model.weights is None:
        runs = read_runs(WEIGHTS / f"{name}.json")
        path = WEIGHTS / f"{name}.safetensors"
        size = path.stat().st_size / 2**20 if path.exists() else None
    network = model.resolve(model.build)()
    parameters = sum(p.numel() for p in network.parameters())
    return Card(model, runs, parameters, size)


def load(name: str, pretrained: bool = True) -> nn.Module:
    """Load the model `name` with its trained weights, in evaluation mode.

    Args:
        pretrained: if False, return a newly initialized network in training mode.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the known models.
        DamagedFileError: if the weights do not match the card.
        MissingPackageError: if the weights are in a package that is not installed.
        ValueError: if `pretrained` is False and the model is a compressed sibling.

    >>> from deepseek_learn import zoo
    >>> net = zoo.load("fashion_net")
    >>> net(zoo.example("fashion_net")).shape
    torch.Size([1, 10])
    """
    model: Model = zoo[name]
    if model.original and not pretrained:
        raise ValueError(
            f"pretrained must be True for {name!r}: a compressed model is made from "
            f"trained weights; {model.original!r} is the network it was made from."
        )
    path = WEIGHTS / f"{name}.safetensors"
    if model.original:
        check_weights(path, card(name).sha256)
        with torch.device("meta"):  # the file has the weights
            network = model.resolve(model.build)()
        return dpg.load(path, network)
    network = model.resolve(model.build)()
    if not pretrained:
        return network
    if model.weights:
        return model.resolve(model.weights)(network).eval()
    return load_into(network, path, card(name).sha256).eval()


def register(model: Model) -> None:
    """Add a model to the zoo.

    Raises:
        ValueError: if the name is already in the zoo.

    >>> from dataclasses import replace
    >>> from deepseek_learn import zoo
    >>> zoo.register(replace(zoo.card("fashion_net").model, name="my_net"))
    >>> "my_net" in zoo.list()
    True
    """
    zoo.register(model.name)(model)


def _read(path: Path) -> Model:
    """Read a model from its card; a sibling's card lists only the differences."""
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    facts = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
    if "original" not in facts:
        return Model(name=path.stem, **facts)
    original = _read(path.with_name(f"{facts['original']}.toml"))
    command = f"python -m deepseek_learn.zoo.train.compressed {original.name} --ship"
    facts = {"command": command} | facts | {"name": path.stem, "weights": None}
    return dataclasses.replace(original, title=_compressed(original.title), **facts)


def _compressed(title: Text) -> Text:
    words = {"en": ", DPG-compressed", "zh": "，经 DPG 压缩"}
    titles = dict.fromkeys(LANGUAGES, title) if isinstance(title, str) else title
    return {lang: titles[lang] + words[lang] for lang in LANGUAGES}


for _path in sorted(CARDS.glob("*.toml")):
    register(_read(_path))
