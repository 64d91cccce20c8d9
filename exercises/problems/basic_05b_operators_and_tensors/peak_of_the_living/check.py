"""Find the peak of live memory from when each tensor is created and last used."""

from deepseek_learn.course import expect
from deepseek_learn.course.arguments import shown
from deepseek_learn.course.problem import Failed

# case -> (created, last read) of a tensor that sets the peak: live at the first
# operator only, at the last only, or throughout
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
    """Draw (name, creating operator, last reader, bytes); some tensors live long."""
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
    """Require a unique peak and, in the first cases, a distinct number per mistake."""
    levels = level(tensors)
    highest, end = max(levels), len(levels) - 1
    numbers = [{highest}, *guesses(tensors).values()]
    inside = levels.index(highest) not in (0, end)
    clear = inside and len(set.union(*numbers)) == sum(map(len, numbers))
    return levels.count(highest) == 1 and (clear or case > 5)


def level(tensors) -> list[int]:
    """Return the live bytes while each operator runs, with its inputs and output."""
    end = max(last for _, _, last, _ in tensors)
    return [
        sum(size for _, made, last, size in tensors if made <= now <= last)
        for now in range(end + 1)
    ]


def guesses(tensors) -> dict[str, set[int]]:
    """Return the bytes that known mistakes give."""
    sizes = [size for *_, size in tensors]
    steps = [(made, last, size) for _, made, last, size in tensors]
    without_last_reads = [
        sum(size for made, last, size in steps if made == now or made <= now < last)
        for now in range(len(tensors))
    ]
    without_outputs = [
        sum(size for made, last, size in steps if made < now <= last)
        for now in range(len(tensors))
    ]
    half = {max(without_last_reads), max(without_outputs)}
    return {"sum": {sum(sizes)}, "half": half, "largest": {max(sizes)}}


def compare(got, tensors: list[tuple]) -> None:
    levels = level(tensors)
    highest = max(levels)
    now = levels.index(highest)
    want = sorted(name for name, made, last, _ in tensors if made <= now <= last)
    value = float(expect.shape(got[0], (), "peak(tensors)[0]"))
    if value != highest:
        matches = [name for name, guess in guesses(tensors).items() if value in guess]
        if len(matches) == 1:  # otherwise the mistake is ambiguous
            raise Failed(matches[0], got=value, want=highest)
        raise Failed("expect.value", what="peak(tensors)[0]", got=value, want=highest)
    alive = names(got[1])
    if alive != want:
        raise Failed("alive", got=alive, want=want, now=now)


def names(got) -> list[str]:
    values = expect.call(lambda: list(got)) if hasattr(got, "__iter__") else [got]
    if isinstance(got, str) or not all(isinstance(each, str) for each in values):
        raise Failed("names", got=shown(got))
    return sorted(values)
