"""Read a portfolio: plain files with strict names, each read exactly once.

Whatever is checked, run or hashed afterwards comes from these bytes, never from the
folder again, which somebody might change in the meantime.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .refusal import Refused

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
WORD = r"[a-z0-9_]{1,40}"
ALLOWED = re.compile(
    rf"learner\.json|results\.json|environment\.json|graded/{WORD}\.py"
    rf"|projects/{WORD}/({WORD}\.py|config\.json|data\.npz)"
    rf"|runs/{WORD}/[0-9]{{1,10}}\.json"
)
FOLDERS = re.compile(rf"projects|graded|runs|(projects|runs)/{WORD}")
HASHES, CREDENTIAL = "hashes.txt", "credential.jwt"
PAGE, BADGE = "certificate.html", "certificate.svg"
# for human readers only, neither hashed nor verified; the PDF is an earlier version's,
# or printed in a browser
RENDERINGS = (PAGE, BADGE, "certificate.pdf")
SEALS = (HASHES, CREDENTIAL, *RENDERINGS)
RESULTS = re.compile(r"(results|environment)\.json|runs/.*")
LARGEST, TOTAL = 32 << 20, 128 << 20  # bytes of a file, of all
CODE = 64 << 10  # bytes of all that a project brings along: no room for weights
DATA = "data.npz"  # what the learner's own project learns from
JSON = 1 << 20  # bytes; a parsed one takes twenty times as much memory
FILES = 500


@dataclass(frozen=True)
class Contents:
    """The files of a portfolio.

    Attributes:
        files: the content of each, by its path with slashes.
    """

    files: dict[str, bytes]

    @property
    def hashes(self) -> str:
        """The lines of `hashes.txt`, which `sha256sum --check` reads."""
        rows = ((path, self.files[path]) for path in sorted(self.files))
        return "".join(
            f"{hashlib.sha256(content).hexdigest()}  {path}\n"
            for path, content in rows
            if path not in SEALS
        )

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of `hashes`, and thereby of all that the certificate rests on."""
        return hashlib.sha256(self.hashes.encode()).hexdigest()

    def below(self, folder: str) -> dict[str, bytes]:
        """Return the files of a folder, by their paths in it."""
        start = f"{folder}/"
        return {
            path.removeprefix(start): content
            for path, content in self.files.items()
            if path.startswith(start)
        }

    def without_results(self) -> "Contents":
        """Return what the learner wrote: no results and no seals."""
        return Contents(
            {
                path: content
                for path, content in self.files.items()
                if path not in SEALS and not RESULTS.fullmatch(path)
            }
        )

    def check_hashes(self) -> None:
        """Refuse files that differ from `hashes.txt`.

        Raises:
            Refused: naming the first file that was edited, added or removed.
        """
        if HASHES not in self.files:
            raise Refused("unsealed")
        recorded = self.files[HASHES].decode("ascii", "replace")
        if recorded == self.hashes:
            return
        known = set(recorded.splitlines())
        changed = [line[66:] for line in self.hashes.splitlines() if line not in known]
        gone = [line[66:] for line in known if line not in self.hashes.splitlines()]
        raise Refused("edited", file=min([*changed, *gone], default=HASHES))


def read(folder: str | Path) -> Contents:
    """Read a portfolio.

    Raises:
        Refused: if it has links, hidden files, bytecode, odd names, files that no
            portfolio has, or is too large.
        NotADirectoryError: if it is not a folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotADirectoryError(f"a portfolio is a folder; got {root}.")
    files: dict[str, bytes] = {}
    for path, content in _walk(root, ""):
        files[path] = content
        if len(files) > FILES:
            raise Refused("many_files", most=FILES)
        if sum(map(len, files.values())) > TOTAL:
            raise Refused("too_large", file=folder, size=TOTAL)
    contents = Contents(files)
    _check_code(contents)
    return contents


def _check_code(contents: Contents) -> None:
    """Refuse a project whose code and settings, names included, are too large."""
    sizes: dict[str, int] = {}
    for path, content in contents.below("projects").items():
        project, name = path.split("/")
        if name != DATA:
            sizes[project] = sizes.get(project, 0) + len(name) + len(content)
    for project, size in sizes.items():
        if size > CODE:
            raise Refused("too_much_code", project=project, size=size, most=CODE)


def _walk(root: Path, start: str) -> Iterator[tuple[str, bytes]]:
    for name in sorted(os.listdir(root / start)):
        path = f"{start}{name}"
        if not NAME.fullmatch(name):
            raise Refused("name", file=path)
        mode = os.lstat(root / path).st_mode
        if stat.S_ISDIR(mode):
            if not FOLDERS.fullmatch(path):
                raise Refused("unknown_file", file=path)
            yield from _walk(root, f"{path}/")
        elif not stat.S_ISREG(mode):
            raise Refused("link", file=path)
        elif path not in SEALS and not ALLOWED.fullmatch(path):
            raise Refused("unknown_file", file=path)
        else:
            yield path, _content(root / path, path)


def _content(file: Path, path: str) -> bytes:
    # the file may have been exchanged since `lstat`: do not follow, look again
    with open(
        os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb"
    ) as lines:
        facts = os.fstat(lines.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise Refused("link", file=path)
        content = lines.read(LARGEST + 1)
    ends = {".py": CODE, ".json": JSON, ".txt": JSON, ".jwt": JSON}
    largest = ends.get(file.suffix, LARGEST)
    if len(content) > largest:
        raise Refused("too_large", file=path, size=largest)
    return content
