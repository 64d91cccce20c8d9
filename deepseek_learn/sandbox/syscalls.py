"""The system calls that a room refuses, as a program that the kernel runs.

Namespaces do not cover everything: the kernel's keyrings outlive a room, and a socket of
the family AF_VSOCK reaches the hypervisor. A filter of seccomp(2) refuses such calls. It
is a program of classic BPF: the kernel runs it before each system call, and its result
says what becomes of the call.
"""

import errno
import platform
import struct
from dataclasses import dataclass

# where `struct seccomp_data` has the call's number, the architecture, the arguments
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, THIRD_ARGUMENT = 0, 4, 16, 32
# instructions: load a word; skip lines if it equals, reaches or shares a bit; return
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000  # REFUSE is added to an error number
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
AF_NETLINK, NETLINK_ROUTE = 16, 0  # with these, programs list the room's own addresses
THREAD = 0x10000  # the flag of clone(2) that makes a thread, not a process
OTHER_NUMBERS = 0x40000000  # the x32 calls of x86-64: the same calls by other numbers

# what is refused in every room, and with which error
REFUSED = {
    "add_key": errno.EPERM,
    "request_key": errno.EPERM,
    "keyctl": errno.EPERM,
    "io_uring_setup": errno.EPERM,  # its requests pass by any filter
    "clone3": errno.ENOSYS,  # its flags are out of sight; libraries then call clone
}
Line = tuple[int, int, int, int]  # instruction, lines to skip if true, if false, value


@dataclass(frozen=True)
class Machine:
    """An architecture by the kernel's number, and the numbers of its system calls."""

    architecture: int
    calls: dict[str, int]


MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        {"socket": 41, "clone": 56, "fork": 57, "vfork": 58, "add_key": 248,
         "request_key": 249, "keyctl": 250, "io_uring_setup": 425, "clone3": 435},
    ),
    "aarch64": Machine(  # it has neither fork nor vfork
        0xC00000B7,
        {"socket": 198, "clone": 220, "add_key": 217, "request_key": 218,
         "keyctl": 219, "io_uring_setup": 425, "clone3": 435},
    ),
}  # fmt: skip


def this_machine() -> Machine | None:
    """Return this computer's calls; None if they are not known here."""
    wide = struct.calcsize("P") == 8
    return MACHINES.get(platform.machine()) if wide else None


def filters(machine: Machine, children: bool) -> tuple[bytes, bytes]:
    """Return the filter of every process in a room, and one more for the command.

    Args:
        machine: whose calls the filters know.
        children: whether the command may start other processes. If not, the second
            filter refuses them; threads are no processes. Otherwise it is empty.
    """
    return room_filter(machine), b"" if children else alone_filter(machine)


def room_filter(machine: Machine) -> bytes:
    """Return a filter that refuses `REFUSED` and sockets of all but `FAMILIES`.

    Of AF_NETLINK it permits NETLINK_ROUTE, which Jupyter's kernels need: it tells of
    the room's own network, which is empty.
    """
    equal = [(EQUAL, 0, 1, number) for number in FAMILIES.values()]
    families = [line for each in equal for line in (each, _result(ALLOW))]
    route = [
        (EQUAL, 0, 3, AF_NETLINK),
        (LOAD, 0, 0, THIRD_ARGUMENT),
        (EQUAL, 0, 1, NETLINK_ROUTE),
        _result(ALLOW),
    ]
    sockets = [*families, *route, _result(REFUSE + errno.EPERM)]
    lines = _refuse(machine, REFUSED) + _if_call(machine, "socket", sockets)
    return _program(machine, lines)


def alone_filter(machine: Machine) -> bytes:
    """Return a filter that refuses new processes, but no new threads."""
    lines = _refuse(machine, {"fork": errno.EPERM, "vfork": errno.EPERM})
    thread = [(ANY_BIT, 0, 1, THREAD), _result(ALLOW), _result(REFUSE + errno.EPERM)]
    return _program(machine, lines + _if_call(machine, "clone", thread))


def _program(machine: Machine, lines: list[Line]) -> bytes:
    """Refuse all calls of another architecture, then go through the lines."""
    start = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, machine.architecture),
        _result(REFUSE + errno.EPERM),
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 0, 1, OTHER_NUMBERS),
        _result(REFUSE + errno.EPERM),
    ]
    return b"".join(
        struct.pack("HBBI", *line) for line in [*start, *lines, _result(ALLOW)]
    )


def _refuse(machine: Machine, errors: dict[str, int]) -> list[Line]:
    """Refuse the calls with their errors."""
    calls = [(machine.calls[name], errors[name]) for name in errors
             if name in machine.calls]  # fmt: skip
    pairs = [
        ((EQUAL, 0, 1, number), _result(REFUSE + error)) for number, error in calls
    ]
    return [line for pair in pairs for line in pair]


def _if_call(machine: Machine, name: str, lines: list[Line]) -> list[Line]:
    """Go through the lines, which end, with the first argument of this call only."""
    load = (LOAD, 0, 0, FIRST_ARGUMENT)  # its lower half, on these machines
    return [(EQUAL, 0, 1 + len(lines), machine.calls[name]), load, *lines]


def _result(value: int) -> Line:
    return (RETURN, 0, 0, value)
