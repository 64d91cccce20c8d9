"""For the tests of the wizard: none of them looks at a speed."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def no_long_measurements(short_measurements):
    pass
