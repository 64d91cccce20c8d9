"""Races of a track without processes: seeds, resuming, faults, re-runs, the table."""

import json

import pytest

from deepseek_learn.errors import DeepSeekLearnError, UnknownNameError
from deepseek_learn.leaderboard import EntryError, board, racing
from deepseek_learn.leaderboard.entry import read
from deepseek_learn.leaderboard.track import Outcome, Track

TOML = 'author = "a"\n[title]\nen = "{name}"\nzh = "{name}，中文"\n'


class Paper(Track):
    """A track that reads an entry's score from its source and starts no process."""

    name, reference, better, is_share = "paper", "base", "higher", True
    starts = 0

    def problem(self, seed):
        return seed % 1000 / 1e6

    def measure(self, problem, start, settings, reference):
        assert (reference is None) == (start.args[0].name == "base")
        Paper.starts += 1
        source = start.args[0].source.decode()
        if source.startswith("fails"):
            raise EntryError("line 1: it fails.")
        return Outcome(float(source.split()[-1]) + problem)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of entries; its track is `paper`, and the sandbox is closed."""
    load = lambda name: Paper()  # noqa: E731
    for module in (racing, board):
        monkeypatch.setattr(module, "load_track", load)
    monkeypatch.setattr(racing, "isolation", lambda: racing.CLOSED)
    Paper.starts = 0
    for name, source in (
        ("base", "x = 0.5"),
        ("good", "x = 0.6"),
        ("bad", "x = 0.4"),
        ("broken", "fails = 0"),
    ):
        write(tmp_path, name, source)
    return tmp_path


def write(folder, name, source):
    place = folder / "paper"
    place.mkdir(exist_ok=True)
    (place / f"{name}.py").write_text(source)
    (place / f"{name}.toml").write_text(TOML.format(name=name))


def run(folder):
    return racing.run_field("paper", folder, say=lambda line: None)


def states(folder):
    return {each.entry.name: each.state for each in board.standings("paper", folder)}


def test_a_field_gives_each_entry_its_state(folder):
    assert set(states(folder).values()) == {"pending"}
    records = run(folder)
    assert {len(record.seeds) for record in records} == {racing.FRESH}
    assert states(folder) == {
        "good": "better",
        "base": "reference",
        "bad": "not_shown",
        "broken": "refused",
    }
    assert Paper.starts == 3 * 8 + 1  # what fails is not run again
    assert run(folder) == []
    assert not (folder / "paper" / "unfinished.jsonl").exists()


def test_all_run_on_the_same_fresh_seeds_and_the_next_race_on_others(folder):
    first = run(folder)
    write(folder, "good", "x = 0.7")
    second = run(folder)
    assert {record.seeds for record in first} == {first[0].seeds}
    assert not set(first[0].seeds) & set(second[0].seeds)
    assert [record.entry for record in second] == ["good"]


def test_an_edited_entry_and_a_new_reference_are_pending(folder):
    run(folder)
    write(folder, "good", "x = 0.61")
    assert [each.name for each in racing.pending("paper", folder)] == ["good"]
    write(folder, "base", "x = 0.45")
    assert len(racing.pending("paper", folder)) == 4


def test_an_interrupted_race_goes_on_with_the_same_seeds(folder, monkeypatch):
    measure = Paper.measure

    def stops(self, *arguments):
        if Paper.starts == 10:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    monkeypatch.setattr(Paper, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    path = folder / "paper" / "unfinished.jsonl"
    seeds = json.loads(path.read_text().splitlines()[0])["seeds"]
    with path.open("a") as file:
        file.write('\n{"entry": "cut o')  # as a crash leaves it
    monkeypatch.setattr(Paper, "measure", measure)
    records = run(folder)
    assert [*records[0].seeds] == seeds
    assert Paper.starts == 3 * 8 + 1


def test_a_rerun_confirms_or_is_skeptical(folder):
    run(folder)
    again = racing.run_again("paper", folder=folder, say=lambda line: None)
    assert [(each.entry, each.rerun) for each in again] == [("good", True)]
    assert states(folder)["good"] == "better"
    assert racing.run_again("paper", folder=folder) == []  # confirmed
    # the same code, but now the seeds give it less
    path = folder / "paper" / "records.jsonl"
    *before, last = map(json.loads, path.read_text().splitlines())
    last["scores"] = [score - 0.08 for score in last["scores"]]
    path.write_text("\n".join(map(json.dumps, [*before, last])))
    assert states(folder)["good"] == "skeptical"
    for lang, words in (("en", "in the record"), ("zh", "记录为")):
        board_rows = [
            board._row(each, Paper(), lang) for each in board.standings("paper", folder)
        ]
        (listed,) = [row[4] for row in board_rows if row[0].startswith("good")]
        assert words in listed
        assert "+10.0" in listed
        assert "+2.0" in listed


def test_an_answer_that_cannot_be_scored_is_a_fault(folder):
    write(folder, "good", "x = many")
    run(folder)
    assert states(folder)["good"] == "refused"
    (record,) = [
        each.record
        for each in board.standings("paper", folder)
        if each.entry.name == "good"
    ]
    assert record.fault == "good.py: its answer cannot be scored (ValueError)."


def test_reruns_of_an_unknown_entry_are_refused(folder):
    with pytest.raises(UnknownNameError, match="did you mean 'good'"):
        racing.run_again("paper", ["goof"], folder=folder)


def test_a_reference_that_fails_ends_the_race(folder):
    write(folder, "base", "fails = 0")
    with pytest.raises(DeepSeekLearnError, match="the reference fails: line 1"):
        run(folder)


def test_without_namespaces_nothing_is_raced(folder, monkeypatch):
    monkeypatch.setattr(racing, "isolation", lambda: "sockets refused")
    with pytest.raises(DeepSeekLearnError, match="a race needs a sandbox"):
        run(folder)
    assert Paper.starts == 0


def test_without_a_checkout_one_sentence_says_so(tmp_path):
    with pytest.raises(DeepSeekLearnError, match="in a checkout of the repository"):
        racing.entries("samplers", tmp_path)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("author = ", "mine.toml: not valid TOML"),
        ('autor = "a"', "unknown field 'autor'; known are author, note"),
        ('[title]\nen = "a"', "title must have the texts en and zh"),
        (
            f"[settings.poems]\nwarm = '{'a' * 41}'",
            r"settings.poems: .* at most 16 sett",
        ),
        ("[settings.poems]\nwarm = [1, 2]", "each a number or a text"),
        (f"[settings.poems]\nwarm = {10**60}", "with at most 40 characters"),
        (f"[settings.poems]\n{'a' * 50} = 1", "with at most 40 characters"),
        (f"[settings.{'a' * 50}]\nlr = 1", "with at most 40 characters"),
        ("[settings]\nlr = 1", "as \\[settings.TASK\\]"),
        (
            "".join(f"[settings.t{i}]\na = 1\nb = 2\n" for i in range(9)),
            "at most 16 settings",
        ),
    ],
)
def test_bad_metadata_is_refused(tmp_path, toml, words):
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "mine.toml").write_text(toml)
    with pytest.raises(EntryError, match=words):
        read(tmp_path / "mine.py", "paper")
