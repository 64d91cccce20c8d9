"""The marks of a detector as finished runs hold them: only what the figures need.

Of a mark near no nodule and no speck, the judge reads the score alone (`measure.judge`), so
its position and diameter are left out.
"""

from typing import Any

import numpy as np

from deepseek_learn.solutions.nodules.evaluate import Marked

FAR = 1e9  # mm: where a false mark lies when it is read again


def to_dict(marked: Marked) -> dict[str, Any]:
    """Return the nodules and specks, the marks near one of them, the others' scores."""
    facts = marked.to_dict()
    table = np.array(facts.pop("marks"), float).reshape(-1, 5)
    spheres = np.concatenate(
        [marked.nodules.reshape(-1, 4), marked.specks.reshape(-1, 4)]
    )
    apart = np.linalg.norm(table[:, None, 1:4] - spheres[None, :, :3], axis=2)
    near = (apart < spheres[:, 3] / 2 + 0.001).any(1)  # four decimals are stored
    return facts | {"near": table[near].tolist(), "false": table[~near, 0].tolist()}


def from_dict(facts: dict[str, Any]) -> Marked:
    """Return marks that are judged as those of which `to_dict` made this."""
    false = np.full((len(facts["false"]), 5), FAR)
    false[:, 0] = facts["false"]
    near = np.array(facts["near"], float).reshape(-1, 5)
    return Marked.from_dict(facts | {"marks": np.concatenate([near, false])})
