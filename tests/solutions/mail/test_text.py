"""What is read of a mail: the visible text of normal, disguised and malformed ones."""

import base64

import pytest

from deepseek_learn.solutions.mail.mime import (
    DEPTH,
    PARTS,
    Mail,
    StructureError,
    read_mail,
)
from deepseek_learn.solutions.mail.text import (
    BEGINNING,
    END,
    looks_english,
    marks,
    masked,
    plain,
    plain_text,
)

HEAD = b"From: Ann Lee <ann@x.org>\nSubject: hello\n"


def html(body: str) -> Mail:
    return read_mail(HEAD + b"Content-Type: text/html\n\n" + body.encode())


def several(kind: str, *parts: bytes) -> bytes:
    lines = b"".join(b"--x\n" + part + b"\n" for part in parts)
    return HEAD + f"Content-Type: multipart/{kind}; boundary=x\n\n".encode() + lines


def test_a_plain_mail():
    mail = read_mail(
        b"Received: from a by b; Tue, 10 Sep 2002 11:00:00 +0100\n"
        b"Date: Mon, 9 Sep 2002 11:00:00 +0000\n" + HEAD + b"\nSee you at ten.\n"
    )
    assert mail.sender == "Ann Lee <ann@x.org>"
    assert mail.people == ("Ann Lee",)
    assert mail.date is not None
    assert mail.date.isoformat() == "2002-09-10T10:00:00+00:00"
    assert (mail.text, mail.html, mail.faults) == ("See you at ten.\n", False, ())
    assert plain_text(mail) == "hello See you at ten."


def test_what_tells_who_wrote_to_whom_is_left_out():
    body = (
        "On Tue, Ann Lee wrote:\n> write to a.b@c.org or http://x.org/?q=1\n"
        "Call 555-123-4567, room 12.\n_______________\nTalk mailing list\n"
        "http://x/listinfo/talk\n-- \nAnn\n"
    )
    mail = Mail("", "[talk] Re: lunch", None, body)
    assert plain_text(mail) == (
        "Re: lunch someone wrote: > write to [mail] or [link] Call [number], room 12."
    )


def test_of_html_only_what_is_seen():
    mail = html(
        "<html><head><title>t</title><style>p{}</style></head><body><p>Buy</p><p>now"
        "<!-- no --> &amp; here<script>x()</script><span style='display: none'>"
        f"<b>{'unseen ' * 10}</b></span><img src=a><a href=u>link</a></body>"
    )
    assert mail.text == "Buy\nnow & herelink"
    assert (mail.links, mail.images, mail.hidden) == (1, 1, 60)
    assert marks(mail) == ["html", "links:few", "images:few", "hidden"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('<div style="font-size:0.9em">seen</div>', "seen"),
        ('<div style="font-size: 0px">unseen</div>seen', "seen"),
        ("<p style=display:none>unseen<p>seen", "seen"),
        ("<head><p>seen", "seen"),
        ("seen <![ foo>", "seen foo>"),
        ("see &x", "see &x"),
    ],
)
def test_what_is_seen(body, text):
    assert html(body).text == text


@pytest.mark.parametrize(
    "body", ["<p>a<p>b", "a<br>b</div></p>", "<b><i>a</b> b", "<style>x</style>a b"]
)
def test_unclosed_elements(body):
    assert html(body).text.split() == ["a", "b"]


def test_of_alternatives_only_the_last():
    plain, rich = b"\nfor machines", b"Content-Type: text/html\n\n<p>for people</p>"
    assert read_mail(several("alternative", plain, rich)).text == "for people"
    assert read_mail(several("mixed", plain, rich)).text == "for machines\nfor people"


def test_an_invitation_shows_its_text_and_not_the_calendar():
    rich = b"Content-Type: text/html\n\n<p>come</p>"
    calendar = b"Content-Type: text/calendar\n\nBEGIN:VCALENDAR"
    assert read_mail(several("alternative", b"\ncome", rich, calendar)).text == "come"
    empty = b"Content-Type: text/html\n\n"
    assert read_mail(several("alternative", b"\ncome", empty)).text == "come"


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Type: text/html; name="mail.html"',
        b'Content-Type: text/html\nContent-Disposition: inline; filename="a.html"',
    ],
)
def test_a_text_with_a_name_is_read(head):
    assert read_mail(HEAD + head + b"\n\n<b>hello</b>").text == "hello"


