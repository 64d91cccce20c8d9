"""Two real chest CTs: values, geometry and lesions."""

import numpy as np
import pytest

from deepseek_learn.solutions.nodules.chest_ct import chest_ct
from deepseek_learn.solutions.nodules.detector import lung_mask, resampled


@pytest.mark.parametrize(("number", "slices"), [(1, 48), (2, 61)])
def test_a_scan_is_in_hounsfield_units(number, slices):
    scan = chest_ct(number)
    assert scan.hu.shape == scan.lesion.shape == (slices, 256, 256)
    assert scan.hu.min() == -1024
    assert scan.spacing_mm[0] == 5
    body = scan.hu[:, 100:200, 60:200]
    assert -900 < np.percentile(body, 25) < -700  # lung
    assert 20 < np.median(body[body > -100]) < 90  # soft tissue
    assert -100 < scan.hu[scan.lesion].mean() < 80


def test_the_first_lesion_has_the_size_of_a_nodule():
    scan = chest_ct(1)
    mm3 = scan.lesion.sum() * np.prod(scan.spacing_mm)
    assert 12 < (6 * mm3 / np.pi) ** (1 / 3) < 16


@pytest.mark.parametrize("number", [1, 2])
def test_the_lungs_of_a_real_scan_are_seen(number):
    scan = chest_ct(number)
    lungs = lung_mask(resampled(scan.hu, scan.spacing_mm))
    assert 0.1 < lungs.mean() < 0.35
    air = resampled(scan.hu, scan.spacing_mm)[2::4, 2::4, 2::4] < -700
    size = [min(a, b) for a, b in zip(air.shape, lungs.shape, strict=True)]
    air, lungs = (each[tuple(map(slice, size))] for each in (air, lungs))
    middle = np.s_[10:-10, 42:60, 15:-15]  # where the patient is
    assert lungs[middle][air[middle]].mean() > 0.9


def test_there_are_two():
    with pytest.raises(ValueError, match="number must be 1 or 2"):
        chest_ct(3)
