"""The reviews: cleaned by rules, with no review in two folds."""

import sys

import pytest

from deepseek_learn import data
from deepseek_learn.data.chinese import normalize
from deepseek_learn.solutions.reviews.corpus import FOLDS, key, make, mask, review_lines

module = sys.modules["deepseek_learn.solutions.reviews.corpus"]


def test_the_lines_are_those_on_the_card():
    frame = review_lines()
    assert len(frame) == 16_952
    assert frame["group"].nunique() == 3_858
    counts = {"hotels": 7528, "computers": 5582, "books": 3842}
    assert frame["domain"].value_counts().to_dict() == counts
    assert frame["label"].mean() == pytest.approx(0.478, abs=1e-3)
    assert frame["text"].str.len().median() == 45


def test_no_text_occurs_twice_and_no_group_is_divided():
    frame = review_lines()
    assert frame["text"].map(key).is_unique
    assert (frame.groupby("group")["fold"].nunique() == 1).all()
    assert frame["group"].value_counts().max() < 50
    assert set(frame["fold"]) == set(range(FOLDS))
    assert (frame["copies"] > 1).mean() > 0.8  # the source has nearly everything twice


def test_addresses_and_long_numbers_are_masked():
    text = review_lines()["text"]
    assert not text.str.contains(r"(?a)[\w.]+@\w|\d{6,}|https?://\w").any()
    assert not text.str.startswith("宾馆反馈").any()
    said = "电话010-51236699，ＱＱ：４１００７３４２５，a.b@qq.com，2008年"
    assert mask(said) == "电话#，ＱＱ：#，#，2008年"
    assert mask("见http://x.cn/?a=1 好，满100减20") == "见# 好，满100减20"


def test_splits_are_folds():
    splits = data.load("reviews")
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        10_329, 3_421, 3_202,
    ]  # fmt: skip
    text = splits.test.frame["text"][0]
    assert splits.test.decode(splits.test.tokens[0].tolist()) == normalize(text)[:256]
    assert splits.test.labels.unique().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("酒店環境很好！！", "酒店环境很好!!"),
        ("ＡＢＣ　１２３", "abc 123"),
        ("a\u200bb\x07c\t d\n", "abc d"),
        ("後來發現乾淨", "后来发现干净"),
        ("", ""),
    ],
)
def test_text_is_normalized(written, read):
    assert normalize(written) == read
    assert normalize(read) == read


def test_the_rules_on_a_small_source(tmp_path, monkeypatch):
    pos = ["这家酒店真的非常好下次还要来住", "宾馆反馈 谢谢", "一样的句子在这里"]
    neg = [
        "房间很脏",
        "这家酒店真的非常好下次还要来住！",
        "一样的句子在这里",
        "打电话13800138000",
    ]
    (tmp_path / "pos.txt").write_text("\n".join([*pos, *pos]), encoding="utf-8")
    (tmp_path / "neg.txt").write_text("\n".join([*neg, "房间很脏。"]), encoding="utf-8")
    monkeypatch.setattr(module, "PARTS", {"pos.txt": ((0, 1),), "neg.txt": ((0, 1),)})
    make(tmp_path, tmp_path / "out.xz")
    import lzma

    rows = lzma.decompress((tmp_path / "out.xz").read_bytes()).decode().splitlines()
    kept = sorted(row.split("\t")[1:] for row in rows)
    assert kept == [["0", "1", "1", "打电话#"], ["0", "1", "2", "房间很脏"]]