@pytest.mark.parametrize(
    "head",
    [
        b'application/x-a; name="bill.pdf.EXE"',
        b'application/x-a; name="=?utf-8?b?YmlsbC5leGU=?="',
        b'application/x-a; name="bill.exe."',
        b"application/x-a; name*=utf-8''bill.exe%E2%80%8B",
        b'application/pgp-signature; name="bill.exe"',
        b"application/x-a; name=the bill.exe",
        b"application/x-a; name*0*=utf-8''>0; name*1=\"bill.exe\"",
    ],
)
def test_programs_cannot_hide_their_ending(head):
    part = b"Content-Type: " + head + b"\n\nMZ"
    assert read_mail(several("mixed", b"\nhello", part)).attachments == ("exe",)


def test_only_short_lines_at_the_end_are_a_signature():
    long = "Hi\n--\n" + "buy it\n" * 20
    assert "buy it" in plain_text(Mail("", "", None, long))
    quoted = "Hi\n-- \nAnn\n> and you\nBob"
    assert plain_text(Mail("", "", None, quoted)) == "Hi > and you Bob"
    club = "Our mailing list has " + "many members " * 20
    assert "members" in plain_text(Mail("", "", None, club))


def test_attachments_are_named_and_not_opened():
    file = b'Content-Type: application/octet-stream; name="bill.pdf.EXE"\n\nMZ secret'
    text = b'Content-Disposition: attachment; filename="a.txt"\n\nsecret'
    key = b"Content-Type: application/pgp-signature\n\nsecret"
    mail = read_mail(several("mixed", b"\nhello", file, text, key))
    assert mail.attachments == ("exe", "txt")
    assert mail.text == "hello"
    assert marks(mail) == ["attached:exe", "attached:txt"]


@pytest.mark.parametrize(
    ("head", "body", "text"),
    [
        (b"text/plain; charset=iso-8859-1", b"caf\xe9", "café"),
        (b"text/plain; charset=gb2312", "中文".encode("gb2312"), "中文"),
        (b"text/plain; charset=nonsense", b"abc", "abc"),
        (b"text/plain; charset=us-ascii", "é".encode(), "é"),
        (b"text/plain; charset=utf-8", "größ".encode() + b"\xe9r", "größ\ufffdr"),
        (b"text/plain; charset=idna", b"caf\xe9", "café"),
        (b"text/plain; charset=zip", b"caf\xe9", "café"),
        (b"text/plain\nContent-Transfer-Encoding: base64", b"aGVsbG8=", "hello"),
        (b"text/plain\nContent-Transfer-Encoding: quoted-printable", b"a=3Db", "a=b"),
        (b"nonsense", b"hello", "hello"),
        (b"text/plain; charset=gb2312", "朱镕基".encode("gbk"), "朱镕基"),
        (b"text/plain; charset=iso-8859-1", b"it\x92s", "it’s"),
        (b"text/html", b'<meta charset="gbk">' + "中文".encode("gbk"), "中文"),
        (b"text/plain; charset*=a\0b''x", b"hello", "hello"),
    ],
)
def test_encodings(head, body, text):
    assert read_mail(HEAD + b"Content-Type: " + head + b"\n\n" + body).text == text


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"=?utf-8?b?5Lit5paH?= =?utf-8?q?_ok?=", "中文 ok"),
        (b"=?nonsense?q?abc?=", "abc"),
        (b"=?utf-8?b?!!!?=", ""),
        (b"caf\xe9", "café"),
        ("naïve 朱".encode(), "naïve 朱"),
        (b"=?utf-8?q?caf=C3=A9?=\n opening", "café opening"),
        (b"=?utf-8?b?A?=", "=?utf-8?b?A?="),
        (b"=?utf-8?q?a?= " * 100_000, None),
    ],
)
def test_subjects(raw, subject):
    own = read_mail(b"From: a\nSubject: " + raw + b"\n\nhi").subject
    assert own if subject is None else own == subject


def test_people_with_encoded_names_and_commas():
    head = b"From: =?utf-8?q?M=C3=BCller=2C_Ann?= <a@b.c>\nTo: Bo\n <b@c.d>\n\nhi"
    assert read_mail(head).people == ("Müller, Ann", "Bo")


