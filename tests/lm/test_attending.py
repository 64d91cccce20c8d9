"""Causal attention: the C++ kernel computes the same as the definition."""

import pytest
import torch
from torch import nn

from deepseek_learn.lm.attending import attend, own_kernel
from deepseek_learn.lm.cpp import causal

SHAPES = [  # heads, groups, tokens, D, Dv
    (9, 3, 100, 64, 64),
    (4, 4, 37, 24, 17),
    (2, 1, 300, 3, 40),
    (1, 1, 2, 1, 1),
    (6, 2, 16, 8, 16),
    (2, 2, 17, 16, 8),
]


def sides(heads, groups, tokens, dim, value_dim, batch=1):
    generator = torch.Generator().manual_seed(heads * tokens + dim)

    def side(count, width):
        shape = batch, tokens, count, width
        return torch.randn(shape, generator=generator).transpose(1, 2)

    return side(heads, dim), side(groups, dim), side(groups, value_dim)


def by_definition(q, k, v, scale):
    """softmax(scale q k^T) v in float64, with the later tokens left out."""
    q, k, v = (x.double() for x in (q, k, v))
    repeats = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(repeats, 1) for x in (k, v))
    scores = scale * q @ k.mT
    later = torch.ones(scores.shape[2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1) @ v


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [None, 0.3])
def test_both_kernels_compute_what_the_definition_says(shape, scale):
    q, k, v = sides(*shape)
    expected = by_definition(q, k, v, q.shape[3] ** -0.5 if scale is None else scale)
    with own_kernel():
        ours = attend(q, k, v, scale=scale)
    for result in (ours, attend(q, k, v, scale=scale)):
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-5)


def test_the_kernel_is_called_for_one_prompt_without_a_mask_only(monkeypatch):
    calls = []
    original = causal.causal_attention

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(causal, "causal_attention", counted)
    q, k, v = sides(4, 2, 20, 8, 8)
    mask = torch.ones(1, 1, 20, 20, dtype=torch.bool).tril()
    attend(q, k, v)
    with own_kernel():
        attend(q, k, v, mask)
        attend(q[:, :, -1:], k, v)
        attend(q.double(), k.double(), v.double())
        attend(*sides(4, 2, 20, 8, 8, batch=2))
        assert not calls
        attend(q, k, v)
    assert len(calls) == 1
    attend(q, k, v)
    assert len(calls) == 1


def test_one_query_after_a_past_attends_to_all_tokens():
    q, k, v = sides(4, 2, 20, 8, 8)
    last = attend(q[:, :, -1:], k, v)
    whole = by_definition(q, k, v, 8**-0.5)
    torch.testing.assert_close(last.double(), whole[:, :, -1:], rtol=0, atol=1e-5)


def test_later_tokens_and_the_number_of_threads_change_nothing():
    q, k, v = (x[0] for x in sides(6, 2, 70, 32, 32))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(causal.causal_attention(q, k, v, 0.2))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    k, v = k.clone(), v.clone()
    k[:, 41:], v[:, 41:] = 1e4, -1e38
    changed = causal.causal_attention(q, k, v, 0.2)
    assert torch.equal(changed[:, :41], results[0][:, :41])
    assert not torch.equal(changed[:, 41:], results[0][:, 41:])


def test_large_scores_and_strided_sides_are_read_right():
    q, k, v = sides(4, 2, 50, 16, 16)
    wide = torch.zeros(1, 2, 50, 32)
    wide[..., ::2] = k  # the channels are not contiguous
    with own_kernel():
        plain, strided = attend(q, k, v), attend(q, wide[..., ::2], v)
        sharp = attend(1e4 * q, 1e4 * k, v)
    assert torch.equal(plain, strided)
    expected = by_definition(1e4 * q, 1e4 * k, v, 0.25)
    torch.testing.assert_close(sharp.double(), expected, rtol=0, atol=1e-5)


def test_values_of_another_width_than_keys_have_gradients():
    q, k, v = (nn.Parameter(x) for x in sides(2, 2, 9, 8, 5))
    attend(q, k, v).sum().backward()
    attended = torch.func.grad(lambda x: by_definition(q, k, x, 8**-0.5).sum())(v)
    torch.testing.assert_close(v.grad.double(), attended.double(), rtol=0, atol=1e-5)
