"""A real federation on this machine: Flower's server and nodes as processes, with TLS."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepseek_learn.solutions import federated
from deepseek_learn.solutions.federated.certificates import write_certificates

HERE = Path(__file__).parent
APP = Path(federated.__path__[0]) / "flower_app"
TOOLS = Path(sys.executable).parent
PATHS = (HERE, HERE / "impatient")


@contextlib.contextmanager
def namespaces(server: str, others: Sequence[str]) -> Iterator[dict[str, str]]:
    """Make a network namespace for each name, and cables from the server to the others.

    The server is 10.77.0.1 for all of them. They do not see each other.
    """
    prefix, made = f"dl{os.getpid() % 10_000}", list[str]()
    spaces = {name: f"{prefix}-{name}" for name in (server, *others)}
    try:
        for own in spaces.values():
            ip("netns", "add", own)
            made.append(own)
            inside(own, "link", "set", "lo", "up")
        inside(spaces[server], "addr", "add", "10.77.0.1/32", "dev", "lo")
        for number, name in enumerate(others, 1):
            own, end, subnet = spaces[name], f"to{number}", f"10.77.{number}"
            inside(own, *("link", "add", "eth", "type", "veth", "peer", "name", end))
            inside(own, "link", "set", end, "netns", spaces[server])
            for space, device, last in ((own, "eth", 2), (spaces[server], end, 1)):
                inside(space, "addr", "add", f"{subnet}.{last}/24", "dev", device)
                inside(space, "link", "set", device, "up")
            inside(own, "route", "add", "default", "via", f"{subnet}.1")
        yield spaces
    finally:
        for own in made:
            subprocess.run(["ip", "netns", "del", own], check=False)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def inside(namespace: str, *words: str) -> None:
    ip("-n", namespace, *words)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Federation:
    """A server and its hospitals; a context manager that ends all processes.

    Args:
        host: the server's address.
        machines: for each process, the words before its command, such as those that run
            it in a network namespace of its own.
    """

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        machines: Mapping[str, Sequence[str]] | None = None,
    ):
        self.folder, self.port, self.host = folder, free_port(), host
        self.machines = machines or {}
        self.processes: dict[str, subprocess.Popen] = {}
        self.ca = folder / "tls" / "ca.pem"
        write_certificates(folder / "tls", [host])
        home = folder / "home"
        home.mkdir()
        (home / "config.toml").write_text(
            '[superlink]\ndefault = "hospitals"\n[superlink.hospitals]\n'
            f'address = "{host}:{self.port}"\nroot-certificates = "{self.ca}"\n'
        )
        existing = filter(None, [os.environ.get("PYTHONPATH")])
        self.environment = os.environ | {
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "PATH": f"{TOOLS}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([*map(str, PATHS), *existing]),
        }

    def __enter__(self) -> "Federation":
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)
        self._end_orphans()

    def start_server(self) -> None:
        tls = self.folder / "tls"
        self.start(
            "server",
            "flower-superlink",
            *("--ssl-ca-certfile", self.ca, "--ssl-certfile", tls / "server.pem"),
            *("--ssl-keyfile", tls / "server.key", "--host", self.host),
            *("--port", self.port, "--disable-runtime-dependency-installation"),
            *("--database", self.folder / "server.db"),  # outlives the server
        )
        wait(lambda: self.has_said("server", "Uvicorn running"))

    def start_node(self, site: Mapping[str, Any], ca: Path | None = None) -> None:
        config = " ".join(
            f'{k}="{v}"' if isinstance(v, str) else f"{k}={v}" for k, v in site.items()
        )
        self.start(
            site["hospital"],
            "flower-supernode",
            *("--root-certificates", ca or self.ca),
            *("--superlink", f"{self.host}:{self.port}", "--host", "127.0.0.1"),
            *("--port", free_port(), "--node-config", config),
        )

    def start(self, name: str, tool: str, *words: object) -> None:
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*self.machines.get(name, ()), str(TOOLS / tool), *map(str, words)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """End a process and all that it started, as a power failure would."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _end_orphans(self) -> None:
        """End what Flower started in sessions of their own, as Linux shows it."""
        own = f"FLWR_HOME={self.environment['FLWR_HOME']}\0".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if own in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def stop(self, name: str) -> None:
        """End a process as its owner would, so that it can say goodbye."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(30)

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def has_said(self, name: str, text: str) -> bool:
        """Whether the text is in a process's log; the process must not have ended."""
        ended = self.processes[name].poll() is not None
        if text not in self.log(name).read_text():
            if ended:
                raise ChildProcessError(f"{name} ended: {self.log(name).read_text()}")
            return False
        return True

    def faulty_app(self) -> Path:
        """The Flower app with `faulty.client`, whose hospitals may misbehave."""
        folder = self.folder / "faulty_app"
        folder.mkdir(exist_ok=True)
        text = (APP / "pyproject.toml").read_text()
        text = re.sub(r"(?m)^clientapp = .*$", 'clientapp = "faulty:client"', text)
        (folder / "pyproject.toml").write_text(text.replace('"federated-', '"faulty-'))
        return folder

    def run(self, folder: Path = APP, **settings: Any) -> subprocess.Popen:
        """Start a run; its output goes to run.log."""
        words = " ".join(
            f'{k}="{v}"' if isinstance(v, str) else f"{k}={str(v).lower()}"
            for k, v in settings.items()
        )
        own = self.machines.get("server", ())
        command = [TOOLS / "flwr", "run", folder, "hospitals", "--stream", "-c", words]
        with self.log("run").open("ab") as log:
            return subprocess.Popen(
                [*own, *map(str, command)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain")
        time.sleep(0.2)