@pytest.mark.parametrize("boundary", [b"a\0b''x", b"undefined''x"])
def test_parts_that_cannot_be_told_apart(boundary):
    with pytest.raises(StructureError, match="told apart"):
        read_mail(
            HEAD + b"Content-Type: multipart/mixed; boundary*=" + boundary + b"\n\nx"
        )


def test_a_character_that_is_cut_by_the_limit_costs_nothing_else():
    for offset in range(3):
        body = "<p>中文</p><!--" + "x" * offset + "图" * 300_000
        head = HEAD + b"Content-Type: text/html; charset=utf-8\n\n"
        assert read_mail(head + body.encode()).text == "中文"


def nested(kind: str, depth: int) -> bytes:
    if kind == "message":
        return HEAD + b"Content-Type: message/rfc822\n\n" * depth + HEAD + b"\nhi"
    mail, declared = HEAD, b"b" if kind == "multipart" else b"a"
    for i in range(depth):
        line = b"Content-Type: multipart/mixed; boundary=%b%d\n\n--b%d\n"
        mail += line % (declared, i, i)
    return mail + b"\nhi"


@pytest.mark.parametrize("kind", ["message", "multipart", "repaired"])
def test_nested_parts(kind):
    most = (DEPTH - 2) // (2 if kind == "repaired" else 1)  # a repair is a level itself
    assert "hi" in read_mail(nested(kind, most)).text
    for depth in (DEPTH + 2, 500, 20_000):
        with pytest.raises(StructureError):
            read_mail(nested(kind, depth))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        HEAD[:10],
        HEAD,
        b"To: " + b"(" * 100_000 + b"\n\nhi",
        b"To: " + b'"a" <a@b.c>, ' * 100_000 + b"\n\nhi",
        b"Received: x;" + b"9" * 10_000 + b"\n\nhi",
        b"Date: Tue, 99 Foo 20022 99:99:99 +9999\n\nhi",
        b"Date: 1 Jan 1 00:00:00 +2300\n\nhi",
        several("mixed", *([b"\nhello"] * 20_000)),
        HEAD + b"Content-Type: multipart/mixed\n\nno boundary",
        HEAD + b"Content-Type: text/html\n\n" + b"<" * 100_000,
        HEAD + b"Content-Type: text/html\n\n" + b"<div>" * 100_000,
        HEAD
        + b"Content-Type: text/html\n\n<p style=display:none>"
        + b"<b>" * 26_000
        + b"</i>" * 26_000,
        HEAD + b"\n" + b"a." * 500_000 + b"@",
        HEAD + b"\n" + b"1-" * 500_000,
        HEAD + b"Content-Disposition: attachment; filename*0=a;filename*1*=%FF\n\nhi",
    ],
)
def test_malformed_mails_are_read(content):
    assert len(plain_text(read_mail(content))) <= BEGINNING + END + 1


def test_a_very_long_mail_is_cut_and_its_end_is_read():
    mail = read_mail(HEAD + b"\n" + b"begin " + b"word " * 500_000 + b"end")
    assert mail.faults == ("mail.cut",)
    text = plain_text(Mail("", "", None, "begin " + "word " * 1000 + "end"))
    assert text.startswith("begin")
    assert text.endswith("end")
    assert len(text) == BEGINNING + END + 1


@pytest.mark.parametrize(("length", "kept"), [(120, False), (121, True)])
def test_a_short_line_of_a_mailing_list_is_left_out(length, kept):
    line = "Unsubscribe from this group: ".ljust(length, "x")
    text = plain_text(Mail("", "", None, f"Hello\n{line}\nBye"))
    assert ("Unsubscribe" in text) == kept


