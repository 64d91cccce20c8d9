"""The visible paths, the environment and the user of a command in a sandbox."""

import itertools
import os
import secrets
import site
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACKAGE = FOLDER.parent
# system folders that programs need; nothing below /home, /root, /var or /run
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
SETTINGS = ("alternatives", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d")
DYNAMIC_USERS = 61184, 65520  # user IDs that no account has (systemd's dynamic users)
CAPABILITIES = 0, 6, 7, 21  # CAP_CHOWN, CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN
turn = itertools.count(secrets.randbelow(DYNAMIC_USERS[1] - DYNAMIC_USERS[0]))


def unused_user() -> int | None:
    """Return an unused user ID if this process may change its own, else None.

    Each sandbox gets a different one, so that no per-user kernel state is shared.
    """
    first, end = DYNAMIC_USERS
    return first + next(turn) % (end - first) if _may_change_user() else None


def _may_change_user() -> bool:
    """Whether this process is root, with its capabilities and the IDs of `DYNAMIC_USERS`.

    In a container root may lack a capability, and in a user namespace (`unshare -Ur`)
    only the IDs of its map exist.
    """
    status = Path("/proc/self/status").read_text()
    capabilities = int(status.split("CapEff:")[1].split()[0], 16)
    return (
        os.geteuid() == 0
        and all(capabilities >> bit & 1 for bit in CAPABILITIES)
        and Path("/proc/self/setgroups").read_text().strip() == "allow"
        and all(_is_mapped(kind, DYNAMIC_USERS) for kind in ("uid_map", "gid_map"))
    )


def _is_mapped(kind: str, ids: tuple[int, int]) -> bool:
    """Whether a row of the map holds all IDs (`man 7 user_namespaces`)."""
    lines = Path(f"/proc/self/{kind}").read_text().splitlines()
    rows = [[int(word) for word in line.split()] for line in lines]
    return any(row[0] <= ids[0] and ids[1] <= row[0] + row[2] for row in rows)


@cache
def always_readable() -> list[str]:
    """Return the paths that every command may read, outer folders first."""
    python = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()]
    python += [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    python += [sysconfig.get_path("stdlib"), str(PACKAGE)]
    resolved = {str(Path(path).resolve()) for path in python} | set(python)
    candidates = [*SYSTEM, *(f"/etc/{name}" for name in SETTINGS), *resolved]
    paths = sorted({path for path in candidates if os.path.lexists(path)})
    return [path for path in paths if not _covered(path, paths)]


def copies(*packages: str) -> list[Path]:
    """Return all copies of packages that are visible in a sandbox, for any Python."""
    places = [Path(path) for path in always_readable()]
    patterns = [f"{local}lib*/python3*/*-packages" for local in ("", "local/")]
    folders = [
        f for place in places for pattern in patterns for f in place.glob(pattern)
    ]
    candidates = {folder / name for folder in [*places, *folders] for name in packages}
    installed = {path.resolve() for path in candidates if path.exists()}
    return sorted(installed | {place for place in places if place.name in packages})


def environment(folder: str, isolated: bool, hidden: list[str]) -> dict[str, str]:
    """Return the environment of a command, with none of the caller's variables."""
    path = [str(PACKAGE.parent)]
    refusal = {} if isolated else {"SANDBOX_HIDDEN": os.pathsep.join(hidden)}
    if not isolated:  # Python imports the module `sitecustomize` from there
        path.insert(0, str(FOLDER / "refusal"))
    return refusal | {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(path),
        "HOME": folder,
        "USER": "learner",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp" if isolated else folder,
        "DEEPSEEK_LEARN_HOME": f"{folder}/.deepseek_learn",
        "MPLBACKEND": "Agg",
        "MALLOC_ARENA_MAX": "2",  # address space is limited, and arenas take 64 MiB
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
    }


def _covered(path: str, paths: list[str]) -> bool:
    """Whether another of the paths, itself no symbolic link, contains this one."""
    outer = (str(parent) for parent in Path(path).parents)
    return any(each in paths and not os.path.islink(each) for each in outer)


def resolved(paths: Sequence[str | Path]) -> list[str]:
    """Return the paths without symbolic links."""
    return [str(Path(path).resolve()) for path in paths]
