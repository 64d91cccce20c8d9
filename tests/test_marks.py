"""How the tests are marked, and shared out between two workers."""

from tests.conftest import KINDS, SERVICES, share


def kinds(item) -> set[str]:
    return {kind for kind in KINDS if item.get_closest_marker(kind)}


def test_every_test_is_of_one_kind(request):
    for item in request.session.items:
        assert len(kinds(item)) == 1, item.nodeid


def test_a_test_that_uses_a_service_says_so(request):
    for item in request.session.items:
        if SERVICES.intersection(item.fixturenames):
            assert kinds(item) == {"service"}, item.nodeid


def test_a_file_is_run_by_one_worker_but_for_long_tests_that_share_nothing():
    file = "tests/dpg/test_layers.py"
    assert share(f"{file}::test_a[a::b]") == share(f"{file}::test_b") == file
    book = [f"tests/book/test_book_{which}.py::test_a" for which in ("build", "pages")]
    assert len(set(map(share, book))) == 1  # it is built once
    notebooks, audit = "tests/test_notebooks.py", "tests/course/test_problems.py"
    assert share(f"{notebooks}::test_ruff[check]") == notebooks
    for alone in (f"{notebooks}::test_runs_anew[a]", f"{audit}::test_right[b]"):
        assert share(alone) == alone
