"""English verse: fixed parts of whole chapters, no duplicates, regeneration."""

import lzma

from deepseek_learn import data
from deepseek_learn.data.english_verses import BOOKS, make

PARTS = ("train", "validation", "test")


def lines(part):
    return bytes(part.numpy()).decode("ascii").splitlines()


def test_parts_are_passages_a_line_of_a_fixed_size():
    splits = data.load("english_verses")
    assert [len(lines(getattr(splits, part))) for part in PARTS] == [1492, 75, 106]
    assert repr(splits) == (
        "TextSplits(english_verses: train/validation/test = 579100/29440/41960 bytes)"
    )
    assert any("The LORD is my shepherd" in line for line in lines(splits.train))


def test_no_passage_is_in_two_parts():
    splits = data.english_verses()
    result = [line for part in PARTS for line in lines(getattr(splits, part))]
    assert len(result) == len(set(result)) == 1673


def test_the_rule_makes_passages_of_four_verses_and_drops_repeats(tmp_path):
    source, target = tmp_path / "kjv.txt", tmp_path / "verses.txt.xz"
    told = [f"Psa1:{n} verse {n}." for n in range(1, 7)]
    told += ["Ge1:1 In the beginning.", "Psa2:1 verse 3.", "Psa2:2 another.", "noise"]
    source.write_text("\n".join(told))
    assert "Psa" in BOOKS
    make(source, target)
    assert lzma.decompress(target.read_bytes()).decode() == (
        "0\tverse 1. verse 2. verse 3. verse 4.\n0\tverse 5. verse 6.\n1\tanother.\n"
    )
