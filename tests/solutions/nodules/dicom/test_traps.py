"""Every folder that is easily misread gets its right answer."""

import re

import numpy as np
import pytest

from deepseek_learn.solutions.nodules.dicom import SeriesError, load_series
from tests.solutions.nodules.dicom.traps import Truth, phantom, traps


@pytest.mark.parametrize("name", traps)
def test_the_reader_gives_the_right_answer(name, tmp_path):
    trap = traps[name]
    truths = trap.build(tmp_path)
    if trap.refused:
        with pytest.raises(SeriesError, match=re.escape(trap.refused)) as error:
            load_series(tmp_path, **trap.options)
        assert str(error.value).endswith(".")
        assert "\n" not in str(error.value)
        return
    volume = load_series(tmp_path, **trap.options)
    assert truths[0].matches(volume.hu, volume.spacing_mm)
    assert volume.hu.dtype == np.float32
    if trap.warning:
        assert any(trap.warning in each for each in volume.warnings)
    else:
        assert volume.warnings == ()


def test_a_truth_is_not_easily_matched():
    hu = phantom()
    truth = Truth(hu)
    assert truth.matches(hu, (1.25, 0.7, 0.7))
    assert not truth.matches(hu, (1.307, 0.7, 0.7))
    assert not truth.matches(hu[::-1], (1.25, 0.7, 0.7))
    assert truth.matches(hu[::-1], (1.25, 0.7, 0.7), flips=True)
    assert not truth.matches(np.roll(hu, 1, 0), (1.25, 0.7, 0.7), flips=True)
    assert not truth.matches(hu + 1, (1.25, 0.7, 0.7), flips=True)
