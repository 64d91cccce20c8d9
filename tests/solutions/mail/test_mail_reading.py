"""Mailboxes in, verdicts and a page out, with the zoo's reader."""

import json

import pytest
from typer.testing import CliRunner

from deepseek_learn import __version__, solutions
from deepseek_learn.cli import app
from deepseek_learn.solutions.mail.report import Mails
from deepseek_learn.solutions.mail.solution import MailClassifier, moved, verdict
from deepseek_learn.solutions.verdicts import Provenance, checksum
from tests.services import need

GOOD = "Re: dinner on Friday. Shall we meet at seven? I bring the wine and the bread."
BAD = (
    "html links:many capitals Lose weight now! Order our natural remedy today, FREE "
    "trial, 100% money back guaranteed. Click here to be removed from our mailing list."
)


def mail(subject: str, body: str, day: int = 1) -> bytes:
    return (
        f"From: someone <a@b.org>\nDate: {day} Oct 2002 10:00:00 +0000\n"
        f"Subject: {subject}\n\n{body}\n"
    ).encode()


@pytest.fixture(scope="module")
def reader():
    need("tokenizers")
    return MailClassifier()


@pytest.fixture
def run(tmp_path, reader):
    def go(out="out", **options):
        solution = solutions.load("mail")
        return solution.run(tmp_path / "in", tmp_path / out, progress=False, **options)

    (tmp_path / "in").mkdir()
    return go


def test_the_reader_reads(reader):
    good, bad = reader.margins([GOOD, BAD])
    assert max(good) < 0
    assert min(bad) > 0


def test_reasons_speak_for_the_verdict(reader):
    words = reader.words(BAD, "unwanted")
    assert 1 <= len(words) <= 5
    assert all(weight > 0 for _, weight in words)
    assert all(word in BAD.lower() for word, _ in words)


def test_reasons_of_doubt_speak_for_both_sides_once_each(reader):
    words = reader.words(f"{GOOD} {GOOD} {BAD}", "unsure")
    signs = [weight > 0 for _, weight in words]
    assert signs == sorted(signs, reverse=True)
    assert 0 < sum(signs) < len(signs) <= 5
    assert len({word for word, _ in words}) == len(words)


@pytest.mark.parametrize(
    ("subject", "body", "said"),
    [
        ("Vacances", "Salut Bob, nous arrivons vendredi soir vers huit heures. Est-ce que "
         "tu peux venir nous chercher à la gare ?", "does not look English"),
        ("会议改期", "明天上午的会议改到下午三点，地点不变。", "does not look English"),
        ("hi", "see you at 8", "hardly any text"),
        ("Minutes", GOOD * 60, "only the beginning and the end were read"),
    ],
)  # fmt: skip
def test_what_is_hard_to_read_is_said(run, tmp_path, subject, body, said):
    file = tmp_path / "in" / "a.eml"
    head = f"Subject: {subject}\nContent-Type: text/plain; charset=utf-8\n\n"
    file.write_text(head + body, encoding="utf-8")
    (row,) = run().verdicts
    assert any(said in each for each in row["warnings"])
    assert "English" not in said or row["verdict"] == "unsure"


@pytest.mark.parametrize(
    ("margins", "said"),
    [
        ((0.1, 2.0), "unwanted"),
        ((0.1, -2.0), "unsure"),
        ((-0.1, 2.0), "unsure"),
        ((-0.1, 0.0), "wanted"),
        ((0.0, 0.0), "wanted"),  # at a border is not beyond it
        ((0.0, 2.0), "unsure"),
        ((2.0, 0.0), "unsure"),
        ((0.0, -0.1), "wanted"),
        ((1e-9, 1e-9), "unwanted"),
    ],
)
def test_verdicts(margins, said):
    assert verdict(margins) == said


