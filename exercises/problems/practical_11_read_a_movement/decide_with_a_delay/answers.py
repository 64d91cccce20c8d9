"""Answers to `decide_with_a_delay`: the starter, right ones and wrong ones."""

# %% starter
def decide(likelihood, transitions, delay):
    ...

# %% solution
import numpy as np


def decide(likelihood, transitions, delay):
    states, alpha = [], None
    for t, each in enumerate(likelihood):
        alpha = each if alpha is None else each * (alpha @ transitions)
        alpha = alpha / alpha.sum()
        after = np.ones(len(alpha))
        for later in likelihood[t + 1 : t + 1 + delay][::-1]:
            after = transitions @ (later * after)
            after = after / after.sum()
        states.append((alpha * after).argmax())
    return np.array(states)

# %% right: in logarithms
import numpy as np


def decide(likelihood, transitions, delay):
    log, a = np.log(likelihood), np.log(transitions)

    def lse(x, axis):
        top = x.max(axis, keepdims=True)
        return np.squeeze(top + np.log(np.exp(x - top).sum(axis, keepdims=True)), axis)

    forward = [log[0]]
    for row in log[1:]:
        forward.append(row + lse(forward[-1][:, None] + a, 0))
    result = []
    for t in range(len(log)):
        after = np.zeros(log.shape[1])
        for later in range(min(len(log) - 1, t + delay), t, -1):
            after = lse(a + (log[later] + after)[None], 1)
        result.append(int((forward[t] + after).argmax()))
    return result

# %% right: joint tables, normalized
import numpy as np


def decide(likelihood, transitions, delay):
    p = likelihood / likelihood.sum(1, keepdims=True)
    count, states = p.shape
    out = np.zeros(count, int)
    alpha = np.full(states, 1 / states)
    for t in range(count):
        if t:
            alpha = alpha @ transitions
        alpha = alpha * p[t]
        alpha /= alpha.sum()
        table = np.diag(alpha)  # state now, state later
        for later in p[t + 1 : t + 1 + delay]:
            table = (table @ transitions) * later
            table /= table.sum()
        out[t] = table.sum(1).argmax()
    return out

# %% wrong: all later windows
import numpy as np


def decide(likelihood, transitions, delay):
    return solve(likelihood, transitions, len(likelihood))


def solve(likelihood, transitions, delay):
    states, alpha = [], None
    for t, each in enumerate(likelihood):
        alpha = each if alpha is None else each * (alpha @ transitions)
        alpha = alpha / alpha.sum()
        after = np.ones(len(alpha))
        for later in likelihood[t + 1 : t + 1 + delay][::-1]:
            after = transitions @ (later * after)
            after = after / after.sum()
        states.append((alpha * after).argmax())
    return np.array(states)

# %% wrong: no later window
import numpy as np


def decide(likelihood, transitions, delay):
    states, alpha = [], None
    for each in likelihood:
        alpha = each if alpha is None else each * (alpha @ transitions)
        alpha = alpha / alpha.sum()
        states.append(alpha.argmax())
    return np.array(states)

# %% wrong: each window alone
def decide(likelihood, transitions, delay):
    return likelihood.argmax(1)

# %% wrong: rows and columns swapped
import numpy as np


def decide(likelihood, transitions, delay):
    transitions = transitions.T
    states, alpha = [], None
    for t, each in enumerate(likelihood):
        alpha = each if alpha is None else each * (alpha @ transitions)
        alpha = alpha / alpha.sum()
        after = np.ones(len(alpha))
        for later in likelihood[t + 1 : t + 1 + delay][::-1]:
            after = transitions @ (later * after)
            after = after / after.sum()
        states.append((alpha * after).argmax())
    return np.array(states)

# %% wrong: one window too many
import numpy as np


def decide(likelihood, transitions, delay):
    states, alpha = [], None
    for t, each in enumerate(likelihood):
        alpha = each if alpha is None else each * (alpha @ transitions)
        alpha = alpha / alpha.sum()
        after = np.ones(len(alpha))
        for later in likelihood[t + 1 : t + 2 + delay][::-1]:
            after = transitions @ (later * after)
            after = after / after.sum()
        states.append((alpha * after).argmax())
    return np.array(states)

# %% wrong: later windows in the order of time
import numpy as np


def decide(likelihood, transitions, delay):
    states, alpha = [], None
    for t, each in enumerate(likelihood):
        alpha = each if alpha is None else each * (alpha @ transitions)
        alpha = alpha / alpha.sum()
        after = np.ones(len(alpha))
        for later in likelihood[t + 1 : t + 1 + delay]:
            after = transitions @ (later * after)
            after = after / after.sum()
        states.append((alpha * after).argmax())
    return np.array(states)

# %% wrong: the answer comes later, for the wrong window
import numpy as np


def decide(likelihood, transitions, delay):
    states, alpha = [], None
    for each in likelihood:
        alpha = each if alpha is None else each * (alpha @ transitions)
        alpha = alpha / alpha.sum()
        states.append(alpha.argmax())
    states = np.array(states)
    return np.concatenate([states[delay:], np.repeat(states[-1:], min(delay, len(states)))])

# %% wrong: it underflows
import numpy as np


def decide(likelihood, transitions, delay):
    states, alpha = [], None
    for t, each in enumerate(likelihood / likelihood.sum(1, keepdims=True)):
        alpha = each if alpha is None else each * (alpha @ transitions)
        after = np.ones(len(alpha))
        for later in likelihood[t + 1 : t + 1 + delay][::-1]:
            after = transitions @ (later * after)
        states.append((alpha * after).argmax())
    return np.array(states)

# %% wrong: a majority of the windows
import numpy as np


def decide(likelihood, transitions, delay):
    best = likelihood.argmax(1)
    return np.array(
        [np.bincount(best[t : t + delay + 1]).argmax() for t in range(len(best))]
    )
