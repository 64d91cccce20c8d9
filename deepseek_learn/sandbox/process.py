"""Start a command in a sandbox, wait for its end, and read what it printed."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

from ..errors import DeepSeekLearnError
from .syscalls import filters, this_machine
from .tree import own
from .view import HERE, always_readable, environment, resolved, stranger

SHOWN = 1 << 20  # bytes of output that are read


class SandboxError(DeepSeekLearnError):
    """Raised if the sandbox cannot be closed, so that nothing was run in it."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        returncode: the exit code; negative for the number of the signal that ended it.
        stdout, stderr: the first megabyte of its output, with invalid bytes replaced.
        seconds: the wall time.
        reason: one sentence if it was ended before it was done; otherwise empty.
    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Sandbox:
    """A room in which a stranger's command runs.

    Args:
        folder: the only folder that the command may write to, its working directory
            and its home. It is bound, not copied, unless `keep` is False. When root
            runs the sandbox, its files belong to an unused user during the run.
        seconds: the limit of wall time; processor time is limited as well.
        memory_mib: the limit of each process's address space, not of all together.
            Importing torch takes about 650 of it (its build for CUDA more).
        hidden: files and folders that the command must not read. Only parts of what is
            `readable` or inside `folder` need to be named: all else is invisible. (This
            needs namespaces.)
        readable: files and folders that the command may read, besides the interpreter,
            its packages, the system's programs and this library.
        processes: the maximum number of processes and threads.
        file_mib: the size limit of each file that it writes. What it writes to /tmp and
            /dev/shm lies in memory, at most `memory_mib` in each; the size of `folder`
            has no limit, unless `keep` is False.
        children: whether it may start other processes; threads it may always start.
            (False needs Linux on x86-64 or 64-bit ARM.)
        keep: whether what it writes stays in `folder`. If not, it gets a copy of the
            folder in memory, which holds at most `file_mib` and ends with the room.
            (This needs namespaces; elsewhere all stays.)

    Raises:
        ValueError: if `folder` is not a folder, or a limit is not positive.
    """

    folder: str | Path
    seconds: float
    memory_mib: int
    hidden: Sequence[str | Path] = ()
    readable: Sequence[str | Path] = ()
    processes: int = 64
    file_mib: int = 256
    children: bool = True
    keep: bool = True

    def __post_init__(self) -> None:
        if not Path(self.folder).is_dir():
            raise ValueError(f"folder must be an existing folder; got {self.folder}.")
        for name in ("seconds", "memory_mib", "processes", "file_mib"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number; got {value!r}.")

    def run(self, command: Sequence[str], stdin: bytes = b"") -> Ended:
        """Run a command to its end, or until the time is up.

        All processes that it started are ended with it. (Without namespaces and outside
        Linux, one that made a session of its own lives until its processor time is up.)

        Args:
            command: the program and its arguments; "python" is this interpreter.
            stdin: what the command reads from its standard input.

        Raises:
            SandboxError: if the room cannot be closed; then nothing was run.
        """
        start = time.monotonic()
        with tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            with self.started(command, given) as running:
                try:
                    running.process.wait(self.seconds)
                except subprocess.TimeoutExpired:
                    return running.end(start, f"it was ended after {self.seconds:g} s.")
                return running.end(start)

    @contextmanager
    def started(
        self, command: Sequence[str], stdin: Any, pass_fds: Sequence[int] = ()
    ) -> Iterator["Running"]:
        """Yield the running command; when the block ends, all its processes do."""
        if os.name != "posix":
            raise SandboxError("a sandbox needs Linux or macOS; on Windows, use WSL.")
        user = stranger() if self._closed else None
        with (
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr,
            tempfile.TemporaryDirectory(prefix="sandbox-root-") as root,
            lent(Path(self.folder).resolve(), user if self.keep else None),
        ):
            receiver, sender = os.pipe()
            plan = self._plan(command, root, user, sender)
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", HERE / "namespaces.py", json.dumps(plan)],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=self.folder,
                env=plan["environment"],
                pass_fds=[sender, *pass_fds],
                start_new_session=True,
            )
            running = Running(process, stdout, stderr, self._closed)
            try:
                os.close(sender)
                with open(receiver, "rb") as report:
                    if trouble := report.read(1000).decode(errors="replace"):
                        raise SandboxError(
                            f"nothing was run in the sandbox: {trouble}."
                        )
                yield running
            finally:
                running.kill()

    @property
    def _closed(self) -> bool:
        return isolation() == "namespaces"

    def _plan(
        self, command: Sequence[str], root: str, user: int | None, report: int
    ) -> dict[str, Any]:
        """Return what `namespaces.py` must know."""
        program, *arguments = map(str, command)
        folder = str(Path(self.folder).resolve())
        cores = os.cpu_count() or 1
        limits = {
            "AS": self.memory_mib << 20,
            "CPU": math.ceil(self.seconds * cores) + 1,
            "FSIZE": self.file_mib << 20,
            "NPROC": self.processes,
            "NOFILE": 1024,
            "CORE": 0,
        }
        closed = self._closed
        if not closed:
            del limits["NPROC"]  # it would count all processes of the user
        return {
            "namespaces": closed,
            "user": user,
            "root": root,
            "folder": folder,
            "readable": [*always_readable(), *resolved(self.readable)],
            "hidden": resolved(self.hidden),
            "memory_mib": self.memory_mib,
            "copy_mib": None if self.keep else self.file_mib,
            "limits": limits,
            "filters": [each.hex() for each in self._filters()],
            "report": report,
            "command": [sys.executable if program == "python" else program, *arguments],
            "environment": environment(folder, closed, resolved(self.hidden)),
        }

    def _filters(self) -> tuple[bytes, bytes]:
        """Return the programs that refuse system calls; empty ones refuse none."""
        machine = this_machine() if sys.platform == "linux" else None
        if machine is not None:
            return filters(machine, self.children)
        if not self.children:
            raise SandboxError(
                "only Linux on x86-64 or 64-bit ARM can refuse a command other "
                "processes (children=False); nothing was run."
            )
        return b"", b""


