"""What a hospital has spent of its patients' privacy, in a file that outlives processes.

    deepseek-learn federated ledger /srv/ledger.json harbor 4.0

The command makes a ledger with a budget (epsilon; delta is 0.0001). A hospital without one
does not train privately: if a missing ledger counted as an empty one, whoever deletes it
would have the whole budget again. A ledger is for the patients of one hospital; two ledgers
for the same patients would spend twice.

A ledger ends with a checksum, and one in which a single bit is wrong is refused: it may say
that less was spent. A ledger from before there was a checksum is refused as well, since
nobody can tell whether it is damaged. Compare its spendings with the record of the runs;
then this command checks it as far as possible and adds the checksum:

    deepseek-learn federated ledger /srv/ledger.json --seal
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...errors import DamagedFileError
from ...files import exclusive
from .privacy import Budget, BudgetSpentError, Spending, epsilon_of, noise_for
from .sealed import SEAL, parse, unseal, write_sealed

MOST = 2.0


class PrivacyLedger:
    """A ledger.

    A spending is written before the steps run: a process that is killed in between has
    spent too much in the file, never too little.

    Args:
        path: the JSON file, which `create` has made.

    Raises:
        FileNotFoundError: if there is none.
        DamagedFileError: if the file is not a ledger, is damaged or has no checksum.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.hospital, self.budget, self.spent = _read(self.path)

    @classmethod
    def create(cls, path: str | Path, hospital: str, budget: Budget) -> "PrivacyLedger":
        """Make an empty ledger.

        Raises:
            FileExistsError: if the file exists.
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"{path} exists; a ledger is made once.")
        _write(path, hospital, budget, ())
        return cls(path)

    @classmethod
    def seal(cls, path: str | Path) -> "PrivacyLedger":
        """Add the checksum to a ledger from before there was one.

        Raises:
            FileExistsError: if it has one: what does not fit it must not be sealed again.
            DamagedFileError: if the file is not a ledger.
        """
        path = Path(path)
        hospital, budget, spent = _read(path, _unsealed)
        _write(path, hospital, budget, spent)
        return cls(path)

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
            self.hospital, self.budget, self.spent = _read(self.path)
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


def _read(
    path: Path, read: Callable[[str], dict[str, Any]] = unseal
) -> tuple[str, Budget, tuple[Spending, ...]]:
    try:
        facts = read(path.read_text(encoding="utf-8"))
        if not isinstance(facts["hospital"], str) or not isinstance(
            facts["spent"], list
        ):
            raise TypeError("hospital must be a string and spent a list")
        spent = tuple(Spending(**row) for row in facts["spent"])
        return facts["hospital"], Budget(**facts["budget"]), spent
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no ledger {path}; `deepseek-learn federated ledger` makes one."
        ) from None
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedFileError(
            f"{path} is not a privacy ledger ({error}); without it, nobody knows what "
            "has been spent, so no training may start."
        ) from error


def _unsealed(text: str) -> dict[str, Any]:
    """Read the text of a ledger from before there was a checksum."""
    facts = parse(text)
    if SEAL in facts:
        raise FileExistsError("The ledger has a checksum already; nothing was changed.")
    return facts


def _write(
    path: Path, hospital: str, budget: Budget, spent: tuple[Spending, ...]
) -> None:
    rows = [asdict(each) for each in spent]
    facts = {"hospital": hospital, "budget": asdict(budget), "spent": rows}
    write_sealed(path, facts)
