"""What the certificate's commands promise."""

import errno
import html
import io
import json
import re
import subprocess
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deepseek_learn.catalog import messages
from deepseek_learn.cli.commands import app
from deepseek_learn.course.certificate import (
    Refused,
    check_without_running,
    create_key,
    keys,
    making,
    page,
    scoring,
    sign,
    start,
    verify,
)
from deepseek_learn.course.certificate.credential import difference
from deepseek_learn.course.certificate.learner import RUNS, Learner
from deepseek_learn.course.certificate.portfolio import read
from deepseek_learn.course.certificate.results import Project, Run
from deepseek_learn.course.certificate.running import run_graded, run_project
from deepseek_learn.course.certificate.scoring import Interval
from deepseek_learn.course.certificate.tasks import Draw, draw, tasks
from deepseek_learn.course.certificate.tasks.own import UNPACKED
from deepseek_learn.course.certificate.templates.project import features
from deepseek_learn.course.problems import get
from deepseek_learn.errors import UnknownNameError

from .conftest import TASKS

EXAMPLES = Path(__file__).parent / "examples"
KEY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


def silent(sentence):
    pass


def test_a_skeleton_has_all_that_a_portfolio_needs(draft):
    contents = read(draft)
    assert Learner.of(contents).name == "Ada Lovelace"
    assert {f"projects/{task}/project.py" for task in TASKS} < set(contents.files)
    key = keys.learners_key()
    assert key.stat().st_mode & 0o077 == 0
    assert keys.own_public(key).did == Learner.of(contents).key


def test_a_skeleton_is_refused(draft, tmp_path):
    with pytest.raises(FileExistsError, match="not empty"):
        start(draft, "Ada", TASKS)
    with pytest.raises(Refused, match="there are 2 projects; 3 are needed"):
        start(tmp_path / "new", "Ada", TASKS[:2])
    with pytest.raises(UnknownNameError, match="task 'mial' is not known"):
        start(tmp_path / "new", "Ada", [*TASKS, "mial"])
    with pytest.raises(Refused, match="visible characters"):
        start(tmp_path / "new", "A\nB", TASKS)
    assert not (tmp_path / "new").exists()


def test_no_key_is_overwritten(tmp_path):
    create_key(tmp_path / "key")
    with pytest.raises(FileExistsError):
        create_key(tmp_path / "key")


def test_a_full_disk_leaves_no_key(tmp_path, monkeypatch):
    """An empty file in its place would be taken for the key ever after."""
    key, write = tmp_path / "key", Path.write_bytes

    def fill(path, content):
        if b"PRIVATE" in content:
            write(path, content[:20])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(OSError, match="No space left"):
        create_key(key)
    assert [path.name for path in tmp_path.iterdir()] == ["key.pub"]
    monkeypatch.undo()
    assert create_key(key).did == keys.own_public(key).did
    assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("change", [lambda key: b"", lambda key: key[:60], bytes.lower])
def test_a_damaged_key_is_named(tmp_path, monkeypatch, draft, change):
    path = keys.learners_key()
    path.write_bytes(change(path.read_bytes()))
    words = rf"{path.name} \(\d+ bytes\) is empty or damaged"
    with pytest.raises(Refused, match=words):
        start(tmp_path / "new", "Ada", TASKS)
    with pytest.raises(Refused, match=words):
        making.make(draft, silent)
    assert not (tmp_path / "new").exists()
    with pytest.raises(Refused, match="is not an Ed25519 key"):
        keys.read_public(path)


def test_a_portfolio_states_an_interval_for_each_result(portfolio):
    certificate = check_without_running(read(portfolio), say=silent)
    for project in certificate.results.projects:
        scores = [run.score for run in project.runs]
        assert project.interval.low < np.mean(scores) < project.interval.high
        assert str(project.interval) in certificate.line(project)[1]
    payload = certificate.payload()
    assert payload["evidence"][0]["id"] == f"urn:sha256:{read(portfolio).fingerprint}"
    assert len(payload["credentialSubject"]["result"]) == len(TASKS)
    assert payload["type"] == ["VerifiableCredential", "OpenBadgeCredential"]


def test_hashes_are_those_of_sha256sum(portfolio):
    command = ["sha256sum", "--check", "--strict", "hashes.txt"]
    assert subprocess.run(command, cwd=portfolio, capture_output=True).returncode == 0


def test_the_svg_carries_the_credential(portfolio):
    from openbadgeslib.ob3.verifier import OB3Verifier

    token = OB3Verifier.extract_token_from_svg(
        (portfolio / "certificate.svg").read_bytes()
    )
    assert token == (portfolio / "credential.jwt").read_text()


