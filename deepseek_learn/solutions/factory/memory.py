"""Find defects without having seen one: how far is each patch from all good patches?

A pretrained network describes each patch of the good parts by a feature vector. A coreset
of these vectors is the memory. A patch of a new part is as anomalous as its distance to
the closest vector in the memory. Roth et al. 2022, "Towards Total Recall in Industrial
Anomaly Detection", CVPR.
Lesson: `notebooks/practical/04_defects_from_good_parts.ipynb`.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...zoo.nets.efficientnet_lite import EfficientNetLite, load_reference_weights
from ...zoo.nets.imagenet import reference_weights

STAGES = (2, 4)  # of EfficientNet-Lite0: stride 8 and 16, 40 and 112 channels
PROJECTED = 64  # dimensions in which the coreset is selected


class Features(nn.Module):
    """Pretrained features of the patches of gray images.

    It maps images of shape `[B, 1, H, W]` with values from 0 to 1 to features of shape
    `[B, 152, H/8, W/8]`. Each vector is a mean over 3 x 3 neighbors, so that a shift by a
    few pixels changes little. The coarser stage is interpolated to the size of the finer.

    Args:
        backbone: a network with one input channel; by default, EfficientNet-Lite0 with
            its ImageNet weights.
        stages: the stages whose features are used, in ascending order. `(2,)` takes about
            half the time of the default and returns 40 channels.

    Raises:
        ValueError: if `stages` is empty, not in ascending order, or not in the backbone.
    """

    def __init__(
        self,
        backbone: EfficientNetLite | None = None,
        stages: Sequence[int] = STAGES,
    ):
        super().__init__()
        if backbone is None:
            network = EfficientNetLite(in_channels=1)
            backbone = load_reference_weights(network, reference_weights())
        last = len(backbone.stages) - 1
        if not stages or [*stages] != sorted({*stages} & {*range(last + 1)}):
            raise ValueError(
                f"stages must be ascending numbers from 0 to {last}; got {stages!r}."
            )
        self.stem, self.used = backbone.stem, tuple(stages)
        self.stages = nn.ModuleList(list(backbone.stages)[: stages[-1] + 1])
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x * 2 - 1)
        features: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.used:
                y = F.avg_pool2d(x, 3, 1, 1)
                size = features[0].shape[2:] if features else y.shape[2:]
                features.append(F.interpolate(y, size, mode="bilinear"))
        return torch.cat(features, 1)


class PatchMemory(nn.Module):
    """An anomaly detector that only needs good parts.

    For the standardized features f of a patch and the memory M, the score of the patch is

        s = min over m in M of ||f - m||.

    Call `remember(images)` once; then the module maps images of shape `[B, 1, H, W]` to
    anomaly maps of shape `[B, H, W]`.

    Args:
        features: the feature extractor.
        size: the number of vectors in the memory.
        blur: the standard deviation, in pixels, of the Gaussian that smooths the map.
    """

    bank: Tensor  # [M, C]
    mean: Tensor  # [C]
    std: Tensor  # [C]
    kernel: Tensor  # [2 * radius + 1]

    def __init__(
        self, features: nn.Module | None = None, size: int = 1500, blur: float = 3.0
    ):
        super().__init__()
        self.features, self.size = features or Features(), size
        for name in ("bank", "mean", "std"):
            self.register_buffer(name, torch.empty(0))
        radius = math.ceil(3 * blur)
        kernel = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * blur**2))
        self.register_buffer("kernel", kernel / kernel.sum())

    @torch.no_grad()
    def remember(
        self, images: Tensor, batch_size: int = 8, patches: int = 20_000, seed: int = 0
    ) -> "PatchMemory":
        """Fill the memory with a coreset of the patches of good parts.

        Args:
            images: good parts, of shape `[N, 1, H, W]`.
            patches: the number of patches, drawn at random, from which the coreset is
                selected.

        Raises:
            ValueError: if there is no image, or if an image contains NaN or infinity.
        """
        if not len(images):
            raise ValueError(
                "images must contain at least one good part; it was empty."
            )
        if not images.isfinite().all():
            raise ValueError("images must be finite; got NaN or infinity.")
        generator = torch.Generator().manual_seed(seed)
        features = [self.features(part) for part in images.split(batch_size)]
        flat = torch.cat(
            [f.permute(0, 2, 3, 1).flatten(0, 2) for f in features]
        )  # [P, C]
        self.mean, self.std = flat.mean(0), flat.std(0) + 1e-6
        chosen = torch.randperm(len(flat), generator=generator)[:patches]
        flat = (flat[chosen] - self.mean) / self.std
        self.bank = flat[coreset(flat, self.size, generator)]
        return self

    def forward(self, x: Tensor) -> Tensor:
        if not len(self.bank):
            raise ValueError("The memory is empty: call remember(images) first.")
        f = self.features(x)  # [B, C, h, w]
        f = (f.permute(0, 2, 3, 1) - self.mean) / self.std  # [B, h, w, C]
        # ||f - m||^2 = ||f||^2 - 2 f.m + ||m||^2: one matrix product finds the nearest m
        # of all patches, but a small distance would be lost to rounding in this sum
        product = f @ self.bank.T  # [B, h, w, M]
        nearest = ((self.bank**2).sum(1) - 2 * product).argmin(-1)  # [B, h, w]
        distance = (f - self.bank[nearest]).square().sum(-1).sqrt()
        full = F.interpolate(distance[:, None], x.shape[2:], mode="bilinear")
        return self._smooth(full)[:, 0]

    def _smooth(self, x: Tensor) -> Tensor:
        """Blur a map of shape `[B, 1, H, W]` along its columns, then along its rows."""
        radius = len(self.kernel) // 2
        x = F.pad(x, (radius,) * 4, mode="replicate")
        x = F.conv2d(x, self.kernel.view(1, 1, -1, 1))
        return F.conv2d(x, self.kernel.view(1, 1, 1, -1))


def coreset(vectors: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Choose vectors that are far from each other: a greedy k-center selection.

    Each step adds the vector that is farthest from those already chosen. Distances are
    computed after a random projection to 64 dimensions, which nearly preserves them
    (Johnson-Lindenstrauss).

    Args:
        vectors: a float tensor of shape `[N, C]`.
        size: the number of vectors to choose, at most N of them.

    Returns:
        The indices of the chosen vectors, an int64 tensor of shape `[min(size, N)]`.
    """
    channels = vectors.shape[1]
    width = min(PROJECTED, channels)
    projection = torch.randn(channels, width, generator=generator) / width**0.5
    low = vectors @ projection  # [N, width]
    chosen = [int(torch.randint(len(low), (1,), generator=generator))]
    distance = (low - low[chosen[0]]).square().sum(1)
    for _ in range(min(size, len(low)) - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (low - low[chosen[-1]]).square().sum(1))
    return torch.tensor(chosen)
