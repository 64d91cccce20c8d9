"""The way through the course: contents, links between notebooks, syllabus."""

import re
import shutil

import nbformat
import pytest
import yaml

from deepseek_learn.catalog import LANGUAGES
from deepseek_learn.course.authoring import (
    contents,
    exercises,
    path,
    signposts,
    syllabus,
)
from deepseek_learn.course.lessons import STAGES, lesson, lessons
from deepseek_learn.course.places import exercise_path, lesson_path
from deepseek_learn.files import REPOSITORY

LINK = re.compile(r"\]\(([^)#]+\.(?:ipynb|md))\)")
MINUTES = re.compile(r"(\d+) ?(?:minutes|分钟)")
PLACE = re.compile(r"\b(basic|practical|innovation) (\d\d[a-z]?)\b")
EACH = {"argvalues": lessons(), "ids": lambda each: each.slug}


def cells_of(name):
    return nbformat.read(REPOSITORY / name, as_version=4).cells


@pytest.fixture
def copy(tmp_path):
    """What `path.write` reads and writes."""
    for folder in ("notebooks", "zh", "book"):
        hidden = shutil.ignore_patterns("_*", "exercises")
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=hidden)
    for name in ("_toc.yml", "zh/_toc.yml"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def test_everything_committed_is_up_to_date():
    assert path.write(REPOSITORY, check=True) == []


def test_stale_files_are_reported_and_then_written(copy):
    def edit(name, old, new):
        source = (copy / name).read_text(encoding="utf-8")
        assert old in source
        (copy / name).write_text(source.replace(old, new), encoding="utf-8")

    edit("_toc.yml", "      - file: notebooks/basic/03_quantization\n", "")
    edit("zh/notebooks/basic/00_tour.ipynb", "本课的练习", "练习")
    edit("notebooks/basic/03_quantization.ipynb", "course.progress(", "print(")
    stale = {
        "zh/notebooks/basic/00_tour.ipynb",
        "notebooks/basic/03_quantization.ipynb",
    }
    stale = {copy / name for name in stale | {"_toc.yml"}}
    assert set(path.write(copy, check=True)) == stale
    assert set(path.write(copy)) == stale
    assert path.write(copy) == []
    for name in ("_toc.yml", "zh/notebooks/basic/00_tour.ipynb"):
        assert (copy / name).read_bytes() == (REPOSITORY / name).read_bytes()


def test_a_changed_table_is_stale(copy):
    page = copy / "zh" / "book" / "syllabus.md"
    page.write_text(
        page.read_text("utf-8").replace("| 20 + 40 |", "| 5 + 5 |"), "utf-8"
    )
    assert path.write(copy, check=True) == [page]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_exercises_follow_their_lesson_in_the_contents(lang):
    file = REPOSITORY / contents.EDITIONS[lang]
    edition = "zh/" if lang == "zh" else ""
    pages = []
    for part in yaml.safe_load(file.read_text("utf-8"))["parts"]:
        for chapter in part["chapters"]:
            pages += [
                chapter["file"],
                *(s["file"] for s in chapter.get("sections", ())),
            ]
    names = [f"{edition}{page}.ipynb" for page in pages]
    order = [name for name in names if "notebooks/" in name or "exercises/" in name]
    expected = []
    for each in lessons():
        expected += [lesson_path(each, lang, REPOSITORY), exercise_path(each, lang)]
    assert order == [name for name in expected if name.startswith(edition)]


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("each", **EACH)
def test_lesson_exercises_and_next_lesson_are_linked(each, lang):
    name, exercise = lesson_path(each, lang, REPOSITORY), exercise_path(each, lang)
    *_, way_on, progress = cells_of(name)
    assert progress.source == f'course.progress("{each.slug}")'
    assert progress.metadata.tags == ["remove-cell"]
    assert progress.outputs == []
    heading, *_, after, progress = cells_of(exercise)
    assert progress.source == f'course.progress("{each.slug}")'

    def goals(cell, source):
        base = (REPOSITORY / source).parent
        return [(base / link).resolve() for link in LINK.findall(cell.source)]

    def place(other):
        return REPOSITORY / lesson_path(other, lang, REPOSITORY)

    own = (
        exercise
        if name.startswith("zh/") == (lang == "zh")
        else exercise_path(each, "en")
    )
    assert goals(way_on, name) == [REPOSITORY / own]
    assert goals(heading, exercise) == [place(each)]
    following = lessons()[lessons().index(each) + 1 :][:1]
    assert goals(after, exercise) == [place(other) for other in following]


@pytest.mark.parametrize("each", **EACH)
def test_the_heading_states_the_minutes_and_needs_nothing_later(each):
    order = {(other.stage, other.number): i for i, other in enumerate(lessons())}
    for lang in LANGUAGES:
        name = lesson_path(each, lang, REPOSITORY)
        heading = cells_of(name)[0].source
        assert int(MINUTES.search(heading)[1]) == each.minutes, name
        for place in PLACE.findall(heading):
            assert order[place] < order[each.stage, each.number], place


def test_a_lesson_without_exercises_leads_to_the_next_one(monkeypatch, tmp_path):
    monkeypatch.setattr(signposts, "lesson_after", lambda _: lesson("quantization"))
    from dataclasses import replace

    tour = tmp_path / "zh/notebooks/basic/00_tour.ipynb"  # the next is in English only
    tour.parent.mkdir(parents=True)
    tour.touch()
    link, _ = signposts.last_cells(replace(lesson("tour"), problems=()), "zh", tmp_path)
    assert "(../../../notebooks/basic/03_quantization.ipynb)" in link.source
    assert "（英文）" in link.source


def test_the_last_lesson_and_the_end_of_a_stage():
    assert "last lesson" in exercises.notebook(lessons()[-1], "en").cells[-2].source
    end = [each for each in lessons() if each.stage == "basic"][-1]
    assert "**Next:** Practical stage" in exercises.notebook(end, "en").cells[-2].source


@pytest.mark.parametrize("stage", STAGES)
def test_hours_are_the_sum_of_the_stated_minutes(stage):
    part = [each for each in lessons() if each.stage == stage]
    tasks = [
        cell.source
        for each in part
        for cell in cells_of(exercise_path(each, "en"))
        if cell.id.endswith("-prompt")
    ]
    solving = sum(int(re.search(r"about (\d+) minutes", task)[1]) for task in tasks)
    sentence = syllabus.hours(stage, "en", "book/basic.md", REPOSITORY)
    numbers = [float(number) for number in re.findall(r"\d+\.\d", sentence)]
    reading = sum(each.minutes for each in part)
    expected = [reading + solving, reading, solving]
    assert numbers == pytest.approx([x / 60 for x in expected], abs=0.051)


def test_a_track_keeps_the_order_and_its_prerequisites():
    order = [each.slug for each in lessons()]
    for track in syllabus._tracks():
        places = [order.index(slug) for slug in track["lessons"]]
        assert places == sorted(places)
        needed = {slug for name in track["lessons"] for slug in lesson(name).needs}
        assert needed <= set(track["lessons"]), track["slug"]


def test_each_table_has_its_columns_in_both_languages():
    for lang in LANGUAGES:
        edition = "zh/" if lang == "zh" else ""
        for page in ("syllabus.md", "how_to_use.md"):
            text = (REPOSITORY / edition / "book" / page).read_text("utf-8")
            for block in syllabus.BLOCK.finditer(text):
                rows = [row for row in block[0].splitlines() if row.startswith("|")]
                assert len({row.count("|") for row in rows}) <= 1


def test_tables_are_no_part_of_what_is_translated():
    page = "a\n<!-- generated: stages -->\n| 1 |\n<!-- /generated -->\nb\n"
    assert syllabus.without_tables(page) == page.replace("| 1 |\n", "")
