"""Peers of the nodule detector: classical blobs, and MONAI's RetinaNet.

Both mark the same volumes of 1-mm voxels as the detector, inside the same lung mask.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from deepseek_learn.solutions.nodules.crops import Crops, Scans
from deepseek_learn.solutions.nodules.detector import COARSE, lung_mask, resampled
from deepseek_learn.solutions.phantoms.scans import gray
from deepseek_learn.training.precision import autocast_dtype, mixed_precision

SIGMAS_MM = (1.5, 2.1, 3.0, 4.2, 6.0)
AIR_HU, SOLID_HU = -900.0, 100.0  # clips, so that bones do not outshine nodules
MOST, APART_MM = 100, 4.0


def blobs(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The brightest ball-like spots, without any training.

    At each scale s, the eigenvalues a <= b <= c of the Hessian (times s²) of a bright ball
    are all negative and alike, those of a vessel are not: the response is c² / |a| where c
    is negative, as in Li et al.'s dot enhancement filter (Medical Physics 2003). Of a
    ball of diameter d, the best scale is d / 4.

    Returns:
        Marks (score, z, y, x, diameter) in mm, `[N, 5]`.
    """
    volume = resampled(hu, spacing_mm).clip(AIR_HU, SOLID_HU)
    lungs = np.kron(lung_mask(volume), np.ones((COARSE,) * 3, bool))
    size = [min(a, b) for a, b in zip(volume.shape, lungs.shape, strict=True)]
    box = tuple(map(slice, size))
    volume, lungs = volume[box], lungs[box]
    best = np.zeros(volume.shape, np.float32)
    scale = np.zeros(volume.shape, np.float32)
    for sigma in SIGMAS_MM:
        response = dots(volume, sigma)
        better = response > best
        best[better], scale[better] = response[better], sigma
    peaks = (ndimage.maximum_filter(best, 5) == best) & (best > 0) & lungs
    where = np.argwhere(peaks)
    order = np.argsort(-best[peaks])
    chosen = []
    for point in where[order]:
        if all(np.linalg.norm(point - other) >= APART_MM for other in chosen):
            chosen.append(point)
        if len(chosen) == MOST:
            break
    index = tuple(np.array(chosen).reshape(-1, 3).T)
    return np.column_stack(
        [best[index], np.array(chosen).reshape(-1, 3), 4 * scale[index]]
    )


def dots(volume: np.ndarray, sigma: float) -> np.ndarray:
    """The response of the dot enhancement filter at one scale."""
    smooth = ndimage.gaussian_filter(volume, sigma, truncate=3)
    first = np.gradient(smooth)
    hessian = np.empty((*volume.shape, 3, 3), np.float32)
    for i in range(3):
        second = np.gradient(first[i])
        for j in range(i, 3):
            hessian[..., i, j] = hessian[..., j, i] = second[j]
    result = np.zeros(volume.shape, np.float32)
    candidates = np.trace(hessian, axis1=-2, axis2=-1) * sigma**2 < -30
    values = np.linalg.eigvalsh(hessian[candidates]) * sigma**2  # increasing
    a, c = values[:, 0], values[:, 2]
    result[candidates] = np.where(c < 0, c**2 / np.maximum(-a, 1e-6), 0)
    return result


# The tutorial's anchors, [6, 8, 4], [8, 6, 5] and [10, 10, 6] voxels of 0.7 x 0.7 x
# 1.25 mm, in voxels of 1 mm
ANCHORS = [[4, 6, 5], [6, 4, 6], [7, 7, 8]]
LAYERS = [1, 2]
PATCH = 96
SLIDING = 160


