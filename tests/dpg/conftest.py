"""Run all `dpg` tests in one thread, so that parallel tests share the cores."""

from contextlib import contextmanager

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def full_disk():
    """A context in which no file grows beyond 1,000 bytes, as if the disk were full."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")

    @contextmanager
    def limited():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited()
