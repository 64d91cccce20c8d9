"""Refuse sockets, hidden paths and programs where there are no namespaces.

Python imports this module at its start, before any other code. An audit hook cannot be
removed, but code that calls the system without Python (ctypes, an extension) passes it.
"""

import os
import sys

HIDDEN = [
    path for path in os.environ.pop("SANDBOX_HIDDEN", "").split(os.pathsep) if path
]
SOCKETS = ("socket.__new__", "socket.bind", "socket.connect", "socket.getaddrinfo")
PROGRAMS = ("os.exec", "os.posix_spawn", "os.system", "subprocess.Popen")


def refuse(event: str, arguments: tuple) -> None:
    if event in SOCKETS:
        raise PermissionError("the sandbox has no network: sockets are refused")
    if event in PROGRAMS:
        raise PermissionError("the sandbox starts no other programs")
    if event in ("open", "os.listdir", "os.scandir") and HIDDEN:
        path = (
            os.path.realpath(os.fsdecode(arguments[0] or "."))
            if _named(arguments[0])
            else ""
        )
        if any(path == each or path.startswith(each + os.sep) for each in HIDDEN):
            raise PermissionError(f"the sandbox hides {path}")


def _named(path: object) -> bool:
    return isinstance(path, str | bytes | os.PathLike) or path is None


sys.addaudithook(refuse)