@dataclass
class Monai:
    """MONAI's RetinaNet, set up as its tutorial on LUNA16 does."""

    seed: int = 0

    def __post_init__(self):
        from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
        from monai.apps.detection.networks.retinanet_network import (
            RetinaNet,
            resnet_fpn_feature_extractor,
        )
        from monai.apps.detection.utils.anchor_utils import (
            AnchorGeneratorWithAnchorShape,
        )
        from monai.networks.nets.resnet import resnet50

        torch.manual_seed(self.seed)
        backbone = resnet50(
            spatial_dims=3,
            n_input_channels=1,
            conv1_t_stride=[2, 2, 2],
            conv1_t_size=[7, 7, 7],
        )
        extractor = resnet_fpn_feature_extractor(
            backbone=backbone,
            spatial_dims=3,
            pretrained_backbone=False,
            trainable_backbone_layers=None,
            returned_layers=LAYERS,
        )
        stride = extractor.body.conv1.stride
        network = RetinaNet(
            spatial_dims=3,
            num_classes=1,
            num_anchors=len(ANCHORS),
            feature_extractor=extractor,
            size_divisible=[s * 2 * 2 ** max(LAYERS) for s in stride],
        )
        self.detector = RetinaNetDetector(
            network=network,
            anchor_generator=AnchorGeneratorWithAnchorShape(
                feature_map_scales=[2**level for level in range(len(LAYERS) + 1)],
                base_anchor_shapes=ANCHORS,
            ),
        )
        self.detector.set_atss_matcher(num_candidates=4, center_in_gt=False)
        self.detector.set_hard_negative_sampler(64, 0.3, pool_size=20, min_neg=16)
        self.detector.set_target_keys(box_key="box", label_key="label")
        self.detector.set_box_selector_parameters(
            score_thresh=0.02,
            topk_candidates_per_level=1000,
            nms_thresh=0.22,
            detections_per_img=100,
        )
        self.detector.set_sliding_window_inferer(
            roi_size=[SLIDING] * 3, overlap=0.25, sw_batch_size=1, mode="constant"
        )

    def train(self, scans: Scans, cpu_seconds: float) -> int:
        """Train for a time on one thread, and return the number of steps.

        As in the tutorial, in mixed precision where the processor gains from it.
        """
        network = self.detector.network.to(memory_format=torch.channels_last_3d)
        dtype = autocast_dtype("auto", network)
        optimizer = torch.optim.SGD(
            network.parameters(), 1e-2, momentum=0.9, weight_decay=3e-5, nesterov=True
        )
        self.detector.train()
        start, step = time.process_time(), 0
        while (spent := time.process_time() - start) < cpu_seconds:
            # a warmup over a tenth of the time, then the tutorial's fall by ten
            warm = min(1.0, 10 * spent / cpu_seconds + 0.01)
            late = 0.1 if spent > 0.8 * cpu_seconds else 1.0
            for group in optimizer.param_groups:
                group["lr"] = 1e-2 * warm * late
            images, targets = self._batch(scans, step)
            with mixed_precision(torch.device("cpu"), dtype):
                losses = self.detector(images, targets)
            loss = losses["classification"] + losses["box_regression"]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
            optimizer.step()
            step += 1
        self.detector.eval()
        return step

    def _batch(self, scans: Scans, step: int):
        """Two crops of 96 mm with their boxes, from the detector's own augmentation."""
        crops = Crops(scans, 2**31, self.seed, size=PATCH)
        images, targets = [], []
        for index in (2 * step, 2 * step + 1):
            crop, nodules = crops.crop(index)
            corners = [
                nodules[:, :3] - nodules[:, 3:] / 2,
                nodules[:, :3] + nodules[:, 3:] / 2,
            ]
            boxes = np.clip(np.concatenate(corners, 1), 0, PATCH)
            inside = (boxes[:, 3:] - boxes[:, :3] > 1).all(1)
            boxes = torch.from_numpy(boxes[inside]).float()
            images.append(torch.from_numpy(crop)[None])
            targets.append(
                {"box": boxes, "label": torch.zeros(len(boxes), dtype=torch.long)}
            )
        return images, targets

    @torch.inference_mode()
    def __call__(self, hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
        volume = resampled(hu, spacing_mm)
        lungs = lung_mask(volume)
        x = torch.from_numpy(gray(volume)).float()[None] / 255
        with mixed_precision(x.device, autocast_dtype("auto", self.detector.network)):
            (answer,) = self.detector([x], use_inferer=True)
        box, score = (
            answer["box"].float().numpy(),
            answer["label_scores"].float().numpy(),
        )
        centers = (box[:, :3] + box[:, 3:]) / 2
        diameters = (box[:, 3:] - box[:, :3]).mean(1)
        cell = np.clip((centers / COARSE).astype(int), 0, np.array(lungs.shape) - 1)
        inside = lungs[tuple(cell.T)]
        return np.column_stack([score, centers, diameters])[inside]