def test_something_else_has_no_headers():
    assert "mail.no_headers" in read_mail(b"\x89PNG\r\n\x1a\n" + bytes(50)).faults
    assert "mail.no_headers" not in read_mail(b"Subject: x\n\ny").faults


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("fr\u200bee\u2060", "free"),
        ("the low рrісе", "the low price"),  # three letters are Cyrillic
        ("buy сосоа now", "buy cocoa now"),
        ("привет мир", "привет мир"),
        # its γ looks like no Latin letter
        ("the word λόγος stays", "the word λόγος stays"),
        ("ｆｒｅｅ", "free"),
        ("straße", "straße"),
        ("get f.r.e.e c-a-s-h", "get free cash"),
        ("v1agra, m0ney and c@$h!", "viagra, money and c@$h!"),
        ("f33 b@nks", "f33 banks"),
        ("in the U.S. at x.y, mp3s, i386, p2p", "in the U.S. at x.y, mp3s, i386, p2p"),
    ],
)
def test_disguises_are_undone(written, read):
    assert plain(written) == read


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("a.b+c@mail.x.org!", "[mail]!"),
        ("see (https://x.org/a?b=1) or www.y.com.", "see ([link]) or [link]"),
        ("1-800-555 1234", "[number]"),
        ("$10,000 and 12345", "$10,000 and 12345"),
        ("in 2002 at 10:30", "in 2002 at 10:30"),
    ],
)
def test_masked(text, result):
    assert masked(text) == result


def test_marks_of_capitals_and_foreign_letters():
    assert marks(Mail("", "", None, "BUY NOW, IT IS FREE FOR ALL OF YOU")) == [
        "capitals"
    ]
    assert marks(Mail("", "", None, "特价发票优惠代开")) == ["foreign"]
    assert marks(Mail("", "", None, "")) == []


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("declared", ["utf-16", None])
@pytest.mark.parametrize("words", ["dinner on Friday", "Ужин в пятницу", "周五吃饭"])
def test_utf_16_with_and_without_a_mark(encoding, declared, words):
    code = base64.b64encode(words.encode(encoding)).decode()
    name = declared or encoding
    mail = read_mail(
        f"Subject: =?{name}?B?{code}?=\nContent-Type: text/plain; charset={name}\n"
        f"Content-Transfer-Encoding: base64\n\n{code}\n".encode()
    )
    assert (mail.subject, mail.text.lstrip("\ufeff")) == (words, words)
    assert mail.faults == ()


@pytest.mark.parametrize("named", ["", "; boundary=another"])
@pytest.mark.parametrize("boundary", ["boundary", "= Multipart Boundary 0815", "=_x "])
def test_parts_with_a_wrong_boundary_are_read(named, boundary):
    content = (
        f"Subject: hello\nContent-Type: multipart/alternative{named}\n\n"
        f"--{boundary}\nContent-Type: text/plain\n\nsee you\n"
        f'--{boundary}\nContent-Type: image/png; name="a.png"\n\n.\n--{boundary}--\n'
    )
    mail = read_mail(content.encode())
    assert (mail.text.strip(), mail.attachments) == ("see you", ("png",))
    assert mail.faults == ("mail.damaged",)


def test_8_bit_text_behind_a_wrong_boundary_is_read():
    head = "Subject: a\nContent-Type: multipart/mixed; boundary=another\n\n--x\n"
    part = "Content-Type: text/plain; charset=utf-8\n\nà bientôt\n--x--\n"
    assert read_mail(f"{head}{part}".encode()).text.strip() == "à bientôt"


def test_a_text_that_claims_to_have_parts_is_read():
    mail = read_mail(b"Subject: a\nContent-Type: multipart/mixed\n\nsee you\n")
    assert (mail.text.strip(), mail.attachments) == ("see you", ())


def test_a_mail_that_we_cut_is_not_called_damaged():
    head = "Subject: a\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\nsee you\n"
    photo = "--x\nContent-Type: image/png\n\n" + ("A" * 76 + "\n") * 40_000
    assert read_mail(f"{head}{photo}--x--\n".encode()).faults == ("mail.cut",)


def test_parts_that_are_too_many_are_said():
    part = "--x\nContent-Type: image/png\n\n.\n"
    head = "Subject: a\nContent-Type: multipart/mixed; boundary=x\n\n"
    mail = read_mail(f"{head}{part * (PARTS + 1)}--x--\n".encode())
    assert mail.faults == ("mail.parts",)


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("see you at eight", True),
        (
            "Lieber Bob, herzlichen Glückwunsch und viel Spaß bei der Feier am Samstag!",
            False,
        ),
        ("会议改期", False),
        ("hi", True),
        ("", True),
        (
            "We are getting married and would love to celebrate with you in the café.",
            True,
        ),
    ],
)
def test_what_looks_english(text, english):
    assert looks_english(text) == english
