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
from .tree import chown
from .view import FOLDER, always_readable, environment, resolved, unused_user

MAX_OUTPUT = 1 << 20  # bytes of output that are read


class SandboxError(DeepSeekLearnError):
    """Raised if the isolation cannot be set up; then nothing was run."""


@dataclass(frozen=True)
class CompletedProcess:
    """The result of a command.

    Attributes:
        returncode: the exit code; negative for the number of the signal that ended it.
        stdout, stderr: the first megabyte of its output, with invalid bytes replaced.
        seconds: the wall time.
        reason: one sentence if the sandbox or a signal killed it; otherwise empty.
    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Sandbox:
    """Limits and visible paths for an untrusted command.

    Args:
        folder: the only folder that the command may write to, its working directory
            and its home. It is bind-mounted, not copied, unless `keep` is False. If
            root runs the sandbox, an unused user owns the files during the run.
        seconds: the limit of wall time; processor time is limited as well.
        memory_mib: the address space limit of each process, not of all together.
            Importing torch takes about 650 MiB (more for a CUDA build).
        hidden: files and folders below `readable` or `folder` that the command must not
            read; all other paths are invisible anyway. (This needs namespaces.)
        readable: files and folders that the command may read, besides the interpreter,
            its packages, the system's programs and this library.
        processes: the maximum number of processes and threads.
        file_mib: the size limit of each file that it writes. What it writes to /tmp and
            /dev/shm is in memory, at most `memory_mib` in each; the size of `folder` is
            not limited, unless `keep` is False.
        children: whether it may start processes; it may always start threads. (False
            needs Linux on x86-64 or 64-bit ARM.)
        keep: whether its changes to `folder` persist. If not, it works on a copy of the
            folder in memory, of at most `file_mib`, which is discarded at the end.
            (This needs namespaces; elsewhere the changes persist.)

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

    def run(self, command: Sequence[str], stdin: bytes = b"") -> CompletedProcess:
        """Run a command until it exits or the time limit is reached.

        All processes that it started are killed. (Without namespaces and outside Linux,
        one in a session of its own lives until its processor time is used up.)

        Args:
            command: the program and its arguments; "python" is this interpreter.
            stdin: what the command reads from its standard input.

        Raises:
            SandboxError: if the isolation cannot be set up; then nothing was run.
        """
        start = time.monotonic()
        with tempfile.TemporaryFile() as input_file:
            input_file.write(stdin)
            input_file.seek(0)
            with self.started(command, input_file) as running:
                try:
                    running.process.wait(self.seconds)
                except subprocess.TimeoutExpired:
                    return running.end(start, f"it was ended after {self.seconds:g} s.")
                return running.end(start)

    @contextmanager
    def started(
        self, command: Sequence[str], stdin: Any, pass_fds: Sequence[int] = ()
    ) -> Iterator["RunningProcess"]:
        """Yield the running command; kill all its processes when the block ends."""
        if os.name != "posix":
            raise SandboxError("a sandbox needs Linux or macOS; on Windows, use WSL.")
        user = unused_user() if self._is_isolated else None
        with (
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr,
            tempfile.TemporaryDirectory(prefix="sandbox-root-") as root,
            owned_by(Path(self.folder).resolve(), user if self.keep else None),
        ):
            receiver, sender = os.pipe()
            plan = self._plan(command, root, user, sender)
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    FOLDER / "namespaces.py",
                    json.dumps(plan),
                ],
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=self.folder,
                env=plan["environment"],
                pass_fds=[sender, *pass_fds],
                start_new_session=True,
            )
            running = RunningProcess(process, stdout, stderr, self._is_isolated)
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
    def _is_isolated(self) -> bool:
        return isolation() == "namespaces"

    def _plan(
        self, command: Sequence[str], root: str, user: int | None, report: int
    ) -> dict[str, Any]:
        """Return the argument of `namespaces.py`."""
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
        isolated = self._is_isolated
        if not isolated:
            del limits["NPROC"]  # it would count all processes of the user
        return {
            "namespaces": isolated,
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
            "environment": environment(folder, isolated, resolved(self.hidden)),
        }

    def _filters(self) -> tuple[bytes, bytes]:
        """Return the two seccomp filters; an empty one is not installed."""
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
class RunningProcess:
    """A command that has been started.

    Attributes:
        stdout, stderr: the files that it prints into.
        isolated: whether it runs in namespaces.
    """

    process: subprocess.Popen
    stdout: IO[bytes]
    stderr: IO[bytes]
    isolated: bool

    def end(self, start: float, reason: str = "") -> CompletedProcess:
        self.kill()
        seconds = time.monotonic() - start
        code = self.process.returncode
        code = 128 - code if 128 < code <= 192 else code  # of a signal, as shells say
        if code < 0 and not reason:
            with suppress(ValueError):
                reason = f"it was ended by the signal {signal.Signals(-code).name}."
        return CompletedProcess(
            code, _text(self.stdout), _text(self.stderr), seconds, reason
        )

    def kill(self) -> None:
        """Terminate the first process, and kill its process group.

        In namespaces, the kernel has already killed all other processes by then.
        """
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self.isolated:
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
            _Isolated(folder, seconds=60, memory_mib=2048).run(command)
        except SandboxError:
            return "sockets refused"
        written = os.path.exists(f"{folder}/written")
    return "namespaces" if written else "sockets refused"


@contextmanager
def owned_by(folder: Path, user: int | None) -> Iterator[None]:
    """Change the owner of a folder and its contents, and change it back afterwards.

    Raises:
        SandboxError: if its owner cannot be changed, such as on a network file system.
    """
    if user is None:
        yield
        return
    try:
        _chown(folder, user)
        yield
    finally:
        _chown(folder, os.geteuid())


def _chown(folder: Path, user: int) -> None:
    try:
        chown(folder, user)
    except OSError as error:
        raise SandboxError(
            f"the sandbox cannot give {folder} to the user {user}: {error.strerror}; "
            f"choose a folder of a local file system."
        ) from error


class _Isolated(Sandbox):
    """A sandbox that uses namespaces without checking whether they work here."""

    _is_isolated = True


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(MAX_OUTPUT).decode(errors="replace")
