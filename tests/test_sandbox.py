"""Code in a sandbox cannot reach out of it, and what it returns is only data."""

import errno
import json
import os
import pickle
import re
import socket
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepseek_learn.sandbox import (
    CodeRaised,
    Sandbox,
    SandboxError,
    Session,
    ValueRefused,
    call,
    isolation,
    process,
    syscalls,
    tree,
    values,
    view,
)
from deepseek_learn.sandbox.values import HEADER, decode, encode

PACKAGE = Path(view.PACKAGE)
closed = pytest.mark.skipif(
    isolation() != "namespaces", reason="this system permits no namespaces"
)
linux = pytest.mark.skipif(
    sys.platform != "linux" or syscalls.this_machine() is None,
    reason="calls are filtered on Linux, on x86-64 and 64-bit ARM only",
)


@pytest.fixture
def room(tmp_path):
    folder = tmp_path / "room"
    folder.mkdir()
    return Sandbox(folder, seconds=20, memory_mib=4096)


@pytest.fixture
def loose(room, monkeypatch):
    """The room of a system without namespaces."""
    monkeypatch.setattr(process, "isolation", lambda: "sockets refused")
    return room


def python(room, source, **changes):
    return room.run(["python", "-c", source], **changes)


def answer(room, source):
    file = Path(room.folder) / "answer.py"
    file.write_text(source)
    return file


def test_a_command_runs_in_its_folder(room):
    (Path(room.folder) / "a").write_text("file")
    source = "import sys; print(open('a').read(), sys.stdin.read())"
    ended = python(room, source, stdin=b"in")
    assert (ended.returncode, ended.stdout, ended.reason) == (0, "file in\n", "")


def test_the_limits_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match=r"seconds must be a positive number; got 0"):
        Sandbox(tmp_path, 0, 100)
    with pytest.raises(ValueError, match="folder must be an existing folder"):
        Sandbox(tmp_path / "none", 1, 100)


def test_the_environment_is_a_fixed_list(room, monkeypatch):
    monkeypatch.setenv("A_SECRET", "token")
    ended = python(room, "import os; print(*os.environ)")
    assert "HOME" in ended.stdout
    assert "A_SECRET" not in ended.stdout


@closed
def test_it_cannot_connect(room):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        assert "ConnectionRefusedError" in python(room, source).stderr
    outside = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
    assert "Network is unreachable" in python(room, outside).stderr


@closed
def test_the_loopback_is_up(room):
    source = """if True:
        import socket
        server = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(server.getsockname(), 2)
        print("connected")"""
    assert python(room, source).stdout == "connected\n"


@closed
def test_it_sees_nothing_outside(room, tmp_path):
    (tmp_path / "secret").write_text("key")
    for path in (tmp_path / "secret", Path.home() / ".ssh", "/etc/passwd", "/run"):
        assert "FileNotFoundError" in python(room, f"open({str(path)!r})").stderr


