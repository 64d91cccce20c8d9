"""Races of a track without processes: seeds, resuming, faults, re-runs, the table."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest
import torch
from typer.testing import CliRunner

from deepseek_learn.catalog import messages
from deepseek_learn.cli import main
from deepseek_learn.cli.submit import submit
from deepseek_learn.errors import DeepSeekLearnError, UnknownNameError
from deepseek_learn.leaderboard import EntryError, board, racing, track
from deepseek_learn.leaderboard import proposal as proposals
from deepseek_learn.leaderboard.entry import read
from deepseek_learn.leaderboard.proposal import brings_records, proposal
from deepseek_learn.leaderboard.records import Record
from deepseek_learn.leaderboard.runs import unfinished
from deepseek_learn.leaderboard.track import RaceResult, Track
from deepseek_learn.sandbox import CodeRaised

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
        return RaceResult(float(source.split()[-1]) + problem)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of entries; its track is `paper`, and the sandbox is closed."""
    load = lambda name: Paper()  # noqa: E731
    for module in (racing, board):
        monkeypatch.setattr(module, "load_track", load)
    monkeypatch.setattr(racing, "isolation", lambda: racing.CLOSED)
    monkeypatch.setenv("DEEPSEEK_LEARN_CACHE", str(tmp_path / "cache"))
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
    assert {len(record.seeds) for record in records} == {racing.SEEDS}
    assert states(folder) == {
        "good": "better",
        "base": "reference",
        "bad": "not_shown",
        "broken": "refused",
    }
    assert Paper.starts == 3 * 8 + 1  # what fails is not run again
    assert run(folder) == []
    assert not unfinished(folder / "paper").exists()


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
    path = unfinished(folder / "paper")
    assert path.is_relative_to(folder / "cache")
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
            board._row(each, Paper(), lang, str)
            for each in board.standings("paper", folder)
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


def typed(folder, name):
    """Records that nobody raced: a first one and one that confirms it."""
    known = racing.entries("paper", folder)
    record = Record(
        name, known[name].sha256, known["base"].sha256, 1, tuple(range(8)),
        (0.9,) * 8, (0.5,) * 8,
    )  # fmt: skip
    return [record, replace(record, rerun=True)]


@pytest.fixture
def branch(folder, monkeypatch):
    """A branch that brings an entry, its records, and an unfinished race."""
    monkeypatch.setattr(proposals, "NAMES", ("paper",))
    run(folder)
    for command in (
        ["init", "-q"],
        ["add", "paper"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "base"],
    ):
        subprocess.run(["git", "-C", folder, *command], check=True)
    write(folder, "liar", "x = 0.3")
    with (folder / "paper" / "records.jsonl").open("a") as file:
        for record in typed(folder, "liar"):
            file.write(json.dumps(asdict(record)) + "\n")
    write(folder, "resumes", "x = 0.2")
    known = racing.entries("paper", folder)
    lines = [
        {"reference": known["base"].sha256, "version": 1, "rerun": False}
        | {"torch": torch.__version__, "seeds": [*range(8)]}
    ]
    for name, score in (("base", 0.5), ("resumes", 0.9)):
        lines += [
            {"entry": name, "sha256": known[name].sha256, "seed": seed}
            | {"score": score, "facts": {}, "seconds": 1.0}
            for seed in range(8)
        ]
    path = folder / "paper" / "unfinished.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_records_and_runs_that_a_branch_brings_are_not_believed(branch):
    assert states(branch)["liar"] == "better"  # what the lines say
    before = (branch / "paper" / "records.jsonl").read_text()
    with proposal("HEAD", branch) as copy:
        assert {e.name for e in racing.pending("paper", copy)} == {"liar", "resumes"}
        records = run(copy)
        assert {record.entry for record in records} == {"liar", "resumes"}
        assert not set(records[0].seeds) & set(range(8))
        assert states(copy)["liar"] == states(copy)["resumes"] == "not_shown"
        assert states(copy)["good"] == "better"  # a record of the commit counts
    assert brings_records("HEAD", branch) == ["paper"]
    assert (branch / "paper" / "records.jsonl").read_text() == before


def test_the_command_shows_the_races_and_refuses_the_records(branch, monkeypatch):
    monkeypatch.setattr(racing, "FOLDER", branch)
    monkeypatch.setattr(track, "NAMES", ("paper",))
    monkeypatch.setattr(board, "text", lambda key, *_, **facts: f"{key} {facts}")
    result = CliRunner().invoke(submit, ["rerun", "--since", "HEAD"])
    assert "paper: 2 new record(s), 1 re-run(s)." in result.output
    assert re.search("liar: .*leaderboard.state_not_shown", result.output)
    assert isinstance(result.exception, DeepSeekLearnError)
    assert "the records of paper are not those of HEAD" in str(result.exception)


