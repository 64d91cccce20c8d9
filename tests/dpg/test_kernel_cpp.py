"""The C++ kernel: float64 reference, bitwise guarantees, building and caching.

Two bounds. With x8 = round(x / sx_g) in group g, and d_g the integer parts of the group
(exact in float32), the kernel adds `scale_g sx_g d_g` in float32 (u = 2^-24): two roundings
for each product, one for each sum and one for the bias or y. `step` is a power of 2:

    |y - y8| <= (groups + 3) u step sum_g |scale_g sx_g d_g| + 2 u |y8|    (arithmetic)
    |y8 - W x| <= (1/2 + 127 u) sum_g sx_g sum_{k in g} |w_k|               (rounding x)
"""

import ctypes
import itertools
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import platformdirs
import pytest

from deepseek_learn import binary_cache
from deepseek_learn.dpg.kernels import build
from deepseek_learn.errors import DeepSeekLearnError
from deepseek_learn.lm.cpp.library import STEP

PLANES = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (4, 4)}
USED = [(b, sum(w[: n + 1])) for b, w in PLANES.items() for n in range(len(w))]
U = 2.0**-24
OK, BAD_SIZE, BAD_LEVEL, BAD_POINTER, BAD_SEGMENT = range(5)


def pack(codes: np.ndarray, bits: int) -> list[np.ndarray]:
    """Codes [N, K] as planes, byte by byte as the format specifies."""
    planes, low = [], bits
    n, k = np.indices(codes.shape)
    for p in PLANES[bits]:
        low, each = low - p, 8 // p
        line, j, lane = k // (4 * each), k // 4 % each, k % 4
        byte = ((n // 16 * (codes.shape[1] // (4 * each)) + line) * 16 + n % 16) * 4
        plane = np.zeros(codes.size // each, np.uint8)
        bit = ((codes >> low) & (2**p - 1)) << (p * j)
        np.bitwise_or.at(plane, byte + lane, bit.astype(np.uint8))
        planes.append(plane)
    return planes


@dataclass
class Rows:
    """A segment: codes [rows, padded K], bfloat16 scales [groups, rows], their order."""

    codes: np.ndarray
    scale: np.ndarray
    order: np.ndarray
    bits: int
    used: int
    group: int
    accumulate: bool = False
    arrays: list = field(default_factory=list)  # the arrays that the struct points to

    @property
    def step_and_zero(self) -> tuple[float, float]:
        step = 2.0 ** (self.bits - self.used)
        return step, (2.0 ** (self.bits - 1) - (step - 1) / 2) / step

    def weight(self) -> np.ndarray:
        """The weights by the planes in use, float64 [rows, padded K]."""
        step, zero = self.step_and_zero
        high = (self.codes >> (self.bits - self.used)).astype(np.float64)
        return step * (high - zero) * np.repeat(self.scale, self.group, 0).T

    @cached_property
    def segment(self) -> build.SegmentStruct:
        planes = pack(self.codes, self.bits)
        stored = (self.scale.view(np.uint32) >> 16).astype(np.uint16)
        self.arrays = [*planes, stored, self.order]
        segment = build.SegmentStruct(rows=len(self.order), accumulate=self.accumulate)
        left = self.used
        for i, width in enumerate(PLANES[self.bits]):
            if left > 0:
                segment.planes[i], segment.widths[i] = planes[i].ctypes.data, width
            left -= width
        segment.scale, segment.order = stored.ctypes.data, self.order.ctypes.data
        segment.step, segment.zero = self.step_and_zero
        return segment


def random_rows(
    rng, order, padded: int, group: int, bits: int, used: int, **more
) -> Rows:
    order = np.asarray(order, np.int32)
    codes = rng.integers(0, 2**bits, (len(order), padded), dtype=np.uint8)
    scale = rng.uniform(0.01, 0.1, (padded // group, len(order))).astype(np.float32)
    scale = (scale.view(np.uint32) & 0xFFFF0000).view(np.float32)  # exact in bfloat16
    return Rows(codes, scale, order, bits, used, group, **more)


def run(parts, x, columns, *, level, bias=None, y=None, threads=1, guard=64):
    """`dpg_linear`; scratch and y are surrounded by bytes that must not change."""
    library, (M, K), group = build.load(), x.shape, parts[0].group
    padded = parts[0].codes.shape[1]
    segments = (build.SegmentStruct * len(parts))(*(part.segment for part in parts))
    out = np.full((M, columns + 3), 7, np.float32)  # ldy > N
    out[:, :columns] = np.nan if y is None else y
    size = library.dpg_scratch_bytes(M, padded, group)
    scratch = np.full(size + guard, 0xA5, np.uint8)
    wide = np.full((M, K + 5), np.nan, np.float32)  # ldx > K: the rest is not read
    wide[:, :K] = x
    code = library.dpg_linear(
        *(wide.ctypes.data, K + 5, M, K, padded, group, segments, len(parts)),
        *(None if bias is None else bias.ctypes.data, out.ctypes.data, columns + 3),
        *(scratch.ctypes.data, level, threads),
    )
    assert code == OK
    assert (scratch[size:] == 0xA5).all()
    assert (out[:, columns:] == 7).all()
    return out[:, :columns]


def step_of(x: np.ndarray) -> np.ndarray:
    """sx of the columns of one group, [M, 1], in float32 as the kernel computes it."""
    tiny = np.finfo(np.float32).tiny
    return np.maximum(np.abs(x).max(1, keepdims=True) / np.float32(127), tiny)


def expected(part: Rows, x: np.ndarray, bias=0.0):
    """float64 y8 and W x + bias, [M, rows], and the bounds of both."""
    w = part.weight()[:, : x.shape[1]]
    y8 = sums = rounding = 0.0
    starts = range(0, x.shape[1], part.group)
    for g in [slice(k, k + part.group) for k in starts]:
        sx = step_of(x[:, g]).astype(np.float64)
        value = sx * (
            np.rint(x[:, g] / step_of(x[:, g])).astype(np.float64) @ w[:, g].T
        )
        y8, sums = y8 + value, sums + np.abs(value)
        rounding = rounding + (0.5 + 127 * U) * sx * np.abs(w[:, g]).sum(1)
    y8 = y8 + bias
    arithmetic = (len(starts) + 3) * U * sums + 2 * U * np.abs(y8)
    return y8, x.astype(np.float64) @ w.T + bias, arithmetic, arithmetic + rounding


@pytest.fixture(params=range(4), ids=["portable", "avx2", "vnni", "amx"])
def level(request):
    if request.param > build.load().dpg_level():
        pytest.skip("not an instruction set of this processor")
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("bits", "used"), USED)
def test_product_is_within_its_bounds(level, bits, used, rng):
    for group, M in itertools.product((32, 64, 128), (1, 2, 3, 7, 8, 9, 17, 64)):
        K, N = 2 * group + group // 2 + 3, 32  # the last group is partly padding
        part = random_rows(rng, rng.permutation(N), 3 * group, group, bits, used)
        part.codes[:, K:] = 2 ** (bits - 1)
        x = rng.standard_normal((M, K)).astype(np.float32)
        bias = rng.standard_normal(N).astype(np.float32)
        y = run([part], x, N, level=level, bias=bias)[:, part.order]
        y8, exact, arithmetic, all_errors = expected(part, x, bias[part.order])
        assert (np.abs(y - y8) <= arithmetic).all(), (group, M)
        assert (np.abs(y - exact) <= all_errors).all(), (group, M)


@pytest.mark.parametrize("bits", PLANES)
def test_the_largest_codes_and_activations_do_not_saturate(level, bits):
    x = np.ones((17, 1152), np.float32)  # x8 = 127; and more than one chunk of k
    x[1::2] = -1
    part = random_rows(np.random.default_rng(0), range(16), 1152, 128, bits, bits)
    part.codes[:] = 2**bits - 1
    y8, _, arithmetic, _ = expected(part, x)
    assert (np.abs(run([part], x, 16, level=level) - y8) <= arithmetic).all()


def mixed(rng, padded=1280, group=64):
    """Every bit width and truncation, shuffled rows, one padding row in each part."""
    order = rng.permutation(31 * len(USED))
    return [
        random_rows(rng, [*order[31 * i :][:31], -1], padded, group, bits, used)
        for i, (bits, used) in enumerate(USED)
    ]


def test_a_row_depends_on_itself_alone_to_the_bit(rng):
    parts, N = mixed(rng), 31 * len(USED)
    refined = random_rows(rng, rng.permutation(N)[:48], 1280, 64, 4, 4, accumulate=True)
    parts.insert(1, refined)
    x = rng.standard_normal((100, 1250)).astype(np.float32)
    whole = run(parts, x, N, level=0)
    for level in range(build.load().dpg_level() + 1):
        for threads in (-1, 1, 2, 3):
            assert (run(parts, x, N, level=level, threads=threads) == whole).all()
        for rows in (1, 2, 3, 4, 5, 7, 16, 23, 65):
            some = run(parts, x[9 : 9 + rows], N, level=level)
            assert (some == whole[9 : 9 + rows]).all(), (level, rows)


def test_segments_fill_their_columns_and_padding_rows_none(level, rng):
    parts, N = mixed(rng), 31 * len(USED)
    consecutive = random_rows(rng, range(N, N + 32), 1280, 64, 5, 5)
    x = rng.standard_normal((9, 1280)).astype(np.float32)
    y = run([*parts, consecutive], x, N + 40, level=level)
    for part in (*parts, consecutive):
        real = part.order >= 0
        y8, _, arithmetic, _ = expected(part, x)
        assert (np.abs(y[:, part.order] - y8) <= arithmetic)[:, real].all()
    assert np.isnan(y[:, N + 32 :]).all()  # columns without a row are unchanged


def test_a_padding_row_before_column_0_is_no_column(level, rng):
    part = random_rows(rng, range(-1, 15), 64, 64, 4, 4)
    x = rng.standard_normal((2, 64)).astype(np.float32)
    y8, _, arithmetic, _ = expected(part, x)
    y = run([part], x, 15, level=level)  # checks that the memory around y is unchanged
    assert (np.abs(y - y8[:, 1:]) <= arithmetic[:, 1:]).all()


@pytest.mark.parametrize("order", ["consecutive", "shuffled"])
def test_accumulating_segments_add_and_the_bias_counts_once(level, order, rng):
    columns = np.arange(32) if order == "consecutive" else rng.permutation(32)
    base = random_rows(rng, columns, 128, 32, 4, 4)
    fine = [random_rows(rng, columns, 128, 32, b, b, accumulate=True) for b in (2, 3)]
    x = rng.standard_normal((5, 128)).astype(np.float32)
    bias = rng.standard_normal(32).astype(np.float32)
    y = run([fine[0], base, fine[1]], x, 32, level=level, bias=bias)
    total, bound = 0, 0
    for part, b in ((base, bias[columns]), (fine[0], 0), (fine[1], 0)):
        y8, _, arithmetic, _ = expected(part, x, b)
        total, bound = total + y8, bound + arithmetic + 2 * U * np.abs(total + y8)
    assert (np.abs(y[:, columns] - total) <= bound).all()
    again = run(
        fine[:1], x, 32, level=level, y=y
    )  # without a base term it adds to the existing values
    y8, _, arithmetic, _ = expected(fine[0], x)
    error = np.abs(again - y)[:, columns] - np.abs(y8)
    assert (error <= arithmetic + U * np.abs(again[:, columns])).all()


def test_nan_or_infinity_spoils_its_row_only(level, rng):
    part = random_rows(rng, [*range(30), -1, -1], 128, 32, 5, 5)
    x = rng.standard_normal((20, 100)).astype(np.float32)
    clean = run([part], x, 30, level=level)
    x[3, 99], x[4, 0], x[18, 50] = np.nan, np.inf, -np.inf
    x[5, 7] = np.array(0xFFFFFFFF, np.uint32).view(np.float32)  # a negative NaN
    y = run([part], x, 30, level=level)
    spoilt = [3, 4, 5, 18]
    assert np.isnan(y[spoilt]).all()
    assert (np.delete(y, spoilt, 0) == np.delete(clean, spoilt, 0)).all()


def test_a_row_of_zeros_gives_exactly_the_bias(level, rng):
    part = random_rows(rng, range(32), 128, 32, 8, 8)
    bias = rng.standard_normal(32).astype(np.float32)
    x = np.zeros((18, 128), np.float32)
    x[1] = -0.0
    assert (run([part], x, 32, level=level, bias=bias) == bias).all()
    assert (run([part], x, 32, level=level) == 0).all()


def test_tiny_and_huge_rows_keep_the_bounds(level, rng):
    part = random_rows(rng, range(16), 64, 64, 4, 4)
    x = rng.uniform(-1, 1, (4, 64)).astype(np.float32)
    x *= np.float32([[1e-44], [1e-38], [1e-37], [3e38]])
    _, exact, _, all_errors = expected(part, x)
    y = run([part], x, 16, level=level)
    finite = np.abs(exact) + all_errors < np.finfo(np.float32).max
    smallest = 2.0**-149 * len(x[0])  # results below float32's normal range
    assert (np.abs(y - exact) <= all_errors + smallest)[finite].all()


def test_activations_round_to_even(level):
    """Weights that each select one activation reveal x8 itself (here, sx = 1)."""
    x = np.zeros((1, 32), np.float32)
    x[0, :10] = [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 0.49999997]
    part = random_rows(np.random.default_rng(0), range(16), 32, 32, 8, 8)
    part.codes[:], part.scale[:] = 128, 1
    part.codes[np.arange(16), np.arange(16)] = 129
    y = run([part], x, 16, level=level)
    assert y[0, :10].tolist() == [127, 0, 2, 2, 0, -2, -2, 126, -126, 0]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (BAD_SIZE, {"G": 16}),
        (BAD_SIZE, {"padded_K": 96}),
        (BAD_SIZE, {"K": 0}),
        (BAD_SIZE, {"K": 65}),
        (BAD_SIZE, {"M": -1}),
        (BAD_SIZE, {"ldx": 63}),
        (BAD_SIZE, {"n_segments": -1}),
        (BAD_LEVEL, {"level": -1}),
        (BAD_LEVEL, {"level": 9}),
        (BAD_POINTER, {"x": None}),
        (BAD_POINTER, {"y": None}),
        (BAD_POINTER, {"scratch": None}),
        (BAD_POINTER, {"segments": None}),
        (BAD_SEGMENT, {"rows": 24}),
        (BAD_SEGMENT, {"rows": -16}),
        (BAD_SEGMENT, {"widths": (3, 0, 0)}),
        (BAD_SEGMENT, {"widths": (1, 4, 0)}),
        (BAD_SEGMENT, {"widths": (0, 10, 0)}),
        (BAD_SEGMENT, {"planes": (None, None, None)}),
        (BAD_SEGMENT, {"scale": None}),
        (BAD_SEGMENT, {"order": None}),
        (OK, {"M": 0, "x": None, "y": None}),
        (OK, {"n_segments": 0, "segments": None}),
        (OK, {"rows": 0, "scale": None, "order": None}),
        (OK, {}),
    ],
)
def test_impossible_arguments_are_refused(code, change, rng):
    part = random_rows(rng, range(16), 64, 64, 4, 4)
    segment, x, y = part.segment, np.ones((2, 64), np.float32), np.ones((2, 16))
    scratch = np.empty(build.load().dpg_scratch_bytes(2, 64, 64), np.uint8)
    for name in [n for n, _ in build.SegmentStruct._fields_ if n in change]:
        kind = type(getattr(segment, name))
        new = change.pop(name)
        setattr(segment, name, kind(*new) if isinstance(new, tuple) else new)
    arguments = {
        "x": x.ctypes.data,
        "ldx": 64,
        "M": 2,
        "K": 64,
        "padded_K": 64,
        "G": 64,
    }
    arguments |= {"segments": ctypes.pointer(segment), "n_segments": 1, "bias": None}
    arguments |= {"y": y.ctypes.data, "ldy": 16, "scratch": scratch.ctypes.data}
    arguments |= {"level": 0, "threads": 1} | change
    assert build.load().dpg_linear(*arguments.values()) == code


# ---- Building ------------------------------------------------------------------------

LOAD = "from deepseek_learn.dpg.kernels.build import load; print(load().dpg_level())"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache for `fresh_load` and for subprocesses."""
    monkeypatch.setenv("DEEPSEEK_LEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def fresh_load():
    return build.load.__wrapped__()


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    """The kernel as built by the system's compiler, without any cache, nor -O3's time."""
    target = tmp_path_factory.mktemp("binary") / "planes.so"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FLAGS", ("-O0", *build.FLAGS[1:]))
        return build.PLANES.compile(build.find_compiler(), target)


@pytest.fixture
def quick_compiler(binary, tmp_path, monkeypatch):
    """A fake compiler that copies `binary`; calling the fixture returns its call count.

    It does not support -fopenmp, so each build calls it twice.
    """
    script, calls = tmp_path / "quick++", tmp_path / "calls"
    script.write_text(
        "#!/bin/sh\n"
        'case "$*" in *--version*) echo quick 1; exit;; esac\n'
        f'echo "$*" >> {calls}\n'
        'case "$*" in *-fopenmp*) sleep 0.1; echo "error: no OpenMP" >&2; exit 1;; esac\n'
        'while [ "$1" != -o ]; do shift; done\n'
        f'cat {binary} > "$2"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    return lambda: len(calls.read_text().splitlines()) if calls.exists() else 0


def test_what_the_compiler_builds_loads(binary):
    library = build.declare(ctypes.CDLL(str(binary)))
    assert library.dpg_level() == build.load().dpg_level()


def test_the_source_compiles_without_warnings():
    command = [*build.find_compiler(), *build.FLAGS, "-Wall", "-Wextra", "-Werror"]
    for library in (build.PLANES, STEP):
        checked = subprocess.run(
            [*command, "-fsyntax-only", library.source], capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stderr


def test_a_library_depends_on_every_file_that_its_source_includes():
    def files(path):
        names = re.findall(r'^#include "(.+)"$', path.read_text(), re.MULTILINE)
        inner = [(path.parent / name).resolve() for name in names]
        return {path.resolve()}.union(*map(files, inner))

    for library in (build.PLANES, STEP):
        paths = (library.source, *library.included)
        assert {path.resolve() for path in paths} == files(library.source)


def test_the_struct_is_the_sources():
    assert ctypes.sizeof(build.SegmentStruct) == 64 + 8


def test_two_processes_building_at_once(cache, quick_compiler):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", LOAD], **pipes) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert int(out) == build.load().dpg_level()
    (file,) = cache.iterdir()  # one file, and no temporary files
    assert file.stem.endswith(binary_cache.checksum(file))


def test_the_second_load_is_silent_and_builds_nothing(cache, quick_compiler, capsys):
    fresh_load()
    assert "quick++" in capsys.readouterr().err
    assert quick_compiler() == 2  # with OpenMP, which failed; then without
    assert fresh_load().dpg_level() == build.load().dpg_level()
    assert capsys.readouterr().err == ""
    assert quick_compiler() == 2


@pytest.mark.parametrize("damage", ["empty", "half", "one byte"])
def test_a_damaged_file_is_built_again(cache, quick_compiler, damage):
    fresh_load()
    (file,) = cache.iterdir()
    good = file.read_bytes()
    file.unlink()  # the old one stays mapped in this process
    flipped = good[:5000] + bytes([good[5000] ^ 1]) + good[5001:]
    bad = {"empty": b"", "half": good[: len(good) // 2], "one byte": flipped}
    file.write_bytes(bad[damage])
    fresh_load()
    assert quick_compiler() == 4
    assert file.read_bytes() == good


def test_a_file_that_does_not_load_is_built_again(cache, quick_compiler, tmp_path):
    key = build.PLANES.key(build.find_compiler())
    (tmp_path / "text.so").write_text("not a library, though its checksum is right")
    binary_cache.store(tmp_path / "text.so", "planes", key)
    assert fresh_load().dpg_level() == build.load().dpg_level()
    assert quick_compiler() == 2


def test_without_a_folder_to_write_it_is_built_each_time(
    tmp_path, quick_compiler, monkeypatch
):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DEEPSEEK_LEARN_CACHE", str(tmp_path / "file"))
    for builds in (1, 2):
        assert fresh_load().dpg_level() == build.load().dpg_level()
        assert quick_compiler() == 2 * builds


def test_without_a_compiler_the_error_says_so(cache, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(build.KernelUnavailable, match=r"needs a C\+\+ compiler .*PATH"):
        fresh_load()
    monkeypatch.setenv("CXX", "nowhere++ -g")
    with pytest.raises(build.KernelUnavailable, match=r"needs 'nowhere\+\+'"):
        fresh_load()
    assert issubclass(build.KernelUnavailable, DeepSeekLearnError)


def test_a_compiler_that_fails_is_quoted(cache, monkeypatch, tmp_path):
    wrong = build.Library("wrong", tmp_path / "wrong.cpp")
    wrong.source.write_text("int f() { return nonsense; }\n")
    monkeypatch.setattr(build, "PLANES", wrong)
    with pytest.raises(build.KernelUnavailable, match=r"error: .*nonsense") as caught:
        fresh_load()
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("CXX", shutil.which("false"))
    with pytest.raises(build.KernelUnavailable, match="exit status 1"):
        fresh_load()


def test_a_compiler_that_does_not_run_is_named(cache, monkeypatch, tmp_path):
    (tmp_path / "broken++").write_bytes(b"\x00\x01")
    (tmp_path / "broken++").chmod(0o755)
    monkeypatch.setenv("CXX", str(tmp_path / "broken++"))
    with pytest.raises(build.KernelUnavailable, match=r"broken\+\+ cannot be run"):
        fresh_load()


def test_the_cache_is_the_users_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("DEEPSEEK_LEARN_CACHE", raising=False)
    users = platformdirs.user_cache_path("deepseek_learn") / "kernels"
    assert binary_cache.cache_folder() == users
