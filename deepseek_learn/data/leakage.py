"""Measure how much a random split inflates the score, compared with a grouped split.

Two items from the same group (cells from one solar module, windows from one person)
resemble each other. If one is in the training set and the other in the test set, a
model that recognizes the group gets the answer right without having learned the task.
In activity recognition, a random split raises the score by about 10%, or by 16% with
overlapping windows (Dehghani et al. 2019, "Subject cross validation in human activity
recognition", arXiv 1904.02666).
Lesson: `notebooks/practical/03_defects_supervised.ipynb`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..catalog import text
from ..report import Report
from .dataset import LabeledDataset
from .splits import split

if TYPE_CHECKING:
    import plotly.graph_objects as go

FitAndScore = Callable[[LabeledDataset, LabeledDataset, LabeledDataset], float]


@dataclass(frozen=True)
class Leak(Report):
    """A model's scores under random and grouped splits.

    Attributes:
        scores: one row per seed, with the columns `random`, `grouped` and `difference`.
        summary: one row for each of these columns, with the `mean` and the bounds `low`
            and `high` of its 95% interval.
        groups: the number of groups in the dataset.

    >>> import torch
    >>> from deepseek_learn import data
    >>> x = torch.rand(60, 3, 20)
    >>> people = [i // 6 for i in range(60)]
    >>> dataset = data.SeriesDataset(x, torch.arange(60) % 2, groups=people)
    >>> def fit_and_score(train, validation, test):
    ...     return float((test.labels == 1).float().mean())
    >>> leak = data.leak(dataset, fit_and_score, seeds=range(2))
    >>> leak.groups, len(leak.scores)
    (10, 2)
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    groups: int

    @property
    def difference(self) -> float:
        """The mean score under random splits minus the mean under grouped splits."""
        return float(self.summary["mean"]["difference"])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the difference."""
        low, high = self.summary.loc["difference", ["low", "high"]]
        return float(low), float(high)

    def to_frame(self) -> pd.DataFrame:
        names = {row: text(f"leak.{row}") for row in self.summary.index}
        return self.summary.rename(index=names)

    def plot(self) -> "go.Figure":
        """Plot the random and grouped scores, with one line per seed, and the mean."""
        import plotly.graph_objects as go

        names = [text("leak.random"), text("leak.grouped")]
        figure = go.Figure()
        for seed, row in self.scores[["random", "grouped"]].iterrows():
            figure.add_scatter(
                x=names,
                y=row,
                name=text("leak.seed", seed=seed),
                line={"color": "#bbbbbb", "width": 1},
                showlegend=False,
            )
        mean = self.summary["mean"][["random", "grouped"]]
        line = {"color": "#4c78a8", "width": 4}
        figure.add_scatter(x=names, y=mean, name=text("leak.mean"), line=line)
        return figure.update_layout(
            template="plotly_white", yaxis_title=text("leak.score"), height=380
        )

    def why(self) -> str:
        low, high = self.interval
        verdict = "flatters" if low > 0 else "lower" if high < 0 else "unclear"
        facts: dict[str, Any] = {
            "difference": abs(self.difference),
            "low": low,
            "high": high,
        }
        facts |= {"seeds": len(self.scores), "groups": self.groups}
        facts["higher"] = int((self.scores["difference"] > 0).sum())
        facts |= self.summary["mean"][["random", "grouped"]].to_dict()
        return text(f"leak.{verdict}", **facts)


def leak(
    dataset: LabeledDataset,
    fit_and_score: FitAndScore,
    *,
    seeds: Iterable[int] = range(5),
    fractions: tuple[float, float] = (0.15, 0.25),
    stratify: np.ndarray | None = None,
) -> Leak:
    r"""Fit and score a model under random splits and under grouped splits.

    For a mean :math:`\bar d` over n seeds, the interval is based on Student's t
    distribution, corrected for the overlap between the training sets of different seeds
    (Nadeau & Bengio 2003, "Inference for the generalization error", Machine Learning
    52):

    .. math:: \bar d \pm t_{n-1} s \sqrt{1/n + N_\mathrm{test} / N_\mathrm{train}}

    The interval is intended to cover other data of the same kind, rather than only
    other splits of the same data. For a dataset with few groups, it is therefore wide,
    no matter how many seeds are used.

    Args:
        dataset: a dataset with groups.
        fit_and_score: a function `(train, validation, test) -> score`, where higher is
            better. Each call must fit a new model and score it on `test`. It must
            always use the same seed, so that only the split differs.
        seeds: the seeds of the splits, at least 2. Five or more give a useful interval.
        fractions, stratify: as in `data.split`, for both kinds of split.

    Raises:
        ValueError: if there are fewer than 2 seeds, a seed is repeated, a score is not
            finite, or `data.split` cannot split the dataset.

    >>> import torch
    >>> from deepseek_learn import data
    >>> x = torch.rand(60, 3, 20)
    >>> people = [i // 6 for i in range(60)]
    >>> dataset = data.SeriesDataset(x, torch.arange(60) % 2, groups=people)
    >>> def fit_and_score(train, validation, test):
    ...     majority = train.labels.mode().values
    ...     return float((test.labels == majority).float().mean())
    >>> leak = data.leak(dataset, fit_and_score, seeds=range(2))
    >>> leak.groups
    10
    """
    seeds = list(seeds)
    if len(set(seeds)) != len(seeds) or len(seeds) < 2:
        raise ValueError(f"seeds must contain at least 2 different seeds; got {seeds}.")
    kinds = {"random": None, "grouped": "groups"}
    rows = {}
    for seed in seeds:
        scores = {}
        for kind, by in kinds.items():
            parts = split(dataset, fractions, seed=seed, by=by, stratify=stratify)
            scores[kind] = float(fit_and_score(*parts))
            if not np.isfinite(scores[kind]):
                raise ValueError(
                    f"fit_and_score must return a finite score; got {scores[kind]} for "
                    f"the {kind} split of seed {seed}."
                )
        rows[seed] = scores | {"difference": scores["random"] - scores["grouped"]}
    frame = pd.DataFrame(rows).T.rename_axis("seed")
    ratio = fractions[1] / (1 - sum(fractions))
    return Leak(frame, _summary(frame, ratio), _number_of_groups(dataset))


def _number_of_groups(dataset: LabeledDataset) -> int:
    assert dataset.groups is not None  # `split` rejects such a dataset
    return len(np.unique(dataset.groups))


def _summary(scores: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """Return the mean of each column and its corrected 95% interval.

    `ratio` is the size of the test set divided by the size of the training set.
    """
    n, mean = len(scores), scores.mean()
    half = student_t(n - 1) * scores.std(ddof=1) * np.sqrt(1 / n + ratio)
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half})


def student_t(freedom: int) -> float:
    r"""Return the 97.5% quantile of Student's t with `freedom` degrees of freedom.

    With :math:`t = \sqrt\nu \tan\theta`, the density is proportional to
    :math:`\cos^{\nu-1}\theta`, which is integrated numerically.
    """
    theta = np.linspace(0, np.pi / 2, 100_001)
    middle = (theta[1:] + theta[:-1]) / 2
    mass = np.cumsum(np.cos(middle) ** (freedom - 1))
    return float(np.sqrt(freedom) * np.tan(np.interp(0.95, mass / mass[-1], theta[1:])))
