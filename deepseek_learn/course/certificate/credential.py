"""The Open Badge 3.0 credential, which is a function of the portfolio.

It is a verifiable credential in the form of a JSON Web Token, signed with Ed25519. Its
`Evidence` is the fingerprint of the portfolio, and its `Result`s are the scores. The
verifier recomputes the whole token except for the signature and compares the bytes.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ...catalog import choose, text
from ...errors import require
from . import jws
from .keys import PublicKey
from .learner import Learner
from .portfolio import Portfolio
from .refusal import Refused
from .results import Project, Results
from .tasks import tasks

if TYPE_CHECKING:
    from openbadgeslib.ob3.credential import OpenBadgeCredential

SPACE = uuid.UUID("5f0b2c9e-7a34-4a55-8f0e-2d1f5f8f3c11")  # of the credentials' ids
LONGEST = 1 << 16  # characters of a token


@dataclass(frozen=True)
class Issuer:
    """The issuer of a certificate.

    Attributes:
        name: the teacher's name; empty if the learner signs.
        key: the issuer's public key.
    """

    name: str
    key: PublicKey


@dataclass(frozen=True)
class Certificate:
    """The contents of a certificate.

    Attributes:
        learner: the learner who earned it.
        results: the results of the projects and of the graded exercises.
        fingerprint: the SHA-256 hash of the portfolio.
        issuer: the learner or the teacher who signs it.
    """

    learner: Learner
    results: Results
    fingerprint: str
    issuer: Issuer

    @classmethod
    def of(cls, portfolio: Portfolio, issuer: Issuer) -> "Certificate":
        """Compute the certificate of a portfolio."""
        learner = Learner.of(portfolio)
        results = Results.of(portfolio, learner)
        return cls(learner, results, portfolio.fingerprint, issuer)

    @property
    def title(self) -> str:
        return self._say("title")

    @property
    def issued(self) -> str:
        """The sentence that names the issuer and says that no university vouches for it."""
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
        """Return the certificate as lines of text."""
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
        """Compare a token with the one that follows from the portfolio.

        Raises:
            Refused: if the token has another signer, another content or another form,
                or was changed after signing; the message says which.
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
    """Return the key and the name of the issuer that an unverified token claims."""
    if len(token) > LONGEST:
        raise Refused("malformed", file="credential.jwt")
    try:
        options = {"verify_signature": False}
        issuer = _library("jwt").decode(token, options=options)["issuer"]
        return str(issuer["id"]), str(issuer["name"])
    except Exception as error:  # the token is a stranger's
        raise Refused("malformed", file="credential.jwt") from error


def difference(expected: Any, actual: Any, path: str = "") -> tuple[str, Any, Any]:
    """Return the path at which two JSON trees first differ, and both values there."""
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
