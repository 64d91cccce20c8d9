"""The peak of live memory, from when each tensor is made and last used."""

from deepseek_learn.course import expect
from deepseek_learn.course.arguments import shown
from deepseek_learn.course.problem import Failed

# which tensor is so large that the peak is where it lives: made at the first operator
# and freed there, made at the last, alive all the time
LARGE = {6: (0, 0), 7: (-1, -1), 8: (0, -1)}


def check(answer, rng) -> None:
    expect.function(answer, "peak")
    for case in range(10):
        tensors = draw(rng, case)
        while not fit(tensors, case):
            tensors = draw(rng, case)
        got = expect.parts(expect.call(answer, tensors), 2, "peak(tensors)")
        compare(got, tensors)


def draw(rng, case: int) -> list[tuple]:
    """(name, made by operator, last used by operator, bytes); some live long."""
    count = 1 if case == 9 else int(rng.integers(5, 12))
    tensors = []
    for made in range(count):
        last = min(made + int(rng.choice([0, 1, 1, 1, 2, 6])), count - 1)
        tensors.append((f"t{made}", made, last, int(rng.integers(1, 60)) * 16))
    if case in LARGE:
        made, last = (n % count for n in LARGE[case])
        large = 16 * 60 * (count if made == last else 1)
        tensors[made] = (f"t{made}", made, last, large)
    return [tensors[i] for i in rng.permutation(count)]


def fit(tensors, case: int) -> bool:
    """The moment is one; at first each mistake has a number of its own, too."""
    levels = level(tensors)
    most, end = max(levels), len(levels) - 1
    found = [{most}, *guesses(tensors).values()]
    inside = levels.index(most) not in (0, end)
    clear = inside and len(set.union(*found)) == sum(map(len, found))
    return levels.count(most) == 1 and (clear or case > 5)


def level(tensors) -> list[int]:
    """Bytes alive while each operator runs: what it reads and what it makes."""
    end = max(last for _, _, last, _ in tensors)
    return [
        sum(size for _, made, last, size in tensors if made <= now <= last)
        for now in range(end + 1)
    ]


def guesses(tensors) -> dict[str, set[int]]:
    """What mistakes give."""
    sizes = [size for *_, size in tensors]
    steps = [(made, last, size) for _, made, last, size in tensors]
    freed = [
        sum(size for made, last, size in steps if made == now or made <= now < last)
        for now in range(len(tensors))
    ]
    read = [
        sum(size for made, last, size in steps if made < now <= last)
        for now in range(len(tensors))
    ]
    half = {max(freed), max(read)}
    return {"sum": {sum(sizes)}, "half": half, "largest": {max(sizes)}}


def compare(got, tensors: list[tuple]) -> None:
    levels = level(tensors)
    most = max(levels)
    now = levels.index(most)
    want = sorted(name for name, made, last, _ in tensors if made <= now <= last)
    value = float(expect.shape(got[0], (), "peak(tensors)[0]"))
    if value != most:
        near = [name for name, guess in guesses(tensors).items() if value in guess]
        if len(near) == 1:  # else it may be either
            raise Failed(near[0], got=value, want=most)
        raise Failed("expect.value", what="peak(tensors)[0]", got=value, want=most)
    alive = names(got[1])
    if alive != want:
        raise Failed("alive", got=alive, want=want, now=now)


def names(got) -> list[str]:
    values = expect.call(lambda: list(got)) if hasattr(got, "__iter__") else [got]
    if isinstance(got, str) or not all(isinstance(each, str) for each in values):
        raise Failed("names", got=shown(got))
    return sorted(values)