@dataclass(frozen=True)
class Running:
    """A command that has been started.

    Attributes:
        stdout, stderr: the files that it prints into.
        closed: whether it is in namespaces.
    """

    process: subprocess.Popen
    stdout: IO[bytes]
    stderr: IO[bytes]
    closed: bool

    def end(self, start: float, reason: str = "") -> Ended:
        self.kill()
        seconds = time.monotonic() - start
        code = self.process.returncode
        code = 128 - code if 128 < code <= 192 else code  # of a signal, as shells say
        if code < 0 and not reason:
            with suppress(ValueError):
                reason = f"it was ended by the signal {signal.Signals(-code).name}."
        return Ended(code, _text(self.stdout), _text(self.stderr), seconds, reason)

    def kill(self) -> None:
        """End the first process, which ends all others, and then its group.

        In namespaces the kernel has ended all others by then.
        """
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self.closed:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


@cache
def isolation() -> str:
    """Return how well a sandbox isolates here: "namespaces" or "sockets refused"."""
    if sys.platform != "linux" or this_machine() is None:
        return "sockets refused"
    with tempfile.TemporaryDirectory() as folder:
        command = ["python", "-c", "import deepseek_learn; open('written', 'w')"]
        try:
            _Closed(folder, seconds=60, memory_mib=2048).run(command)
        except SandboxError:
            return "sockets refused"
        written = os.path.exists(f"{folder}/written")
    return "namespaces" if written else "sockets refused"


@contextmanager
def lent(folder: Path, user: int | None) -> Iterator[None]:
    """Give a folder and all in it to `user`, and take it back afterwards.

    Raises:
        SandboxError: if its owner cannot be changed, such as on a network file system.
    """
    if user is None:
        yield
        return
    try:
        _give(folder, user)
        yield
    finally:
        _give(folder, os.geteuid())


def _give(folder: Path, user: int) -> None:
    try:
        own(folder, user)
    except OSError as error:
        raise SandboxError(
            f"the sandbox cannot give {folder} to the user {user}: {error.strerror}; "
            f"choose a folder of a local file system."
        ) from error


class _Closed(Sandbox):
    """A sandbox with namespaces, used to find out whether they work here."""

    _closed = True


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(SHOWN).decode(errors="replace")
