"""The working copy gets new versions of the notebooks, and no answer is ever touched."""

import json
import os
import shutil
import subprocess

import nbformat
import pytest

from deepseek_learn.course import working_copy
from deepseek_learn.course.working_copy import COPIES, folder_of, refresh
from deepseek_learn.errors import DamagedFileError, DeepSeekLearnError
from deepseek_learn.files import REPOSITORY

TOUR = "exercises/basic/00_tour.ipynb"
NEW = "exercises/basic/00_tour.new.ipynb"
ANSWER = "threshold = 0.3  # my answer"


@pytest.fixture
def root(tmp_path):
    """A small clone: the tour and its exercises in both languages, and one page."""
    for edition in ("", "zh/"):
        for name in (TOUR, "notebooks/basic/00_tour.ipynb", "book/how_to_use.md"):
            target = tmp_path / "clone" / edition / name
            target.parent.mkdir(parents=True)
            shutil.copy(REPOSITORY / edition / name, target)
    return tmp_path / "clone"


@pytest.fixture
def work(root):
    """A working copy of the clone."""
    assert refresh(root, root / "work") == []
    return root / "work"


def write_last(path, source):
    """Put `source` into the last cell, as a learner or an author would."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source = source
    nbformat.write(notebook, path)


def last(path) -> str:
    return nbformat.read(path, as_version=4).cells[-1].source


def snapshot(folder) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_everything_is_copied_and_a_second_time_changes_nothing(root, work):
    before = snapshot(work)
    copied = {name for name in before if name != COPIES}
    assert copied == set(working_copy.sources(root))
    assert {TOUR, f"zh/{TOUR}", "notebooks/basic/00_tour.ipynb"} <= copied
    assert all(before[name] == (root / name).read_bytes() for name in copied)
    assert refresh(root, work) == []
    assert snapshot(work) == before


def test_an_untouched_notebook_is_replaced_by_its_new_version(root, work):
    write_last(root / TOUR, "# version 2")
    assert refresh(root, work) == []
    assert last(work / TOUR) == "# version 2"
    assert not (work / NEW).exists()


def test_running_a_notebook_does_not_make_it_the_learners(root, work):
    notebook = nbformat.read(work / TOUR, as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.execution_count = 7
    code.outputs = [nbformat.v4.new_output("stream", text="hello")]
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11"}
    nbformat.write(notebook, work / TOUR)
    write_last(root / TOUR, "# version 2")
    assert refresh(root, work) == []
    assert last(work / TOUR) == "# version 2"


def test_an_answer_stays_and_the_new_version_is_beside_it_once(root, work):
    write_last(work / TOUR, ANSWER)
    mine = (work / TOUR).read_bytes()
    assert refresh(root, work) == []  # there is no new version
    write_last(root / TOUR, "# version 2")
    (sentence,) = refresh(root, work)
    assert TOUR in sentence
    assert "00_tour.new.ipynb" in sentence
    assert (work / TOUR).read_bytes() == mine
    assert last(work / NEW) == "# version 2"
    assert working_copy.newer_versions(work) == [NEW]
    assert refresh(root, work) == []
    (work / NEW).unlink()  # the learner does not want it
    assert refresh(root, work) == []
    assert not (work / NEW).exists()


def test_a_still_newer_version_replaces_the_offer_but_not_work_in_it(root, work):
    write_last(work / TOUR, ANSWER)
    for version in ("# version 2", "# version 3"):
        write_last(root / TOUR, version)
        assert len(refresh(root, work)) == 1
        assert last(work / NEW) == version
    write_last(work / NEW, "# the learner went on here")
    write_last(root / TOUR, "# version 4")
    (sentence,) = refresh(root, work)
    assert "rename that file" in sentence
    assert last(work / NEW) == "# the learner went on here"
    assert last(work / TOUR) == ANSWER


def test_an_offer_that_was_taken_is_gone(root, work):
    write_last(work / TOUR, ANSWER)
    write_last(root / TOUR, "# version 2")
    refresh(root, work)
    shutil.copy(work / NEW, work / TOUR)
    assert refresh(root, work) == []
    assert not (work / NEW).exists()
    assert last(work / TOUR) == "# version 2"


def test_a_deleted_notebook_begins_anew(root, work):
    (work / TOUR).unlink()
    assert refresh(root, work) == []
    assert (work / TOUR).read_bytes() == (root / TOUR).read_bytes()


def test_files_of_the_learner_are_never_touched(root, work):
    extra = {"notes.txt": "mine", "exercises/basic/my_try.ipynb": "no notebook"}
    extra |= {NEW: "a file that merely has such a name"}
    for name, content in extra.items():
        (work / name).write_text(content)
    write_last(work / TOUR, ANSWER)
    write_last(root / TOUR, "# version 2")
    (sentence,) = refresh(root, work)
    assert "rename that file" in sentence
    assert {name: (work / name).read_text() for name in extra} == extra


def test_a_file_that_was_there_before_stays(root):
    work = root / "work"
    (work / TOUR).parent.mkdir(parents=True)
    (work / TOUR).write_text("not a notebook")
    assert len(refresh(root, work)) == 1
    assert (work / TOUR).read_text() == "not a notebook"
    assert (work / NEW).read_bytes() == (root / TOUR).read_bytes()


def test_answers_follow_a_lesson_that_got_another_number(root, work):
    old = "exercises/basic/07_tour.ipynb"
    os.rename(work / TOUR, work / old)
    write_last(work / old, ANSWER)
    content = json.loads((work / COPIES).read_text())
    content["files"][old] = content["files"].pop(TOUR)
    (work / COPIES).write_text(json.dumps(content))
    (sentence,) = refresh(root, work)
    assert f"{old}, which" in sentence
    assert last(work / TOUR) == ANSWER
    assert not (work / old).exists()


FILE = {"format": 1, "files": {TOUR: {"digest": "d", "offered": ""}}}
DAMAGED = ["", "{", "[]", "3", json.dumps(FILE | {"format": "1"}), "[" * 100_000]
DAMAGED += [json.dumps(FILE | {"files": wrong}) for wrong in ([], None, {TOUR: 3})]
DAMAGED += [json.dumps(FILE | {"files": {TOUR: {"digest": 3}}})]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_list_is_one_sentence_and_changes_nothing(root, work, content):
    (work / COPIES).write_text(content)
    write_last(root / TOUR, "# version 2")
    before = snapshot(work)
    with pytest.raises(DamagedFileError, match="nothing was changed") as error:
        refresh(root, work)
    assert "\n" not in str(error.value)
    assert snapshot(work) == before
    (work / COPIES).unlink()  # what the sentence advises
    write_last(work / TOUR, ANSWER)
    assert len(refresh(root, work)) == 1
    assert last(work / TOUR) == ANSWER


def test_a_newer_list_is_left_alone(root, work):
    (work / COPIES).write_text(json.dumps({"format": 2}))
    with pytest.raises(DamagedFileError, match="newer version"):
        refresh(root, work)


def test_a_copy_that_fails_leaves_the_old_file_and_is_not_remembered(
    root, work, monkeypatch
):
    write_last(root / TOUR, "# version 2")
    before = snapshot(work)

    def fail(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(working_copy.shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space left"):
        refresh(root, work)
    assert snapshot(work) == before
    monkeypatch.undo()
    assert refresh(root, work) == []
    assert last(work / TOUR) == "# version 2"


def test_the_folder_is_work_or_the_variable_or_the_argument(
    root, tmp_path, monkeypatch
):
    monkeypatch.delenv("DEEPSEEK_LEARN_WORK", raising=False)
    assert folder_of(root) == root / "work"
    monkeypatch.setenv("DEEPSEEK_LEARN_WORK", str(tmp_path / "mine"))
    assert folder_of(root) == tmp_path / "mine"
    assert folder_of(root, tmp_path / "other") == tmp_path / "other"
    assert folder_of(root, root / "my_work") == root / "my_work"


@pytest.mark.parametrize("place", [".", "..", "exercises", "zh/exercises", ".git/x"])
def test_a_folder_that_git_tracks_is_refused(root, place):
    with pytest.raises(DeepSeekLearnError, match="in a folder of its own"):
        folder_of(root, root / place)


def git(folder, *words):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_git_pull_brings_a_new_version_past_the_answers(root, tmp_path):
    shutil.copy(REPOSITORY / ".gitignore", root)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "version 1")
    git(tmp_path, "clone", "-q", str(root), "learner")
    clone = tmp_path / "learner"
    refresh(clone, clone / "work")
    write_last(clone / "work" / TOUR, ANSWER)
    write_last(root / TOUR, "# version 2")
    git(root, "commit", "-q", "-a", "-m", "version 2")

    assert git(clone, "status", "--porcelain") == ""
    git(clone, "pull", "-q", "--ff-only")
    assert len(refresh(clone, clone / "work")) == 1
    assert last(clone / "work" / TOUR) == ANSWER
    assert last(clone / "work" / NEW) == "# version 2"
