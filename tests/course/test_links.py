"""The repository's address: one source, written everywhere."""

from deepseek_learn.course import links


def test_a_new_address_reaches_every_file(tmp_path, monkeypatch):
    text = (
        "[a](https://github.com/OLD/deepseek_learn/issues) "
        "[b](https://colab.research.google.com/github/OLD/deepseek_learn/blob/main/x) "
        "git+https://github.com/OLD/deepseek_learn@main "
        "https://github.com/OTHER/elpv-dataset https://github.com/OLD/deepseek_learn_x"
    )
    (tmp_path / "README.md").write_text(text)
    (tmp_path / "notebooks" / "basic").mkdir(parents=True)
    (tmp_path / "notebooks" / "basic" / "00_a.ipynb").write_text(text)
    monkeypatch.setattr(
        links, "repository", lambda: "https://github.com/new-owner/deepseek_learn"
    )
    stale = links.write(tmp_path, check=True)
    assert len(stale) == 2
    assert (tmp_path / "README.md").read_text() == text
    assert links.write(tmp_path) == stale
    written = (tmp_path / "README.md").read_text()
    assert written.count("new-owner/deepseek_learn") == 3
    assert "OTHER/elpv-dataset" in written
    assert "OLD/deepseek_learn_x" in written
    assert links.write(tmp_path, check=True) == []
