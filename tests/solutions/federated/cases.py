"""Patients that need no phantom: balls are nodules, rods are not."""

import torch

from deepseek_learn.solutions.federated.hospitals import Patients


def patients(count: int, seed: int = 0) -> Patients:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(count, 4, generator=generator) < 0.4
    labels[0] = torch.tensor([True, False, True, False])
    axis = torch.arange(16) - 7.5
    z, y, x = axis[:, None, None], axis[None, :, None], axis[None, None]
    ball, rod = (z**2 + y**2 + x**2) < 9, (z**2 + y**2 + 0 * x) < 9
    crops = 60 + 8 * torch.randn(count, 4, 16, 16, 16, generator=generator)
    crops += 80 * torch.where(labels[..., None, None, None], ball, rod)
    values = labels.to(torch.uint8)
    return Patients(crops.clip(0, 255).to(torch.uint8), values, values)


def save_hospitals(folder, sizes=(12, 8, 5)):
    """Write the files of hospitals and return the configurations of their nodes."""
    sites = []
    for number, count in enumerate(sizes):
        name = "abcdefg"[number]
        patients(count, number).save(folder / f"{name}.npz")
        sites.append({"hospital": name, "data": str(folder / f"{name}.npz")})
    return sites
