"""What DPG keeps of an inspector's accuracy, and the memory that inference needs."""

import sys
from pathlib import Path

import numpy as np
import torch
from harness import peak

from deepseek_learn import dpg
from deepseek_learn.measure import memory
from deepseek_learn.solutions.factory import measure as metrics
from deepseek_learn.solutions.factory.segmenter import DefectSegmenter
from deepseek_learn.solutions.factory.surfaces import parts

from .station import CROP, TILE, Station

PROCESSES = 3


def compression(station: Station) -> dict:
    """Pixel AP and image AUROC of both segmenters, and their peak memory in bytes."""
    good, bad = (8, 16) if station.quick else (50, 96)
    test = parts(station.surface, good, bad, size=CROP, seed=60)
    float32, file = station.weights, station.folder / "compressed.safetensors"
    dpg.save(station.compressed.model, file)
    sides = {"float32": station.segmenter, "compressed": station.compressed.model}
    result: dict = {"images": good + bad, "stored": station.compressed.ratio}
    for name, model in sides.items():
        result_of = detection(model.eval(), test.images, test.masks)
        result[f"{name}_ap"], result[f"{name}_auroc"] = (
            result_of.pixel_ap,
            result_of.image_auroc,
        )
        result[f"{name}_bytes"] = []
    for _ in range(1 if station.quick else PROCESSES):
        result["float32_bytes"].append(peak_bytes(float32))
        result["compressed_bytes"].append(peak_bytes(float32, file))
    return result


@torch.inference_mode()
def detection(
    model: torch.nn.Module, images: np.ndarray, masks: np.ndarray
) -> metrics.Detection:
    maps = [model(torch.from_numpy(x)[None, None])[0].numpy() for x in images]
    return metrics.detection(np.array([each.max() for each in maps]), maps, [*masks])


def peak_bytes(*files: Path) -> int:
    """Peak memory of a fresh process while a segmenter judges two tiles."""
    return peak.in_fresh_process("-m", "inspecting.compression", *files)


@torch.inference_mode()
def main(float32: str, file: str | None = None) -> None:
    """Print the peak memory of judging: weights and activations.

    It is counted above the memory after the imports and one-time set-up. Loading is left
    out. The compressed segmenter is read from its own file.
    """
    torch.set_num_threads(1)
    x = torch.zeros(1, 1, TILE, TILE)
    small = torch.nn.Sequential(torch.nn.Conv2d(1, 64, 3), torch.nn.Flatten()).eval()
    tiny = x[..., :8, :8]
    small(tiny), dpg.convert(small, dpg.uniform(small, 4))(tiny)  # one-time set-up
    before = memory.resident_bytes()
    if file is None:
        model = DefectSegmenter()
        model.load_state_dict(torch.load(float32))
    else:
        with torch.device("meta"):  # without float32 weights
            model = DefectSegmenter()
        model = dpg.load(file, model)
    model.eval()
    peak.print_peak(lambda: model(x), above=before)


if __name__ == "__main__":
    main(*sys.argv[1:])
