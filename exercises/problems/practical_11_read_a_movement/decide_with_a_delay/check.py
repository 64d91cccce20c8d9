"""The most probable state of each window, a few windows later."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CASES = [
    (3, 40, 1),
    (4, 60, 0),
    (4, 60, 2),
    (3, 3000, 5),  # long: an answer that does not normalize underflows
    (5, 4, 9),
]  # states, windows, delay
CASES += [(4, 2, 0)] * 8 + [(4, 3, 1)] * 8  # short: the beginning counts
FAR = 100  # windows: what comes later no longer changes a decision


def check(answer, rng) -> None:
    expect.function(answer, "decide")
    for states, count, delay in CASES:
        likelihood, transitions = stream(rng, states, count, delay)
        call = f"decide(likelihood {[count, states]}, transitions, {delay})"
        got = expect.call(answer, likelihood.copy(), transitions.copy(), delay)
        got = expect.numbers(got, call)
        if got.shape != (count,):
            raise Failed("shape", call=call, want=count, got=list(got.shape))
        compare(got, likelihood, transitions, delay, call)


def stream(rng, states: int, count: int, delay: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a stream whose answers are clear, and differ from those of common mistakes."""
    while True:
        transitions = rng.dirichlet(np.full(states, 0.3), states) + 0.01
        transitions += 2 * np.eye(states)
        transitions /= transitions.sum(1, keepdims=True)
        truth = [int(rng.integers(states))]
        for _ in range(count - 1):
            truth.append(int(rng.choice(states, p=transitions[truth[-1]])))
        signal = 1.3 * np.eye(states)[truth] + rng.normal(size=(count, states))
        likelihood = np.exp(signal) * rng.uniform(0.01, 100, (count, 1))
        chance = posterior(likelihood, transitions, delay)
        top = np.sort(chance, 1)[:, -2:]
        clear = top[:, 0] < 0.999 * top[:, 1]
        if clear.all() and np.isfinite(chance).all():
            return likelihood, transitions


def posterior(
    likelihood: np.ndarray, transitions: np.ndarray, delay: int
) -> np.ndarray:
    rows, alpha = [], np.ones(likelihood.shape[1])
    for t, each in enumerate(likelihood):
        alpha = each * (alpha @ transitions if t else alpha)
        alpha /= alpha.sum()
        after = np.ones_like(alpha)
        for later in likelihood[t + 1 : t + 1 + delay][::-1]:
            after = transitions @ (later * after)
            after /= after.sum()
        rows.append(alpha * after / (alpha * after).sum())
    return np.stack(rows)


def compare(got, likelihood, transitions, delay: int, call: str) -> None:
    want = posterior(likelihood, transitions, delay).argmax(1)
    if (got == want).all():
        return
    guesses = {
        "future": posterior(likelihood, transitions, FAR).argmax(1),
        "present": posterior(likelihood, transitions, 0).argmax(1),
        "alone": likelihood.argmax(1),
        "transposed": posterior(likelihood, transitions.T, delay).argmax(1),
    }
    window = int(np.argmax(got != want))
    for key, guess in guesses.items():
        if (got == guess).all():
            raise Failed(key, call=call, window=window)
    state = got[window]
    shown = int(state) if np.isfinite(state) else str(state)
    raise Failed("value", call=call, window=window, want=int(want[window]), got=shown)