def test_an_unfinished_race_in_the_repository_is_not_believed(branch):
    records = run(branch)
    assert [record.entry for record in records] == ["resumes"]
    assert states(branch)["resumes"] == "not_shown"


def test_a_branch_that_leaves_the_records_alone_brings_none(branch):
    subprocess.run(["git", "-C", branch, "checkout", "-q", "--", "paper"], check=True)
    assert brings_records("HEAD", branch) == []
    path = branch / "paper" / "records.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))  # one is hidden
    assert brings_records("HEAD", branch) == ["paper"]


def test_an_unknown_commit_is_refused(branch):
    with (
        pytest.raises(DeepSeekLearnError, match=r"--since must be a commit .* 'nope'"),
        proposal("nope", branch),
    ):
        pass


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


def test_a_check_shows_no_seed_of_a_problem(folder, monkeypatch):
    """Neither to the process that only imports the entry."""
    shown, problems = [], []

    @contextmanager
    def started(entry, runner, seed):
        shown.append(seed)
        yield

    monkeypatch.setattr(racing, "started", started)
    monkeypatch.setattr(Paper, "problem", lambda _, seed: problems.append(seed) or 0)
    racing.check(folder / "paper" / "good.py", "paper", folder)
    assert len(shown) == len(problems) == 1
    assert shown != problems


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


HOSTILE = "\x1b[2J\x1b]0;t\x07<img src=x onerror=alert(1)> | `a` \u202e\n# b"


@pytest.mark.parametrize("field", ["title.en", "title.zh", "note.en", "author"])
def test_metadata_that_controls_a_terminal_is_refused(tmp_path, field):
    (tmp_path / "mine.py").write_text("")
    table, _, lang = field.partition(".")
    words = {"en": "a", "zh": "a"} | {lang: HOSTILE}
    lines = [f"{key} = {json.dumps(value)}" for key, value in words.items() if key]
    toml = f"[{table}]\n" + "\n".join(lines)
    (tmp_path / "mine.toml").write_text(
        toml if lang else f"author = {json.dumps(HOSTILE)}"
    )
    with pytest.raises(EntryError, match=f"{field} must be one line") as error:
        read(tmp_path / "mine.py", "paper")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("toml", ['title = ["en", "zh"]', "[title]\nen = 1\nzh = 2"])
def test_metadata_of_another_type_is_refused(tmp_path, toml):
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "mine.toml").write_text(toml)
    with pytest.raises(EntryError, match="title"):
        read(tmp_path / "mine.py", "paper")


def test_the_name_of_a_file_that_controls_a_terminal_is_refused(
    tmp_path, monkeypatch, capsys
):
    place = tmp_path / "grouping"
    place.mkdir()
    hostile = place / "a\x1b[2J<b>|`\u202e.py"
    hostile.write_text("")
    with pytest.raises(EntryError, match=r"letters, digits and _; got a\\x1b") as error:
        read(hostile)
    assert str(error.value).isprintable()
    command = ["deepseek-learn", "submit", "check", str(hostile)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        main()
    lines = capsys.readouterr().err.splitlines()
    assert all(line.isprintable() for line in lines)


def test_what_an_entry_raises_cannot_control_a_terminal():
    """As it comes out of the sandbox; `submit check` prints it."""
    raised = CodeRaised("Value\x1b[2J", HOSTILE)
    assert str(raised).isprintable()
    error = EntryError(f"mine.py: {HOSTILE}")
    assert str(error).isprintable()
    assert "\\x1b[2J" in str(error)


def test_a_table_shows_hostile_text_as_text(folder, monkeypatch):
    """Titles are strangers', and so are records that a pull request brings."""
    path = folder / "paper" / "good.toml"
    visible = "<img src=x onerror=alert(1)> | `a` {raw}`html` [l](javascript:a)"
    monkeypatch.setitem(messages(), "leaderboard.score_paper", {"en": "s", "zh": "s"})
    words = "".join(f"{lang} = {json.dumps(visible)}\n" for lang in ("en", "zh"))
    path.write_text(f"[title]\n{words}[note]\n{words}")
    run(folder)
    records = folder / "paper" / "records.jsonl"
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    for line in lines:
        line["facts"]["date"] = HOSTILE
        if line["entry"] == "broken":
            line["fault"] = HOSTILE
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = board.to_markdown("paper", folder=folder)
    table = page.split("\n\n")[0].split("\n")
    assert len(table) == 2 + 4
    assert {line.count("|") for line in table} == {7}
    for sign in ("<", "`", "{", "[", "\x1b", "\u202e"):
        assert sign not in page
    assert "&#60;img src&#61;x" in page
    cells = [cell for row in board.rows("paper", folder=folder) for cell in row]
    assert all(cell.isprintable() for cell in cells)
