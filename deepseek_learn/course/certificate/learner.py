"""Whose portfolio it is, and the seeds that only this learner's runs have."""

import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass
from typing import Any

from ...catalog import LANGUAGES
from ...escaping import printable
from .contents import Contents
from .refusal import Refused

FILE = "learner.json"
RUNS = 5  # of each project
LONGEST = 80
SALT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Learner:
    """The learner that a portfolio belongs to.

    Attributes:
        name: as it stands on the certificate.
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
    def of(cls, contents: Contents) -> "Learner":
        """Read `learner.json`.

        Raises:
            Refused: if it is missing or malformed, or if the name holds characters
                that do not print.
        """
        return cls(**read_json(contents, FILE, set(cls.__dataclass_fields__)))

    def to_json(self) -> bytes:
        return write_json(asdict(self))

    def seeds(self, task: str) -> list[int]:
        """Return the seeds of the runs of a project.

        They follow from the learner's name, key and salt, so that the results of
        another learner do not fit, and nobody chooses seeds one by one.
        """
        return [self._seed(f"{task}|{run}") for run in range(RUNS)]

    def training_seeds(self, task: str) -> list[int]:
        """Return what the runs of a project get as their `seed`.

        They say nothing about `seeds`, from which the tests' classes follow: whoever
        knows those knows the answers.
        """
        return [self._seed(f"{task}|{run}|training") for run in range(RUNS)]

    def graded_seed(self, problem: str) -> int:
        """Return the seed of the recorded check of a graded answer."""
        return self._seed(f"graded|{problem}")

    def _seed(self, words: str) -> int:
        content = f"{self.key}|{self.salt}|{self.name}|{words}"
        return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4]) >> 1


def read_json(contents: Contents, path: str, fields: set[str]) -> dict:
    """Return the object in a JSON file that must have exactly these fields.

    Raises:
        Refused: if the file is missing, has anything else, or has a field twice, of
            which a reader may see the other.
    """
    if path not in contents.files:
        raise Refused("missing", file=path)
    try:
        found = json.loads(contents.files[path], object_pairs_hook=once_each)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or set(found) != fields:
        raise Refused("malformed", file=path)
    return found


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return pairs as a dictionary; raise a `ValueError` if a field is there twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a field stands there twice")
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
