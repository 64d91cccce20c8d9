"""`make test` executes the lessons that a change touches, and a third of the others."""

import subprocess
from pathlib import Path

import pytest

from deepseek_learn.course.authoring.import_graph import ImportGraph
from tests import lessons_of_a_change as change

ROOT = Path(__file__).resolve().parents[1]
IN_TURN = "pytest.mark.in_turn"
LESSONS = sorted(ROOT.glob("notebooks/*/*.ipynb"))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A clone's folder with one commit; call it to make another one."""
    for name in ("SINCE", "EVERY_NOTEBOOK"):
        monkeypatch.delenv(name, raising=False)

    def commit(**files):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        for words in (["add", "."], [*identity, "commit", "-qm", "a"]):
            subprocess.run(["git", "-C", tmp_path, *words], check=True)
        return tmp_path

    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    commit(a="1")
    return commit


def test_a_change_is_the_newest_commit_and_what_is_not_committed(
    repository, monkeypatch
):
    folder = repository(b="2")
    assert change.changed_files(folder) == {"b"}
    (folder / "a").write_text("3")
    (folder / "c").write_text("4")
    assert change.changed_files(folder) == {"a", "b", "c"}
    repository(d="5")
    monkeypatch.setenv("SINCE", "HEAD~2")
    assert change.changed_files(folder) == {"a", "b", "c", "d"}


def test_without_a_commit_before_all_lessons_are_executed(repository, tmp_path):
    assert change.changed_files(tmp_path) is None
    assert change.chosen(LESSONS, tmp_path) == LESSONS


@pytest.mark.parametrize(
    ("file", "lesson"),
    [
        ("deepseek_learn/dpg/gptq.py", "03_quantization"),
        ("deepseek_learn/optim/deepopt.py", "06_deepopt"),
        ("deepseek_learn/data/elpv.py", "00_tour"),
        (
            "deepseek_learn/zoo/weights/mail_reader.safetensors",
            "13_keep_the_mail_clean",
        ),
        ("zh/notebooks/basic/05_profiler.ipynb", "05_profiler"),
    ],
)
def test_a_lesson_that_uses_a_file_is_touched(file, lesson):
    assert (ROOT / file).exists()
    graph = ImportGraph(ROOT)
    touched = [x.stem for x in LESSONS if change.is_touched(x, {file}, ROOT, graph)]
    assert lesson in touched
    assert len(touched) < len(LESSONS)


def test_three_turns_cover_all_lessons(monkeypatch):
    monkeypatch.delenv("EVERY_NOTEBOOK", raising=False)
    monkeypatch.setattr(change, "changed_files", lambda root: {"README.md"})
    turns = []
    for head in "0", "1", "2":
        monkeypatch.setattr(change, "git", lambda *_, head=head: head)
        turns.append(set(change.chosen(LESSONS, ROOT)))
    assert set.union(*turns) == set(LESSONS)
    assert sum(map(len, turns)) == len(LESSONS)


@pytest.mark.parametrize("file", change.FOR_ALL)
def test_what_all_lessons_depend_on_touches_all(monkeypatch, file):
    monkeypatch.setattr(change, "changed_files", lambda root: {file})
    assert (ROOT / file).exists()
    assert change.chosen(LESSONS, ROOT) == LESSONS


def test_long_tests_take_turns_unless_their_code_is_touched(monkeypatch):
    monkeypatch.delenv("EVERY_NOTEBOOK", raising=False)
    marked = [
        f
        for f in sorted((ROOT / "tests").rglob("test_*.py"))
        if IN_TURN in f.read_text()
    ]
    marked.remove(Path(__file__))
    monkeypatch.setattr(change, "changed_files", lambda root: {"README.md"})
    turns = []
    for head in "0", "1", "2":
        monkeypatch.setattr(change, "git", lambda *_, head=head: head)
        turns.append(set(change.chosen_tests(marked, ROOT)))
    assert set.union(*turns) == set(marked)
    assert sum(map(len, turns)) == len(marked)
    for file, stem in [
        ("deepseek_learn/solutions/federated/server.py", "test_deployment"),
        ("tests/solutions/federated/federation.py", "test_machines"),
        ("deepseek_learn/training/checkpoint.py", "test_training_processes"),
    ]:
        assert (ROOT / file).exists()
        monkeypatch.setattr(change, "changed_files", lambda root, file=file: {file})
        for head in "0", "1", "2":
            monkeypatch.setattr(change, "git", lambda *_, head=head: head)
            assert stem in {each.stem for each in change.chosen_tests(marked, ROOT)}
