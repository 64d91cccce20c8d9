"""The settings of a federated run, and those of each hospital.

The server's settings (`Settings`) stand in `flower_app/pyproject.toml`. What belongs to a
hospital (`Site`) stands in the configuration of its own SuperNode, which the server cannot
change: its patients, and its ledger with its budget.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checked import at_least, check_fields, read
from .learning import Local
from .tasks import TASKS

CHOICES = {
    "task": tuple(TASKS),
    "strategy": ("fedmedian", "fedavg", "fedprox"),
    "clipped_by": ("nobody", "server", "hospitals"),
}


@dataclass(frozen=True)
class Settings:
    """The settings of a run, as in `flower_app/pyproject.toml`.

    Attributes:
        task: what is learned, one of `tasks.TASKS`: "candidates" or "detector".
        rounds: the number of rounds.
        strategy: "fedmedian" takes the median of each weight over the hospitals, after
            each update was clipped to the median norm: what fewer than half of the
            hospitals send cannot ruin the model. "fedavg" and "fedprox" average by
            patients, and trust every hospital.
        steps, patients, lr, proximal: of `learning.Local`; without FedProx, proximal is 0.
        hospitals: the number of hospitals to wait for.
        least: the least number of hospitals in a round; with fewer answers, it is void.
            If updates are clipped, all hospitals must answer.
        registered: the names of the hospitals and how many patients each may count for
            in the average, such as "north=160 harbor=80 valley=40"; a hospital with
            another name is refused. "" if anybody may answer, which only an average that
            does not count patients permits.
        timeout: how long to wait for the answers of a round, in seconds.
        int8: whether hospitals send their updates as 8-bit codes.
        clipped_by: who clips whole updates so that no hospital stands out: "nobody", the
            "server", or the "hospitals" themselves; the server then adds noise to the
            average. This protects hospitals; for patients, see `Site.ledger`.
        clip: the largest norm of an update.
        noise: the noise multiplier; the noise in the average has the standard deviation
            noise * clip / hospitals.
        max_epsilon: the budget at delta = 0.001, beyond which the run ends; 0 for none.
        out: the server's folder for the model and the record of the rounds. A run whose
            folder has a model goes on from there.
    """

    task: str = "candidates"
    rounds: int = 10
    strategy: str = "fedmedian"
    steps: int = 10
    patients: int = 16
    lr: float = 0.01
    proximal: float = 0.1
    hospitals: int = 3
    least: int = 2
    registered: str = ""
    timeout: float = 600.0
    int8: bool = False
    seed: int = 0
    clipped_by: str = "nobody"
    clip: float = 1.0
    noise: float = 1.0
    max_epsilon: float = 0.0
    out: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}; "
                    f"got {getattr(self, name)!r}."
                )
        positive = math.ulp(0)
        at_least(self, rounds=1, hospitals=1, least=1, seed=0)
        at_least(self, timeout=positive, clip=positive, max_epsilon=0.0)
        if self.least > self.hospitals:
            raise ValueError(
                f"least must be at most hospitals ({self.hospitals}); got {self.least}."
            )
        if self.clipped_by != "nobody":
            at_least(self, noise=positive)
            if self.strategy == "fedmedian":
                raise ValueError(
                    "strategy must be fedavg or fedprox if updates are clipped by the "
                    f"{self.clipped_by}, since the noise is that of a mean; got "
                    "'fedmedian'."
                )
        if self.by_patients and not self.patients_of():
            raise ValueError(
                f"registered must name the hospitals if strategy is {self.strategy}, "
                "with the patients that each may count for, such as 'north=160 "
                "harbor=80'; got ''."
            )
        if self.clipped_by == "hospitals" and self.int8:
            raise ValueError(
                "int8 must be false if hospitals clip their updates; got True."
            )
        self.patients_of()
        self.local()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Settings":
        """Read the settings of a Flower run.

        Raises:
            ValueError: if one is unknown or out of its range.
        """
        return read(cls, config, "the settings of a run")

    @property
    def by_patients(self) -> bool:
        """Whether a hospital's weight in the average is its number of patients."""
        return self.strategy != "fedmedian" and self.clipped_by == "nobody"

    def patients_of(self) -> dict[str, int]:
        """Return how many patients each registered hospital may count for.

        Raises:
            ValueError: if `registered` cannot be read.
        """
        pairs = [each.rpartition("=") for each in self.registered.split()]
        counts = {
            name: int(n) for name, _, n in pairs if re.fullmatch("[1-9][0-9]*", n)
        }
        if "" in counts or len(counts) < len(pairs):
            raise ValueError(
                "registered must be different names, each with a positive whole number, "
                f"such as 'north=160 harbor=80'; got {self.registered!r}."
            )
        return counts

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
        ledger: the absolute path of its ledger (`ledger.PrivacyLedger`), which contains its
            budget; "" for training without differential privacy.
    """

    hospital: str
    data: str = ""
    ledger: str = ""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.hospital:
            raise ValueError("hospital must be a name; got ''.")
        if self.ledger and not Path(self.ledger).is_absolute():
            raise ValueError(
                "ledger must be an absolute path, so that it is found from every folder; "
                f"got {self.ledger!r}."
            )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Site":
        """Read the configuration of a SuperNode.

        Raises:
            ValueError: if `hospital` is missing, or an entry is unknown or of another type.
        """
        if isinstance(config, Mapping) and "hospital" not in config:
            raise ValueError("a hospital's configuration must name the hospital.")
        return read(cls, config, "a hospital's configuration")
