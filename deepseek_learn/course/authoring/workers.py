"""Worker processes for grading, which import nothing from the students' folders.

`python -c` and `python -m` put the current folder first on `sys.path`, where a student's
folder `socket/` would shadow Python's own module. A worker therefore starts in an empty
folder, with the parent's `sys.path`. If a worker dies, only one answer is lost, and the
next answer gets a new worker.
"""

import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from ...catalog import language, text
from ...errors import DeepSeekLearnError
from ..record import home

MODULE = "deepseek_learn.course.authoring.grading_worker"
ROOT = Path(__file__).resolve().parents[3]  # the folder of the package
GRACE_PERIOD = 10  # seconds for a worker to remove its sandboxes
Work = TypeVar("Work")
Result = TypeVar("Result")


class WorkerEnded(DeepSeekLearnError):
    """Raised if a worker exited, or was killed, before it replied."""


@dataclass
class Worker:
    """A process that grades answers, one after another.

    Attributes:
        folder: an empty folder, in which it runs.
        process: None until the first request, and after it has ended.
        closed: whether it takes no more requests.
    """

    folder: str
    process: subprocess.Popen | None = None
    closed: bool = False

    def ask(self, request: tuple, seconds: float) -> Any:
        """Return what `grading_worker` replies to a request.

        Raises:
            WorkerEnded: if there is no reply in time.
        """
        if self.closed:
            raise WorkerEnded(text("grading.worker_ended", code="-"))
        process = self.process = self.process or _start(self.folder)
        assert process.stdin is not None
        assert process.stdout is not None
        alarm = threading.Timer(seconds, _end, [process])
        alarm.start()
        try:
            pickle.dump((language(), *request), process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            _end(process)
            self.process = None
            code = process.returncode
            raise WorkerEnded(text("grading.worker_ended", code=code)) from None
        finally:
            alarm.cancel()

    def close(self) -> None:
        """End the process; whoever waits for its reply gets `WorkerEnded`."""
        self.closed = True
        if self.process is not None:
            _end(self.process)


def share(
    work: Callable[[Worker, Work], Result], items: Sequence[Work], jobs: int
) -> Iterator[Result]:
    """Yield `work(worker, item)` for each item in order, with `jobs` workers."""
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        workers = [Worker(folder) for _ in range(jobs)]
        free = SimpleQueue[Worker]()
        for worker in workers:
            free.put(worker)

        def do(item: Work) -> Result:
            worker = free.get()
            try:
                return work(worker, item)
            finally:
                free.put(worker)

        with ThreadPoolExecutor(jobs) as threads:
            try:
                yield from threads.map(do, items)
            finally:
                for worker in workers:
                    worker.close()


def importable(folder: Path) -> str:
    """Return an entry of `sys.path` that is inside the folder, or ""."""
    inside = folder.resolve()
    for entry in sys.path:
        path = Path(entry or os.getcwd()).resolve()
        if path == inside or inside in path.parents:
            return str(path)
    return ""


def _start(folder: str) -> subprocess.Popen:
    entries = [str(Path(entry).absolute()) for entry in sys.path if entry]
    if str(ROOT) not in entries:
        entries.insert(0, str(ROOT))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(entries),
        "PYTHONSAFEPATH": "1",
        "DEEPSEEK_LEARN_HOME": str(home().absolute()),
    }
    return subprocess.Popen(
        [sys.executable, "-m", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=folder,
        env=environment,
    )


def _end(process: subprocess.Popen) -> None:
    """Terminate a worker, so that it removes its sandbox first, or else kill it."""
    process.terminate()
    try:
        process.wait(GRACE_PERIOD)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
