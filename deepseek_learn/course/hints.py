"""The functions `hint` and `solution`, which display help for an exercise."""

from ..catalog import choose, text
from . import problems
from .display import Words, show
from .problem import Problem

_hints_shown: dict[str, int] = {}  # number of hints shown in this session, by problem


def hint(id: str, number: int | None = None) -> None:
    """Show the next hint for the problem `id`, or all hints again after the last one.

    Args:
        id: one of `course.problems.names()`.
        number: the number of a specific hint to show instead of the next one, counted
            from 1. This does not change which hint comes next.

    Raises:
        UnknownNameError: if there is no such problem; the message lists all problems
            and suggests the closest name.
        ValueError: if there is no hint with this number.

    >>> from deepseek_learn import course
    >>> course.hint("shift_sum", 2)
    Hint 2 of 2 (0 left)
    After padding, position p + offset of tap t begins at ...
    """
    problem = problems.get(id)
    if number is not None:
        show(Words(_hint(problem, _checked_number(problem, number))))
        return
    count = _hints_shown.get(id, 0)
    if count < len(problem.hints):
        _hints_shown[id] = count + 1
        show(Words(_hint(problem, count + 1)))
        return
    hints = [_hint(problem, index + 1) for index in range(count)]
    show(Words("\n\n".join([text("hint.all_given", count=count), *hints])))


def solution(id: str) -> None:
    """Show the solution to the problem `id`, unless the problem is graded.

    Raises:
        UnknownNameError: if there is no such problem; the message lists all problems
            and suggests the closest name.

    >>> from deepseek_learn import course
    >>> course.solution("bring_them_to_one")
    One solution to “bring_them_to_one”. Yours may differ, as long as it passes.
    <BLANKLINE>
    import torch
    <BLANKLINE>
    <BLANKLINE>
    def orthogonalize(x, coefficients):
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / x.norm().clamp_min(1e-20)
        for a, b, c in coefficients:
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.T if tall else x
    """
    problem = problems.get(id)
    if problem.solution is None:
        show(Words(text("solution.graded", problem=id)))
    else:
        show(Words(text("solution.head", problem=id), problem.solution.strip()))


def _hint(problem: Problem, number: int) -> str:
    count = len(problem.hints)
    head = text("hint.head", number=number, count=count, left=count - number)
    return f"{head}\n{choose(problem.hints[number - 1])}"


def _checked_number(problem: Problem, number: int) -> int:
    count = len(problem.hints)
    if isinstance(number, int) and 1 <= number <= count:
        return number
    raise ValueError(text("hint.number", problem=problem.id, count=count, got=number))
