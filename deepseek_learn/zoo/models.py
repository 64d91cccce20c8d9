# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The zoo's entries and cards: what each model is, was trained on, and measured."""

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from torch import nn

from .. import dpg
from ..catalogue import Text, choose, spoken, text
from ..errors import UnknownNameError
from ..registry import Registry
from .storage import WEIGHTS, check_weights, load_into, read_runs

zoo = Registry("zoo model")
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
    licence: Text
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
        pretrained: False gives the same network, newly initialised, in training mode.

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
    zoo.register(model.name)(model)


register(
    Model(
        name="solar_defects",
        title={
            "en": "Solar-cell defect classifier with SC-attention",
            "zh": "带 SC 注意力的太阳能电池缺陷分类器",
        },
        build=".solar_defects:solar_defects",
        input={
            "en": "[B, 1, 288, 288], electroluminescence photograph, grey in 0..1",
            "zh": "[B, 1, 288, 288]，电致发光照片，灰度，取值 0..1",
        },
        output={
            "en": "[B, 2] logits: functional, defective",
            "zh": "[B, 2] 的 logits：functional（正常）、defective（有缺陷）",
        },
        data={
            "en": "ELPV, random split: 1,774 training photographs",
            "zh": "ELPV，随机划分：1,774 张训练照片",
        },
        licence={
            "en": "CC BY-NC-SA 4.0 (the data's); backbone weights Apache-2.0",
            "zh": "CC BY-NC-SA 4.0（沿用数据的许可）；主干网络的权重为 Apache-2.0",
        },
        command="python -m deepseek_learn.zoo.train.solar_defects --ship",
        limits={
            "en": "Cells of one module are in the training and the test part of the "
            "random split, so its figures may be flattered: expect a new solar park to "
            "look like the run on the source split, whose test part holds whole modules "
            "(inferred from the order of the files, not known). Evaluate these weights "
            "on data.elpv().test only. One camera set-up; not for a production line.",
            "zh": "在随机划分中，同一块组件的电池既在训练集里，也在测试集里，所以数字可能偏高：一座新的太阳能电站，"
            "更可能像按来源划分的那一次，其测试集由整块组件构成（这是从文件顺序推断的，并不确知）。"
            "这份权重只能在 data.elpv().test 上评估。照片只来自一套相机；不可用于生产线。",
        },
        shape=(1, 288, 288),
        split="random",
    )
)
register(
    Model(
        name="fashion_net",
        title={
            "en": "Small residual network for Fashion-MNIST",
            "zh": "用于 Fashion-MNIST 的小型残差网络",
        },
        build=".fashion_net:fashion_net",
        input={
            "en": "[B, 1, 28, 28], grey in 0..1",
            "zh": "[B, 1, 28, 28]，灰度，取值 0..1",
        },
        output={"en": "[B, 10] logits", "zh": "[B, 10] 的 logits"},
        data={
            "en": "Fashion-MNIST subset: 8,000 training pictures",
            "zh": "Fashion-MNIST 子集：8,000 张训练图片",
        },
        licence={
            "en": "Apache-2.0 (weights), MIT (data)",
            "zh": "Apache-2.0（权重），MIT（数据）",
        },
        command="python -m deepseek_learn.zoo.train.fashion_net --ship",
        limits={
            "en": "Trained on 8,000 of the 60,000 official training pictures.",
            "zh": "官方训练集有 60,000 张图片，这里只用了其中 8,000 张。",
        },
        shape=(1, 28, 28),
        split="fixed",
    )
)
register(
    Model(
        name="bacteria_unet",
        title={
            "en": "U-Net for bacteria in bright field",
            "zh": "分割明场细菌图像的 U-Net",
        },
        build=".unet:bacteria_unet",
        input={
            "en": "[B, 1, H, W], grey in 0..1, H and W multiples of 8",
            "zh": "[B, 1, H, W]，灰度，取值 0..1，H 和 W 为 8 的倍数",
        },
        output={
            "en": "[B, 2, H, W] logits: background, bacterium",
            "zh": "[B, 2, H, W] 的 logits：背景、细菌",
        },
        data={
            "en": "Bacteria (ColiCoords): tiles of 25 training fields",
            "zh": "细菌（ColiCoords）：25 个训练视野的图块",
        },
        licence={
            "en": "Apache-2.0 (weights), MIT (data)",
            "zh": "Apache-2.0（权重），MIT（数据）",
        },
        command="python -m deepseek_learn.zoo.train.bacteria_unet --ship",
        limits={
            "en": "One species, one microscope, one laboratory; 8 test fields, so the "
            "interval is wide. The masks came with the pictures and are not ours.",
            "zh": "只有一个物种、一台显微镜、一个实验室；测试只有 8 个视野，因此区间很宽。掩膜随图片而来，不是我们标注的。",
        },
        shape=(1, 224, 224),
        split="fixed",
    )
)
register(
    Model(
        name="efficientnet_lite0",
        title={
            "en": "EfficientNet-Lite0, ImageNet",
            "zh": "EfficientNet-Lite0（ImageNet）",
        },
        build=".imagenet:efficientnet_lite0",
        weights=".imagenet:load_imagenet",
        input={
            "en": "[B, 3, 224, 224], colour in 0..1",
            "zh": "[B, 3, 224, 224]，彩色，取值 0..1",
        },
        output={
            "en": "[B, 1000] logits of ImageNet-1k",
            "zh": "[B, 1000]，ImageNet-1k 各类的 logits",
        },
        data={
            "en": "ImageNet-1k (trained by its publishers, not by us)",
            "zh": "ImageNet-1k（由其发布者训练，不是我们训练的）",
        },
        licence="Apache-2.0",
        command={
            "en": "the extra `vision` brings the weights",
            "zh": "由可选依赖 `vision` 带来权重",
        },
        limits={
            "en": "Its publishers report 75.1 % top-1; not measured here (no ImageNet).",
            "zh": "发布者报告 top-1 为 75.1 %；这里没有 ImageNet，未做实测。",
        },
        shape=(3, 224, 224),
    )
)

