"""The four outcomes of a check, and what a learner sees of them."""

import dataclasses
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deepseek_learn import catalog, course
from deepseek_learn.course import checking, expect, problems
from deepseek_learn.course.problem import define
from deepseek_learn.course.source_code import is_untouched

ID = "shift_sum"


def check(source, **options):
    return course.check(ID, define(source, ID), **options)


def test_passed():
    outcome = check(problems.get(ID).solution)
    assert (outcome.status, outcome.points, outcome.possible) == ("passed", 2, 2)
    assert repr(outcome).startswith("✓ shift_sum: passed")


def test_failed_says_what_differed():
    outcome = check("def shift_sum(taps): return taps")
    assert outcome.status == "failed"
    assert re.search(
        r"must have the shape \[\d, 1, .*; it has \[\d, 9, ", outcome.message
    )


def test_raised_names_exception_and_line():
    outcome = check("def shift_sum(taps):\n    n = 0\n    return taps[0] / {}\n")
    assert outcome.status == "raised"
    assert "TypeError" in outcome.message
    assert "line 3 of your code:  return taps[0] / {}" in outcome.message


def test_raised_deep_in_a_library_still_names_the_learners_line():
    outcome = check(
        "import torch\ndef shift_sum(x):\n    return torch.conv2d(x, x, 3)\n"
    )
    assert "line 3 of your code" in outcome.message


def test_wrong_arguments_are_the_learners_mistake():
    outcome = check("def shift_sum(): return 1")
    assert outcome.status == "raised"
    assert "takes 0 positional arguments" in outcome.message


def test_sys_exit_in_an_answer_does_not_end_the_session():
    assert check("def shift_sum(taps): raise SystemExit(1)").status == "raised"


@pytest.mark.parametrize(
    "source",
    [
        "def shift_sum(taps): ...",
        "def shift_sum(taps):\n    '''Nine maps.'''\n    ...",
        "def shift_sum(taps, more=1):\n    # later\n    pass",
        "shift_sum = ...",
        "class shift_sum:\n    def forward(self): ...",
    ],
)
def test_not_attempted(source):
    outcome = check(source)
    assert (outcome.status, outcome.points) == ("not attempted", 0)
    assert "Replace the ... in `shift_sum`" in outcome.message


def test_class_with_given_methods_is_untouched_until_one_changes():
    body = "class A:\n    def __init__(self): self.n = 1\n    def go(self): "
    starter = define(body + "...", "A")
    assert is_untouched(define(body + "...  # hm", "A"), starter)
    assert not is_untouched(define(body + "return 1", "A"), starter)


def test_another_number_in_the_starter_is_an_answer():
    def answer(code):
        return define(f"def f(x):\n    {code}\n", "f")

    starter = answer("return [x * 2 for _ in range(3)]")
    assert is_untouched(answer("return [x * 2 for _ in range(3)]  # hm"), starter)
    assert not is_untouched(answer("return [x * 4 for _ in range(3)]"), starter)
    assert not is_untouched(answer("return [x * 2 for _ in range(5)]"), starter)


@pytest.mark.parametrize(
    "source",
    [
        "def shift_sum(taps): return None",
        "class Base:\n    def forward(self): return 1\nclass shift_sum(Base): pass",
        "shift_sum = lambda taps: None",
    ],
)
def test_an_answer_that_looks_empty_is_attempted(source):
    assert check(source).status in ("failed", "raised")


@pytest.mark.parametrize("kind", ["SystemExit", "GeneratorExit", "KeyboardInterrupt"])
def test_whatever_an_answer_raises_is_its_own(kind):
    outcome = check(f"def shift_sum(taps):\n    raise {kind}('mine')\n")
    assert outcome.status == "raised"
    assert f"{kind}: mine" in outcome.message
    assert "line 2 of your code" in outcome.message


def test_an_exception_of_its_own_kind_is_the_answers_too():
    source = "class Odd(BaseException): pass\ndef shift_sum(taps): raise Odd\n"
    assert check(source).status == "raised"


def test_object_that_raises_when_it_is_read_is_not_our_bug():
    source = """
class Odd:
    def __array__(self, *_, **__):
        raise SystemExit(3)

def shift_sum(taps):
    return Odd()
"""
    assert check(source).status in ("failed", "raised")


OWN = """
from deepseek_learn.course.limits import GaveUp
from deepseek_learn.course.problem import Failed
"""
OURS = {
    "raised": "def shift_sum(taps): raise Failed('nonsense')",
    "raised with the key of a sentence": """
def shift_sum(taps): raise Failed("expect.value", got=1, want=2)
""",
    "raised as if the time were over": "def shift_sum(taps): raise GaveUp",
    "with a text that cannot be read": """
class Odd(Exception):
    def __str__(self): raise ValueError
def shift_sum(taps): raise Odd
""",
}


@pytest.mark.parametrize("source", OURS.values(), ids=OURS)
def test_exception_of_the_course_is_the_answers_if_the_answer_raises_it(source):
    outcome = check(OWN + source)
    assert outcome.status == "raised"
    assert "of your code" in outcome.message


