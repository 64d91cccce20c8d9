"""One surface of the factory benchmark: its parts, its inspector and its programs."""

import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness.script import BENCHMARKS, Skip
from PIL import Image

from deepseek_learn import dpg
from deepseek_learn.deploy import BuildError
from deepseek_learn.solutions.factory import line
from deepseek_learn.solutions.factory.inspector import Inspector, learn
from deepseek_learn.solutions.factory.segmenter import DefectSegmenter, train
from deepseek_learn.solutions.factory.surfaces import parts
from deepseek_learn.solutions.verdicts import read_verdicts

FOLDER = BENCHMARKS / "tables" / "runs" / "factory_line"  # not in git
SIDE, TILE, OVERLAP, CROP = 1024, 544, 64, 256  # pixels
GOOD, STEPS, RATE = 80, 1200, 0.05


def save(folder: Path, images: np.ndarray) -> Path:
    """The images as PNG files in a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        pixels = (255 * image).round().astype("uint8")
        Image.fromarray(pixels).save(folder / f"{i:04d}.png")
    return folder


def crops(tiles: torch.Tensor, seed: int) -> np.ndarray:
    """One random crop of each tile."""
    rng = np.random.default_rng(seed)
    cut = []
    for tile in tiles[:, 0].numpy():
        y, x = rng.integers(0, TILE - CROP + 1, 2)
        cut.append(tile[y : y + CROP, x : x + CROP])
    return np.stack(cut)


class Station:
    """One surface: its good parts, its inspector, and the deployed programs."""

    def __init__(self, surface: str, quick: bool):
        self.surface, self.quick = surface, quick
        self.folder = FOLDER / ("quick" if quick else "full") / surface
        good = 40 if quick else GOOD
        self.good = self.folder / "good"
        if not self.good.exists():
            save(self.good, parts(surface, good, size=SIDE, seed=10).images)
        self.weights = self.folder / "segmenter.pt"
        self.segmenter = self._segmenter()
        tiles = torch.from_numpy(parts(surface, 16, size=CROP, seed=11).images)
        self.compressed = dpg.compress(
            self.segmenter,
            tiles[:, None].split(4),
            bits=8,
            logits=lambda model, x: model(x).flatten(1),
        )

    def _segmenter(self) -> DefectSegmenter:
        """The trained segmenter, from a file if there is one."""
        model = DefectSegmenter().eval()
        if self.weights.exists():
            model.load_state_dict(torch.load(self.weights))
            return model
        torch.manual_seed(0)
        learn(self.good, RATE, TILE, OVERLAP, fit=partial(self._fit, model))
        torch.save(model.state_dict(), self.weights)
        return model

    def _fit(self, model: DefectSegmenter, tiles: torch.Tensor) -> DefectSegmenter:
        train(model, crops(tiles, 0), 20 if self.quick else STEPS, progress=False)
        return model

    def inspector(self, compressed: bool) -> Inspector:
        model = self.compressed.model.eval() if compressed else self.segmenter
        return learn(self.good, RATE, TILE, OVERLAP, fit=lambda tiles: model)

    def line(self, precision: str) -> Path:
        """The deployed program."""
        out = self.folder / precision
        if not (out / "inspector.conf").exists():
            inspector = self.inspector(compressed=True)
            options = {"precision": precision, "overwrite": True, "progress": False}
            try:
                line.deploy(inspector, self.good, out, **options)
            except BuildError as error:
                raise Skip(str(error)) from error
        return out

    def judge(self, precision: str, folder: Path, *options: str) -> list[dict]:
        """The program's verdicts on all parts in a folder."""
        with tempfile.TemporaryDirectory() as out:
            line.judge(self.line(precision), folder, out, *options)
            return read_verdicts(Path(out) / "verdicts.jsonl")
