"""Mailboxes of all kinds, and files that are none."""

import mailbox
import sys

import pytest

from deepseek_learn.solutions.mail.boxes import MailError, Message, find_boxes, read_box
from deepseek_learn.solutions.mail.mime import LIMIT

MAIL = b"From: a@b.c\nSubject: hello\n\nbody\n"


def test_one_file_one_mail(tmp_path):
    path = tmp_path / "one.eml"
    path.write_bytes(MAIL)
    assert find_boxes(path) == [path]
    (item,) = read_box(path, "one.eml")
    assert (item.name, item.read().subject) == ("one.eml", "hello")


def test_an_mbox_of_three(tmp_path):
    path = tmp_path / "in.mbox"
    path.write_bytes(b"From x Thu Aug 22 12:36:23 2002\n".join([b"", MAIL, MAIL, MAIL]))
    items = [*read_box(path, "in.mbox")]
    assert [item.name for item in items] == [f"in.mbox:{n}" for n in (1, 2, 3)]
    assert {item.read().text.strip() for item in items} == {"body"}


def test_lines_that_only_begin_like_a_border(tmp_path):
    path = tmp_path / "in.mbox"
    border = b"From x Thu Aug 22 12:36:23 2002\n"
    body = b"From time to time we meet.\n>From here on\n"
    path.write_bytes(b"\xef\xbb\xbf" + border + MAIL + body + border + MAIL)
    first, second = (item.read() for item in read_box(path, "in.mbox"))
    assert first.text == "body\nFrom time to time we meet.\nFrom here on\n"
    assert second.text == "body\n"


@pytest.mark.parametrize(
    "border",
    [
        b"From a@b Tue Sep  3 10:00:00 2024",
        b"From a@b Tue Sep  3 10:00:00 2024 remote from hub",
        b"From a@b Tue, 03 Sep 2024 10:00:00 +0200",
        b"From MAILER-DAEMON Tue Sep  3 10:00:00 24",
        b"From a@b 2024-09-03 10:00",
        b"From a@b Tue Sep  3 2024",
    ],
)
def test_borders_that_other_programs_write(tmp_path, border):
    path = tmp_path / "in.mbox"
    path.write_bytes(b"\n".join([border, MAIL, border, MAIL]))
    items = [*read_box(path, "in.mbox")]
    assert [item.read().text.strip() for item in items] == ["body", "body"]


@pytest.mark.parametrize("first", [b"From ", b"From here to there", b"From a@b now"])
def test_a_first_line_of_any_kind_loses_no_mail(tmp_path, first):
    path = tmp_path / "in.mbox"
    path.write_bytes(first + b"\n" + MAIL)
    (item,) = read_box(path, "in.mbox")
    assert item.read().subject == "hello"
    path.write_bytes(first + b"\nno header at all\n")
    (item,) = read_box(path, "in.mbox")
    with pytest.raises(MailError, match="is not an email"):
        item.read()


def test_a_sentence_with_a_year_is_no_border(tmp_path):
    path = tmp_path / "in.mbox"
    border = b"From x Thu Aug 22 12:36:23 2002\n"
    body = b"\nFrom now on we meet at 10:30, as we did in 2019.\nBring tea.\n"
    path.write_bytes(border + MAIL + body + border + MAIL)
    first, _ = (item.read() for item in read_box(path, "in.mbox"))
    assert "as we did in 2019.\nBring tea." in first.text


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08", b"PK\x03\x04", b"BZh9"])
def test_compressed_files_are_named(content):
    with pytest.raises(MailError, match="is compressed; unpack it first"):
        Message("in.mbox.gz", content).read()


def test_a_file_that_is_gone_is_an_item_with_an_error(tmp_path):
    (item,) = read_box(tmp_path / "gone.eml", "gone.eml")
    with pytest.raises(MailError, match=r"gone.eml cannot be opened: No such file"):
        item.read()


def test_a_mail_that_breaks_the_reader_is_refused(monkeypatch):
    module = sys.modules["deepseek_learn.solutions.mail.boxes"]
    monkeypatch.setattr(module, "read_mail", lambda content: 1 / 0)
    with pytest.raises(MailError, match="ZeroDivisionError"):
        Message("x.eml", MAIL).read()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.emlx", b"123\n" + MAIL),
        ("a.eml", b"\xef\xbb\xbf" + MAIL),
        ("a", b"\n\n" + MAIL),
    ],
)
def test_mails_with_something_before_them(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (path,) = find_boxes(tmp_path)
    assert next(read_box(path, name)).read().subject == "hello"


def test_an_mbox_with_a_mail_of_fifty_megabytes(tmp_path):
    path = tmp_path / "in.mbox"
    line = b"From x Thu Aug 22 12:36:23 2002\n"
    huge = MAIL + (b"x" * 70 + b"\n") * 700_000
    path.write_bytes(line + MAIL + b"\n" + line + huge + b"\n" + line + MAIL)
    items = [*read_box(path, "in.mbox")]
    assert len(items) == 3
    assert len(items[1].content) == LIMIT + 1
    assert items[1].read().faults == ("mail.cut",)
    assert items[2].read().subject == "hello"


def test_a_maildir(tmp_path):
    box = mailbox.Maildir(tmp_path / "box")
    box.add(MAIL)
    (tmp_path / "box" / "dovecot.index.log").write_bytes(b"x")
    (path,) = find_boxes(tmp_path / "box")
    assert path.parent.name == "new"
    assert next(read_box(path, "m")).read().subject == "hello"


def test_which_files_are_taken(tmp_path):
    taken = [
        "Archive.old",
        "Inbox",
        "a.eml",
        "b.EML",
        "box/.Sent/cur/1:2,S",
        "sub/c.mbox",
    ]
    left = (".hidden", ".git/HEAD", "photo.jpg", "dovecot-uidlist", "box/tmp/2")
    (tmp_path / "box" / "cur").mkdir(parents=True)
    for name in (*taken, *left):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"From x" + MAIL if name == "Archive.old" else MAIL)
    names = [str(path.relative_to(tmp_path)) for path in find_boxes(tmp_path)]
    assert names == taken


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\x89PNG\r\n" + bytes(100), "is not an email"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Outlook"),
        (b"Content-Type: message/rfc822\n\n" * 100 + MAIL, "nested too deeply"),
    ],
)
def test_what_is_no_mail(content, message):
    with pytest.raises(MailError, match=message):
        Message("x.eml", content).read()
