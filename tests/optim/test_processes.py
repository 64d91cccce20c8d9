"""DeepOpt in two real processes: data-parallel (DDP) and sharded (FSDP2), on gloo."""

import copy

import numpy as np
import pytest

from deepseek_learn import DeepOpt

from . import processes
from .conftest import batches, learn

pytestmark = pytest.mark.service


@pytest.fixture(scope="module", autouse=True)
def no_process_stays():
    """A worker of xdist leaves without its children: they would stay for good."""
    yield
    processes.end()


@pytest.fixture
def alone(net):
    """The same training in this process."""

    def train(state):
        model = copy.deepcopy(net)
        learn(model, DeepOpt(model, state=state), batches(6))
        return [p.detach().numpy() for p in model.parameters()]

    return train


@pytest.mark.parametrize("state", ["bf16", "int8"])
def test_data_parallel_processes_stay_identical(alone, state):
    (first, _), (second, _) = processes.in_two(processes.parallel, state)
    for a, b, c in zip(first, second, alone(state), strict=True):
        assert np.array_equal(a, b)
        # the mean of two halves' gradients rounds differently from the full batch's
        np.testing.assert_allclose(a, c, atol=2e-3)


@pytest.mark.parametrize("state", ["fp32", "int8"])
def test_sharded_parameters_are_gathered_for_their_update(alone, state):
    (first, kept), (second, _) = processes.in_two(processes.sharded, state)
    assert kept == (12, 8)  # half of [24, 8]
    for a, b, c in zip(first, second, alone(state), strict=True):
        assert np.array_equal(a, b)
        np.testing.assert_allclose(a, c, atol=2e-3)


@pytest.mark.parametrize("state", ["bf16", "int8"])
def test_uneven_shards_go_on_bit_for_bit(state):
    (whole, halfway), (other, _) = processes.in_two(processes.uneven, state)
    for a, b, c in zip(whole, halfway, other, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


def test_shards_of_columns_are_refused():
    for answer in processes.in_two(processes.cut_in_columns):
        assert "must keep whole rows on each process; weight" in answer["message"]


def test_all_processes_skip_what_one_cannot_use():
    for skipped, same in processes.in_two(processes.sharded_not_finite):
        assert skipped == 1
        assert same


def test_flattened_shards_are_refused():
    for answer in processes.in_two(processes.flattened):
        assert "params must keep their shapes" in answer["message"]
        assert "fully_shard" in answer["message"]
