"""For the tests of the wizard: its measurements take no longer than they must."""

import pytest

from deepseek_learn.deploy import verification


@pytest.fixture(autouse=True, scope="package")
def short_measurements():
    """Three calls per round in place of a third of a second; no test looks at speed."""
    patch = pytest.MonkeyPatch()
    patch.setattr(verification, "SECONDS", 0.0)
    yield
    patch.undo()
