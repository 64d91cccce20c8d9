# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The peak of live memory, from when each tensor is made and last used."""

from .. import expect
from ..arguments import shown
from ..problem import Failed, Problem

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
            raise Failed(f"peak_of_the_living.{near[0]}", got=value, want=most)
        raise Failed("expect.value", what="peak(tensors)[0]", got=value, want=most)
    alive = names(got[1])
    if alive != want:
        raise Failed("peak_of_the_living.alive", got=alive, want=want, now=now)


def names(got) -> list[str]:
    values = expect.call(lambda: list(got)) if hasattr(got, "__iter__") else [got]
    if isinstance(got, str) or not all(isinstance(each, str) for each in values):
        raise Failed("peak_of_the_living.names", got=shown(got))
    return sorted(values)


HEAD = "def peak(tensors):\n"
LOOP = """    most, names = 0, []
    for now in range(max(last for _, _, last, _ in tensors) + 1):
        alive = [t for t in tensors if t[1] <= now <= t[2]]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
"""

problem = Problem(
    id="peak_of_the_living",
    version=3,
    lesson="profiler",
    stage="basic",
    title={"en": "The peak of the living", "zh": "存活张量的峰值"},
    prompt={
        "en": """Operators run one after the other, numbered from 0. `tensors` is a list of
`(name, made, last, size)`: operator `made` makes the tensor, operator `last` is the last one to read it
(`made <= last`), `size` is in bytes. The list is in no particular order. Every operator makes one tensor.

While an operator runs, what it makes **and** what it reads must both be there. A tensor is freed after the
operator `last` has run.

Write `peak(tensors)`: return the largest number of bytes that are alive while an operator runs, and the names of
the tensors that are alive then (a list or a set, in any order). The peak is reached at one operator only.""",
        "zh": """算子按编号 0、1、2…… 依次运行。`tensors` 是由 `(name, made, last, size)` 组成的列表：编号为 `made` 的算子产生这个张量，编号为 `last` 的算子最后一次读取它（`made <= last`），`size` 的单位是字节。列表的顺序是任意的。每个算子产生一个张量。

算子运行时，它产生的张量**和**它读取的张量必须同时存在；编号为 `last` 的算子运行完之后，张量才被释放。

请编写 `peak(tensors)`：返回某个算子运行时存活字节数的最大值，以及那一刻存活的张量的名字（列表或集合，顺序不限）。只有一个算子会达到峰值。""",
    },
    starter=HEAD + "    ...\n",
    answer="peak",
    hints=(
        {
            "en": "Ask at each operator: who has been made by now, and will still be read, now or later?",
            "zh": "对每个算子都问一遍：到此时为止，哪些张量已经产生，而且现在或以后还会被读取？",
        },
        {
            "en": "Alive at operator `now`: `made <= now <= last`. Sum their sizes for each `now` up to the "
            "largest `last`, and keep the largest sum with its names.",
            "zh": "在算子 `now` 处存活的条件：`made <= now <= last`。对每个 `now`（直到最大的 `last`）求它们大小之和，记下最大的和以及对应的名字。",
        },
    ),
    check=check,
    solution=HEAD + LOOP + "    return most, names\n",
    wrong={
        "the sum of all": HEAD
        + "    return sum(t[3] for t in tensors), [t[0] for t in tensors]\n",
        "freed before its last reader ran": HEAD
        + LOOP.replace("t[1] <= now <= t[2]", "t[1] == now or t[1] <= now < t[2]")
        + "    return most, names\n",
        "the largest tensor": HEAD
        + "    largest = max(tensors, key=lambda t: t[3])\n"
        + "    return largest[3], [largest[0]]\n",
        "never freed": HEAD + LOOP.replace(" <= t[2]", "") + "    return most, names\n",
        "the names of all": HEAD + LOOP + "    return most, [t[0] for t in tensors]\n",
        "the last moment instead of the peak": HEAD
        + LOOP.replace("if size > most", "if size")
        + "    return most, names\n",
        "the output is forgotten": HEAD
        + LOOP.replace("t[1] <= now <= t[2]", "t[1] < now <= t[2]")
        + "    return most, names\n",
        "the names of what is read only": HEAD
        + LOOP.replace("for t in alive]\n", "for t in alive if t[1] < now]\n")
        + "    return most, names\n",
        "the first operator left out": HEAD
        + LOOP.replace("range(max", "range(1, max")
        + "    return most, names\n",
        "the last operator left out": HEAD
        + LOOP.replace(") + 1)", "))")
        + "    return most, names\n",
        "a name twice": HEAD + LOOP + "    return most, [*names, names[0]]\n",
        "in the order of the list": HEAD
        + """    most, names, alive = 0, [], []
    for now, tensor in enumerate(tensors):
        alive = [t for t in alive if t[2] >= now] + [tensor]
        size = sum(t[3] for t in alive)
        if size > most:
            most, names = size, [t[0] for t in alive]
    return most, names
""",
        "sorts the list in place": HEAD
        + "    tensors.sort(key=lambda t: t[1])\n"
        + LOOP
        + "    return most, names\n",
    },
    right={
        "gains and losses": "import numpy as np\n\n\n"
        + HEAD
        + """    change = np.zeros(len(tensors) + 1)
    for _, made, last, size in tensors:
        change[made] += size
        change[last + 1] -= size
    level = change.cumsum()
    now = level.argmax()
    return [level[now], (name for name, made, last, _ in tensors if made <= now <= last)]
""",
        "by a heap": "import heapq\n\n\n"
        + HEAD
        + """    alive, most, names, total = [], 0, set(), 0
    for name, made, last, size in sorted(tensors, key=lambda t: t[1]):
        while alive and alive[0][0] < made:
            total -= heapq.heappop(alive)[1]
        heapq.heappush(alive, (last, size, name))
        total += size
        if total > most:
            most, names = total, {entry[2] for entry in alive}
    return most, names
""",
    },
    points=1,
    minutes=10,
)
