"""One relative link works in the repository and in a working copy."""

import pytest

from deepseek_learn.course.lessons import lesson, lessons
from deepseek_learn.course.places import (
    course_folder,
    exercise_path,
    lesson_path,
    link,
)
from deepseek_learn.files import REPOSITORY

TOUR = lesson("tour")


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("each", lessons(), ids=lambda each: each.slug)
def test_every_lesson_has_its_notebook_and_exercises(each, lang):
    path = lesson_path(each, lang, REPOSITORY)
    assert (REPOSITORY / path).is_file()
    if each.problems:
        assert (REPOSITORY / exercise_path(each, lang)).is_file()


def test_a_lesson_without_a_translation_is_the_english_one(tmp_path):
    assert lesson_path(TOUR, "zh", REPOSITORY) == "zh/notebooks/basic/00_tour.ipynb"
    assert lesson_path(TOUR, "zh", tmp_path) == "notebooks/basic/00_tour.ipynb"


def test_links_between_folders():
    source = "zh/exercises/basic/00_tour.ipynb"
    assert link("notebooks/basic/a.ipynb", source) == "../../../notebooks/basic/a.ipynb"
    assert link("zh/exercises/basic/b.ipynb", source) == "b.ipynb"
    assert link("book/intro.md", "START.ipynb") == "book/intro.md"


def test_the_folder_of_the_course_is_above_every_notebook(tmp_path):
    for place in ("", "notebooks/basic", "zh", "zh/exercises/practical"):
        assert course_folder(REPOSITORY / place) == REPOSITORY
    assert course_folder(tmp_path) is None
