"""Answers to `how_long_a_context`: the starter, right ones and wrong ones."""

# %% starter
def longest_context(free, layers, sizes, number_bytes):
    ...

# %% solution
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return free // (layers * numbers * number_bytes)

# %% right: by a sum over layers
def longest_context(free, layers, sizes, number_bytes):
    kept = sizes.get("heads", 1) * sum(v for k, v in sizes.items() if k != "heads")
    token = sum(kept * number_bytes for _ in range(layers))
    return divmod(free, token)[0]

# %% wrong: one layer
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return free // (numbers * number_bytes)

# %% wrong: one more than fits
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return -(-free // (layers * numbers * number_bytes))

# %% wrong: one byte per number
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return free // (layers * numbers)

# %% wrong: key and value counted for a latent
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = 2 * (sizes["rank"] + sizes["rope"])
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return free // (layers * numbers * number_bytes)

# %% wrong: keys only
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * 2 * sizes["key"]
    return free // (layers * numbers * number_bytes)

# %% wrong: returns a float
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return free // 1.0 // (layers * numbers * number_bytes)

# %% wrong: at least one
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return max(1, free // (layers * numbers * number_bytes))

# %% wrong: strictly below the free memory
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = sizes["heads"] * (sizes["key"] + sizes["value"])
    return (free - 1) // (layers * numbers * number_bytes)

# %% wrong: one head
def longest_context(free, layers, sizes, number_bytes):
    if "rank" in sizes:
        numbers = sizes["rank"] + sizes["rope"]
    else:
        numbers = (sizes["key"] + sizes["value"])
    return free // (layers * numbers * number_bytes)

# %% wrong: divided as floats
import math


def longest_context(free, layers, sizes, number_bytes):
    kept = sizes.get("heads", 1) * sum(v for k, v in sizes.items() if k != "heads")
    return math.floor(free / (layers * kept * number_bytes))
