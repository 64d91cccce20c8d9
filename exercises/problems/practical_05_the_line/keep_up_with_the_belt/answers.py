"""Answers to `keep_up_with_the_belt`: the starter, right ones and wrong ones."""

# %% starter
def missed(arrivals, service, places):
    ...

# %% solution
def missed(arrivals, service, places):
    ends, answer = [], []
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if len(ends) > places:
            answer.append(i)
        else:
            ends.append(max([t, *ends]) + service[i])
    return answer

# %% right: a queue of waiting parts
from collections import deque


def missed(arrivals, service, places):
    waiting, free_at, answer = deque(), 0, []
    for i, t in enumerate(arrivals):
        while waiting and free_at <= t:
            free_at += waiting.popleft()
        if free_at <= t:
            free_at = t + service[i]
        elif len(waiting) < places:
            waiting.append(service[i])
        else:
            answer.append(i)
    return answer

# %% right: in NumPy, over all ends
import numpy as np


def missed(arrivals, service, places):
    ends = np.full(len(arrivals), -np.inf)
    for i, t in enumerate(arrivals):
        if np.count_nonzero(ends > t) <= places:
            ends[i] = max(t, ends[:i].max(initial=0)) + service[i]
    return np.flatnonzero(np.isinf(ends))

# %% wrong: with the mean time
def missed(arrivals, service, places):
    mean = sum(service) / len(service)
    ends, answer = [], []
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if len(ends) > places:
            answer.append(i)
        else:
            ends.append(max([t, *ends]) + mean)
    return answer

# %% wrong: compares the means and sees no problem
def missed(arrivals, service, places):
    spacing = (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1)
    if sum(service) / len(service) <= spacing:
        return []
    return list(range(places + 1, len(arrivals)))

# %% wrong: the part being judged takes a place
def missed(arrivals, service, places):
    ends, answer = [], []
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if ends and len(ends) >= places:
            answer.append(i)
        else:
            ends.append(max([t, *ends]) + service[i])
    return answer

# %% wrong: one place too many
def missed(arrivals, service, places):
    ends, answer = [], []
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if len(ends) > places + 1:
            answer.append(i)
        else:
            ends.append(max([t, *ends]) + service[i])
    return answer

# %% wrong: a missed part takes its time nevertheless
def missed(arrivals, service, places):
    ends, answer = [], []
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if len(ends) > places:
            answer.append(i)
        ends.append(max([t, *ends]) + service[i])
    return answer

# %% wrong: still busy at the moment of the end
def missed(arrivals, service, places):
    ends, answer = [], []
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end >= t]
        if len(ends) > places:
            answer.append(i)
        else:
            ends.append(max([t, *ends]) + service[i])
    return answer

# %% wrong: all are judged at the same time
def missed(arrivals, service, places):
    ends, answer = [], []
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if len(ends) > places:
            answer.append(i)
        else:
            ends.append(t + service[i])
    return answer

# %% wrong: nothing waits
def missed(arrivals, service, places):
    free_at, answer = 0, []
    for i, t in enumerate(arrivals):
        if t < free_at:
            answer.append(i)
        else:
            free_at = t + service[i]
    return answer

# %% wrong: the oldest waiting part is dropped
def missed(arrivals, service, places):
    waiting, free_at, answer = [], 0, []
    for i, t in enumerate(arrivals):
        while waiting and free_at <= t:
            free_at += service[waiting.pop(0)]
        if free_at <= t:
            free_at = t + service[i]
        else:
            waiting.append(i)
            if len(waiting) > places:
                answer.append(waiting.pop(0))
    return sorted(answer)

# %% wrong: their number in place of the list
def missed(arrivals, service, places):
    ends, count = [], 0
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if len(ends) > places:
            count += 1
        else:
            ends.append(max([t, *ends]) + service[i])
    return count

# %% wrong: counts from one
def missed(arrivals, service, places):
    ends, answer = [], []
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if len(ends) > places:
            answer.append(i + 1)
        else:
            ends.append(max([t, *ends]) + service[i])
    return answer

# %% wrong: takes at most one part out of the queue
from collections import deque


def missed(arrivals, service, places):
    waiting, free_at, answer = deque(), 0, []
    for i, t in enumerate(arrivals):
        if waiting and free_at <= t:
            free_at += waiting.popleft()
        if free_at <= t:
            free_at = t + service[i]
        elif len(waiting) < places:
            waiting.append(service[i])
        else:
            answer.append(i)
    return answer

# %% wrong: a set
def missed(arrivals, service, places):
    ends, answer = [], set()
    for i, t in enumerate(arrivals):
        ends = [end for end in ends if end > t]
        if len(ends) > places:
            answer.add(i)
        else:
            ends.append(max([t, *ends]) + service[i])
    return answer
