r"""From windows to a stream of movements: a hidden Markov model.

Which movement a window shows is a hidden state s with a transition matrix A. The network
gives the probability of a state given the window, which is used as the likelihood of the
window, as if all movements were equally frequent in training. With l windows of delay, the
state of window t is judged after window t + l:

.. math:: p(s_t \mid x_{1..t+l}) \propto \alpha_t(s_t)\, \beta_{t, l}(s_t)

(Rabiner 1989, "A tutorial on hidden Markov models"). The matrix may be learned from labeled
streams, and then knows their protocol (nobody goes from lying to walking without standing
up); `sticky` knows only that movements last.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .hapt import CLASSES, HOP, WINDOW, Recording

COUNT = len(CLASSES)
RARE = 1e-3  # added to each count of a learned matrix: anything may happen


def windows(signal: np.ndarray, hop: int = HOP) -> np.ndarray:
    """Return all windows of a stream, `[6, T]` → `[N, 6, 128]`."""
    starts = range(0, signal.shape[1] - WINDOW + 1, hop)
    return np.stack([signal[:, s : s + WINDOW] for s in starts])


def window_labels(label: np.ndarray, hop: int = HOP) -> np.ndarray:
    """Return each window's most frequent label if half of it has it, else -1, `[N]`."""
    result = []
    for start in range(0, len(label) - WINDOW + 1, hop):
        counts = np.bincount(label[start : start + WINDOW] + 1, minlength=COUNT + 1)
        most = int(counts.argmax())
        result.append(most - 1 if counts[most] >= WINDOW // 2 else -1)
    return np.array(result)


@dataclass(frozen=True, eq=False)
class ViterbiDecoder:
    """Decodes streams.

    Attributes:
        transitions: the probability of each state after each state, `[12, 12]`.
    """

    transitions: np.ndarray

    @classmethod
    def sticky(cls, stay: float = 0.9) -> "ViterbiDecoder":
        """A decoder that knows only that movements last."""
        matrix = np.full((COUNT, COUNT), (1 - stay) / (COUNT - 1))
        np.fill_diagonal(matrix, stay)
        return cls(matrix)

    @classmethod
    def learned(
        cls, recordings: Iterable[Recording], hop: int = HOP
    ) -> "ViterbiDecoder":
        """A decoder whose matrix is counted; windows without a label are skipped."""
        counts = np.full((COUNT, COUNT), RARE)
        for recording in recordings:
            labels = window_labels(recording.label, hop)
            labels = labels[labels >= 0]
            np.add.at(counts, (labels[:-1], labels[1:]), 1)
        return cls(counts / counts.sum(1, keepdims=True))

    def decode(self, logits: np.ndarray, delay: int | None = None) -> np.ndarray:
        """Return the most probable state of each window, `[N, 12]` → `[N]`.

        Args:
            delay: how many later windows may be seen; by default, all of them.
        """
        likelihood = np.exp(logits - logits.max(1, keepdims=True))  # [N, 12]
        forward = self._forward(likelihood)
        states = np.empty(len(logits), int)
        after = np.ones(COUNT)
        for t in reversed(range(len(logits))):
            if delay is not None:
                after = self._after(likelihood[t + 1 : t + 1 + delay])
            states[t] = (forward[t] * after).argmax()
            if delay is None:
                after = _scaled(self.transitions @ (likelihood[t] * after))
        return states

    def _forward(self, likelihood: np.ndarray) -> np.ndarray:
        rows = [_scaled(likelihood[0])]
        for each in likelihood[1:]:
            rows.append(_scaled((rows[-1] @ self.transitions) * each))
        return np.stack(rows)

    def _after(self, later: np.ndarray) -> np.ndarray:
        after = np.ones(COUNT)
        for each in later[::-1]:
            after = _scaled(self.transitions @ (each * after))
        return after


def _scaled(x: np.ndarray) -> np.ndarray:
    return x / x.sum()
