"""The lock: any changed English text is reported until it is accepted."""

import shutil

import pytest

from deepseek_learn.course.authoring import lock
from deepseek_learn.course.authoring.lock import LOCK, accept, check
from deepseek_learn.errors import DeepSeekLearnError
from deepseek_learn.files import REPOSITORY

PROBLEM = "exercises/problems/basic_01_spatial_channel_attention/shift_sum"
# kind of text: file, a piece of its English, the key that is then outdated
KINDS = {
    "message": (
        "deepseek_learn/messages.toml",
        'en = "pass',
        "deepseek_learn/messages.toml:status.passed",
    ),
    "claim": ("deepseek_learn/ledger/claims.toml", 'en = "', None),
    "lesson": ("deepseek_learn/course/lessons.toml", 'en = "', None),
    "model": ("deepseek_learn/zoo/cards/fashion_net.toml", "logits", None),
    "dataset": ("deepseek_learn/data/cards/elpv.toml", 'en = "', None),
    "prompt": (f"{PROBLEM}/words.en.md", "A 3×3 conv", "problem:shift_sum:prompt"),
    "hint": (f"{PROBLEM}/words.en.md", "## hint 1\n\n", "problem:shift_sum:hint 1"),
    "page": ("book/intro.md", "\n\n", "book/intro.md"),
    "cell": ("notebooks/basic/00_tour.ipynb", '"# ', None),
}


@pytest.fixture
def copy(tmp_path):
    """A writable copy of all texts of the repository and their lock."""
    hidden = shutil.ignore_patterns("*.py", "*.safetensors", "*.npz", "__pycache__")
    for folder in ("book", "zh", "notebooks", "exercises", "deepseek_learn"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=hidden)
    for name in ("README.md", "README.zh.md"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_sentence_of_each_kind_is_behind_until_accepted(copy, kind):
    path, piece, expected = KINDS[kind]
    assert check(copy) == []
    file = copy / path
    before = file.read_text(encoding="utf-8")
    assert piece in before
    file.write_text(before.replace(piece, f"{piece}Other: ", 1), encoding="utf-8")
    (told,) = check(copy)
    key, _, reason = told.rpartition(": ")
    assert reason == "the translation is out of date."
    assert expected in (None, key)
    assert accept(copy, [key]) == 1
    assert check(copy) == []
    assert accept(copy, [key]) == 0


def test_a_text_that_is_new_or_gone(copy):
    messages = copy / "deepseek_learn" / "messages.toml"
    content = messages.read_text(encoding="utf-8")
    messages.write_text(content + '\n[status.new]\nen = "new"\nzh = "新"\n')
    key = "deepseek_learn/messages.toml:status.new"
    assert check(copy) == [f"{key}: not translated yet."]
    accept(copy, [key])
    messages.write_text(content, encoding="utf-8")
    assert check(copy) == [f"{key}: in the lock file, but the text no longer exists."]
    accept(copy, ["deepseek_learn/messages.toml"])
    assert check(copy) == []


def test_an_unknown_name_is_refused_and_nothing_noted(copy):
    before = (copy / LOCK).read_bytes()
    with pytest.raises(DeepSeekLearnError, match="'nowhere' is not a translated text"):
        accept(copy, ["book/intro.md", "nowhere"])
    assert (copy / LOCK).read_bytes() == before


def test_every_sentence_of_the_catalog_is_locked():
    keys = lock.english(REPOSITORY)
    assert sum(key.startswith("deepseek_learn/messages.toml:") for key in keys) > 250
    assert sum(key.startswith("problem:") for key in keys) > 400
    claim = "deepseek_learn/ledger/claims.toml:C2"  # a text, with texts inside
    assert {claim, f"{claim}.says", f"{claim}.figure"} <= set(keys)
