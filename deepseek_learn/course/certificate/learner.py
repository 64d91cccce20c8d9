"""The owner of a portfolio, and the seeds of this learner's runs."""

import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass
from typing import Any

from ...catalog import LANGUAGES
from ...escaping import printable
from .portfolio import Portfolio
from .refusal import Refused

FILE = "learner.json"
RUNS = 5  # of each project
LONGEST = 80
SALT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Learner:
    """The learner that a portfolio belongs to.

    Attributes:
        name: the learner's name, as printed on the certificate.
        lang: the language of the certificate.
        salt: 16 random bytes in hexadecimal digits.
        key: the learner's public key, as a `did:key`.
    """

    name: str
    lang: str
    salt: str
    key: str

    def __post_init__(self) -> None:
        check_name(self.name)
        well_formed = (
            self.lang in LANGUAGES
            and SALT.fullmatch(str(self.salt))
            and re.fullmatch(r"did:key:z[1-9A-HJ-NP-Za-km-z]{40,60}", str(self.key))
        )
        if not well_formed:
            raise Refused("malformed", file=FILE)

    @classmethod
    def new(cls, name: str, lang: str, key: str) -> "Learner":
        return cls(name, lang, secrets.token_hex(16), key)

    @classmethod
    def of(cls, portfolio: Portfolio) -> "Learner":
        """Read `learner.json`.

        Raises:
            Refused: if it is missing or malformed, or if the name holds characters
                that do not print.
        """
        return cls(**read_json(portfolio, FILE, set(cls.__dataclass_fields__)))

    def to_json(self) -> bytes:
        return write_json(asdict(self))

    def seeds(self, task: str) -> list[int]:
        """Return the seeds of the runs of a project.

        They are a hash of the learner's name, key and salt, so that nobody can use the
        results of another learner, or choose single seeds.
        """
        return [self._seed(f"{task}|{run}") for run in range(RUNS)]

    def training_seeds(self, task: str) -> list[int]:
        """Return the seeds that are passed to the runs of a project.

        They do not reveal `seeds`, which determine the classes of the test items.
        """
        return [self._seed(f"{task}|{run}|training") for run in range(RUNS)]

    def graded_seed(self, problem: str) -> int:
        """Return the seed of the recorded check of a graded answer."""
        return self._seed(f"graded|{problem}")

    def _seed(self, words: str) -> int:
        content = f"{self.key}|{self.salt}|{self.name}|{words}"
        return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4]) >> 1


def read_json(portfolio: Portfolio, path: str, fields: set[str]) -> dict:
    """Return the object in a JSON file, which must have exactly these fields.

    Raises:
        Refused: if the file is missing, has other content, or has duplicate fields, of
            which parsers return different ones.
    """
    if path not in portfolio.files:
        raise Refused("missing", file=path)
    try:
        record = json.loads(portfolio.files[path], object_pairs_hook=once_each)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or set(record) != fields:
        raise Refused("malformed", file=path)
    return record


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dictionary; raise a `ValueError` for duplicate fields."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate field")
    return result


def write_json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def check_name(name: object) -> None:
    """Refuse a name that is not one line of visible characters.

    Raises:
        Refused: if it is empty, too long, or has characters that control a screen.
    """
    well_formed = isinstance(name, str) and 0 < len(name) <= LONGEST
    if not well_formed or printable(name) != name or str(name).strip() != name:
        raise Refused("learner_name", name=name, most=LONGEST)
