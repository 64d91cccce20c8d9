"""Reviews in, verdicts and a page out, with the zoo's reader."""

import json

import pytest
from typer.testing import CliRunner

from deepseek_learn import solutions
from deepseek_learn.cli import app
from deepseek_learn.data.chinese import normalize
from deepseek_learn.solutions.reviews.report import Reviews
from deepseek_learn.solutions.reviews.solution import ReviewClassifier, verdict
from deepseek_learn.solutions.verdicts import checksum
from deepseek_learn.solutions.words import deciding_words
from tests.services import need

GOOD = "房间干净，服务员热情，早餐丰富，下次还来！"
BAD = "房间又脏又吵，服务态度极差，再也不来了！"


@pytest.fixture(scope="module")
def reader():
    need("tokenizers")
    return ReviewClassifier()


@pytest.fixture
def run(tmp_path, reader):
    def go(out="out", **options):
        solution = solutions.load("reviews")
        return solution.run(tmp_path / "in", tmp_path / out, progress=False, **options)

    (tmp_path / "in").mkdir()
    return go


def test_the_reader_reads(reader):
    good, bad = reader.chances([GOOD, BAD]).tolist()
    assert good > 0.9
    assert bad < 0.1


@pytest.mark.parametrize(
    ("chance", "said"),
    [
        (0.99, "positive"),
        (0.01, "negative"),
        (0.5, "unsure"),
        (0.6, "unsure"),
        (0.4, "unsure"),
    ],
)
def test_a_verdict_may_be_unsure(chance, said):
    assert verdict(chance) == said


def test_other_ways_of_writing_have_the_same_answer(reader):
    first, *others = reader.chances(
        [
            "酒店环境很好，干净",
            "酒店環境很好，乾淨",
            "酒店环境很好,干净",
            " 酒店环境很好，\u200b干净\n",
        ]
    ).tolist()
    assert others == pytest.approx([first] * 3, abs=1e-5)


def test_deciding_words_are_where_they_say_and_speak_for_the_verdict(reader):
    for text, sign in ((GOOD, 1), (BAD, -1)):
        normal, words = deciding_words(reader.model, reader.tokenizer, text)
        assert normal == normalize(text)
        assert words
        assert all(normal[w.start : w.stop] == w.text for w in words)
        starts = [w.start for w in words]
        assert starts == sorted(starts)
        assert sum(w.weight for w in words) * sign > 0


def test_search_finds_what_is_meant(reader):
    texts = ["房间很干净", "键盘手感不错", "送货很慢，等了一个星期", "早餐品种少"]
    assert int(reader.nearest("快递太慢了", texts).argmax()) == 2
    by_meaning_only = reader.nearest("物流速度差劲", texts)  # no letter in common
    assert int(by_meaning_only.argmax()) == 2


def test_a_word_is_found_where_it_is_written(reader):
    texts = ["一般", "垃圾", "早餐很丰富，有十几种", "送货慢"]
    near = reader.nearest("早餐", texts)
    assert near.argmax() == 2
    assert near[[0, 1, 3]].max() == 0


def test_a_single_text_is_no_list(reader):
    with pytest.raises(TypeError, match=r"^texts must be a list of reviews; got '房间"):
        reader.chances("房间很好")


def test_numbers_and_addresses_are_masked_as_in_the_data(tmp_path, run):
    text = "订单号123456789012345，送货慢，打13800138000或me@x.org"
    (tmp_path / "in" / "a.txt").write_text(text, encoding="utf-8")
    assert run().verdicts[0]["text"] == "订单号#，送货慢，打#或#"
    for name in ("verdicts.jsonl", "index.html"):
        assert "138" not in (tmp_path / "out" / name).read_text("utf-8")


def test_every_read_review_has_a_marked_word(tmp_path, run):
    (tmp_path / "in" / "a.txt").write_text("物超所值。\n还行吧\n", encoding="utf-8")
    assert all(row["words"] for row in run().verdicts)


def test_a_page_of_somebody_else_stays(tmp_path, run):
    (tmp_path / "in" / "a.txt").write_text(GOOD, encoding="utf-8")
    page = tmp_path / "out" / "index.html"
    page.parent.mkdir()
    page.write_text("mine")
    with pytest.raises(FileExistsError, match=r"has an index\.html that is not from"):
        run()
    assert page.read_text() == "mine"
    page.unlink()
    run()
    run()  # its own page is replaced


def test_unreadable_files_are_named_in_the_summary(tmp_path, run):
    (tmp_path / "in" / "a.csv").write_text(f"id,says\n1,{BAD}\n", encoding="utf-8")
    assert "1 file(s) could not be read: a.csv must have" in run().why()


