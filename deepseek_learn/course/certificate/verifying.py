"""Verify a certificate: compute all that it says, and run its portfolio again."""

import random
from pathlib import Path
from typing import Any

from ...catalog import text
from ...sandbox import isolation
from . import keys
from .agreement import check_same
from .contents import CREDENTIAL, RENDERINGS, Contents, read
from .credential import Certificate, Issuer, issuer_of
from .environment import check_environment, environment
from .learner import Learner, check_name
from .making import Say, check_graded, run_once
from .refusal import Refused
from .results import Project, Run
from .running import fresh_seed, fresh_training_seed


def verify(
    folder: str | Path,
    teacher: str | Path | None = None,
    everything: bool = False,
    trust: bool = False,
    say: Say = print,
) -> Certificate:
    """Verify a portfolio and its certificate by running it again, without network.

    First, without running anything of the learner's: the files, their hashes, the
    signature, and every number and word of the certificate. Then, in a sandbox: the
    graded answers on fresh inputs; of each project one recorded run, which must
    reproduce, and one on fresh data, which must be above the baseline of these data and
    not below the stated interval.

    Args:
        teacher: the public key of the teacher who signed it; by default it must be
            signed by the learner.
        everything: whether to repeat every recorded run instead of one per project.
        trust: whether to run the code even where it cannot be isolated.
        say: called with a sentence for each step.

    Raises:
        Refused: with the reason, if anything does not hold.
    """
    contents = read(folder)
    certificate = check_without_running(contents, teacher, say)
    if isolation() != "namespaces" and not trust:
        raise Refused("no_isolation")
    say(text("certificate.isolated", isolation=isolation()))
    results = certificate.results
    check_graded(contents, {id: fresh_seed() for id in results.graded}, say)
    same_machine = check_environment(contents) == environment()
    fresh: list[Run] = []
    for project in results.projects:
        # nobody who made the portfolio may know which run is repeated
        count = len(project.runs) if everything else 1
        for recorded in random.SystemRandom().sample(project.runs, count):
            seeds = recorded.seed, recorded.training_seed
            again = run_once(contents, project.task, *seeds)
            part = check_same(project.task, recorded, again, same_machine)
            say(
                text(
                    "certificate.reproduced",
                    project=project.task,
                    seed=recorded.seed,
                    part=f"{part:.0%}",
                )
            )
        fresh.append(check_fresh(contents, project, say))
    say(text("certificate.verified", name=certificate.learner.name))
    for project, run in zip(results.projects, fresh, strict=True):
        say(beside(project, run))
    say(certificate.issued)
    return certificate


def check_without_running(
    contents: Contents, teacher: str | Path | None = None, say: Say = print
) -> Certificate:
    """Check what can be checked without running anything of the learner's."""
    contents.check_hashes()
    say(text("certificate.hashes_hold", count=len(contents.files)))
    if CREDENTIAL not in contents.files:
        raise Refused("missing", file=CREDENTIAL)
    token = contents.files[CREDENTIAL].decode("ascii", "replace")
    certificate = Certificate.of(contents, issuer(contents, token, teacher))
    certificate.check(token)
    say(text("certificate.numbers_hold"))
    if renderings := [path for path in RENDERINGS if path in contents.files]:
        say(text("certificate.not_checked", files=", ".join(renderings)))
    return certificate


def issuer(contents: Contents, token: str, teacher: str | Path | None) -> Issuer:
    """Return who must have signed the token.

    Raises:
        Refused: if the token claims another key than the learner's, or the teacher's
            if one is named.
    """
    claimed, name = issuer_of(token)
    learner = Learner.of(contents)
    if teacher is None:
        if claimed != learner.key:
            raise Refused("foreign_key", signer=claimed, name=name)
        return Issuer("", keys.resolve(learner.key))
    key = keys.read_public(Path(teacher))
    if claimed != key.did:
        raise Refused("foreign_key", signer=claimed, name=name)
    check_name(name)
    return Issuer(name, key)


def check_fresh(contents: Contents, project: Project, say: Say) -> Run:
    """Run a project on fresh data; compare it with its interval and the baseline."""
    seeds = fresh_seed(), fresh_training_seed()
    fresh = run_once(contents, project.task, *seeds)
    interval = project.interval
    values: dict[str, Any] = {
        "project": project.task,
        "seed": fresh.seed,
        "score": f"{fresh.score:.3f}",
        "interval": interval,
    }
    if fresh.score < interval.low:
        raise Refused("below", **values)
    fresh.check_better(project.task)
    key = "above" if fresh.score > interval.high else "within"
    say(text(f"certificate.{key}", **values))
    return fresh


def beside(project: Project, fresh: Run) -> str:
    """Return what the certificate states of a project beside what a fresh run gave."""
    scores = {"fresh": f"{fresh.score:.3f}", "base": f"{fresh.baseline:.3f}"}
    return text(
        "certificate.beside", project=project.task, stated=project.interval, **scores
    )