def test_a_mailbox(run, tmp_path):
    (tmp_path / "in" / "a.eml").write_bytes(mail("dinner", GOOD))
    (tmp_path / "in" / "b.eml").write_bytes(mail("lose weight", BAD))
    (tmp_path / "in" / "c.eml").write_bytes(b"\x89PNG\r\n" + bytes(50))
    (tmp_path / "in" / "d.eml").write_bytes(b"Subject: big\n\n" + b"hello " * 500_000)
    program = (
        b"Subject: bill\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nsee it\n"
        b'--x\nContent-Type: application/octet-stream; name="bill.exe"\n\nMZ\n--x--'
    )
    (tmp_path / "in" / "e.eml").write_bytes(program)
    report = run()
    assert isinstance(report, Mails)
    frame = report.to_frame()
    assert frame["verdict"]["a.eml"] == "wanted"
    assert frame["verdict"]["b.eml"] == "unwanted"
    assert frame["verdict"]["c.eml"] == "refused"
    assert "two megabytes" in frame["reasons"]["d.eml"]
    assert "(exe)" in frame["reasons"]["e.eml"]
    assert sum(report.counts().values()) == 5
    page = (tmp_path / "out" / "index.html").read_text()
    assert "not an email" in page
    assert "lose weight" in page
    assert report.plot().data


def test_html_in_a_mail_stays_text_on_the_page(run, tmp_path):
    (tmp_path / "in" / "a.eml").write_bytes(
        mail("<script>alert(1)</script>", "<img src=x onerror=alert(2)>")
    )
    run()
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script>" not in page
    assert "<img" not in page


def test_a_run_continues_and_a_changed_mail_is_read_again(run, tmp_path):
    path = tmp_path / "in" / "a.eml"
    path.write_bytes(mail("dinner", GOOD))
    run()
    run()
    path.write_bytes(mail("offer", BAD))
    report = run()
    lines = (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line)["verdict"] for line in lines] == ["wanted", "unwanted"]
    assert len(report.verdicts) == 1


def test_another_option_judges_again_and_the_page_names_the_model(
    run, tmp_path, reader
):
    (tmp_path / "in" / "a.eml").write_bytes(mail("offer", BAD))
    assert run().verdicts[0]["words"]
    with pytest.warns(UserWarning, match=r"1 earlier .*: words \(True → False\)\."):
        (row,) = run(words=False).verdicts
    assert not row["words"]
    assert run(words=False, reference=60).verdicts == [row]  # changes no verdict
    assert row["provenance"]["model"] == checksum(reader.model)
    assert checksum(reader.model) in (tmp_path / "out" / "index.html").read_text()


def test_after_an_upgrade_no_verdict_is_mixed(run, tmp_path, monkeypatch):
    (tmp_path / "in" / "a.eml").write_bytes(mail("dinner", GOOD))
    run()
    monkeypatch.setattr(Provenance.__init__, "__defaults__", ("99.0",))
    (tmp_path / "in" / "b.eml").write_bytes(mail("lunch", GOOD))
    with pytest.warns(
        UserWarning, match=rf"1 earlier .*: version \({__version__} → 99"
    ):
        report = run()
    assert {row["provenance"]["version"] for row in report.verdicts} == {"99.0"}
    assert len(report.verdicts) == 2


def test_a_change_of_the_share_is_dated_in_the_order_of_arrival():
    rows = [
        {
            "verdict": "unwanted" if day > 200 and day % 2 else "wanted",
            "date": f"2002-{1 + day // 28:02}-{1 + day % 28:02}T00:00:00+00:00",
        }
        for day in range(300)
    ]
    (change,) = moved([*rows[::-1], {"verdict": "refused"}], 100)
    assert change["start"][:7] in ("2002-08", "2002-09")
    assert change["before"] < 0.05 < 0.3 < change["after"]


def test_bad_input(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="Maildir"):
        run()
    (tmp_path / "in" / "a.eml").write_bytes(mail("x", "y"))
    with pytest.raises(ValueError, match="at least 50"):
        run(reference=10)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        solutions.load("mail").run(tmp_path / "nowhere", tmp_path / "out")


def test_the_command(run, tmp_path):
    (tmp_path / "in" / "a.eml").write_bytes(mail("dinner", GOOD))
    words = ["solve", "mail", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--no-words"])
    assert result.exit_code == 0, result.output
    assert "1 emails" in result.output
    assert (tmp_path / "out" / "index.html").exists()