def test_a_folder(tmp_path, run):
    folder = tmp_path / "in"
    (folder / "sub").mkdir()
    (folder / "a.txt").write_text(
        f"{GOOD}\n\n{BAD}\nVery good!\n。\n", encoding="gb18030"
    )
    (folder / "sub" / "b.csv").write_text(f"评论\n{BAD}\n", encoding="utf-8")
    (folder / "c.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    (folder / "d.txt").write_bytes(b"\x00\x01\x02")
    (folder / "e.txt").write_text("", encoding="utf-8")
    (folder / "f.pdf").write_bytes(b"%PDF")
    report = run(find="服务差")
    said = {row["name"]: row["verdict"] for row in report.verdicts}
    assert said == {
        "a.txt:1": "positive", "a.txt:3": "negative", "a.txt:4": "refused",
        "a.txt:5": "refused", "c.csv": "refused", "d.txt": "refused",
        "sub/b.csv:2": "negative",
    }  # fmt: skip
    assert report.counts() == {"positive": 1, "negative": 2, "unsure": 0, "refused": 4}
    assert report.nearest[0][0] in ("a.txt:3", "sub/b.csv:2")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<mark" in page
    assert "c.csv must have a column of reviews" in page
    assert report.to_frame().loc["a.txt:3", "positive"] < 0.3
    assert len(report.plot().data) == 2


def test_an_interrupted_run_continues_and_a_changed_review_is_read_again(tmp_path, run):
    path = tmp_path / "in" / "a.txt"
    path.write_text(f"{GOOD}\n{BAD}\n", encoding="utf-8")
    first = run()
    lines = (tmp_path / "out" / "verdicts.jsonl").read_text("utf-8").splitlines()
    (tmp_path / "out" / "verdicts.jsonl").write_text(lines[0] + "\n", encoding="utf-8")
    assert run().verdicts == first.verdicts
    path.write_text(f"{GOOD}\n{GOOD}\n", encoding="utf-8")
    assert [row["verdict"] for row in run().verdicts] == ["positive"] * 2
    stored = (tmp_path / "out" / "verdicts.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(each)["name"] for each in stored] == [
        "a.txt:1",
        "a.txt:2",
        "a.txt:2",
    ]


def test_markup_in_a_review_stays_text(tmp_path, run):
    (tmp_path / "in" / "a.txt").write_text("<script>alert(1)</script>房间太差", "utf-8")
    run()
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<script>" not in page


def test_a_long_review_says_that_its_middle_was_not_read(tmp_path, run):
    (tmp_path / "in" / "a.txt").write_text(GOOD * 40 + "\n" + GOOD, encoding="utf-8")
    long, short = run(words=False).verdicts
    assert "beginning and its end" in long["warnings"][0]
    assert not short["warnings"]
    assert "words" not in long


def test_another_option_judges_again_and_the_page_names_the_model(
    tmp_path, run, reader
):
    (tmp_path / "in" / "a.csv").write_text(f"one,two\n{BAD},{GOOD}\n", encoding="utf-8")
    (first,) = run(column="one").verdicts
    with pytest.warns(UserWarning, match=r"1 earlier .*: column \(one → two\)\."):
        (second,) = run(column="two").verdicts
    assert (first["verdict"], second["verdict"]) == ("negative", "positive")
    with pytest.warns(UserWarning, match=r"1 earlier .*: words \(True → False\)\."):
        (third,) = run(column="two", words=False).verdicts
    assert "words" not in third
    assert run(column="two", words=False, find="早餐").verdicts == [third]
    assert third["provenance"]["model"] == checksum(reader.model)
    assert checksum(reader.model) in (tmp_path / "out" / "index.html").read_text(
        "utf-8"
    )


def test_mistakes_in_the_call_have_one_sentence(tmp_path, run):
    with pytest.raises(
        FileNotFoundError, match=r"no reviews in .*a \.txt or \.csv file"
    ):
        run()
    (tmp_path / "in" / "a.txt").write_text(GOOD, encoding="utf-8")
    for name in ("find", "column"):
        for wrong in (" ", "", 5):
            with pytest.raises(ValueError, match=f"^{name} must be a word or a name"):
                run(**{name: wrong})


def test_the_command(tmp_path, reader):
    (tmp_path / "a.csv").write_text(f"id,says\n1,{BAD}\n", encoding="utf-8")
    words = ["solve", "reviews", str(tmp_path / "a.csv"), "--out", str(tmp_path / "o")]
    result = CliRunner().invoke(app, [*words, "--column", "says", "--no-words"])
    assert result.exit_code == 0, result.output
    assert "1 reviews" in result.output or "1 negative" in result.output


def test_an_empty_report_can_be_shown(tmp_path):
    report = Reviews([])
    assert report.to_frame().empty
    assert report.plot().data
    assert report.save(tmp_path).exists()
