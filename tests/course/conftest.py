import pytest

from deepseek_learn.course import hints, record


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No test reads or writes the real progress of the user who runs it."""
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(hints, "_hints_shown", {})
    monkeypatch.setattr(record, "_notes_shown", set())
    return tmp_path / "home"
