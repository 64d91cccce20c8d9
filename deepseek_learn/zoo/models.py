"""The zoo's entries and cards: what each model is, was trained on, and measured.

A model's entry is `cards/NAME.toml`, the record of its training `weights/NAME.json`.
"""

import dataclasses
import importlib
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from .. import dpg
from ..catalog import LANGUAGES, Text, choose, spoken, text
from ..errors import UnknownNameError
from ..registry import Registry
from .storage import WEIGHTS, check_weights, load_into, read_runs

zoo = Registry("zoo model")
CARDS = Path(__file__).parent / "cards"
TOKENS = ("vocabulary", "tokenizer", "tokenizer_sha256")


@dataclass(frozen=True)
class Model:
    """What is known of a model before it is trained.

    A text is a string, or one in each language; a card has the chosen one.

    Attributes:
        build: `"module:callable"`, relative to this package, giving the bare model.
        weights: `"module:callable"` that fills a bare model from another package;
            None: the weights travel with this package and have a record beside them.
        shape: of one input, without the batch.
        split: the record's run whose weights are shipped.
        original: the model that this one is the DPG-compressed sibling of.
        vocabulary: of a language model, whose input is tokens: how many there are.
        tokenizer, tokenizer_sha256: its file beside the weights, and the checksum.
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

    def resolve(self, target: str) -> Callable:
        module, _, attribute = target.partition(":")
        return getattr(importlib.import_module(module, __package__), attribute)


@dataclass(frozen=True)
class Card:
    """A model's card: its facts, and what each training run measured.

    Attributes:
        model: its texts in the language that was in use when the card was made.
        runs: split → date, torch version, seed and other settings, checksum, metrics.
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

        Raises:
            UnknownNameError: naming the splits, or the parts, that were measured.
        """
        split = split or self.model.split
        if split not in self.runs:
            raise UnknownNameError(f"split of {self.model.name}", split, self.runs)
        parts = self.runs[split]["metrics"]
        if part not in parts:
            raise UnknownNameError(f"test part of {self.model.name}", part, parts)
        return pd.DataFrame(parts[part]).T[["value", "low", "high", "n"]]

    def to_frame(self) -> pd.DataFrame:
        """The facts, one a row."""
        hidden = ("title", "build", "weights", "split", "original", "shape", *TOKENS)
        facts = {
            text(f"card.{field}"): value
            for field, value in vars(self.model).items()
            if value is not None and field not in hidden
        }
        facts[text("card.parameters")] = f"{self.parameters:,}"
        if self.size_mib is not None:
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
        said = text(kind, metrics=metrics, **facts)
        return text("card.shipped", run=said) if split == self.model.split else said

    def _repr_html_(self) -> str:
        return self.to_frame().to_html()


def card(name: str) -> Card:
    """The card of the model `name`.

    Raises:
        UnknownNameError: naming the models there are.
        DamagedFileError: when the record of its training is missing or damaged.
    """
    model: Model = spoken(zoo[name])
    runs, size = {}, None
    if model.weights is None:
        runs = read_runs(WEIGHTS / f"{name}.json")
        path = WEIGHTS / f"{name}.safetensors"
        size = path.stat().st_size / 2**20 if path.exists() else None
    bare = model.resolve(model.build)()
    parameters = sum(p.numel() for p in bare.parameters())
    return Card(model, runs, parameters, size)


def load(name: str, pretrained: bool = True) -> nn.Module:
    """The model `name` in evaluation mode, with its trained weights.

    Args:
        pretrained: False gives the same network, newly initialized, in training mode.

    Raises:
        UnknownNameError: naming the models there are.
        DamagedFileError: when the weights are not what the card says.
        MissingPackageError: when the weights come in a package that is not installed.
        ValueError: for the untrained form of a compressed sibling: there is none.
    """
    model: Model = zoo[name]
    if model.original and not pretrained:
        raise ValueError(
            f"pretrained must be True for {name!r}: a compressed model is made from "
            f"trained weights; {model.original!r} is the network it was made from."
        )
    bare = model.resolve(model.build)()
    if not pretrained:
        return bare
    if model.weights:
        return model.resolve(model.weights)(bare).eval()
    path = WEIGHTS / f"{name}.safetensors"
    if model.original:
        check_weights(path, card(name).sha256)
        return dpg.load(path, bare)
    return load_into(bare, path, card(name).sha256).eval()


def register(model: Model) -> None:
    """Add a model to the zoo.

    Raises:
        ValueError: for a name that the zoo has already.
    """
    zoo.register(model.name)(model)


def _read(path: Path) -> Model:
    """The model of a card; a DPG sibling's card says only what differs."""
    facts = tomllib.loads(path.read_text(encoding="utf-8"))
    facts = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
    if "original" not in facts:
        return Model(name=path.stem, **facts)
    original = _read(path.with_name(f"{facts['original']}.toml"))
    command = f"python -m deepseek_learn.zoo.train.compressed {original.name} --ship"
    facts |= {"name": path.stem, "weights": None, "command": command}
    return dataclasses.replace(original, title=_compressed(original.title), **facts)


def _compressed(title: Text) -> Text:
    words = {"en": ", DPG-compressed", "zh": "，经 DPG 压缩"}
    return {lang: choose(title, lang) + words[lang] for lang in LANGUAGES}


for _path in sorted(CARDS.glob("*.toml")):
    register(_read(_path))
