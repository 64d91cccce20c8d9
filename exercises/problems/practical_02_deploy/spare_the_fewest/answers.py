"""Answers to `spare_the_fewest`: the starter, right ones and wrong ones."""

# %% starter
def fewest(lost, most, aim):
    ...

# %% solution
def fewest(lost, most, aim):
    if lost(0) <= aim:
        return 0
    low, high = 0, 1
    while high < most and lost(high) > aim:
        low, high = high, 2 * high
    high = min(high, most)
    if lost(high) > aim:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high

# %% right: tries `most` first, then 1, 3, 7, ...
def fewest(lost, most, aim):
    if lost(most) > aim:
        return None
    low, high, step = -1, 0, 1
    while high < most and lost(high) > aim:
        low, high, step = high, min(high + step, most), 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high

# %% wrong: one by one
def fewest(lost, most, aim):
    for count in range(most + 1):
        if lost(count) <= aim:
            return count
    return None

# %% wrong: halves from the start
def fewest(lost, most, aim):
    if lost(most) > aim:
        return None
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high

# %% wrong: steps of the square root
def fewest(lost, most, aim):
    step, high = max(1, int(most**0.5)), 0
    while high < most and lost(high) > aim:
        high = min(high + step, most)
    for count in range(max(0, high - step + 1), high + 1):
        if lost(count) <= aim:
            return count
    return None

# %% wrong: stops at the power of two
def fewest(lost, most, aim):
    if lost(0) <= aim:
        return 0
    count = 1
    while count < most and lost(count) > aim:
        count *= 2
    count = min(count, most)
    return count if lost(count) <= aim else None

# %% wrong: strictly below the aim
def fewest(lost, most, aim):
    if lost(0) < aim:
        return 0
    low, high = 0, 1
    while high < most and lost(high) >= aim:
        low, high = high, 2 * high
    high = min(high, most)
    if lost(high) >= aim:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) < aim else (middle, high)
    return high

# %% wrong: strictly below the aim in the last step
def fewest(lost, most, aim):
    if lost(0) <= aim:
        return 0
    low, high = 0, 1
    while high < most and lost(high) > aim:
        low, high = high, 2 * high
    high = min(high, most)
    if lost(high) > aim:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) < aim else (middle, high)
    return high

# %% wrong: asks beyond `most`
def fewest(lost, most, aim):
    if lost(0) <= aim:
        return 0
    low, high = 0, 1
    while high < most and lost(high) > aim:
        low, high = high, 2 * high
    if lost(high) > aim:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high

# %% wrong: `most` where no count is enough
def fewest(lost, most, aim):
    if lost(0) <= aim:
        return 0
    low, high = 0, 1
    while high < most and lost(high) > aim:
        low, high = high, 2 * high
    high = min(high, most)
    if lost(high) > aim:
        return most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high

# %% wrong: one too few
def fewest(lost, most, aim):
    if lost(0) <= aim:
        return 0
    low, high = 0, 1
    while high < most and lost(high) > aim:
        low, high = high, 2 * high
    high = min(high, most)
    if lost(high) > aim:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return low

# %% wrong: never answers 0
def fewest(lost, most, aim):
    low, high = 0, 1
    while high < most and lost(high) > aim:
        low, high = high, 2 * high
    high = min(high, most)
    if lost(high) > aim:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)
    return high
