"""The settings of a federated run, and those of each hospital.

The server's settings (`Settings`) stand in `flower_app/pyproject.toml`. What belongs to a
hospital (`Site`) stands in the configuration of its own SuperNode, which the server cannot
change: its patients, its ledger, and its budget.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from .learning import Local
from .privacy import Budget
from .tasks import TASKS

CHOICES = {
    "task": tuple(TASKS),
    "strategy": ("fedavg", "fedprox"),
    "clipped_by": ("nobody", "server", "hospitals"),
}


@dataclass(frozen=True)
class Settings:
    """The settings of a run, as in `flower_app/pyproject.toml`.

    Attributes:
        task: what is learned, one of `tasks.TASKS`: "candidates" or "detector".
        rounds: the number of rounds.
        strategy: "fedavg" or "fedprox".
        steps, patients, lr, proximal: of `learning.Local`; without FedProx, proximal is 0.
        hospitals: the number of hospitals to wait for.
        least: the least number of hospitals in a round; with fewer answers, it is void.
        timeout: how long to wait for the answers of a round, in seconds.
        int8: whether hospitals send their updates as 8-bit codes.
        clipped_by: who clips whole updates so that no hospital stands out: "nobody", the
            "server", or the "hospitals" themselves; the server then adds noise to the
            average. This protects hospitals; for patients, see `Site.epsilon`.
        clip: the largest norm of an update.
        noise: the noise multiplier; the noise in the average has the standard deviation
            noise * clip / hospitals.
        max_epsilon: the budget at delta = 0.001, beyond which the run ends; 0 for none.
        out: the server's folder for the model and the record of the rounds. A run whose
            folder has a model goes on from there.
    """

    task: str = "candidates"
    rounds: int = 10
    strategy: str = "fedavg"
    steps: int = 10
    patients: int = 16
    lr: float = 0.01
    proximal: float = 0.1
    hospitals: int = 3
    least: int = 2
    timeout: float = 600.0
    int8: bool = False
    seed: int = 0
    clipped_by: str = "nobody"
    clip: float = 1.0
    noise: float = 1.0
    max_epsilon: float = 0.0
    out: str = ""

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}; "
                    f"got {getattr(self, name)!r}."
                )
        for name in ("rounds", "hospitals", "least"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1; got {getattr(self, name)}."
                )
        for name, least in (("clip", math.ulp(0)), ("max_epsilon", 0.0)):
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} is out of its range; got {getattr(self, name)}."
                )
        if self.clipped_by != "nobody" and not 0 < self.noise < math.inf:
            raise ValueError(f"noise must be positive; got {self.noise}.")
        if self.clipped_by == "hospitals" and self.int8:
            raise ValueError("int8 must be false if hospitals clip their updates.")
        self.local()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """Read the settings of a Flower run.

        Raises:
            ValueError: if one is unknown or out of its range.
        """
        choices = {each.name for each in fields(cls)}
        if odd := sorted(config.keys() - choices):
            raise ValueError(
                f"{odd[0]!r} is no setting; there are {', '.join(sorted(choices))}."
            )
        return cls(**config)

    def local(self) -> Local:
        proximal = self.proximal if self.strategy == "fedprox" else 0.0
        return Local(self.steps, self.patients, self.lr, proximal)


@dataclass(frozen=True)
class Site:
    """A hospital's own configuration.

    Attributes:
        hospital: its name. If it has no `data`, it is one of `hospitals.HOSPITALS`.
        data: an .npz file with the crops, labels and truth of its patients; for the task
            "detector", a folder of scans.
        ledger: the file in which it accounts for its patients' privacy.
        epsilon: its budget; None for training without differential privacy.
        delta: of the budget.
    """

    hospital: str
    data: str = ""
    ledger: str = ""
    epsilon: float | None = None
    delta: float = 1e-4

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            Budget(self.epsilon, self.delta)
            if not self.ledger:
                raise ValueError(
                    "ledger must name a file, since there is a budget (epsilon)."
                )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Site":
        """Read the configuration of a SuperNode.

        Raises:
            ValueError: if `hospital` is missing, or an entry is unknown or out of range.
        """
        choices = {each.name for each in fields(cls)}
        if odd := sorted(config.keys() - choices):
            raise ValueError(
                f"{odd[0]!r} does not belong to a hospital's configuration."
            )
        if "hospital" not in config:
            raise ValueError("the configuration must name the hospital.")
        return cls(**config)
