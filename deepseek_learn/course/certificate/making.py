"""Start a portfolio, run it, and write its certificate."""

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from ...files import atomic_write
from ..problems import load
from . import keys
from .agreement import agreement
from .contents import (
    BADGE,
    CREDENTIAL,
    HASHES,
    PAGE,
    RENDERINGS,
    SEALS,
    Contents,
    read,
)
from .credential import Certificate, Issuer
from .learner import FILE, Learner, check_name
from .page import TEMPLATES, badge, page
from .refusal import Refused
from .results import (
    PROJECTS,
    Project,
    Results,
    Run,
    graded_answers,
    measured,
    projects,
)
from .running import run_graded, run_project
from .tasks import draw, tasks

Say = Callable[[str], None]


def start(
    folder: str | Path, name: str, chosen: Sequence[str], lang: str = "en"
) -> list[Path]:
    """Write the skeleton of a portfolio, for the learner to fill in.

    Args:
        folder: a new or empty folder.
        name: the learner's name, as it stands on the certificate.
        chosen: three or more tasks.
        lang: the language of the certificate, "en" or "zh".

    Returns:
        The files.

    Raises:
        FileExistsError: if the folder is not empty.
        UnknownNameError: if there is no such task.
        Refused: if the name has characters that do not print, or tasks are too few.
    """
    root = Path(folder)
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root} is not empty; choose another folder.")
    if len(set(chosen)) < PROJECTS:
        raise Refused("few_projects", count=len(set(chosen)), least=PROJECTS)
    for task in chosen:
        tasks[task]  # raises an error that lists the tasks
    path = keys.learners_key()
    key = keys.own_public(path) if path.exists() else keys.create(path)
    files = {FILE: Learner.new(name, lang, key.did).to_json()}
    for task in chosen:
        files[f"projects/{task}/project.py"] = (TEMPLATES / "project.py").read_bytes()
        files[f"projects/{task}/config.json"] = b"{}\n"
    for problem in load():
        if problem.kind == "graded":
            files[f"graded/{problem.id}.py"] = problem.starter.encode()
    _write(root, files)
    return [root / path for path in files]


def make(folder: str | Path, say: Say = print) -> Certificate:
    """Run everything in a portfolio and write its results and its certificate.

    Raises:
        Refused: if something in it is refused; the message says why.
    """
    root = Path(folder)
    contents = read(root).without_results()
    learner = Learner.of(contents)
    path = keys.learners_key()
    keys.check_private(path, root)
    if keys.own_public(path).did != learner.key:
        raise Refused("not_your_portfolio", name=learner.name, signer=path)
    names, graded = projects(contents), graded_answers(contents)
    check_graded(contents, {id: learner.graded_seed(id) for id in graded}, say)
    results = Results(
        datetime.now(UTC).date().isoformat(),
        tuple(run_all(contents, learner, name, say) for name in names),
        tuple(graded),
    )
    complete = Contents(contents.files | results.files(learner))
    issuer = Issuer("", keys.own_public(path))
    certificate = Certificate.of(complete, issuer)
    # only now, when no code of the learner's runs any more, is the key opened
    _clear(root)
    seal(root, complete, certificate, path.read_bytes())
    return certificate


def sign(
    folder: str | Path, key: str | Path, teacher: str, say: Say = print
) -> Certificate:
    """Issue the certificate of a portfolio under a teacher's key.

    Nothing of the learner's runs: everything that `verify` checks before it runs the
    portfolio is checked here. Run `verify` first.

    Args:
        key: the teacher's private key, which lies outside the portfolio.
        teacher: the teacher's name.

    Raises:
        Refused: if the portfolio or the key is refused; the message says why.
    """
    root, path = Path(folder), Path(key)
    keys.check_private(path, root)
    contents = read(root)
    contents.check_hashes()
    check_name(teacher)
    certificate = Certificate.of(contents, Issuer(teacher, keys.own_public(path)))
    if certificate.issuer.key.did == certificate.learner.key:
        raise Refused("own_teacher")
    seal(root, contents, certificate, path.read_bytes())
    say(certificate.issued)
    return certificate


def check_graded(contents: Contents, seeds: dict[str, int], say: Say) -> None:
    """Run the check of each graded answer.

    Raises:
        Refused: naming the first answer that is wrong, and why.
    """
    for id, seed in seeds.items():
        why = run_graded(id, contents.files[f"graded/{id}.py"], seed)
        if why:
            raise Refused("graded_wrong", problem=id, seed=seed, why=why)
        say(f"graded/{id}: ✓")


def run_all(contents: Contents, learner: Learner, task: str, say: Say) -> Project:
    """Run a project with each of its seeds, and the first one twice.

    Raises:
        Refused: if it does not repeat itself, does not beat the baseline, or has scores
            that differ widely.
    """
    runs: list[Run] = []
    seeds = zip(learner.seeds(task), learner.training_seeds(task), strict=True)
    for seed, training_seed in seeds:
        runs.append(run_once(contents, task, seed, training_seed))
        say(f"{task}: {runs[-1].score:.3f} ({runs[-1].baseline:.3f})")
        runs[-1].check_better(task)
    again = run_once(contents, task, runs[0].seed, runs[0].training_seed)
    if agreement(runs[0].predictions, again.predictions) < 1:
        raise Refused("not_repeatable", project=task, seed=runs[0].seed)
    project = Project(task, tuple(runs))
    project.check()
    return project


def run_once(contents: Contents, task: str, seed: int, training_seed: int) -> Run:
    """Run a project on the data that a seed draws, with a seed of its own."""
    files = contents.below(f"projects/{task}")
    drawn = draw(task, seed, files.get("data.npz"))
    predictions = run_project(files, drawn, training_seed)
    return measured(contents, task, seed, training_seed, predictions)


def seal(
    root: Path, contents: Contents, certificate: Certificate, private_pem: bytes
) -> None:
    """Write the files of a portfolio, its hashes, the credential, page and badge."""
    token = certificate.sign(private_pem)
    files = {
        path: content for path, content in contents.files.items() if path not in SEALS
    }
    seals = {
        HASHES: contents.hashes.encode(),
        CREDENTIAL: token.encode(),
        PAGE: page(certificate),
        BADGE: badge(token),
    }
    for path in RENDERINGS:  # a PDF may state an earlier issuer
        (root / path).unlink(missing_ok=True)
    _write(root, files | seals)


def _write(root: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        with atomic_write(root / path) as temporary:
            temporary.write_bytes(content)


def _clear(root: Path) -> None:
    """Remove the results of an earlier `make`."""
    shutil.rmtree(root / "runs", ignore_errors=True)
    for path in (*SEALS, "results.json", "environment.json"):
        (root / path).unlink(missing_ok=True)
