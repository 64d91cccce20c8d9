"""The patch memory is what its equation says; the segmenter learns from good parts."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from deepseek_learn.solutions.factory.memory import Features, PatchMemory, coreset
from deepseek_learn.solutions.factory.segmenter import DefectSegmenter, train
from deepseek_learn.solutions.factory.surfaces import parts
from deepseek_learn.zoo.nets.efficientnet_lite import EfficientNetLite


class Stride8(nn.Module):
    """Features in place of the pretrained ones: 3 channels per patch of 8 x 8."""

    def forward(self, x):
        pooled = nn.functional.avg_pool2d(x, 8)
        return torch.cat([pooled, pooled**2, pooled.flip(-1)], 1)


def test_a_score_is_the_distance_to_the_nearest_vector_in_the_memory():
    torch.manual_seed(0)
    memory = PatchMemory(Stride8(), size=10, blur=0.5).remember(
        torch.rand(4, 1, 32, 32)
    )
    assert memory.bank.shape == (10, 3)
    memory.kernel = torch.tensor([1.0])  # no blur
    x = torch.rand(2, 1, 32, 32)
    f = (Stride8()(x).permute(0, 2, 3, 1) - memory.mean) / memory.std
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(f.flatten(0, 2), memory.bank, compute_mode=exact)
    nearest = distances.amin(1).view(2, 1, 4, 4)
    expected = nn.functional.interpolate(nearest, (32, 32), mode="bilinear")[:, 0]
    torch.testing.assert_close(memory(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [16, 48])
def test_the_sides_of_a_segmenters_image_are_multiples_of_16(side):
    model = DefectSegmenter(width=4).eval()
    with torch.inference_mode():
        assert model(torch.rand(1, 1, side, 32)).shape == (1, side, 32)
        with pytest.raises(ValueError, match="multiples of 8"):  # of a half
            model(torch.rand(1, 1, side + 8, 32))


@pytest.mark.parametrize("blur", [0.7, 1.5, 3.0])
def test_the_map_is_smoothed_by_a_gaussian(blur):
    x = torch.rand(2, 1, 40, 31, generator=torch.Generator().manual_seed(2))
    memory = PatchMemory(Stride8(), blur=blur)
    options = {"mode": "nearest", "radius": math.ceil(3 * blur), "axes": (2, 3)}
    expected = ndimage.gaussian_filter(x.double().numpy(), blur, **options)
    np.testing.assert_allclose(memory._smooth(x), expected, rtol=1e-5)


def test_the_default_blur_is_of_three_pixels():
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1
    row = PatchMemory(Stride8())._smooth(point)[0, 0, 20]
    at = torch.arange(-20, 21)
    assert float((row * at**2).sum() / row.sum()) ** 0.5 == pytest.approx(3, rel=0.02)


def test_what_is_in_the_memory_has_no_distance():
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    memory = PatchMemory(Stride8(), size=100).remember(x)
    assert memory(x).max() < 1e-5


def test_a_coreset_spreads_out():
    generator = torch.Generator().manual_seed(0)
    near, far = torch.rand(100, 4) * 0.01, torch.eye(4) * 10
    chosen = coreset(torch.cat([near, far]), 5, generator)
    assert set(chosen.tolist()) >= {100, 101, 102, 103}
    assert sorted(coreset(near[:3], 9, generator).tolist()) == [0, 1, 2]


def test_the_features_come_from_the_chosen_stages():
    backbone = EfficientNetLite(in_channels=1).eval()
    x = torch.rand(1, 1, 64, 64)
    fine, coarse = Features(backbone, (2,)), Features(backbone, (4,))
    both = Features(backbone)(x)
    assert both.shape == (1, 152, 8, 8)
    torch.testing.assert_close(fine(x), both[:, :40])
    assert len(fine.stages) == 3
    assert coarse(x).shape == (1, 112, 4, 4)


@pytest.mark.parametrize("stages", [(), (4, 2), (2, 2), (2, 99), (-1,)])
def test_stages_that_the_backbone_does_not_have(stages):
    with pytest.raises(ValueError, match="ascending numbers from 0 to 6; got"):
        Features(EfficientNetLite(in_channels=1), stages)


def test_an_empty_memory_and_images_that_are_none():
    memory = PatchMemory(Stride8())
    with pytest.raises(ValueError, match=r"memory is empty: call remember\(images\)"):
        memory(torch.rand(1, 1, 32, 32))
    with pytest.raises(ValueError, match="at least one good part"):
        memory.remember(torch.rand(0, 1, 32, 32))
    with pytest.raises(ValueError, match="NaN or infinity"):
        memory.remember(torch.full((1, 1, 32, 32), torch.nan))


@pytest.mark.slow
def test_the_segmenter_learns_from_good_parts():
    torch.manual_seed(0)
    good = parts("woven", 8, size=64).images
    model = DefectSegmenter(width=8)
    first = train(model, good, 5, progress=False).history["loss"].iloc[-1]
    run = train(model, good, 200, progress=False)
    assert run.history["loss"].iloc[-1] < 0.9 * first
    assert not model.training
    image = torch.from_numpy(good[:1])[:, None].clone()
    image[..., 20:30, 20:30] = 1.0
    with torch.inference_mode():
        anomaly = model(image)
    assert anomaly.shape == (1, 64, 64)
    probability = (4 * anomaly.logit()).sigmoid()
    assert probability[0, 22:28, 22:28].mean() > 1.5 * probability[0, 40:].mean()