@closed
def test_it_cannot_read_hidden_paths(room, tmp_path):
    shared = tmp_path / "shared"
    for path in (shared / "seen", shared / "keys" / "key", Path(room.folder) / "own"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    words = PACKAGE / "messages.toml"
    hidden = Sandbox(
        room.folder,
        20,
        4096,
        hidden=[shared / "keys", Path(room.folder) / "own", words],
        readable=[shared],
    )
    source = f"""if True:
        import os
        print(repr(open({str(shared / "seen")!r}).read()))
        print(os.listdir({str(shared / "keys")!r}))
        print(repr(open("own").read()), repr(open({str(words)!r}).read()))"""
    assert python(hidden, source).stdout.split() == ["'content'", "[]", "''", "''"]


@closed
@pytest.mark.parametrize("root", [True, False])
def test_it_cannot_write_outside_its_folder(room, tmp_path, root, monkeypatch):
    if not root:  # take the way of users who are not root
        monkeypatch.setattr(process, "unused_user", lambda: None)
    places = ["/", "/usr", "/proc/self", sys.prefix, PACKAGE, "/dev", "/home"]
    source = f"""if True:
        for place in {[str(place) for place in places]}:
            try:
                open(f"{{place}}/written", "w")
            except OSError:
                print("refused")
        open("inside", "w")"""
    ended = python(room, source)
    assert ended.stdout == "refused\n" * len(places), ended.stderr
    assert (Path(room.folder) / "inside").exists()
    assert not (tmp_path / "written").exists()


@closed
def test_its_files_belong_to_the_owner_afterwards(room):
    python(room, "import os; os.mkdir('d'); open('d/file', 'w'); os.symlink('/', 'l')")
    for name in ("d", "d/file", "l"):
        assert (Path(room.folder) / name).lstat().st_uid == os.geteuid()


NESTED = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
keys, remount, writable = sys.argv[1].encode(), 0x1020, struct.pack("QQQQ", 0, 1, 0, 0)
print(libc.unshare(0x10020000), libc.unshare(0x20000))  # CLONE_NEWUSER, CLONE_NEWNS
print(libc.umount2(keys, 2), libc.umount2(b"/proc", 2))
print(libc.mount(None, b"/usr", None, remount, None))
print(libc.syscall(442, -100, b"/usr", 0, writable, 32))
print(libc.syscall(442, -100, b"/", 0, writable, 32), os.listdir(keys))
"""


@closed
@pytest.mark.parametrize("root", [True, False])
def test_it_cannot_get_privileges(room, root, monkeypatch, tmp_path):
    """It gets no namespace of its own, and cannot undo what was mounted."""
    if not root:  # take the way of users who are not root
        monkeypatch.setattr(process, "unused_user", lambda: None)
    ended = room.run(["sh", "-c", "mount -t tmpfs none /usr; id -u"])
    assert ended.stdout.strip() not in ("", "0")
    assert "superuser" in ended.stderr or "permission denied" in ended.stderr.lower()
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "key").write_text("secret")
    hidden = Sandbox(room.folder, 20, 4096, hidden=[keys], readable=[tmp_path / "keys"])
    lines = hidden.run(["python", "-c", NESTED, keys]).stdout.splitlines()
    assert lines == ["-1 -1", "-1 -1", "-1", "-1", "-1 []"]


@closed
def test_it_cannot_see_or_signal_other_processes(room):
    with subprocess.Popen(["sleep", "30"]) as other:
        source = f"""if True:
            import os
            print([name for name in os.listdir("/proc") if name.isdigit()])
            for each in ({other.pid}, {os.getpid()}):
                try:
                    os.kill(each, 9)
                except ProcessLookupError:
                    print("none")"""
        assert python(room, source).stdout.splitlines() == [
            "['1', '2']",
            "none",
            "none",
        ]
        assert other.poll() is None
        other.kill()


@closed
def test_a_fork_bomb_reaches_the_limit(room):
    source = """if True:
        import os, time
        count = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(60)
                count += 1
        except BlockingIOError:
            print(count)"""
    count = int(python(room, source).stdout)
    assert 0 < count < room.processes


def test_an_endless_loop_is_ended(tmp_path):
    ended = python(Sandbox(tmp_path, 0.5, 4096), "while True: pass")
    assert ended.reason == "it was ended after 0.5 s."


def test_output_is_limited(tmp_path):
    room = Sandbox(tmp_path, 20, 4096, file_mib=2)
    ended = python(room, "while True: print('x' * 10**6)")
    assert ended.returncode != 0
    assert len(ended.stdout) <= 1 << 20


def test_ten_gigabytes_of_memory_are_refused(room):
    assert "MemoryError" in python(room, "bytearray(10 * 2**30)").stderr


@pytest.mark.skipif(sys.platform != "linux", reason="daemons are traced on Linux only")
@pytest.mark.parametrize("fixture", ["room", "loose"])
def test_a_daemon_ends_with_its_command(fixture, request, tmp_path):
    room = request.getfixturevalue(fixture)
    source = """if True:
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    open("alive", "a").write("x")
                    time.sleep(0.01)
            os._exit(0)
        while not os.path.exists("alive"):
            time.sleep(0.01)"""
    assert python(room, source).returncode == 0
    alive = Path(room.folder) / "alive"
    size = alive.stat().st_size
    time.sleep(0.1)
    assert alive.stat().st_size == size


def test_nothing_runs_where_the_room_cannot_be_closed(room, monkeypatch):
    broken = Sandbox(room.folder, 20, 100)
    monkeypatch.setattr(process, "isolation", lambda: "namespaces")
    monkeypatch.setattr(process, "always_readable", lambda: ["/none"])
    with pytest.raises(SandboxError, match="nothing was run in the sandbox"):
        python(broken, "open('written', 'w')")
    assert not (Path(room.folder) / "written").exists()


def test_a_program_that_does_not_exist_is_named(room):
    with pytest.raises(SandboxError, match=r"nothing was run.* nonesuch: No such file"):
        room.run(["nonesuch"])


def test_without_namespaces_sockets_and_hidden_paths_are_refused(loose, tmp_path):
    (tmp_path / "key").write_text("secret")
    hidden = Sandbox(loose.folder, 20, 4096, hidden=[tmp_path / "key"])
    for source in (
        "import socket; socket.socket()",
        f"open({str(tmp_path / 'key')!r})",
        "import os; os.system('true')",
    ):
        ended = python(hidden, source)
        assert ended.returncode != 0
        assert "PermissionError: the sandbox" in ended.stderr
    assert python(hidden, "print(open(__import__('os').__file__).name)").returncode == 0


def test_without_namespaces_a_loop_is_ended_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "isolation", lambda: "sockets refused")
    source = (
        "import os; os.fork(); os.setsid() if os.getppid() else 0\nwhile True: pass"
    )
    ended = python(Sandbox(tmp_path, 0.5, 4096), source)
    assert "0.5 s" in ended.reason


def test_call_returns_what_the_function_returns(room):
    file = answer(room, "def double(x): return {'twice': 2 * x, 'is': (x, None)}")
    assert call(file, "double", 21, sandbox=room) == {"twice": 42, "is": (21, None)}


def test_tensors_and_arrays_travel(room):
    torch = pytest.importorskip("torch")
    file = answer(
        room, "def both(t, a): return [t.T + 1, a.sum(), a * 2, t.bfloat16()]"
    )
    tensor, array = torch.arange(6.0).reshape(2, 3), np.arange(4, dtype=np.uint8)
    added, total, twice, half = call(file, "both", tensor, array, sandbox=room)
    assert torch.equal(added, tensor.T + 1)
    assert (total, type(total)) == (6, np.uint64)
    assert twice.tolist() == [0, 2, 4, 6]
    assert torch.equal(half, tensor.bfloat16())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os._exit(0)", "Ended: it ended with exit code 0"),
        ("import os; os.kill(os.getpid(), 9)", "Ended: it was ended by the signal"),
        ("return undefined", "NameError"),
    ],
)
def test_code_that_raises_or_exits_is_reported(room, body, message):
    with pytest.raises(CodeRaised, match=message):
        call(answer(room, f"def f():\n    {body}"), "f", sandbox=room)


def test_code_that_does_not_return_is_ended(tmp_path):
    room = Sandbox(tmp_path, 1, 4096)
    with pytest.raises(CodeRaised, match="TimeoutError: it was ended after 1 s"):
        call(answer(room, "def f():\n    while True: pass"), "f", sandbox=room)


def test_the_time_of_the_caller_between_calls_is_not_counted(room):
    file = answer(room, "import time\ndef f(seconds):\n    time.sleep(seconds)")
    with Session.open(file, room) as session:
        session.call("f", 0)
        session.seconds_left = 2.0  # the start may take longer on a busy machine
        time.sleep(2.1)
        session.call("f", 0.5)
        assert 0 < session.seconds_left <= 1.5
        with pytest.raises(CodeRaised, match="TimeoutError: it was ended after 20 s"):
            session.call("f", 2)


def test_what_the_code_prints_is_no_reply(room):
    source = "import os\ndef f():\n    print('x' * 99, flush=True)\n    return 1"
    assert call(answer(room, source), "f", sandbox=room) == 1


FORGED = """
import os, pickle, struct, sys
class Attack:
    def __reduce__(self):
        return os.system, ("touch attacked",)
def f():
    content = {content}
    os.write(int(sys.argv[1]), struct.pack(">Q", {length}) + content)
"""


@pytest.mark.parametrize(
    ("content", "length"),
    [
        ("pickle.dumps(Attack())", "len(content)"),
        ("b'passed'", "len(content)"),
        ("b''", "2 ** 62"),
        ("struct.pack('>QQQ', 2 ** 40, 0, 0)", "len(content)"),
        ("struct.pack('>QQQ', 8, 0, 0) + b'[[[[[[[['", "len(content)"),
    ],
)
def test_a_forged_reply_is_refused(room, content, length, tmp_path):
    source = FORGED.replace("{content}", content).replace("{length}", length)
    with pytest.raises(ValueRefused, match="reply"):
        call(answer(room, source), "f", sandbox=room)
    assert not Path("attacked").exists()


def test_a_reply_of_another_shape_is_refused(room):
    content = encode(["returned", 1, 2]).hex()
    source = FORGED.replace("{content}", f"bytes.fromhex('{content}')")
    with pytest.raises(ValueRefused, match="not the reply to a call"):
        call(
            answer(room, source.replace("{length}", "len(content)")), "f", sandbox=room
        )


def test_objects_do_not_travel(room):
    file = answer(room, "def f(x=None): return object()")
    with pytest.raises(ValueRefused, match="a object does not travel"):
        call(file, "f", sandbox=room)
    with pytest.raises(ValueRefused, match="a set does not travel"):
        call(file, "f", {1}, sandbox=room)
    with pytest.raises(ValueRefused, match="does not travel"):
        encode(np.array([object()]))


def test_a_pickle_is_no_value():
    for content in (pickle.dumps(1), b"", HEADER.pack(1, 0, 0) + b"1"):
        with pytest.raises(ValueRefused, match="JSON and safetensors"):
            decode(content)


def test_every_plain_value_survives():
    value = [
        1,
        2.5,
        float("inf"),
        "文",
        None,
        True,
        (1, [2]),
        {"a": {3: 4}},
        np.bool_(1),
    ]
    assert decode(encode(value)) == value
    assert np.isnan(decode(encode(float("nan"))))
    texts = np.array([["a", "文"]])
    assert (decode(encode(texts)) == texts).all()
    assert decode(encode([b"\x00\xff", np.array([], str)]))[0] == b"\x00\xff"


CALLS = """
import ctypes, errno, json, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
numbers = json.loads(sys.argv[1])
user, thread = 0x10000000, 0x10000  # CLONE_NEWUSER, CLONE_THREAD
namespace = os.open("/proc/self/ns/user", os.O_RDONLY)
attributes = ctypes.create_string_buffer(struct.pack("IIQ", 1, 112, 0) + bytes(96), 112)
calls = {
    "add_key": (b"user", b"sandbox-test", b"word", 4, -4),  # the user's keyring
    "request_key": (b"user", b"sandbox-test", None, -4),
    "keyctl": (0, -4, 1),
    "io_uring_setup": (1, ctypes.create_string_buffer(120)),
    "bpf": (0, ctypes.create_string_buffer(120), 120),  # BPF_MAP_CREATE
    "perf_event_open": (attributes, 0, -1, -1, 0),
    "userfaultfd": (1,),  # UFFD_USER_MODE_ONLY, which needs no privilege
    "setns": (namespace, 0),
    "unshare": (user,),
    "clone": (user | signal.SIGCHLD, 0, 0, 0, 0),
    "clone3": (ctypes.create_string_buffer(struct.pack("Q", user) + bytes(80), 88), 88),
}
for name, arguments in calls.items():
    ctypes.set_errno(0)
    result = libc.syscall(numbers[name], *arguments)
    if result == 0 and name.startswith("clone"):
        os._exit(0)  # the child that should not be there
    print(name, "made" if result >= 0 else errno.errorcode[ctypes.get_errno()])
print("thread", libc.unshare(0x400))  # CLONE_FILES, which needs no privilege
"""


@linux
@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("fixture", ["room", "loose"])
def test_calls_that_pass_by_namespaces_are_refused(fixture, root, request, monkeypatch):
    if not root:  # take the way of users who are not root
        monkeypatch.setattr(process, "unused_user", lambda: None)
    room = request.getfixturevalue(fixture)
    machine = syscalls.this_machine()
    assert machine is not None
    ended = room.run(["python", "-c", CALLS, json.dumps(machine.calls)])
    *refused, thread = ended.stdout.splitlines()
    results = dict(line.split() for line in refused)
    assert results.pop("clone3") == "ENOSYS"
    assert len(results) == 10, ended.stderr
    assert set(results.values()) == {"EPERM"}
    assert thread == "thread 0"


@closed
def test_programs_that_make_user_namespaces_fail(room):
    ended = room.run(["unshare", "--user", "--map-root-user", "true"])
    assert ended.returncode != 0
    assert "Operation not permitted" in ended.stderr


ONE_ID = """
import os, sys
from deepseek_learn.sandbox import Sandbox, isolation
print(isolation(), os.getuid())
print(Sandbox(sys.argv[1], 20, 4096).run(["python", "-c", "open('in', 'w'); print(1)"]))
"""


@closed
@pytest.mark.parametrize(
    "command",
    [
        ["unshare", "--user", "--map-root-user"],
        ["setpriv", "--bounding-set", "-chown", "--inh-caps", "-chown"],
    ],
)
def test_root_without_its_powers_makes_a_room_as_any_user_does(command, tmp_path):
    """In a user namespace with one ID, or without CAP_CHOWN, as in containers."""
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip(f"{command[0]} fails on this system")
    done = subprocess.run(
        [*command, sys.executable, "-c", ONE_ID, tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stderr == ""
    assert done.stdout.startswith(
        "namespaces 0\nCompletedProcess(returncode=0, stdout='1\\n'"
    )
    assert (tmp_path / "in").stat().st_uid == os.geteuid()


@closed
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_that_cannot_be_given_away_is_named(room, monkeypatch):
    def refuse(folder, user):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(folder))

    monkeypatch.setattr(process, "chown", refuse)
    with pytest.raises(SandboxError, match=r"cannot give .*room to the user \d+: Oper"):
        python(room, "open('written', 'w')")
    assert not (Path(room.folder) / "written").exists()


@closed
def test_only_sockets_of_the_internet_and_of_unix_are_made(room):
    source = """if True:
        import socket
        # the last are netlink (routes, uevents), packet, alg, vsock
        for family, protocol in (1, 0), (2, 0), (10, 0), (16, 0), (16, 15), *(
            (family, 0) for family in (17, 38, 40)
        ):
            try:
                socket.socket(family, socket.SOCK_DGRAM, protocol).close()
                print("made")
            except PermissionError:
                print("refused")"""
    assert python(room, source).stdout.split() == ["made"] * 4 + ["refused"] * 4


@closed
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives rooms their users")
def test_each_room_has_its_own_user(room):
    users = {python(room, "import os; print(os.getuid())").stdout for _ in range(3)}
    assert len(users) == 3


ALONE = """
import ctypes, os, subprocess, threading
numbers = []
thread = threading.Thread(target=numbers.append, args=[1])
thread.start()
thread.join()
for start in (
    os.fork,
    lambda: os.posix_spawn("/bin/true", ["true"], {}),
    lambda: subprocess.run(["true"]),
):
    try:
        start()
        numbers.append("started")
    except PermissionError:
        numbers.append(0)
libc = ctypes.CDLL(None, use_errno=True)
if os.uname().machine == "x86_64":
    numbers += [libc.syscall(57), libc.syscall(58), libc.syscall(56, 17, 0, 0, 0, 0)]
print(*numbers)
"""


@linux
@pytest.mark.parametrize("fixture", ["room", "loose"])
def test_without_children_there_are_threads_but_no_processes(fixture, request):
    room = replace(request.getfixturevalue(fixture), children=False)
    words = python(room, ALONE).stdout.split()
    assert words in (["1", *"000"], ["1", *"000", *["-1"] * 3])


def test_without_children_nothing_runs_where_they_cannot_be_refused(room, monkeypatch):
    monkeypatch.setattr(process, "this_machine", lambda: None)
    with pytest.raises(SandboxError, match="children=False"):
        python(replace(room, children=False), "open('written', 'w')")
    assert not (Path(room.folder) / "written").exists()


def run_filter(program, number, *arguments, architecture=0xC000003E):
    """Interpret a filter as the kernel does, and return its result."""
    values = [*arguments, 0, 0, 0][:3]
    data = struct.pack("<IIQQQQ", number, architecture, 0, *values)
    lines, place, word = [*struct.iter_unpack("HBBI", program)], 0, 0
    while True:
        code, yes, no, value = lines[place]
        if code == syscalls.RET:
            return value
        if code == syscalls.LD_W_ABS:
            word = struct.unpack_from("<I", data, value)[0]
            place += 1
            continue
        true = {
            syscalls.JEQ: word == value,
            syscalls.JGE: word >= value,
            syscalls.JSET: bool(word & value),
        }[code]
        place += 1 + (yes if true else no)


HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}


@pytest.mark.parametrize("name", syscalls.MACHINES)
def test_numbers_of_system_calls_are_those_of_the_headers_of_linux(name):
    header = Path(HEADERS[name])
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    defined = re.findall(r"#define __NR_(\w+)\s+(\d+)", header.read_text())
    numbers = {call: int(number) for call, number in defined}
    calls = syscalls.MACHINES[name].calls
    assert calls == {call: numbers[call] for call in calls}


@pytest.mark.parametrize("name", syscalls.MACHINES)
def test_a_filter_refuses_by_number_and_argument(name):
    machine = syscalls.MACHINES[name]
    room, alone = syscalls.filters(machine, children=False)
    calls, words = machine.calls, {"architecture": machine.architecture}
    refused = syscalls.SECCOMP_RET_ERRNO + errno.EPERM
    for name in syscalls.REFUSED.keys() - {"clone3"}:
        assert run_filter(room, calls[name], **words) == refused
    for name in ("clone", "unshare"):
        for bit in range(32):
            user = 1 << bit == syscalls.CLONE_NEWUSER
            result = run_filter(room, calls[name], 1 << bit | 17, **words)
            assert result == (refused if user else syscalls.SECCOMP_RET_ALLOW)
    assert run_filter(room, calls["clone3"], **words) == refused - 1 + errno.ENOSYS
    for family in range(50):
        for protocol in range(20):
            permitted = family in (1, 2, 10) or (family, protocol) == (16, 0)
            expected = syscalls.SECCOMP_RET_ALLOW if permitted else refused
            result = run_filter(room, calls["socket"], family, 1, protocol, **words)
            assert result == expected
    for flags, expected in ((0x11, refused), (0x3D0F00, syscalls.SECCOMP_RET_ALLOW)):
        assert run_filter(alone, calls["clone"], flags, **words) == expected
        assert (
            run_filter(room, calls["clone"], flags, **words)
            == syscalls.SECCOMP_RET_ALLOW
        )
    for program in (room, alone):
        assert run_filter(program, 0, **words) == syscalls.SECCOMP_RET_ALLOW
        assert run_filter(program, 0, architecture=0x40000003) == refused  # i386
        assert run_filter(program, 0x40000000, **words) == refused  # x32
    assert syscalls.filters(machine, children=True)[1] == b""


DEEP = """
import os
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
open("file", "w").close()
"""


def deep_folder(folder):
    folder.mkdir()
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        exec(DEEP)
        os.mkdir("locked", 0o500)
        os.symlink("/etc", "link")
    finally:
        os.fchdir(before)
        os.close(before)


def test_a_folder_of_any_depth_is_removed(tmp_path):
    deep_folder(tmp_path / "deep")
    (tmp_path / "deep" / "closed").mkdir(mode=0)
    names = [name for _, name, _ in tree.walk(tmp_path / "deep")]
    assert (names.count("d"), names.count("file"), names.count("locked")) == (
        3000,
        1,
        1,
    )
    assert names.index("file") < names.index("d")
    tree.remove(tmp_path / "deep")
    assert not (tmp_path / "deep").exists()
    assert Path("/etc").exists()


def test_a_folder_that_does_not_exist_is_not_removed(tmp_path):
    with pytest.raises(FileNotFoundError):
        tree.remove(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_any_depth_changes_its_owner(tmp_path):
    deep_folder(tmp_path / "deep")
    tree.chown(tmp_path / "deep", 61184)
    for parent, name, _ in tree.walk(tmp_path / "deep"):
        facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
        assert (facts.st_uid, facts.st_gid) == (61184, 61184)
    assert Path("/etc").stat().st_uid == 0
    tree.remove(tmp_path / "deep")


@pytest.mark.parametrize("fixture", ["room", "loose"])
def test_nothing_stays_of_a_temporary_folder(fixture, request):
    room = request.getfixturevalue(fixture)
    with tree.temporary_folder("test-") as folder:
        ended = python(replace(room, folder=folder), DEEP)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert (folder / "d" / "d").exists()
    assert not folder.exists()


@closed
@pytest.mark.parametrize("root", [True, False])
def test_a_copy_of_the_folder_ends_with_the_room(room, root, monkeypatch):
    if not root:  # take the way of users who are not root
        monkeypatch.setattr(process, "unused_user", lambda: None)
    folder = Path(room.folder)
    (folder / "sub").mkdir()
    for name in ("sub/given", "hidden"):
        (folder / name).write_text("content")
    copied = replace(room, keep=False, file_mib=8, hidden=[folder / "hidden"])
    ended = python(copied, COPIED)
    assert ended.stdout.split() == ["content", "[]", "full", "full"], ended.stderr
    assert (folder / "sub" / "given").read_text() == "content"
    assert sorted(os.listdir(folder)) == ["hidden", "sub"]
    assert folder.stat().st_uid == os.geteuid()


COPIED = """
import errno
import json
print(open("sub/given").read(), [*open("hidden")])
open("sub/given", "a").write("changed")
def fill(name, content):
    try:
        for number in range(100_000):
            with open(f"{name}{number}", "wb") as file:
                file.write(content)
    except OSError as error:
        print("full" if error.errno == errno.ENOSPC else error)
fill("large", bytes(1 << 20))
fill("small", b"")
"""


@closed
def test_a_folder_that_is_too_large_is_not_copied(room):
    (Path(room.folder) / "large").write_bytes(bytes(2 << 20))
    with pytest.raises(SandboxError, match=r"nothing was run.*No space left"):
        python(replace(room, keep=False, file_mib=1), "")


def encoded(tree):
    content = json.dumps(tree).encode()
    return HEADER.pack(len(content), 0, 0) + content


def test_arrays_of_texts_have_a_limit_together(monkeypatch):
    """A reply of one megabyte made an array of two gigabytes."""
    monkeypatch.setattr(values, "MAX_TEXT_BYTES", 8000)
    texts = ["texts", [[20], ["x" * 50] + [""] * 19]]  # 20 texts, each 50 wide
    assert decode(encoded(texts)).nbytes == 4000
    assert len(decode(encoded(["list", [texts] * 2]))) == 2
    for content in (["list", [texts] * 3], ["texts", [[41], ["x" * 50] + [""] * 40]]):
        with pytest.raises(ValueRefused, match="ValueError"):
            decode(encoded(content))


def test_a_small_reply_does_not_become_a_large_array():
    with pytest.raises(ValueRefused, match="ValueError"):
        decode(encoded(["texts", [[500], ["x" * 1_000_000] + [""] * 499]]))


OWNER = """
import sys
from deepseek_learn.sandbox import Sandbox, process
if sys.argv[2] == "loose":
    process.isolation = lambda: "sockets refused"
Sandbox(sys.argv[1], 60, 4096).run(["python", "-c", sys.argv[3]])
"""
ALIVE = """
import time
while True:
    open("alive", "a").write("x")
    time.sleep(0.01)
"""


@linux
@pytest.mark.parametrize("fixture", ["room", "loose"])
def test_a_command_ends_with_its_owner(fixture, tmp_path):
    alive = tmp_path / "alive"
    command = [sys.executable, "-c", OWNER, tmp_path, fixture, ALIVE]
    with subprocess.Popen(command) as owner:
        while not alive.exists():
            assert owner.poll() is None
            time.sleep(0.05)
        owner.kill()
    for _ in range(100):
        size = alive.stat().st_size
        time.sleep(0.1)
        if alive.stat().st_size == size:
            return
    raise AssertionError("it goes on for 10 s")
