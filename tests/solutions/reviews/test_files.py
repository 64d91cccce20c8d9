"""Reviews in files, as people have them: other encodings, columns, languages, lengths."""

import pytest

from deepseek_learn.solutions.reviews.files import ReviewError, read_reviews

GOOD, BAD = "房间很干净，服务也好。", "早餐太差了"


def read(path, **options):
    return [*read_reviews(path, path.name, **options)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_in_any_encoding(tmp_path, encoding, end):
    path = tmp_path / "a.txt"
    path.write_bytes(f"{GOOD}{end}{end}  {BAD} {end}".encode(encoding))
    assert [(r.name, r.text) for r in read(path)] == [
        ("a.txt:1", GOOD),
        ("a.txt:3", BAD),
    ]
    assert all(r.refusal is None for r in read(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize(
    "table",
    [
        f'id,评论\n1,"{GOOD}"\n2,{BAD}\n',
        f'text\n"{GOOD}"\n{BAD}\n',
        f'星级,Review,日期\n5,"{GOOD}",1\n1,{BAD},2\n',
    ],
)
def test_a_column_of_reviews(tmp_path, table, encoding):
    path = tmp_path / "a.CSV"
    path.write_bytes(table.encode(encoding))
    assert [r.text for r in read(path)] == [GOOD, BAD]


def test_a_column_with_another_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"id,says\n1,{BAD}\n2,\n", encoding="utf-8")
    assert [r.text for r in read(path, column="Says")] == [BAD]
    with pytest.raises(ReviewError, match=r"a column of reviews .*'id', 'says'"):
        read(path)
    with pytest.raises(ReviewError, match="a column 'x'"):
        read(path, column="x")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("Great hotel, will come again", "reviews.not_chinese"),
        ("！！！", "reviews.too_short"),
        ("好", "reviews.too_short"),
        ("12345", "reviews.not_chinese"),
        ("ThinkPad 不错", None),
        ("不好", None),
    ],
)
def test_what_is_no_chinese_review(tmp_path, text, refusal):
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    assert read(path)[0].refusal == refusal


def test_ten_megabytes_in_one_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("很好" * 1_700_000 + "太差", encoding="utf-8")
    (review,) = read(path)
    assert len(review.text) == 4000
    assert review.text.endswith("太差")
    assert review.long


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04\x00\x00", b"\xff\xfe\x00", b"\x81\x00"]
)
def test_what_is_no_text(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ReviewError, match="is not text in UTF-8, UTF-16 or GB 18030"):
        read(path)


def test_an_empty_file_has_no_reviews(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\n \n")
    assert read(path) == []


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("before", ["", "\n", "sep={}\n"])
def test_any_separator_in_any_encoding(tmp_path, encoding, separator, before):
    path, cell = tmp_path / "a.csv", "服务太差, 不来了。1,5分"
    cell = f'"{cell}"' if separator == "," else cell
    rows = [["id", "评论"], ["1", cell], ["2", BAD]]
    text = before.format(separator) + "\n".join(map(separator.join, rows))
    path.write_bytes(text.encode(encoding))
    assert [r.text for r in read(path)] == ["服务太差, 不来了。1,5分", BAD]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("评论,评论\n很好,太差\n", "may hold the reviews: '评论', '评论.1'"),
        ("text,Text\n很好,太差\n", "may hold the reviews: 'text', 'Text'"),
        ("评论,content\n很好,太差\n", "may hold the reviews: 'content', '评论'"),
        (
            "id,评论\n1,很好,推荐\n",
            r"line 2 has 3 cells, the first 2; .* quotation marks",
        ),
        ('id,评论\n1,"很好\n2,太差\n', "a quotation mark opens a cell that never ends"),
        ("", "it is empty"),
        ("\n\n", "it is empty"),
    ],
)
def test_tables_that_would_lose_reviews(tmp_path, table, reason, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(table.encode(encoding))
    with pytest.raises(ReviewError, match=reason):
        read(path)


def test_one_column_needs_no_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{GOOD}\n{BAD}\n还行吧\n", encoding="utf-8")
    assert [(r.name, r.text) for r in read(path)] == [
        ("a.csv:1", GOOD),
        ("a.csv:2", BAD),
        ("a.csv:3", "还行吧"),
    ]


def test_another_encoding_is_not_judged_as_nonsense(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("服務員態度很差，房間也不乾淨".encode("big5"))
    with pytest.raises(ReviewError, match="is not text in UTF-8, UTF-16 or GB 18030"):
        read(path)
