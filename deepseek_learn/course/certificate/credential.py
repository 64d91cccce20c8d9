"""The Open Badge 3.0 credential: what it says follows from the portfolio alone.

It is a verifiable credential in the form of a JSON Web Token, signed with Ed25519. Its
`Evidence` is the fingerprint of the portfolio, its `Result`s are the numbers. Whoever
reads it computes the whole token once more, but for the signature, and compares its
bytes: no word of it is free.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ...catalog import choose, text
from ...errors import require
from . import jws
from .contents import Contents
from .keys import PublicKey
from .learner import Learner
from .refusal import Refused
from .results import Project, Results
from .tasks import tasks

if TYPE_CHECKING:
    from openbadgeslib.ob3.credential import OpenBadgeCredential

SPACE = uuid.UUID("5f0b2c9e-7a34-4a55-8f0e-2d1f5f8f3c11")  # of the credentials' ids
LONGEST = 1 << 16  # characters of a token


@dataclass(frozen=True)
class Issuer:
    """Who signs.

    Attributes:
        name: of the teacher; empty if the learner signs.
        key: the public key.
    """

    name: str
    key: PublicKey


@dataclass(frozen=True)
class Certificate:
    """All that a certificate says.

    Attributes:
        fingerprint: that of the portfolio.
        issuer: who signs it.
    """

    learner: Learner
    results: Results
    fingerprint: str
    issuer: Issuer

    @classmethod
    def of(cls, contents: Contents, issuer: Issuer) -> "Certificate":
        """Compute what the certificate of a portfolio says."""
        learner = Learner.of(contents)
        results = Results.of(contents, learner)
        return cls(learner, results, contents.fingerprint, issuer)

    @property
    def title(self) -> str:
        return self._say("title")

    @property
    def issued(self) -> str:
        """The sentence that says under whose key it stands, and under whose not."""
        if not self.issuer.name:
            return self._say("self_issued")
        return self._say("teacher_issued", teacher=self.issuer.name)

    @property
    def meaning(self) -> str:
        return self._say("meaning", fingerprint=self.fingerprint[:16])

    def line(self, project: Project) -> tuple[str, str]:
        """Return the title of a project, and its result in words."""
        title = choose(tasks.facts(project.task)["title"], self.learner.lang)
        base = f"{project.baseline:.3f}"
        return title, self._say("result", result=project.interval, baseline=base)

    @property
    def graded(self) -> str:
        return self._say("graded", problems=", ".join(self.results.graded))

    def lines(self) -> list[str]:
        """Return everything as lines of text."""
        rows = (self.line(project) for project in self.results.projects)
        projects = [f"{title}: {words}" for title, words in rows]
        head = [self.title, self.learner.name, *projects, self.graded]
        return [*head, self.issued, self.meaning, self.results.made]

    def payload(self) -> dict[str, Any]:
        return self._credential().to_jwt_payload()

    def sign(self, private_pem: bytes) -> str:
        """Return the credential as a signed token."""
        return jws.write(self.payload(), self.issuer.key, private_pem)

    def check(self, token: str) -> None:
        """Compare a token with what the portfolio gives.

        Raises:
            Refused: if another key signed it, it was changed, says anything else, or
                says it in another form; the message says what.
        """
        library = _library("openbadgeslib.ob3.verifier")
        errors = _library("openbadgeslib.errors").LibOpenBadgesException
        try:
            key = self.issuer.key
            actual = library.OB3Verifier(key.pem, issuer_did=key.did).verify(token).raw
        except errors as error:
            raise Refused("signature", signer=self.issuer.key.did, why=error) from error
        expected = self.payload()
        if actual != expected:
            path, here, there = difference(expected, actual)
            raise Refused("credential", path=path, there=there, here=here)
        if not jws.is_canonical(token, expected, self.issuer.key):
            raise Refused("credential_form")

    def _credential(self) -> "OpenBadgeCredential":
        ob = _library("openbadgeslib.ob3.credential")
        identity = f"{self.fingerprint}|{self.issuer.key.did}|{self.issuer.name}"
        achievement = (
            f"urn:uuid:{uuid.uuid5(SPACE, str(self.results.projects[0].task))}"
        )
        rows = [self.line(project) for project in self.results.projects]
        names = [f"{achievement}#{p.task}" for p in self.results.projects]
        return ob.OpenBadgeCredential(
            id=f"urn:uuid:{uuid.uuid5(SPACE, identity)}",
            issuer=ob.Issuer(
                self.issuer.key.did, self.issuer.name or self.learner.name
            ),
            recipient_id=self.learner.key,
            achievement=ob.Achievement(
                id=achievement,
                name=self.title,
                description=f"{self.learner.name}. {self.issued}",
                criteria_narrative=self._say("criteria"),
                achievement_type="Certificate",
                result_descriptions=[
                    ob.ResultDescription(name, title, "RawScore")
                    for name, (title, _) in zip(names, rows, strict=True)
                ],
            ),
            name=self.title,
            issuance_date=datetime.fromisoformat(self.results.made).replace(tzinfo=UTC),
            evidence=[
                ob.Evidence(
                    id=f"urn:sha256:{self.fingerprint}",
                    name=self._say("evidence"),
                    narrative=f"{self.meaning} {self.graded}",
                )
            ],
            results=[
                ob.Result(value=words, result_description=name)
                for name, (_, words) in zip(names, rows, strict=True)
            ],
        )

    def _say(self, key: str, **values: Any) -> str:
        return text(f"certificate.{key}", self.learner.lang, **values)


def issuer_of(token: str) -> tuple[str, str]:
    """Return the key and the name that an unverified token claims as its issuer's."""
    if len(token) > LONGEST:
        raise Refused("malformed", file="credential.jwt")
    try:
        options = {"verify_signature": False}
        issuer = _library("jwt").decode(token, options=options)["issuer"]
        return str(issuer["id"]), str(issuer["name"])
    except Exception as error:  # the token is a stranger's
        raise Refused("malformed", file="credential.jwt") from error


def difference(expected: Any, actual: Any, path: str = "") -> tuple[str, Any, Any]:
    """Return where two trees of JSON first differ, and what stands there in each."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key in sorted(expected.keys() | actual.keys()):
            if expected.get(key) != actual.get(key):
                return difference(expected.get(key), actual.get(key), f"{path}.{key}")
    if isinstance(expected, list) and isinstance(actual, list):
        for place, (a, b) in enumerate(zip(expected, actual, strict=False)):
            if a != b:
                return difference(a, b, f"{path}[{place}]")
    return path.removeprefix("."), expected, actual


def _library(module: str) -> Any:
    return require(module, extra="certificate", purpose="a certificate")
