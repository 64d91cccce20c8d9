"""The process that runs an entry, and answers the scorer's questions.

The sandbox loads the two functions `begin` and `answer` of this module. The scores are
computed in the scorer's process. Each exception of the entry becomes one sentence with
its line number.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from .source import EntryError
from .track import EntryServer, load_track

ENTRY, ROOM = "entry.py", "room.py"
CODE = "from deepseek_learn.leaderboard.worker import answer, begin\n"
state: dict[str, EntryServer] = {}


def begin(name: str, seed: int) -> None:
    """Import the entry, which lies in the current folder, for the track `name`."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    server = load_track(name).server()
    with one_sentence():
        server.take(load(Path.cwd() / ENTRY))
    state["server"] = server


def answer(question: str, *arguments: Any) -> Any:
    """Let the entry answer a question of the scorer."""
    with one_sentence():
        return getattr(state["server"], question)(*arguments)


def load(path: Path) -> ModuleType:
    """Import the entry's file as the module `entry`."""
    spec = importlib.util.spec_from_file_location("entry", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry"] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn every exception of the entry into an `EntryError` of one sentence."""
    try:
        yield
    except Exception as error:
        raise EntryError(sentence(error)) from error


def sentence(error: Exception) -> str:
    """Say what went wrong in the entry, and in which of its lines."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == ENTRY]
    place = f"line {lines[-1]}: " if lines else ""
    if isinstance(error, EntryError):
        return place + str(error)
    if isinstance(error, OSError) and _is_network(frames):
        return f"{place}it opens a network connection, but an entry has no network."
    if isinstance(error, FileNotFoundError | PermissionError) and error.filename:
        name = os.fsdecode(error.filename)
        return (
            f"{place}it reads {name}, but an entry has no access to the reference, the "
            f"test data or any other file."
        )
    if isinstance(error, MemoryError):
        return f"{place}it needs more memory than permitted."
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{place}{type(error).__name__}" + (f": {first}" if first else ".")


def _is_network(frames: traceback.StackSummary) -> bool:
    # sockets are C code, so the last frame may be the entry's own line
    places = [f"{Path(frame.filename).name} {frame.line}" for frame in frames]
    return any("socket" in place or "urllib" in place for place in places)
