"""The first process of a sandbox: it isolates itself, then starts the command.

It is run as a script, and therefore imports nothing from the library. On Linux it
creates mount, PID, network, IPC and UTS namespaces (and, without root, a user
namespace; `man 7 namespaces`), builds a root file system with only the paths that the
command may see, and drops its privileges:

    sandbox ── this script ── PID 1 of the namespace ── the command ── ...

When the command ends, PID 1 exits, and the kernel kills all processes that are left in
the namespace. Without namespaces only the resource limits hold; see `Sandbox`.
"""

import ctypes
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

# constants of clone(2), mount(2), umount2(2), mount_setattr(2) and prctl(2)
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = (
    2, 4, 8, 0x1000, 0x4000, 0x40000,
)  # fmt: skip
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MNT_DETACH = 442, -100, 0x8000, 2
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 38, 36
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
INNER_UID = 1000  # the user ID inside, if the sandbox is not started by root
MAX_INODES = 1 << 16  # of the tmpfs that holds a copy of the folder
DEVICES = ("null", "zero", "full", "random", "urandom")
libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    plan = json.loads(sys.argv[1])
    report = plan["report"]  # the sandbox reads from this pipe whether isolation failed
    os.set_inheritable(report, False)
    try:
        if sys.platform == "linux":
            write("/proc/self/oom_score_adj", "1000")  # out of memory: kill this first
        if plan["namespaces"]:
            start_init(plan)  # returns in PID 1 of the namespace only
            isolate(plan)
        elif sys.platform == "linux":
            # daemons are reparented to this process
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        run_command(plan)
    except Exception as error:
        os.write(report, f"{type(error).__name__}: {error}".encode())
    os._exit(125)


def start_init(plan: dict[str, Any]) -> None:
    """Enter new namespaces and fork; the parent waits for the child and exits."""
    user, group = os.geteuid(), os.getegid()
    if plan["user"] is not None:
        check(libc.unshare(NAMESPACES), "unshare")
    else:
        check(libc.unshare(NAMESPACES | CLONE_NEWUSER), "unshare")
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{INNER_UID} {user} 1")
        write("/proc/self/gid_map", f"{INNER_UID} {group} 1")
    child = os.fork()
    if child:
        os.close(plan["report"])
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # if the parent is killed
        os._exit(exit_code(os.waitpid(child, 0)[1]))


def isolate(plan: dict[str, Any]) -> None:
    """Build the file system, bring up the loopback, and drop all privileges."""
    os.umask(0o022)
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount /")
    build_root(Path(plan["root"]), plan)
    start_loopback()
    if plan["user"] is not None:
        os.setgroups([])
        os.setresgid(plan["user"], plan["user"], plan["user"])
        os.setresuid(plan["user"], plan["user"], plan["user"])
    # after setresuid, which clears the death signal
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(plan["folder"])


def build_root(root: Path, plan: dict[str, Any]) -> None:
    """Mount the visible paths below `root`, and make it the root directory."""
    size = f"size={plan['memory_mib']}m"
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,mode=755")
    for path in ("/tmp", "/dev/shm"):
        (root / path[1:]).mkdir(parents=True, exist_ok=True)
        mount("tmpfs", root / path[1:], "tmpfs", MS_NOSUID | MS_NODEV,
              f"{size},mode=1777")  # fmt: skip
    for path in plan["readable"]:
        bind_mount(path, root, writable=False)
    for name in DEVICES:
        device = root / "dev" / name
        device.touch()
        mount(f"/dev/{name}", device, None, MS_BIND)
    (root / "dev" / "fd").symlink_to("/proc/self/fd")
    (root / "proc").mkdir()
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount_setattr(root / "proc", MOUNT_ATTR_RDONLY)
    folder = Path(plan["folder"])
    inside = [path for path in plan["hidden"] if folder in Path(path).parents]
    for path in plan["hidden"]:
        if path not in inside:
            mask(path, root)
    if plan["copy_mib"] is None:
        bind_mount(plan["folder"], root, writable=True)
    else:
        copy(plan, root)
    for path in inside:
        mask(path, root)
    enter_root(root)


def enter_root(root: Path) -> None:
    """Make `root` the root directory, detach the old one, and make it read-only."""
    (root / "old").mkdir()
    check(libc.pivot_root(bytes(root), bytes(root / "old")), "pivot_root")
    os.chdir("/")
    check(libc.umount2(b"/old", MNT_DETACH), "umount /old")
    os.rmdir("/old")
    mount_setattr(Path("/"), MOUNT_ATTR_RDONLY, 0)


