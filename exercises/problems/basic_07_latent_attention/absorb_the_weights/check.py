"""Let one new token attend to cached latents, without ever forming keys or values."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "attend(q, r, latents, shared, key_up, value_up)"


def check(answer, rng) -> None:
    expect.function(answer, "attend")
    for trial in range(4):
        heads, tokens = int(rng.integers(4, 8)), int(rng.integers(80, 120))
        nope, rope, value = (int(n) for n in rng.integers(24, 33, size=3))
        rank = int(rng.integers(3, 5))
        sizes = {
            "q": (heads, nope),
            "r": (heads, rope),
            "latents": (tokens, rank),
            "shared": (tokens, rope),
            "key_up": (heads, nope, rank),
            "value_up": (heads, value, rank),
        }
        if trial == 1:
            sizes["q"], sizes["key_up"] = (heads, 2 * nope), (heads, 2 * nope, rank)
        inputs = [torch.from_numpy(rng.normal(size=s)).float() for s in sizes.values()]
        counter = ElementCount()
        got = expect.call(counter.counting(answer), *inputs)
        compare(got, [x.double().numpy() for x in inputs])
        # explicit keys, or values, have more elements than the absorbed form needs
        if counter.elements >= heads * tokens * min(nope, value):
            facts = {"got": counter.elements, "scores": heads * tokens}
            raise Failed("expanded", **facts)


def tensors(tree) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class ElementCount(TorchDispatchMode):
    """The total number of elements in the results of the answer's operations."""

    elements = 0

    def counting(self, answer: Callable) -> Callable:
        @functools.wraps(answer)
        def counted(*args):
            with self, OnlyTorch():
                return answer(*args)

        return counted

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **kwargs or {})
        storages = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
        for each in tensors(results):
            if each.untyped_storage().data_ptr() not in storages:  # else it is a view
                self.elements += each.numel()
        return results


class OnlyTorch(TorchFunctionMode):
    """Rejects conversions out of PyTorch, where nothing can be counted."""

    CONVERSIONS = (torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in self.CONVERSIONS:
            raise Failed("left", name=function.__name__)
        return function(*args, **kwargs or {})


def reference(q, r, latents, shared, key_up, value_up, *, scale=True, rotary=True):
    """Compute the result with explicit keys and values for each head."""
    keys = np.einsum("sc,hnc->hsn", latents, key_up)
    values = np.einsum("sc,hvc->hsv", latents, value_up)
    scores = np.einsum("hn,hsn->hs", q, keys)
    scores = scores + np.einsum("he,se->hs", r, shared) * rotary
    scores = scores / np.sqrt(q.shape[1] + r.shape[1] if scale else 1)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return np.einsum("hs,hsv->hv", weights / weights.sum(1, keepdims=True), values)


def compare(got, inputs) -> None:
    want = reference(*inputs)
    expect.tensor(got, CALL)
    values = expect.shape(got, want.shape, CALL)
    for key, changes in (("scale", {"scale": False}), ("turned", {"rotary": False})):
        if np.allclose(values, reference(*inputs, **changes), atol=1e-4):
            raise Failed(key)
    expect.close(got, torch.from_numpy(want), CALL, 1e-4)
