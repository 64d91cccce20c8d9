"""The mails: cleaned by rules, split by time."""

import json
import lzma
import sys
import types

import pytest

from deepseek_learn import data
from deepseek_learn.data.repeats import key, near_repeats
from deepseek_learn.solutions.mail.corpus import (
    CUTS,
    WEEKS,
    Pseudonyms,
    mail_lines,
    make,
    periods,
)
from deepseek_learn.solutions.mail.mime import Mail


def test_the_lines_are_those_on_the_card():
    frame = mail_lines()
    assert len(frame) == 4782
    assert frame["label"].sum() == 1187
    assert frame["thread"].nunique() == 3199
    assert (frame["list"] != "").sum() == 2738
    assert frame["time"].is_monotonic_increasing
    assert frame["text"].map(key).is_unique


def test_addresses_and_long_numbers_are_masked():
    text = mail_lines()["text"]
    assert not text.str.contains(r"(?a)[\w.]+@\w+\.\w|\d{6,}|https?://\w").any()
    assert text.str.contains(r"\[mail\]").any()
    assert text.str.contains(r"\[link\]").any()


@pytest.mark.parametrize("cut", CUTS)
def test_no_part_reaches_into_the_next(cut):
    frame = mail_lines()
    parts = periods(frame["time"], cut)
    days = {
        name: frame["time"][parts == name] for name in ("train", "validation", "test")
    }
    assert days["train"].max() < days["validation"].min()
    assert days["validation"].max() < days["test"].min()
    assert (days["validation"].max() - days["validation"].min()).days < 7 * WEEKS
    assert str(days["test"].min().date()) >= cut
    for name in days:
        assert frame["label"][parts == name].nunique() == 2


def test_splits_are_the_second_cut():
    splits = data.load("mail")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        2357, 742, 1683,
    ]  # fmt: skip
    text = splits.test.frame["text"][0]
    assert splits.test.decode(splits.test.tokens[0].tolist()) == text[:512].rstrip()


def test_near_repeats_of_words():
    own = "one two three four five six seven eight nine ten eleven twelve"
    first, second = near_repeats(
        [
            own,
            "something else entirely is written in this mail of mine",
            f"{own} thirteen",
        ],
        words=True,
    )
    assert (first.tolist(), second.tolist()) == ([0], [2])
    assert [each.tolist() for each in near_repeats(["a", "b"])] == [[], []]


@pytest.fixture
def census(tmp_path, monkeypatch):
    """A small package `names`."""
    for name, words in {
        "dist.male.first": "ROBERT 1\nMARK 1\n",
        "dist.female.first": "LINDA 1\n",
        "dist.all.last": "WALKER 1\nFENN 1\n",
    }.items():
        (tmp_path / name).write_text(words)
    module = types.ModuleType("names")
    module.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, "names", module)


def test_names_become_other_names(census):
    mails = [
        Mail("", "", None, "Robert Fenn and fenn met", ("Linda Walker",)),
        Mail("", "", None, "a walker, Walker, walker walks, Linda", ()),
    ]
    hide = Pseudonyms(mails)
    said = hide(
        "Robert Fenn met Linda. Linda Qvist and a walker walk; Mark it.", mails[0]
    )
    words = said.split()
    for name in ("Robert", "Fenn", "Linda", "Qvist"):
        assert name not in said
    assert words[-1] == "it."
    assert "Mark" in said
    assert "a walker walk" in said
    assert words[3].rstrip(".") == words[4]  # the same person twice
    assert hide("Robert is here", mails[1]) != hide("Robert is there", mails[1])


def test_the_rules_on_a_small_source(tmp_path, census):
    def write(folder: str, number: int, day: int, subject: str, body: str) -> None:
        head = (
            f"Received: from a by b; {day} Sep 2002 10:00:00 +0000\nSubject: {subject}"
        )
        path = tmp_path / "data" / folder / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": f"{head}\nList-Id: <t.x.org>\n\n{body}"}))

    long = "we meet at ten on the first floor of the house beside the river bank"
    write("easy-ham-1", 1, 9, "Re: plan", long)
    write("easy-ham-2", 2, 8, "plan", f"{long} tomorrow")
    write("hard-ham-1", 3, 7, "ok", "a")
    write("spam-1", 4, 10, "free", "buy it now while it lasts at a.b@c.org")
    write("spam-2", 5, 11, "FREE", "Buy it now, while it lasts: a.b@c.org!")
    make(tmp_path, tmp_path / "out.xz")
    lines = lzma.decompress((tmp_path / "out.xz").read_bytes()).decode().split("\n")
    rows = [line.split("\t") for line in lines if line]
    assert [row[0] for row in rows] == ["0", "1"]
    assert rows[0][3] == "t"
    assert rows[0][4] == f"plan {long} tomorrow"  # the first of two that nearly agree
    assert rows[1][4] == "free buy it now while it lasts at [mail]"
