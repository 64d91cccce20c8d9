"""The sign test, against enumeration; what a re-run confirms; files of records."""

from dataclasses import replace
from itertools import product

import pytest

from deepseek_learn.leaderboard import Entry, Record, sign_test
from deepseek_learn.leaderboard.records import (
    LEVEL,
    add_record,
    disagreement,
    read_records,
    valid,
)
from deepseek_learn.leaderboard.track import Track

WORDS = {"en": "", "zh": ""}


class Plain(Track):
    """A track whose gains are differences."""

    name, reference, better, is_share = "plain", "base", "higher", True


PLAIN = Plain()


def record(gains, **facts) -> Record:
    """A record whose reference scores 0.5 on each seed."""
    scores = tuple(0.5 + gain for gain in gains)
    seeds, base = tuple(range(len(scores))), (0.5,) * len(scores)
    return Record("mine", "a", "b", 1, seeds, scores, base, **facts)


@pytest.mark.parametrize("count", [1, 5, 8])
def test_the_sign_test_counts_coin_tosses(count):
    tosses = [sum(each) for each in product((0, 1), repeat=count)]
    for wins in range(count + 1):
        share = sum(heads >= wins for heads in tosses) / len(tosses)
        assert sign_test(wins, count) == pytest.approx(share)


def test_only_eight_of_eight_reach_the_level():
    reached = [wins for wins in range(9) if sign_test(wins, 8) < LEVEL]
    assert reached == [8]


@pytest.mark.parametrize(("wins", "count"), [(9, 8), (-1, 8), (0, 0)])
def test_impossible_counts_are_refused(wins, count):
    with pytest.raises(ValueError, match=f"got {wins} of {count}"):
        sign_test(wins, count)


def test_a_tie_is_no_win():
    gains = [0.01] * 7 + [0.0]
    assert record(gains).wins(PLAIN) == 7
    assert not record(gains).is_better(PLAIN)
    assert record([0.01] * 8).is_better(PLAIN)


def test_a_rerun_of_the_same_size_confirms():
    first = record([0.10, 0.12, 0.09, 0.11, 0.10, 0.13, 0.08, 0.11])
    again = record([0.11, 0.09, 0.12, 0.10, 0.08, 0.12, 0.11, 0.10])
    assert disagreement(first, again, PLAIN) == ""


def test_a_rerun_that_loses_seeds_or_its_gain_does_not():
    first = record([0.10, 0.12, 0.09, 0.11, 0.10, 0.13, 0.08, 0.11])
    seven = record([0.11, 0.09, 0.12, 0.10, 0.08, 0.12, 0.11, -0.01])
    six = record([0.11, 0.09, 0.12, 0.10, 0.08, 0.12, -0.01, -0.01])
    small = record([0.01] * 8)
    assert disagreement(first, seven, PLAIN) == ""
    assert disagreement(first, six, PLAIN) == "wins"
    assert disagreement(first, small, PLAIN) == "gain"
    failed = replace(six, scores=(), reference_scores=(), fault="it stopped.")
    assert disagreement(first, failed, PLAIN) == "fault"


def test_the_gain_of_a_lower_score_is_a_logarithm():
    class Lower(Track):
        name, reference, better = "lower", "base", "lower"

    assert Lower().gain(0.5, 1.0) == pytest.approx(-Lower().gain(2.0, 1.0))
    assert Lower().gain(0.5, 1.0) > 0


def test_records_survive_the_file(tmp_path):
    path = tmp_path / "records.jsonl"
    written = [record([0.1] * 8), record([0.2] * 8, rerun=True, facts={"date": "d"})]
    for each in written:
        add_record(path, each)
    assert read_records(path) == written
    assert read_records(tmp_path / "none.jsonl") == []


def test_a_record_belongs_to_one_version_of_everything():
    entry = Entry("plain", "mine", b"x = 1", WORDS, "", WORDS, {})
    base = replace(entry, name="base", source=b"y = 1")
    ours = replace(record([0.1] * 8), sha256=entry.sha256, reference_sha256=base.sha256)
    assert valid([ours], entry, base, PLAIN) == [ours]
    others = [
        (replace(entry, source=b"x = 2"), base),
        (replace(entry, settings={"poems": {"lr": 1}}), base),
        (entry, replace(base, source=b"y = 2")),
    ]
    assert [valid([ours], *pair, PLAIN) for pair in others] == [[], [], []]
    assert valid([replace(ours, version=2)], entry, base, PLAIN) == []
