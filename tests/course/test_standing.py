"""What counts as done, how long the rest takes, and which lesson comes next."""

import pytest

from deepseek_learn.course import problems
from deepseek_learn.course.display import duration
from deepseek_learn.course.lessons import STAGES, lesson, lesson_after, lessons
from deepseek_learn.course.standing import by_stage, counts, next_standing, standings
from deepseek_learn.errors import UnknownNameError


def record(id, status="passed", time="2026-01-01T00:00:00+00:00", version=None):
    version = problems.get(id).version if version is None else version
    return {"problem": id, "version": version, "status": status, "time": time}


def solved(*slugs):
    return [record(id) for slug in slugs for id in lesson(slug).problems]


def standing(slug, records):
    return next(each for each in standings(records) if each.lesson.slug == slug)


def test_without_records_everything_is_open():
    every = standings([])
    assert tuple(each.lesson for each in every) == lessons()
    assert counts(every) == (0, len(problems.names()))
    for each in every:
        exercises = sum(problem.minutes for problem in problems.load(each.lesson.slug))
        assert each.minutes_left == each.lesson.minutes + exercises


def test_the_first_pass_counts_and_an_older_version_does_not():
    first, second = lesson("tour").problems
    rows = [record(first, time="1"), record(first, "failed", time="2")]
    rows += [record(second, "failed"), record(second, version=0)]
    tour = standing("tour", rows)
    assert [result.status for result in tour.results] == ["passed", "failed"]
    assert [problem.id for problem in tour.open] == [second]
    assert tour.results[0].points == problems.get(first).points
    assert tour.results[1].points == 0


def test_a_lesson_with_an_attempt_counts_as_read():
    first, second = lesson("tour").problems
    tour = standing("tour", [record(first, "failed")])
    assert tour.minutes_left == sum(problems.get(i).minutes for i in (first, second))
    assert standing("tour", solved("tour")).minutes_left == 0


def following(records):
    result = next_standing(standings(records))
    return result and result.lesson.slug


def test_next_is_the_first_lesson_the_open_one_or_the_one_after():
    order = [each.slug for each in lessons() if each.problems]
    assert following([]) == order[0]
    assert following([record(lesson("tour").problems[0])]) == "tour"
    assert following(solved("tour")) == order[order.index("tour") + 1]


def test_next_goes_on_from_where_the_learner_worked_last():
    latest = record(lesson("read_a_ct").problems[0], time="2026-02-01T00:00:00+00:00")
    assert following([*solved("tour"), latest]) == "read_a_ct"


def test_next_comes_back_for_what_was_skipped():
    every = [each.slug for each in lessons()]
    assert following(solved(*every)) is None
    every.remove("quantization")
    assert following(solved(*every)) == "quantization"


def test_stages_are_in_order_and_hold_every_lesson():
    groups = by_stage(standings([]))
    assert [stage for stage, _ in groups] == list(STAGES)
    assert [e.lesson for _, part in groups for e in part] == list(lessons())


def test_the_lesson_after():
    first, second, *_, last = lessons()
    assert lesson_after(first) == second
    assert lesson_after(last) is None
    with pytest.raises(UnknownNameError, match="did you mean 'tour'"):
        lesson("tuor")


def test_a_duration_is_in_minutes_or_hours():
    assert duration(45) == "45 minutes"
    assert duration(119) == "119 minutes"
    assert duration(150, "zh") == "2 小时"
    assert duration(601) == "10 hours"


NEVER_LATER = [each for each in lessons() if each.needs]


@pytest.mark.parametrize("each", NEVER_LATER, ids=lambda each: each.slug)
def test_no_lesson_needs_a_later_one(each):
    order = [other.slug for other in lessons()]
    assert {lesson(slug).slug for slug in each.needs} <= set(
        order[: order.index(each.slug)]
    )


def test_lessons_are_in_the_order_of_stages_and_numbers():
    keys = [(STAGES.index(each.stage), each.number) for each in lessons()]
    assert keys == sorted(set(keys))
