"""The peak memory of a call, measured in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable

from deepseek_learn.measure import memory

from .script import BENCHMARKS


def in_fresh_process(*command: object) -> int:
    """The number of bytes that `python *command` prints in its last line.

    It works in the folder of the benchmarks. glibc returns freed memory to the system at
    once there, so that the resident memory is the memory in use.

    Raises:
        RuntimeError: if the process fails, with the end of what it wrote.
    """
    process = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=BENCHMARKS,
        env=os.environ | memory.RETURN_FREED,
        capture_output=True,
        text=True,
    )
    if process.returncode:
        raise RuntimeError(process.stderr[-2000:])
    return int(process.stdout.splitlines()[-1])


def print_peak(work: Callable[[], object], above: int) -> None:
    """Print the peak of the second of two calls, above `above` bytes."""

    def work_twice() -> None:
        work()
        work()

    print(memory.peak_resident_bytes(work_twice, above=above))
