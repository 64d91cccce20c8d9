"""What a room shows to a learner's code, and what it does not."""

import pytest

from deepseek_learn.course import isolated
from deepseek_learn.course.isolated import (
    DATA_PACKAGES,
    OWN_DATA,
    PACKAGE,
    answer_sandbox,
    hidden,
)
from deepseek_learn.sandbox import copies, isolation, view

closed = pytest.mark.skipif(
    isolation() != "namespaces", reason="this system permits no namespaces"
)


@closed
def test_a_kernel_that_is_built_is_not_compiled_again_in_the_room(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("DEEPSEEK_LEARN_CACHE", str(tmp_path))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "planes-key-sum.so").write_bytes(b"kernel")
    source = b"""if True:
        from deepseek_learn.binary_cache import cache_folder
        print([path.read_bytes() for path in cache_folder().iterdir()])"""
    with answer_sandbox({"show.py": source}, 60, hidden()) as (sandbox, _):
        ended = sandbox.run(["python", "show.py"])
    assert ended.stdout == "[b'kernel']\n", ended.stderr


def test_every_copy_of_a_package_is_found(tmp_path, monkeypatch):
    """Of this Python, of the system's, and of the folder of the user's packages."""
    places = [
        tmp_path / "venv" / "lib" / "python3.11" / "site-packages",
        tmp_path / "usr" / "lib" / "python3" / "dist-packages",
        tmp_path / "usr" / "local" / "lib" / "python3.12" / "dist-packages",
        tmp_path / "user-packages",
    ]
    for place in places:
        (place / "snownlp").mkdir(parents=True)
    readable = [str(tmp_path / name) for name in ("venv", "usr", "user-packages")]
    monkeypatch.setattr(view, "always_readable", lambda: readable)
    assert set(copies("snownlp")) == {place / "snownlp" for place in places}
    assert {place / "snownlp" for place in places} < set(isolated.hidden())


def test_the_packages_own_data_is_hidden():
    assert {PACKAGE / part for part in OWN_DATA} <= set(hidden())
    for package in DATA_PACKAGES:
        assert set(copies(package)) <= set(hidden())
