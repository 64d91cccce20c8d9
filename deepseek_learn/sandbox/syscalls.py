"""The seccomp filters of a sandbox (`man 2 seccomp`), as classic BPF programs.

Namespaces do not cover everything: kernel keyrings outlive a sandbox, AF_VSOCK sockets
reach the hypervisor, and a process in a new user namespace gets capabilities that expose
large parts of the kernel. The filters refuse such system calls. The kernel runs them
before each call, and their return value decides whether it allows the call.
"""

import errno
import platform
import struct
from dataclasses import dataclass

# offsets in `struct seccomp_data`
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, THIRD_ARGUMENT = 0, 4, 16, 32
# BPF instructions: load a word; jump if it is equal, not less, or shares a bit; return
LD_W_ABS, JEQ, JGE, JSET, RET = 0x20, 0x15, 0x35, 0x45, 0x06
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000  # plus the error number
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
AF_NETLINK, NETLINK_ROUTE = (
    16,
    0,
)  # with these, programs list the sandbox's own addresses
CLONE_THREAD, CLONE_NEWUSER = 0x10000, 0x10000000  # flags of clone(2) and unshare(2)
X32_SYSCALL_BIT = 0x40000000  # the x32 calls of x86-64: the same calls by other numbers

# system calls that every sandbox refuses, and the error numbers
REFUSED = {
    "add_key": errno.EPERM,
    "request_key": errno.EPERM,
    "keyctl": errno.EPERM,
    "io_uring_setup": errno.EPERM,  # its requests bypass seccomp
    "bpf": errno.EPERM,
    "perf_event_open": errno.EPERM,
    "userfaultfd": errno.EPERM,  # it delays the kernel where exploits need it
    "setns": errno.EPERM,  # whatever its flags: 0 stands for any namespace
    "clone3": errno.ENOSYS,  # a filter cannot read its flags; libraries then call clone
}
Line = tuple[int, int, int, int]  # instruction, lines to skip if true, if false, value
ALLOW: Line = (RET, 0, 0, SECCOMP_RET_ALLOW)
EPERM: Line = (RET, 0, 0, SECCOMP_RET_ERRNO + errno.EPERM)


@dataclass(frozen=True)
class Machine:
    """An architecture (AUDIT_ARCH_*) and the numbers of its system calls."""

    architecture: int
    calls: dict[str, int]


MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        {"socket": 41, "clone": 56, "fork": 57, "vfork": 58, "add_key": 248,
         "request_key": 249, "keyctl": 250, "unshare": 272, "perf_event_open": 298,
         "setns": 308, "bpf": 321, "userfaultfd": 323, "io_uring_setup": 425,
         "clone3": 435},
    ),
    "aarch64": Machine(  # it has neither fork nor vfork
        0xC00000B7,
        {"unshare": 97, "socket": 198, "add_key": 217, "request_key": 218,
         "keyctl": 219, "clone": 220, "perf_event_open": 241, "setns": 268, "bpf": 280,
         "userfaultfd": 282, "io_uring_setup": 425, "clone3": 435},
    ),
}  # fmt: skip


def this_machine() -> Machine | None:
    """Return this machine's system calls, or None if they are not in `MACHINES`."""
    wide = struct.calcsize("P") == 8
    return MACHINES.get(platform.machine()) if wide else None


def filters(machine: Machine, children: bool) -> tuple[bytes, bytes]:
    """Return the filter of all processes in a sandbox, and one for the command.

    Args:
        machine: the machine on which the filters will run.
        children: whether the command may start processes. If not, the second filter
            refuses new processes, but not new threads; otherwise it is empty.
    """
    return sandbox_filter(machine), b"" if children else no_children_filter(machine)


def sandbox_filter(machine: Machine) -> bytes:
    """Return a filter that refuses `REFUSED`, user namespaces and most sockets.

    It permits sockets of `FAMILIES`, and NETLINK_ROUTE, which Jupyter kernels need: it
    only describes the sandbox's own network, which is empty.
    """
    equal = [(JEQ, 0, 1, number) for number in FAMILIES.values()]
    families = [line for each in equal for line in (each, ALLOW)]
    route = [
        (JEQ, 0, 3, AF_NETLINK),
        (LD_W_ABS, 0, 0, THIRD_ARGUMENT),
        (JEQ, 0, 1, NETLINK_ROUTE),
        ALLOW,
    ]
    lines = _refuse(machine, REFUSED)
    lines += _if_call(machine, "socket", [*families, *route, EPERM])
    for name in ("clone", "unshare"):
        user_namespace = [(JSET, 0, 1, CLONE_NEWUSER), EPERM, ALLOW]
        lines += _if_call(machine, name, user_namespace)
    return _program(machine, lines)


def no_children_filter(machine: Machine) -> bytes:
    """Return a filter that refuses new processes, but no new threads."""
    lines = _refuse(machine, {"fork": errno.EPERM, "vfork": errno.EPERM})
    thread = [(JSET, 0, 1, CLONE_THREAD), ALLOW, EPERM]
    return _program(machine, lines + _if_call(machine, "clone", thread))


def _program(machine: Machine, lines: list[Line]) -> bytes:
    """Refuse the calls of other architectures, then run the given instructions."""
    start = [
        (LD_W_ABS, 0, 0, ARCHITECTURE),
        (JEQ, 1, 0, machine.architecture),
        EPERM,
        (LD_W_ABS, 0, 0, NUMBER),
        (JGE, 0, 1, X32_SYSCALL_BIT),
        EPERM,
    ]
    return b"".join(struct.pack("HBBI", *line) for line in [*start, *lines, ALLOW])


def _refuse(machine: Machine, errors: dict[str, int]) -> list[Line]:
    """Return instructions that refuse system calls with the given error numbers."""
    calls = [(machine.calls[name], errors[name]) for name in errors
             if name in machine.calls]  # fmt: skip
    pairs = [
        ((JEQ, 0, 1, number), (RET, 0, 0, SECCOMP_RET_ERRNO + error))
        for number, error in calls
    ]
    return [line for pair in pairs for line in pair]


def _if_call(machine: Machine, name: str, lines: list[Line]) -> list[Line]:
    """Run the instructions, which must return, on the first argument of one call."""
    load = (LD_W_ABS, 0, 0, FIRST_ARGUMENT)  # its lower half, on these machines
    return [(JEQ, 0, 1 + len(lines), machine.calls[name]), load, *lines]