def test_the_page_says_all_lines_of_the_certificate(portfolio):
    content = (portfolio / "certificate.html").read_text()
    words = html.unescape(re.sub(r"<[^>]+>", " ", content))
    certificate = check_without_running(read(portfolio), say=silent)
    for line in certificate.lines():
        for part in line.split(": ", 1) if "balanced" in line else [line]:
            assert part in words
    assert '<html lang="en">' in content


def test_the_page_of_a_chinese_certificate(chinese):
    content = (chinese / "certificate.html").read_text()
    assert '<html lang="zh">' in content
    for words in ("王小明", "deepseek_learn 实战项目证书", "平衡准确率"):
        assert words in content


def test_a_name_is_no_markup(portfolio):
    certificate = check_without_running(read(portfolio), say=silent)
    name = "<script>alert(1)</script> $name"
    other = replace(certificate, learner=replace(certificate.learner, name=name))
    content = page.page(other).decode()
    assert "<script" not in content
    assert content.count(html.escape(name)) == 2  # in the tab and on the page


@pytest.mark.parametrize("color", ["light", "dark"])
@pytest.mark.parametrize("lang", ["portfolio", "chinese"])
def test_the_page_fits_a_phone_and_prints_on_one_sheet(request, lang, color, browser):
    path = request.getfixturevalue(lang) / "certificate.html"
    phone = {"width": 360, "height": 740}
    with browser.new_page(viewport=phone, color_scheme=color) as tab:
        tab.goto(path.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= phone["width"]
        pdf = tab.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type */Page\b", pdf)) == 1
    (width, height) = re.search(rb"/MediaBox *\[0 0 ([\d.]+) ([\d.]+)\]", pdf).groups()
    assert (
        abs(float(width) - 842) < 2 > abs(float(height) - 595)
    )  # points, A4 landscape


def test_a_teacher_issues_it_without_running_it(portfolio, tmp_path, monkeypatch):
    key = tmp_path / "teacher.pem"
    create_key(key)
    monkeypatch.setattr(making, "run_project", None)  # would raise an error
    certificate = sign(portfolio, key, "Grace Hopper", silent)
    assert "under the key of Grace Hopper, and by no university" in certificate.issued
    monkeypatch.undo()
    assert check_without_running(
        read(portfolio), tmp_path / "teacher.pem.pub", silent
    ).issued == certificate.issued  # fmt: skip
    with pytest.raises(Refused, match="Grace Hopper with the key did:key"):
        verify(portfolio, say=silent)
    other = tmp_path / "other.pem"
    create_key(other)
    with pytest.raises(Refused, match="neither the learner nor the teacher"):
        verify(portfolio, tmp_path / "other.pem.pub", say=silent)


def test_learners_are_not_their_own_teachers(portfolio):
    with pytest.raises(Refused, match="cannot be the teacher"):
        sign(portfolio, keys.learners_key(), "Grace Hopper", silent)


def test_show_says_what_the_portfolio_gives(portfolio):
    result = CliRunner().invoke(app, ["certificate", "show", str(portfolio)])
    assert result.exit_code == 0, result.output
    assert "Ada Lovelace" in result.output
    assert "Self-issued" in result.output
    assert result.output.count("99 % interval") == len(TASKS)


def test_a_project_that_does_not_repeat_itself(draft):
    path = draft / "projects" / TASKS[0] / "project.py"
    path.write_text(path.read_text().replace("default_rng(seed)", "default_rng()"))
    with pytest.raises(Refused, match="gives other predictions when seed"):
        making.make(draft, silent)


def test_a_project_that_is_no_better_than_the_simplest(draft):
    path = draft / "projects" / TASKS[0] / "config.json"
    path.write_text('{"limit": 0.0, "noise": 0.0}')
    with pytest.raises(Refused, match=r"0\.500 is not above"):
        making.make(draft, silent)


def test_every_run_must_be_better_and_their_mean_clearly():
    def project(*scores):
        runs = (Run(seed, seed, s, 0.5, (0,) * 100) for seed, s in enumerate(scores))
        return Project("mail", tuple(runs))

    project(0.7, 0.75, 0.72, 0.7, 0.75).check()
    with pytest.raises(
        Refused, match=r"mail, seed 3: .* 0\.500 is not above .* 0\.500"
    ):
        project(0.9, 0.9, 0.9, 0.5, 0.9).check()
    with pytest.raises(Refused, match=r"0\.562 is not clearly above"):
        project(0.501, 0.501, 0.501, 0.501, 0.804).check()
    with pytest.raises(Refused, match=r"0\.951 \[0\.601, 1\.000\].* most 0\.25"):
        project(1.0, 1.0, 0.98, 0.94, 0.835).check()


def test_predictions_that_are_no_classes(draft):
    path = draft / "projects" / TASKS[0] / "project.py"
    path.write_text("def predict(*arguments): return [5] * 200")
    with pytest.raises(
        Refused, match=r"200 whole numbers, each one of the classes \[0, 1\]"
    ):
        making.make(draft, silent)


def test_seeds_follow_from_name_key_and_salt():
    ada = Learner("Ada", "en", "0" * 32, KEY)
    assert len(set(ada.seeds("mail"))) == RUNS
    assert ada.seeds("mail") != ada.seeds("wind")
    assert not set(ada.training_seeds("mail")) & set(ada.seeds("mail"))
    for other in (
        Learner("Eve", "en", "0" * 32, KEY),
        Learner("Ada", "en", "1" * 32, KEY),
        Learner("Ada", "en", "0" * 32, KEY[:-1] + "L"),
    ):
        assert not set(other.seeds("mail")) & set(ada.seeds("mail"))


def test_the_score_is_the_mean_recall():
    truth = np.array([0] * 90 + [1] * 10)
    assert scoring.score([0] * 100, truth) == 0.5
    assert scoring.score([0] * 90 + [1] * 5 + [0] * 5, truth) == 0.75


def test_the_interval_covers_a_further_run():
    """99 % of normal scores, within four standard errors of 2,000 repetitions."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(2000):
        *scores, further = rng.normal(0.7, 0.05, 6)
        interval = Interval.of(scores, tests=10**9)
        hits += interval.low <= further <= interval.high
    assert abs(hits / 2000 - 0.99) < 4 * (0.99 * 0.01 / 2000) ** 0.5


def test_equal_scores_still_leave_an_interval():
    interval = Interval.of([1.0] * 5, tests=100)
    assert 0.8 < interval.low < 1
    assert interval.high == 1


def test_students_quantiles_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for degrees, (two_sided, one_sided) in scoring.STUDENT.items():
        assert abs(stats.t.ppf(0.995, degrees) - two_sided) < 1e-3
        assert abs(stats.t.ppf(0.95, degrees) - one_sided) < 1e-3


def test_better_means_better_on_the_same_draws():
    assert scoring.is_better([0.8, 0.7, 0.9, 0.8, 0.85], [0.7, 0.6, 0.8, 0.7, 0.7])
    assert not scoring.is_better([0.8, 0.7, 0.9, 0.8, 0.85], [0.9, 0.6, 0.8, 0.7, 0.9])


def test_the_baseline_takes_the_nearest_mean():
    x = np.array([[0.0], [0.2], [5.0], [5.2]], np.float32)
    y = np.array([0, 0, 1, 1])
    assert scoring.baseline(Draw(x, y, x + 0.1, y)) == 1
    assert scoring.baseline(Draw(x, y, x, y[::-1])) == 0.5  # its own score is 0
    texts = ["aaaa", "aaab", "zzzz", "zzzy"]
    assert scoring.baseline(Draw(texts, y, ["aaac", "zzzx"], np.array([0, 1]))) == 1


def test_the_template_counts_every_pair_of_neighboring_letters():
    rows = features(["abc", "aa", "a", ""])
    assert sorted(rows[0][rows[0] > 0]) == [0.5, 0.5]
    assert rows[1].max() == 1
    assert not rows[2:].any()


def test_own_data_is_split_by_group(tmp_path):
    groups = np.repeat(np.arange(20), 15)
    x = np.stack([groups, np.arange(300)], 1).astype(float)
    data = draw("own", 1, archive(x=x, y=groups % 2, groups=groups))
    assert not set(data.x[:, 0]) & set(data.test_x[:, 0])
    assert len(data.x) + len(data.test_x) == 300
    assert len(np.unique(data.test_x[:, 0])) == 7  # a third of the twenty groups
    texts = np.array([f"text {i}" for i in range(300)])
    assert (
        draw("own", 1, archive(x=texts, y=groups % 2, groups=groups)).x[0][:4] == "text"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"y": np.zeros(300)},
        {"groups": np.zeros(300, int)},
        {"x": np.full(300, np.nan)},
        {"x": np.zeros(3)},
        {"x": np.array([None] * 300)},
    ],
)
def test_own_data_that_cannot_be_used(change):
    groups = np.repeat(np.arange(20), 15)
    facts = {"x": np.zeros(300), "y": groups % 2, "groups": groups} | change
    with pytest.raises(Refused, match=r"data.npz must hold x"):
        draw("own", 1, archive(**facts))
    with pytest.raises(Refused, match=r"data.npz is missing"):
        draw("own", 1)


def with_header(shape, kind, content=b""):
    """A file of an array whose header states more than it holds."""
    file = io.BytesIO()
    facts = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue() + content


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("|u1", (200, 1 << 20)),  # 200 MiB that compress to 200 KiB
        ("|u1", (200, 100_000)),  # whose numbers take four bytes each
        ("<f4", (1 << 40, 1)),
        ("<U1000000", (200,)),
        ("|u1", (30_000, 1)),
        ("<U1", (30_000,)),
    ],
)
def test_own_data_that_unpack_to_too_much(kind, shape):
    """They are refused by their headers, before anything of that size is read."""
    groups, packed = np.arange(200), io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", with_header(shape, kind, bytes(1000)))
        for name, values in (("y", groups % 2), ("groups", groups)):
            array = io.BytesIO()
            np.save(array, values)
            file.writestr(f"{name}.npy", array.getvalue())
    tracemalloc.start()
    with pytest.raises(Refused, match="over"):
        draw("own", 1, packed.getvalue())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_an_archive_with_a_long_table():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for number in range(200):
            file.writestr(f"{number}.npy", b"")
    with pytest.raises(Refused, match=r"not an archive of numpy\.savez"):
        draw("own", 1, packed.getvalue())


@pytest.mark.parametrize("kind", ["one wide array", "many classes", "many texts"])
def test_scoring_own_data_stays_small(kind):
    """The largest that are accepted take four times their unpacked bytes at most."""
    count = 20_000 if kind == "many texts" else 200
    groups = np.arange(count)
    x = np.zeros((count, UNPACKED // count // 4), np.uint8)
    if kind == "many texts":
        x = groups.astype("U5")
    y = groups % (100 if kind == "many classes" else 2)
    data = archive(x=x, y=y, groups=groups)
    del x
    tracemalloc.start()
    scoring.baseline(draw("own", 1, data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * UNPACKED


@pytest.mark.slow
@pytest.mark.parametrize("task", ["factory", "mail", "movement", "reviews", "wind"])
def test_a_seed_draws_the_same_again(task):
    first, again, other = draw(task, 1), draw(task, 1), draw(task, 2)
    assert np.array_equal(first.test_y, again.test_y)
    assert np.array_equal(np.array(first.x), np.array(again.x))
    assert not np.array_equal(first.test_y, other.test_y)
    assert set(first.test_y) <= set(first.y)
    assert len(first.x) == len(first.y) >= 1000
    assert len(first.test_x) == len(first.test_y) >= 500
    classes = {"movement": 6, "wind": 4}.get(task, 2)
    assert set(first.y) == set(range(classes))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "example"), [("reviews", "text"), ("wind", "arrays")])
def test_an_honest_project_beats_the_baseline(task, example):
    config = {"buckets": 32768, "lr": 1e-3, "decay": 0.1, "epochs": 4}
    config |= {"lr": 3e-3, "width": 16} if example == "arrays" else {}
    files = {
        "project.py": (EXAMPLES / f"{example}.py").read_bytes(),
        "config.json": json.dumps(config).encode(),
    }
    data = draw(task, 3)
    predictions = run_project(files, data, 3)
    assert scoring.score(predictions, data.test_y) > scoring.baseline(data) + 0.03


@pytest.mark.slow
def test_graded_answers_are_checked_from_outside():
    """Also one that gets a layer of a network, and one that changes its argument."""
    for id in ("truncate_a_code", "beat_frequency"):
        assert run_graded(id, get(id).reference().encode(), 1) == ""
    changes = get("truncate_a_code").wrong["shifted in place"].encode()
    why = run_graded("truncate_a_code", changes, 1)
    assert why.startswith("Your code modified its argument `codes` in place.")


def test_all_six_domains_are_tasks():
    domains = {"factory", "mail", "movement", "nodules", "reviews", "wind"}
    assert domains | {"own"} <= set(tasks)


def test_the_first_difference_is_named():
    assert difference({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}) == ("a[1].b", 2, 3)


def archive(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_every_reason_and_word_is_in_the_catalog_and_used():
    """`tests/test_catalog.py` cannot see these keys, since they are composed."""
    folder = Path(page.__file__).parent
    source = "".join(path.read_text() for path in folder.rglob("*.py"))
    calls = re.findall(r'(?:Refused|_say)\(\s*"(\w+)"', source)
    calls += [*re.findall(r'text\(\s*"certificate\.(\w+)"', source), "above", "within"]
    known = {key.split(".")[1] for key in messages() if key.startswith("certificate.")}
    assert set(calls) == known
