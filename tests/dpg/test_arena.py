"""One block for all packed matrices: same values, saved and copied as before."""

import copy

import pytest
import torch
from torch import nn

from deepseek_learn import dpg
from deepseek_learn.dpg import arena
from deepseek_learn.dpg.packed import PackedMatrix

from .small_models import decoder, features, mlp, tokens


@pytest.fixture
def any_size(monkeypatch):
    monkeypatch.setattr(arena, "WORTH_IT", 0)
    if not arena.HAS_HUGE_PAGES:
        pytest.skip("this system has no huge pages to ask for")


def matrices(model: nn.Module) -> list[PackedMatrix]:
    return [m for m in model.modules() if isinstance(m, PackedMatrix)]


def blocks(model: nn.Module) -> set[int]:
    tensors = [b for matrix in matrices(model) for b in matrix.buffers()]
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


@pytest.mark.parametrize("tied", [False, True])
def test_a_gathered_model_answers_the_same_from_one_block(tied, any_size, monkeypatch):
    model, x = decoder(tied=tied), tokens()
    small = dpg.convert(model, dpg.uniform(model, 3))
    assert len(blocks(small)) == 1
    monkeypatch.setattr(arena, "WORTH_IT", 1 << 60)
    apart = dpg.convert(model, dpg.uniform(model, 3))
    assert len(blocks(apart)) > 1
    with torch.no_grad():
        assert torch.equal(small(x), apart(x))
        arena.WORTH_IT = 0
        arena.gather(apart)  # after the kernel has seen its addresses
        assert len(blocks(apart)) == 1
        assert torch.equal(small(x), apart(x))


def test_a_gathered_model_is_saved_loaded_and_copied(any_size, tmp_path):
    model, x = mlp(), features()
    small = dpg.convert(model, dpg.uniform(model, 4))
    loaded = dpg.load(dpg.save(small, tmp_path / "model"), model)
    copied = copy.deepcopy(small)
    state = {k: v.clone() for k, v in small.state_dict().items()}
    assert len(blocks(loaded)) == len(blocks(copied)) == 1
    assert not blocks(small) & blocks(copied)
    with torch.no_grad():
        for other in (loaded, copied):
            assert torch.equal(other(x), small(x))
    loaded.load_state_dict(state)
    assert {k: v.tolist() for k, v in loaded.state_dict().items()} == {
        k: v.tolist() for k, v in state.items()
    }


def test_a_matrix_with_a_refine_term_stays_where_it_is(any_size):
    model = mlp()
    small = dpg.convert(model, dpg.uniform(model, 4), refine=True)
    assert len(blocks(small)) > 1


def test_a_small_model_stays_where_it_is():
    model = mlp()
    assert len(blocks(dpg.convert(model, dpg.uniform(model, 4)))) > 1


def test_the_pool_gives_zeros_that_do_not_overlap():
    pool = arena.Pool()
    first = pool.zeros(3, 5, dtype=torch.bfloat16)
    second = pool.zeros(7, dtype=torch.float32)
    large = pool.zeros(arena.BLOCK + 1, dtype=torch.uint8)
    first += 1
    second += 2
    large += 3
    assert first.unique().tolist() == [1]
    assert second.unique().tolist() == [2]
    assert large.unique().tolist() == [3]
    assert pool.zeros(2, 2, dtype=torch.float32).tolist() == [[0, 0], [0, 0]]
