"""Answers to `widths_under_a_budget`: the starter, right ones and wrong ones."""

# %% starter
import itertools


def widths(sizes, damage, budget):
    ...

# %% solution
import itertools


def widths(sizes, damage, budget):
    def bytes_of(choice):
        return sum(n // 32 * (2 + 4 * b) for n, b in zip(sizes, choice))

    def harm(choice):
        return sum(row[b] for row, b in zip(damage, choice))

    choices = itertools.product((4, 5, 8), repeat=len(sizes))
    return list(min((c for c in choices if bytes_of(c) <= budget), key=harm))

# %% right: dynamic programming over the bytes
def widths(sizes, damage, budget):
    best = {0: (0.0, ())}
    for size, row in zip(sizes, damage):
        new = {}
        for spent, (harm, chosen) in best.items():
            for bits in (4, 5, 8):
                total = spent + size // 32 * (2 + 4 * bits)
                found = (harm + row[bits], (*chosen, bits))
                if total <= budget and (total not in new or found < new[total]):
                    new[total] = found
        best = new
    return min(best.values())[1]

# %% right: recursive, the remaining layers in 4 bits must fit
def widths(sizes, damage, budget):
    def cost(i, bits):
        return sizes[i] // 32 * (2 + 4 * bits)

    def search(i, left):
        if i == len(sizes):
            return 0.0, []
        rest = sum(cost(j, 4) for j in range(i + 1, len(sizes)))
        found = []
        for bits in (8, 5, 4):
            if cost(i, bits) + rest <= left:
                harm, others = search(i + 1, left - cost(i, bits))
                found.append((damage[i][bits] + harm, [bits, *others]))
        return min(found)

    return search(0, budget)[1]

# %% wrong: the scales forgotten
import itertools


def widths(sizes, damage, budget):
    def bytes_of(choice):
        return sum(n * b / 8 for n, b in zip(sizes, choice))

    def harm(choice):
        return sum(row[b] for row, b in zip(damage, choice))

    choices = itertools.product((4, 5, 8), repeat=len(sizes))
    return list(min((c for c in choices if bytes_of(c) <= budget), key=harm))

# %% wrong: greedy by the gain per byte
def widths(sizes, damage, budget):
    choice, following = [4] * len(sizes), {4: 5, 5: 8}
    left = budget - sum(n // 32 * 18 for n in sizes)
    while True:
        steps = []
        for i, bits in enumerate(choice):
            if bits < 8:
                price = sizes[i] // 8 * (following[bits] - bits)
                gain = damage[i][bits] - damage[i][following[bits]]
                if price <= left:
                    steps.append((gain / price, i, price))
        if not steps:
            return choice
        _, i, price = max(steps)
        choice[i], left = following[choice[i]], left - price

# %% wrong: the budget in bits
import itertools


def widths(sizes, damage, budget):
    def bits_of(choice):
        return sum(n * b + n // 32 * 16 for n, b in zip(sizes, choice))

    def harm(choice):
        return sum(row[b] for row, b in zip(damage, choice))

    choices = [*itertools.product((4, 5, 8), repeat=len(sizes))]
    fitting = [c for c in choices if bits_of(c) <= budget]
    return list(min(fitting, key=harm)) if fitting else [4] * len(sizes)

# %% wrong: the largest total of bits
import itertools


def widths(sizes, damage, budget):
    def bytes_of(choice):
        return sum(n // 32 * (2 + 4 * b) for n, b in zip(sizes, choice))

    choices = itertools.product((4, 5, 8), repeat=len(sizes))
    return list(max((c for c in choices if bytes_of(c) <= budget), key=bytes_of))

# %% wrong: the smallest largest damage
import itertools


def widths(sizes, damage, budget):
    def bytes_of(choice):
        return sum(n // 32 * (2 + 4 * b) for n, b in zip(sizes, choice))

    def harm(choice):
        return max(row[b] for row, b in zip(damage, choice))

    choices = itertools.product((4, 5, 8), repeat=len(sizes))
    return list(min((c for c in choices if bytes_of(c) <= budget), key=harm))

# %% wrong: the same width for all layers
def widths(sizes, damage, budget):
    for bits in (8, 5, 4):
        if sum(n // 32 * (2 + 4 * bits) for n in sizes) <= budget:
            return [bits] * len(sizes)

# %% wrong: without 5 bits
import itertools


def widths(sizes, damage, budget):
    def bytes_of(choice):
        return sum(n // 32 * (2 + 4 * b) for n, b in zip(sizes, choice))

    def harm(choice):
        return sum(row[b] for row, b in zip(damage, choice))

    choices = itertools.product((4, 8), repeat=len(sizes))
    return list(min((c for c in choices if bytes_of(c) <= budget), key=harm))

# %% wrong: also 6 bits
import itertools


def widths(sizes, damage, budget):
    def bytes_of(choice):
        return sum(n // 32 * (2 + 4 * b) for n, b in zip(sizes, choice))

    def harm(choice):
        return sum(row.get(b, row[8]) for row, b in zip(damage, choice))

    choices = itertools.product((4, 5, 6, 8), repeat=len(sizes))
    return list(min((c for c in choices if bytes_of(c) <= budget), key=harm))

# %% wrong: strictly below the budget
import itertools


def widths(sizes, damage, budget):
    def bytes_of(choice):
        return sum(n // 32 * (2 + 4 * b) for n, b in zip(sizes, choice))

    def harm(choice):
        return sum(row[b] for row, b in zip(damage, choice))

    choices = [*itertools.product((4, 5, 8), repeat=len(sizes))]
    fitting = [c for c in choices if bytes_of(c) < budget]
    return list(min(fitting, key=harm)) if fitting else None

# %% wrong: eight bits for all
def widths(sizes, damage, budget):
    return [8] * len(sizes)