register(
    Model(
        name="small_deepseek",
        title={
            "en": "Small DeepSeek of hybrid attention and experts, verse in two languages",
            "zh": "混合注意力与混合专家的小型 DeepSeek，用两种语言写诗",
        },
        build=".small_deepseek:small_deepseek",
        input={
            "en": "[B, T] tokens of 4,096 (byte-level BPE), T up to 256",
            "zh": "[B, T]，词元共 4,096 种（字节级 BPE），T 最大 256",
        },
        output={
            "en": "[B, T, 4096] logits of the token that follows each",
            "zh": "[B, T, 4096]，每个词元之后那个词元的 logits",
        },
        data={
            "en": "Tang poems (MIT), the King James Bible (public domain), the Brown corpus, "
            "the Debian handbook in English and Chinese: 20 MB of text",
            "zh": "唐诗（MIT）、英王钦定本圣经（公有领域）、Brown 语料库、Debian 手册的英文和中文：共 20 MB 文本",
        },
        licence={
            "en": "Apache-2.0 (weights); among the texts it learned from, the Debian "
            "handbook is GPL-2+ / CC BY-SA 3.0, and the Brown corpus may be "
            "redistributed",
            "zh": "Apache-2.0（权重）；训练所用文本中，Debian 手册为 GPL-2+ / CC BY-SA 3.0，Brown 语料库允许再分发",
        },
        command="python -m deepseek_learn.zoo.train.small_deepseek CORPUS --ship",
        limits={
            "en": "It writes what looks like verse and means little. It knows traditional "
            "characters (simplified ones from the handbook only), seventeenth-century "
            "English, and no facts; it answers no questions. It may repeat lines of "
            "what it read.",
            "zh": "它写出的东西看起来像诗，却没有多少含义。它认得的是繁体字（简体字只来自手册）和十七世纪的英语，"
            "不懂任何事实，也不会回答问题。它可能会重复读过的句子。",
        },
        shape=(64,),
        split="fixed",
        vocabulary=4096,
        tokenizer="small_deepseek_tokenizer.json",
        tokenizer_sha256="1b52076f7f2590d202fab6fa9914e87f0e92eb9aedd0f1feee2509cd1157eabb",
    )
)