def bind_mount(path: str, root: Path, writable: bool) -> None:
    """Bind-mount a path of the host below `root`; a symbolic link is copied."""
    source, target = Path(path), root / path[1:]
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
        return
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.touch()
    mount(path, target, None, MS_BIND | MS_REC)
    read_only = 0 if writable else MOUNT_ATTR_RDONLY
    mount_setattr(target, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | read_only)


def copy(plan: dict[str, Any], root: Path) -> None:
    """Copy the folder to a tmpfs, which disappears with the mount namespace."""
    import shutil

    target = root / plan["folder"][1:]
    target.mkdir(parents=True, exist_ok=True)
    size = f"size={plan['copy_mib']}m,nr_inodes={MAX_INODES},mode=700"
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, size)
    shutil.copytree(plan["folder"], target, symlinks=True, dirs_exist_ok=True)
    user = -1 if plan["user"] is None else plan["user"]
    for place, folders, files in os.walk(target):
        for path in [place, *(f"{place}/{name}" for name in [*folders, *files])]:
            os.chown(path, user, user, follow_symlinks=False)


def mask(path: str, root: Path) -> None:
    """Mount an empty tmpfs over a folder, or /dev/null over a file."""
    target = root / path[1:]
    if target.is_dir():
        mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    elif target.exists():
        mount("/dev/null", target, None, MS_BIND)


def mount(
    source: str, target: Path, kind: str | None, flags: int, options: str = ""
) -> None:
    words = (source.encode(), bytes(target), kind and kind.encode())
    check(libc.mount(*words, flags, options.encode() or None), f"mount {target}")


def mount_setattr(
    target: Path, attributes: int, recursively: int = AT_RECURSIVE
) -> None:
    """Set the attributes of a mount and of those below it (`man 2 mount_setattr`)."""
    words = struct.pack("QQQQ", attributes, 0, 0, 0)
    result = libc.syscall(
        SYS_MOUNT_SETATTR, AT_FDCWD, bytes(target), recursively, words, len(words)
    )
    check(result, f"mount_setattr {target}")


def start_loopback() -> None:
    """Bring up `lo`, the only network device of the namespace (`man 7 netdevice`)."""
    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        answer = fcntl.ioctl(any_socket, get_flags, request)
        flags = struct.unpack("16sh14x", answer)[1] | up
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags))


def run_command(plan: dict[str, Any]) -> None:
    """Start the command, reap child processes, and exit with the command."""
    everywhere, command_only = plan["filters"]
    if sys.platform == "linux":
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # for this process as well, which the command could trace
    set_seccomp_filter(everywhere, plan["namespaces"])
    child = os.fork()
    if child == 0:
        set_limits(plan["limits"])
        set_seccomp_filter(command_only, True)
        program = plan["command"][0]
        try:
            os.execvpe(program, plan["command"], plan["environment"])
        except OSError as error:
            raise OSError(f"{program}: {error.strerror}") from error
    os.close(plan["report"])
    if not plan["namespaces"]:  # PID 1 needs no handler: the kernel kills all
        signal.signal(signal.SIGTERM, lambda *_: kill_children(124))
        if sys.platform == "linux":
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # if the parent is killed
    while True:
        ended, status = os.wait()
        if ended == child:
            kill_children(exit_code(status))


def set_seccomp_filter(program: str, required: bool) -> None:
    """Install a seccomp filter of `syscalls` for this process and its children."""
    if not program:
        return
    lines = ctypes.create_string_buffer(bytes.fromhex(program), len(program) // 2)
    words = struct.pack("HP", len(lines) // 8, ctypes.addressof(lines))
    result = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, words)
    if required:
        check(result, "prctl(PR_SET_SECCOMP)")


def set_limits(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            if sys.platform == "linux":  # macOS refuses to limit the address space
                raise


def kill_children(code: int) -> None:
    """Kill all children until none is left, and exit; in a namespace, just exit."""
    if os.getpid() == 1 or sys.platform != "linux":
        os._exit(code)  # elsewhere the sandbox kills the process group
    while children := Path(f"/proc/self/task/{os.getpid()}/children").read_text():
        for each in children.split():
            os.kill(int(each), signal.SIGKILL)
            os.waitpid(int(each), 0)
    os._exit(code)


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def write(path: str, content: str) -> None:
    with open(path, "w") as file:
        file.write(content)


def check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    main()
