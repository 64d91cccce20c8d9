"""A portfolio, made as a learner would, and the ways to forge its certificate."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from deepseek_learn.course import problems
from deepseek_learn.course.certificate import (
    Refused,
    create_key,
    jws,
    keys,
    make,
    making,
    start,
    verify,
)
from deepseek_learn.course.certificate.contents import read
from deepseek_learn.course.certificate.credential import Certificate, Issuer

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "tests" / "course" / "certificate" / "examples"
TEXTS = {"buckets": 32768, "lr": 1e-3, "decay": 0.1, "epochs": 4}
ARRAYS = {"width": 16, "lr": 3e-3, "epochs": 4}
PROJECTS = {"mail": ("text", TEXTS), "reviews": ("text", TEXTS)}
PROJECTS |= {"movement": ("arrays", ARRAYS)}


def write(folder: Path) -> None:
    """Fill in a skeleton: three projects, and the graded exercises."""
    start(folder, "A. Learner", [*PROJECTS])
    for task, (example, config) in PROJECTS.items():
        place = folder / "projects" / task
        shutil.copy(EXAMPLES / f"{example}.py", place / "project.py")
        (place / "config.json").write_text(json.dumps(config))
    for path in (folder / "graded").glob("*.py"):
        path.write_text(problems.get(path.stem).reference() or "")


def verified_elsewhere(portfolio: Path, home: Path) -> tuple[bool, str]:
    """Verify in a new process without network, as somebody else; its last line."""
    words = [sys.executable, "-m", "deepseek_learn", "certificate", "verify"]
    environment = {"DEEPSEEK_LEARN_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "--net", *words, str(portfolio)],
        capture_output=True,
        text=True,
        env=environment,
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode == 0, lines[-1] if lines else ""


def refusal(portfolio: Path) -> str:
    """The reason why a portfolio is refused, or "" if it is not."""
    try:
        verify(portfolio, say=lambda line: None)
    except Refused as error:
        return error.reason
    return ""


def hash_again(folder: Path) -> None:
    (folder / "hashes.txt").write_text(read(folder).hashes)


def change_json(folder: Path, name: str, change: Callable[[dict], None]) -> None:
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    hash_again(folder)


def raise_a_score(folder: Path) -> None:
    def change(content: dict) -> None:
        content["projects"]["mail"][0]["score"] += 0.01

    change_json(folder, "results.json", change)


def take_another_name(folder: Path) -> None:
    def change(content: dict) -> None:
        content["name"] = "Somebody Else"

    change_json(folder, "learner.json", change)


def exchange_two_runs(folder: Path) -> None:
    first, second = sorted((folder / "runs" / "mail").glob("*.json"))[:2]
    one, other = first.read_text(), second.read_text()
    first.write_text(other)
    second.write_text(one)
    hash_again(folder)


def sign_with_a_foreign_key(folder: Path) -> None:
    key = folder.parent / "foreign.pem"
    create_key(key)
    certificate = Certificate.of(read(folder), Issuer("", keys.own_public(key)))
    (folder / "credential.jwt").write_text(certificate.sign(key.read_bytes()))


def change_the_token(folder: Path) -> None:
    path = folder / "credential.jwt"
    head, body, signature = path.read_text().split(".")
    other = ("B" if signature[0] == "A" else "A") + signature[1:]
    path.write_text(".".join([head, body, other]))


def edit_the_code(folder: Path) -> None:
    path = folder / "projects" / "mail" / "project.py"
    path.write_text(path.read_text() + "# better\n")


def train_less_and_seal_again(folder: Path) -> None:
    """All seals fit, but the code no longer gives the recorded predictions."""
    for task, (_, config) in PROJECTS.items():
        path = folder / "projects" / task / "config.json"
        path.write_text(json.dumps(config | {"epochs": 1, "lr": 1e-4}))
    seal_again(folder)


def seal_again(folder: Path) -> None:
    contents, path = read(folder), keys.learners_key()
    certificate = Certificate.of(contents, Issuer("", keys.own_public(path)))
    making.seal(folder, contents, certificate, path.read_bytes())


def say_a_field_twice(folder: Path) -> None:
    """The signature fits; a reader that takes the first of two sees another name."""
    path = folder / "credential.jwt"
    head, body, _ = path.read_text().split(".")
    content = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    twice = jws.encoded(b'{"name":"A doctorate",' + content[1:])
    key = load_pem_private_key(keys.learners_key().read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    signature = jws.encoded(key.sign(f"{head}.{twice}".encode()))
    path.write_text(f"{head}.{twice}.{signature}")


def carry_weights(folder: Path) -> None:
    """In many files, each of which is small."""
    for number in range(20):
        path = folder / "projects" / "mail" / f"part_{number}.py"
        path.write_text(f"# {'x' * (32 << 10)}\n")


def hide_a_file(folder: Path) -> None:
    (folder / "projects" / "mail" / ".labels.json").write_text("[]")


def link_a_file(folder: Path) -> None:
    path = folder / "projects" / "mail" / "config.json"
    target = folder.parent / "elsewhere.json"
    shutil.move(path, target)
    path.symlink_to(target)


# what is done to a copy → the reasons that name it
FORGERIES: Mapping[Callable[[Path], None], tuple[str, ...]] = {
    raise_a_score: ("number",),
    take_another_name: ("salt",),
    exchange_two_runs: ("number",),
    sign_with_a_foreign_key: ("foreign_key",),
    change_the_token: ("signature",),
    edit_the_code: ("edited",),
    train_less_and_seal_again: ("not_reproduced", "below"),
    hide_a_file: ("name", "unknown_file"),
    link_a_file: ("link",),
    say_a_field_twice: ("credential_form",),
    carry_weights: ("too_much_code",),
}

__all__ = ["FORGERIES", "make", "refusal", "verified_elsewhere", "write"]
