"""What a hospital has spent of its patients' privacy, in a file that outlives processes.

    python -m deepseek_learn.solutions.nodules.federated.ledger /srv/ledger.json harbor 4.0

The command makes a ledger with a budget (epsilon; delta is 0.0001). A hospital without one
does not train privately: if a missing ledger counted as an empty one, whoever deletes it
would have the whole budget again. A ledger is for the patients of one hospital; two ledgers
for the same patients would spend twice.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from ....errors import DamagedFileError
from ....files import atomic_write, exclusive
from .privacy import Budget, BudgetSpentError, Spending, epsilon_of, noise_for

DELTA, MOST = 1e-4, 2.0


class Ledger:
    """A ledger.

    A spending is written before the steps run: a process that is killed in between has
    spent too much in the file, never too little.

    Args:
        path: the JSON file, which `create` has made.

    Raises:
        FileNotFoundError: if there is none.
        DamagedFileError: if the file is not a ledger.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.hospital, self.budget, self.spent = self._read()

    @classmethod
    def create(cls, path: str | Path, hospital: str, budget: Budget) -> "Ledger":
        """Make an empty ledger.

        Raises:
            FileExistsError: if the file exists.
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"{path} exists; a ledger is made once.")
        _write(path, hospital, budget, ())
        return cls(path)

    def _read(self) -> tuple[str, Budget, tuple[Spending, ...]]:
        try:
            facts = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(facts["spent"], list):
                raise TypeError("spent is no list")
            spent = tuple(Spending(**row) for row in facts["spent"])
            return str(facts["hospital"]), Budget(**facts["budget"]), spent
        except FileNotFoundError:
            raise FileNotFoundError(
                f"There is no ledger {self.path}; `python -m {__name__}` makes one."
            ) from None
        except (ValueError, TypeError, KeyError, UnicodeDecodeError) as error:
            raise DamagedFileError(
                f"{self.path} is not a privacy ledger; without it, nobody knows what has "
                "been spent, so no training may start."
            ) from error

    @property
    def epsilon(self) -> float:
        """What has been spent, at the budget's delta."""
        return epsilon_of(self.spent, self.budget.delta)

    def noise(self, rate: float, left: int, whole: int) -> float:
        """Return the least noise with which a run's steps keep within what is left.

        Args:
            rate: the probability with which a step takes a patient.
            left: the steps that are still to do.
            whole: the steps of the whole run.

        Raises:
            BudgetSpentError: if the run would need more than twice the noise that it needs
                with an untouched budget.
        """
        most = MOST * noise_for(self.budget, rate, whole)
        return noise_for(self.budget, rate, left, self.spent, most)

    def charge(self, spending: Spending) -> float:
        """Write down a spending and return the epsilon spent so far, including it.

        Raises:
            BudgetSpentError: if it would exceed the budget; then nothing is written.
            FileExistsError: if another process is charging the ledger at this moment.
        """
        # the ledger itself is replaced, so it cannot be the file that is locked
        with self.path.with_name(f"{self.path.name}.lock").open("w") as file:
            exclusive(file.fileno(), self.path)
            self.hospital, self.budget, self.spent = self._read()
            after = epsilon_of([*self.spent, spending], self.budget.delta)
            if not after <= self.budget.epsilon:
                raise BudgetSpentError(
                    f"These {spending.steps} steps would bring epsilon from "
                    f"{self.epsilon:.3g} to {after:.3g}, which exceeds the budget of "
                    f"{self.budget.epsilon:g} (delta {self.budget.delta:g})."
                )
            self.spent = (*self.spent, spending)
            _write(self.path, self.hospital, self.budget, self.spent)
            return after


def _write(
    path: Path, hospital: str, budget: Budget, spent: tuple[Spending, ...]
) -> None:
    rows = [asdict(each) for each in spent]
    facts = {"hospital": hospital, "budget": asdict(budget), "spent": rows}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="the file, which must not exist")
    parser.add_argument("hospital", help="its name, as in the node's configuration")
    parser.add_argument("epsilon", type=float)
    parser.add_argument("--delta", type=float, default=DELTA)
    options = parser.parse_args()
    Ledger.create(
        options.path, options.hospital, Budget(options.epsilon, options.delta)
    )
