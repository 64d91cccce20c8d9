"""The zoo's language model: it reproduces its card's metrics and writes two languages."""

import re

import pytest
from typer.testing import CliRunner

from deepseek_learn import cli, zoo
from deepseek_learn.errors import DamagedFileError, UnknownNameError
from deepseek_learn.zoo import writing as module
from deepseek_learn.zoo.train.small_deepseek import measured

POEM, VERSE = "白日依山盡，", "The LORD is "
NAME = "small_deepseek"


@pytest.fixture(scope="module")
def writer():
    return zoo.writer(NAME)


@pytest.mark.slow
def test_it_measures_what_its_card_says(writer):
    result = measured(writer.model, writer.tokenizer)["all"]
    card = zoo.card(NAME).metrics()
    for name, row in result.items():
        assert row["value"] == pytest.approx(card.loc[name, "value"], abs=2e-3)
        assert row["n"] == card.loc[name, "n"]
        assert (
            row["value"] < 3
        )  # uniformly random letters take 4.7, characters far more


@pytest.mark.parametrize("drafts", [False, True])
def test_it_writes_on_in_the_language_of_the_beginning(writer, drafts):
    options = {"seed": 1, "speculative": drafts}
    poem, verse = writer.write(POEM, **options), writer.write(VERSE, **options)
    assert re.fullmatch(r"[\u3400-\u9fff，。？！]{6,}", poem)
    assert poem[-1] in "。？！"
    assert verse.isascii()
    assert len(verse.split()) > 5


def test_pieces_are_the_whole_and_a_seed_repeats_it(writer):
    pieces = list(writer.stream(POEM, seed=3))
    assert len(pieces) > 3
    assert "".join(pieces) == writer.write(POEM, seed=3)
    assert writer.write(POEM, seed=3) != writer.write(POEM, seed=4)


def test_drafts_leave_greedy_text_as_it_is_and_are_often_right(writer):
    options = {"temperature": 0.0, "max_new_tokens": 60}
    for begun in (POEM, VERSE):
        plain = writer.write(begun, **options)
        pieces = list(writer.stream(begun, speculative=True, **options))
        assert "".join(pieces) == plain


def test_text_goes_through_the_tokenizer_unchanged(writer):
    for text in (POEM, VERSE, "Déjà vu 🙂 \n\t x"):
        tokens = writer.tokenizer.encode(text).ids
        assert writer.tokenizer.decode(tokens) == text


def test_the_kind_is_told_by_the_language_or_by_the_user(writer):
    begin = {kind: writer.tokenizer.token_to_id(f"<|{kind}|>") for kind in module.KINDS}
    assert writer.tokens(POEM)[0] == begin["poem"]
    assert writer.tokens(VERSE)[0] == begin["verse"]
    assert writer.tokens(VERSE, "prose")[0] == begin["prose"]
    with pytest.raises(UnknownNameError, match="kind of text 'song' is not known"):
        writer.tokens(VERSE, "song")


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_an_empty_beginning_is_refused(writer, text):
    with pytest.raises(ValueError, match="text must not be blank"):
        writer.write(text)


def test_a_beginning_past_the_context_is_refused(writer):
    with pytest.raises(
        ValueError, match=r"prompts must be shorter than 256 tokens; got \d+"
    ):
        writer.write("word " * 400)


def test_a_damaged_tokenizer_is_refused(tmp_path, monkeypatch):
    path = tmp_path / f"{NAME}_tokenizer.json"
    path.write_text("{}")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    with pytest.raises(DamagedFileError, match="does not have the checksum"):
        zoo.writer(NAME)


def test_a_model_of_pictures_does_not_write():
    with pytest.raises(ValueError, match="'fashion_net' is not one"):
        zoo.writer("fashion_net")


def chat(*arguments, typed=""):
    return CliRunner().invoke(cli.app, ["chat", *arguments], input=typed)


def test_the_command_line_writes_a_poem_in_both_languages():
    for begun in (POEM, VERSE):
        done = chat(f"zoo:{NAME}", "--prompt", begun, "--seed", "1", "--tokens", "20")
        assert done.exit_code == 0
        assert done.output.startswith(begun)
        assert len(done.output) > len(begun) + 10


def test_the_command_line_reads_lines():
    options = ("--tokens", "8", "--seed", "0", "--drafts")
    done = chat(f"zoo:{NAME}", *options, typed=f"{POEM}\n\n{VERSE}\n")
    first, second = done.output.splitlines()
    assert first.startswith(POEM)
    assert second.startswith(VERSE)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fashion_net"], "a folder or .gguf file that exists; got 'fashion_net'"),
        (["zoo:fashion_net", "--system", "x"], "--system is only for a folder or a"),
        ([".", "--kind", "verse"], "--kind is only for zoo:NAME; got 'verse'"),
        (["zoo:fashion_net"], "'fashion_net' is not one"),
        (["zoo:gpt"], "zoo model 'gpt' is not known"),
        ([f"zoo:{NAME}", "--prompt", " "], "text must not be blank"),
        ([f"zoo:{NAME}", "--prompt", ""], "text must not be blank"),
        ([f"zoo:{NAME}", "--prompt", "a", "--top-p", "2"], "top_p must be above 0"),
        (
            [f"zoo:{NAME}", "--prompt", "a", "--temperature", "-1"],
            "temperature must be",
        ),
        ([f"zoo:{NAME}", "--prompt", "a", "--tokens", "0"], "max_new_tokens must be"),
        ([f"zoo:{NAME}", "--prompt", "a", "--kind", "song"], "'song' is not known"),
        ([f"zoo:{NAME}", "--prompt", "a\udcff"], "text must be valid Unicode; got 'a"),
    ],
)
def test_the_command_line_refuses(arguments, said, monkeypatch, capsys):
    """In one line, before any text is printed."""
    monkeypatch.setattr("sys.argv", ["deepseek-learn", "chat", *arguments])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    shown = capsys.readouterr()
    assert said in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not shown.out