def test_our_own_exception_may_be_returned():
    assert check(OWN + "def shift_sum(taps): return Failed('x')").status == "failed"
    assert check(OWN + "def shift_sum(taps): return Failed").status == "failed"


@pytest.mark.parametrize("kind", ["ValueError", "Failed", "GaveUp"])
def test_object_that_raises_when_it_is_iterated_is_not_our_bug(kind):
    source = f"class A:\n    def __iter__(self): raise {kind}('mine')\n"
    answer = define(OWN + source + "def fold_gate(*_): return A()\n", "fold_gate")
    outcome = course.check("fold_the_gate", answer)
    assert outcome.status == "raised"
    assert kind in outcome.message


EQUAL_TO_ALL = """
import torch

class Equal(torch.Tensor):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = torch.Tensor.__hash__
"""


def test_tensor_that_equals_everything_does_not_pass():
    source = "def shift_sum(taps): return taps.sum(1, keepdim=True).as_subclass(Equal)"
    outcome = check(EQUAL_TO_ALL + source)
    assert outcome.status == "failed"


def test_text_that_equals_everything_does_not_pass():
    source = """
class Equal(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = str.__hash__

def role(parameter, module, head): return Equal("matrix")
"""
    assert course.check("whose_rule", define(source, "role")).status == "failed"


@pytest.mark.parametrize("odd", ["torch.ones(3).as_subclass(Equal)", "torch.ones(3)"])
def test_tensor_put_into_an_argument_is_a_change_in_place(odd):
    source = f"""
def longest_context(free, layers, sizes, number_bytes):
    for name in sizes: sizes[name] = {odd}
"""
    answer = define(EQUAL_TO_ALL + source, "longest_context")
    outcome = course.check("how_long_a_context", answer)
    assert outcome.status == "failed"
    assert "modified its argument `sizes` in place" in outcome.message


ENDLESS = {
    "a loop": "while True: pass",
    "a loop that catches": "while True:\n        try: 1 / 0\n        except Exception: 1",
    "a loop that catches all": "while True:\n        try: 1 / 0\n        except: 1",
    "a loop around one that is caught": """while True:
        try:
            while True: pass
        except BaseException: pass""",
    "loops that catch each other's end": """while True:
        try:
            while True:
                try:
                    while True: 1 + 1
                except: continue
        except BaseException as error: str(error)""",
    "a loop that suppresses all": """import contextlib
    while True:
        with contextlib.suppress(BaseException):
            while True: sum(range(10))""",
    "a loop that goes on in finally": """while True:
        try:
            while True: pass
        finally: continue""",
    "a sleep that is repeated": """import time
    while True:
        try: time.sleep(1e6)
        except BaseException: pass""",
    "a sleep": "import time; time.sleep(1e6)",
    "a generator": "return sum(1 for _ in iter(int, 1))",
}


@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_check_gives_up_with_a_sentence(body, monkeypatch):
    monkeypatch.setattr(checking, "SECONDS", 0.2)
    outcome = check(f"def shift_sum(taps):\n    {body}\n")
    assert outcome.status == "failed"
    assert "timed out after 0.2 s" in outcome.message
    assert "of your code" in outcome.message


def test_code_that_is_stopped_may_end_in_an_orderly_way(monkeypatch):
    import torch

    monkeypatch.setattr(checking, "SECONDS", 0.2)
    source = """
import torch

def shift_sum(taps):
    with torch.no_grad():
        while True: pass
"""
    assert "timed out" in check(source).message
    assert torch.is_grad_enabled()


def test_handlers_of_signals_are_restored_after_a_loop_that_catches_all(monkeypatch):
    monkeypatch.setattr(checking, "SECONDS", 0.2)
    signals = (signal.SIGALRM, signal.SIGTRAP)
    before = [signal.getsignal(each) for each in signals]
    check(f"def shift_sum(taps):\n    {ENDLESS['a loop that suppresses all']}\n")
    assert [signal.getsignal(each) for each in signals] == before
    assert sum(range(10**6))  # no signal is left to end this


def test_problem_that_runs_programs_has_longer(monkeypatch):
    slow = dataclasses.replace(problems.get(ID), seconds=0.4)
    monkeypatch.setattr(checking.problems, "get", lambda id: slow)
    monkeypatch.setattr(checking, "SECONDS", 0.01)
    answer = define("def shift_sum(taps):\n    while True: pass\n", "shift_sum")
    outcome = checking.check(ID, answer, record=False)
    assert "timed out after 0.4 s" in outcome.message


def slow_check(monkeypatch, before_call, calls=1):
    """Check an answer that takes 0.2 s per call, in a check with work of its own."""

    def run(answer, rng):
        for _ in range(calls):
            time.sleep(before_call)
            expect.call(answer)

    slow = dataclasses.replace(problems.get(ID), check=run, seconds=0.5)
    monkeypatch.setattr(checking.problems, "get", lambda id: slow)
    source = "import time\ndef shift_sum(*_): time.sleep(0.2)"
    return checking.check(ID, define(source, "shift_sum"), record=False)