def register_sibling(original: str, measured: dict, limits: dict, split: str) -> None:
    """The DPG-compressed sibling of a model: its entry with what differs replaced.

    Args:
        measured: on what its figures rest, in each language.
    """
    of: Model = zoo[original]
    title = {
        "en": f"{choose(of.title, 'en')}, DPG-compressed",
        "zh": f"{choose(of.title, 'zh')}，经 DPG 压缩",
    }
    command = f"python -m deepseek_learn.zoo.train.compressed {original} --ship"
    changed = {"title": title, "data": measured, "limits": limits, "command": command}
    changed |= {"weights": None, "original": original, "split": split}
    register(dataclasses.replace(of, name=f"{original}_dpg", **changed))


register_sibling(
    "fashion_net",
    measured={
        "en": "Fashion-MNIST subset: calibrated on 512 training pictures, measured on "
        "the test part",
        "zh": "Fashion-MNIST 子集：用 512 张训练图片校准，在测试集上测量",
    },
    limits={
        "en": "As the original's. Smaller, hardly faster: where a batch has many "
        "positions, a convolution unpacks its weight. Cannot train.",
        "zh": "与原模型相同。体积变小，但几乎不会更快：一批数据的位置很多时，卷积会先解包权重。不能再训练。",
    },
    split="fixed",
)
register_sibling(
    "solar_defects",
    measured={
        "en": "ELPV, random split: calibrated on 256 training photographs, measured on "
        "the test part",
        "zh": "ELPV，随机划分：用 256 张训练照片校准，在测试集上测量",
    },
    limits={
        "en": "As the original's. The depthwise convolutions stay in float. Cannot train.",
        "zh": "与原模型相同。逐通道（depthwise）卷积保持浮点。不能再训练。",
    },
    split="random",
)
register_sibling(
    "bacteria_unet",
    measured={
        "en": "Bacteria: calibrated on the 25 training fields, measured on the 8 test fields",
        "zh": "细菌：用 25 个训练视野校准，在 8 个测试视野上测量",
    },
    limits={
        "en": "As the original's. The transposed convolutions stay in float. Cannot train.",
        "zh": "与原模型相同。转置卷积保持浮点。不能再训练。",
    },
    split="fixed",
)
register_sibling(
    "efficientnet_lite0",
    measured={
        "en": "Calibrated on 256 crops of two photographs (scikit-learn's china and "
        "flower); agreement with the original on 300 crops of a third (matplotlib's)",
        "zh": "用两张照片（scikit-learn 的 china 和 flower）的 256 个裁块校准；"
        "在第三张照片（matplotlib 附带）的 300 个裁块上测量与原模型的一致率",
    },
    limits={
        "en": "No ImageNet is here, so its accuracy is not measured: crops of three "
        "photographs say little about a thousand classes. For the same reason it has 8 "
        "bits in every row; fewer, chosen by two photographs, lost many answers. "
        "Calibrate your own with your own pictures. The depthwise convolutions stay in float. Cannot train.",
        "zh": "这里没有 ImageNet，所以没有测量它的准确率：三张照片的裁块说明不了一千个类别的情况。"
        "出于同样的原因，它的每一行都是 8 位；若由两张照片来决定、给得更少，许多回答就变了。"
        "请用你自己的图片另行校准。逐通道（depthwise）卷积保持浮点。不能再训练。",
    },
    split="crops",
)
