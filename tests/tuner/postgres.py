"""A private PostgreSQL for a test: its own folder and port, stopped by process id."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.services import absent, need

WAIT_S = 60


@contextmanager
def running() -> Iterator[str]:
    """The URL of an empty database.

    PostgreSQL refuses to run as root; then it runs as the user postgres.
    """
    need("psycopg")
    programs, drop = _programs(), _drop_root()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if drop:
            shutil.chown(folder, "postgres", "postgres")
        data, port = folder / "data", _free_port()
        initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "tester", "-N"]
        subprocess.run([*drop, *initdb], check=True, capture_output=True, cwd=folder)
        options = ["-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        with (folder.parent / f"{folder.name}.log").open("w") as log:
            command = [*drop, programs / "postgres", *options]
            server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            _wait(programs, port, server)
            yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        finally:
            # setpriv has become the server: one process, this id. SIGINT does not wait
            # for clients.
            server.send_signal(signal.SIGINT)
            server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


def _programs() -> Path:
    places = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if result := shutil.which("initdb"):
        places.append(
            Path(result).resolve()
        )  # a link is not next to the other programs
    return max(places).parent if places else absent("PostgreSQL is not installed")


def _drop_root() -> list[str]:
    if os.geteuid():
        return []
    with suppress(KeyError):
        user = pwd.getpwnam("postgres")
        ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return ["setpriv", *ids, "--"]
    absent("there is no user postgres to run PostgreSQL as")


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def _wait(programs: Path, port: int, server: subprocess.Popen) -> None:
    ask = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    until = time.monotonic() + WAIT_S
    while subprocess.run(ask).returncode:
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"PostgreSQL did not start (exit {server.poll()})")
        time.sleep(0.1)