def test_the_work_of_the_check_is_not_on_the_clock_of_the_answer(monkeypatch):
    handler = signal.getsignal(signal.SIGALRM)
    assert slow_check(monkeypatch, before_call=0.7).passed
    outcome = slow_check(monkeypatch, before_call=0, calls=10)
    assert "timed out after 0.5 s" in outcome.message
    assert signal.getsignal(signal.SIGALRM) == handler


def test_a_check_that_does_not_end_is_ended_too(monkeypatch):
    monkeypatch.setattr(checking, "CHECK", 0.3)
    start = time.monotonic()
    assert slow_check(monkeypatch, before_call=30).status == "failed"
    assert time.monotonic() - start < 20


def test_the_kernel_is_built_before_the_clock_starts(monkeypatch):
    build = pytest.importorskip("deepseek_learn.dpg.kernels.build")
    handlers = []

    def load():
        handlers.append(signal.getsignal(signal.SIGALRM))
        raise build.KernelUnavailable("no compiler")

    monkeypatch.setattr(build, "load", load)
    assert slow_check(monkeypatch, before_call=0).passed
    assert handlers == []  # this check does not use it
    monkeypatch.setitem(globals(), "dpg", build)
    assert slow_check(monkeypatch, before_call=0).passed
    assert handlers == [signal.getsignal(signal.SIGALRM)]
    assert "dpg" in problems.get("beat_frequency").check.__globals__


def test_endless_iterator_given_for_a_pair_is_cut():
    source = "import itertools\ndef fold_gate(*_): return itertools.count()\n"
    outcome = course.check("fold_the_gate", define(source, "fold_gate"))
    assert "must return 2 values" in outcome.message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits address space")
def test_endless_iterator_in_c_does_not_exhaust_memory(monkeypatch):
    monkeypatch.setattr(checking, "MEMORY", 2**28)
    outcome = check("import itertools\ndef shift_sum(x): list(itertools.repeat(1))\n")
    assert outcome.status == "raised"
    assert "MemoryError" in outcome.message


def test_limits_leave_the_alarm_of_others_as_it_was():
    rang = []
    before = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    outer = signal.setitimer(signal.ITIMER_REAL, 30)
    try:
        check(problems.get(ID).solution)
        left, _ = signal.setitimer(signal.ITIMER_REAL, *outer)
        assert 20 < left <= 30
        assert signal.getsignal(signal.SIGALRM)(0, None) is None
        assert rang == [1]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_thread_that_is_not_the_main_one_can_check():
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(check, problems.get(ID).solution).result()
    assert outcome.passed


def test_failed_check_shows_input_and_seed():
    outcome = check("def shift_sum(taps): return taps", seed=11)
    assert re.search(r"Input: taps = tensor\(\[.*float32, shape \[", outcome.repeat)
    assert 'check("shift_sum", shift_sum, seed=11)' in outcome.repeat
    assert outcome.repeat in repr(outcome).replace("\n  ", "\n")
    assert "seed=11" in outcome._repr_html_()


def test_right_answer_needs_no_second_look():
    assert check(problems.get(ID).solution).repeat == ""


def test_changing_an_argument_in_place_fails_even_with_the_right_result():
    source = problems.get(ID).solution + (
        "\ninner = shift_sum\ndef shift_sum(taps):\n"
        "    got = inner(taps)\n    taps.zero_()\n    return got\n"
    )
    outcome = check(source)
    assert outcome.status == "failed"
    assert "modified its argument `taps` in place" in outcome.message


def test_seed_repeats_a_check():
    wrong = "def shift_sum(taps): return taps.sum(1, keepdim=True)"
    first = check(wrong)
    assert check(wrong, seed=first.seed).message == first.message
    assert check(wrong, seed=first.seed + 1).message != first.message


def test_broken_check_is_not_blamed_on_the_learner(monkeypatch):
    def broken(answer, rng):
        raise ZeroDivisionError("ours")

    problem = dataclasses.replace(problems.get(ID), check=broken)
    monkeypatch.setattr(problems, "get", lambda id: problem)
    with pytest.raises(course.CheckError, match=r"bug in the course.*seed=7"):
        course.check(ID, lambda taps: 1, seed=7)


def test_html_is_escaped_and_leaves_colors_to_the_theme():
    shown = check("def shift_sum(taps): raise ValueError('<b>')")._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "background" not in shown
    assert not re.search(r"[;\"]color:", shown)


def test_code_in_a_message_is_shown_as_code():
    shown = check("def shift_sum(taps): ...")._repr_html_()
    assert "<code>shift_sum</code>" in shown
    assert "`" not in shown


def test_chinese():
    catalog.set_language("zh")
    assert "通过" in repr(check(problems.get(ID).solution))
