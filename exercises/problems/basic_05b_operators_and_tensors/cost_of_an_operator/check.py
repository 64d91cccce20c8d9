"""Write an `operator_costs` formula: sliding-window attention with shared key heads."""

import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "local_attention_flops")
    for case in range(10):
        while True:
            sizes = draw(rng, case)
            counts = [flops(*sizes), *guesses(*sizes).values()]
            if case > 2 or len(set(counts)) == len(counts):
                break  # in the first cases, each mistake gives a distinct count
        batch, heads, shared, length, width, value, window = sizes
        shapes = (heads * shared, width), (heads, width), (heads, value)
        q, k, v = (torch.zeros(batch, h, length, w) for h, w in shapes)
        out = torch.zeros(batch, heads * shared, length, value)
        got = expect.call(answer, q, k, v, window, out=out)
        inputs = f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}"
        call = f"local_attention_flops({inputs}, window={window}, out=...)"
        compare(got, call, sizes)


def draw(rng, case: int) -> tuple[int, ...]:
    """Draw batch, key heads, query heads per key head, T, E, E_v and window."""
    batch, heads, shared = (int(n) for n in rng.integers(1, 6, size=3))
    width, value, length = (int(n) for n in rng.integers(7, 40, size=3))
    window = int(rng.integers(2, length // 2 + 1))
    if case < 3:  # no combination of two mistakes gives the count of a third
        batch, heads, shared = rng.permutation([3, 5, 7]).tolist()
    edges = {3: 1, 4: length - 1, 5: length, 6: length + 1, 7: 3 * length}
    if case == 8:
        length = 1
    if case == 9:
        batch = heads = shared = width = value = 1
    return batch, heads, shared, length, width, value, edges.get(case, window)


def flops(batch, heads, shared, length, width, value, window, least=0) -> int:
    places = torch.arange(length)
    back = places[:, None] - places  # how far a key is behind its query
    pairs = int(((back >= least) & (back < window)).sum())
    return 2 * batch * heads * shared * pairs * (width + value)


def guesses(batch, heads, shared, length, width, value, window) -> dict[str, int]:
    """Return the counts that known mistakes give."""
    sizes = batch, heads, shared, length, width, value
    want = flops(*sizes, window)
    per_key = 2 * batch * heads * shared * length * (width + value)
    return {
        "macs": want // 2,
        "keys": want // shared,
        "all": per_key * length,
        "start": per_key * window,
        "value": want // (width + value) * 2 * width,
        "scores": want // (width + value) * width,
        "wide": flops(*sizes, window + 1),
        "own": flops(*sizes, window + 1, least=1),
        "batch": want // batch,
        "heads": want // (heads * shared),
    }


def compare(got, call: str, sizes: tuple[int, ...]) -> None:
    want, count = flops(*sizes), float(expect.shape(got, (), call))
    if count == want:
        return
    matches = [name for name, guess in guesses(*sizes).items() if count == guess]
    if len(matches) == 1:  # otherwise the mistake is ambiguous
        raise Failed(matches[0], call=call)
    raise Failed("expect.value", what=call, got=count, want=want)
