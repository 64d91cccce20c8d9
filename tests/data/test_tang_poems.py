"""The poems: fixed parts without a shared verse, card, windows, regeneration."""

import json
import lzma
import re

import pytest
import torch

from deepseek_learn import catalog, data
from deepseek_learn.cli.commands import show_data
from deepseek_learn.data.tang_poems import VERSE, make

PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def splits():
    return data.load("tang_poems")


def poems(part):
    return bytes(part.numpy()).decode().splitlines()


def test_each_part_is_whole_utf8_lines_of_a_fixed_size(splits):
    assert [len(poems(getattr(splits, p))) for p in PARTS] == [14552, 808, 808]
    for part in PARTS:
        tensor = getattr(splits, part)
        assert tensor.dtype == torch.uint8
        assert tensor[-1] == ord("\n")
        assert all(VERSE.findall(poem) for poem in poems(tensor))


def test_no_verse_is_in_two_poems(splits):
    result = [v for p in PARTS for line in poems(getattr(splits, p)) for v in
             set(VERSE.findall(line))]  # fmt: skip
    assert len(result) == len(set(result))


def test_only_han_characters_and_four_marks(splits):
    for part in PARTS:
        text = bytes(getattr(splits, part).numpy()).decode()
        assert re.fullmatch(r"[\u3400-\u9fff，。？！\n]+", text)


def test_a_second_load_is_the_same_and_cannot_change_the_first(splits):
    second = data.tang_poems()
    assert torch.equal(splits.validation, second.validation)
    second.validation[0] = 0
    assert torch.equal(splits.validation, data.tang_poems().validation)


def test_frame_counts_what_is_there(splits):
    frame = splits.to_frame()
    assert list(frame.index) == list(PARTS)
    for part in PARTS:
        content = bytes(getattr(splits, part).numpy())
        expected = [len(content), len(content.decode()), content.count(b"\n")]
        assert frame.loc[part].tolist() == expected
    assert repr(splits) == (
        "TextSplits(tang_poems: train/validation/test = "
        f"{len(splits.train)}/{len(splits.validation)}/{len(splits.test)} bytes)"
    )


def test_the_card_states_the_size_in_both_languages(splits, monkeypatch):
    english, total = splits.card, splits.to_frame().sum()
    monkeypatch.setattr(catalog, "_current", "zh")
    chinese = data.tang_poems().card
    for card in (english, chinese):
        assert all(getattr(card, field) for field in vars(card))
        assert all(f"{total[c]:,}" in card.size for c in total.index)
    assert english.license == "MIT, Copyright 2016 JackeyGao"
    assert len(chinese.traps) == len(english.traps)
    assert all(re.search(r"[\u4e00-\u9fff]", trap) for trap in chinese.traps)
    assert "唐诗子集" in chinese._repr_html_()


def test_command_line_shows_card_and_parts(capsys):
    show_data("tang_poems")
    shown = capsys.readouterr().out
    assert "Tang poems, subset" in shown
    assert re.search(r"validation +\d+ +\d+ +808", shown)


def test_windows_are_pieces_of_the_text_and_repeat_with_the_seed(splits):
    text = splits.validation
    draw = [data.windows(text, 32, 8, torch.Generator().manual_seed(3)) for _ in "ab"]
    assert torch.equal(*draw)
    assert draw[0].dtype == torch.int64
    assert draw[0].shape == (8, 33)
    content = bytes(text.numpy())
    assert all(bytes(row.tolist()) in content for row in draw[0])
    other = data.windows(text, 32, 8, torch.Generator().manual_seed(4))
    assert not torch.equal(draw[0], other)


def test_windows_reach_both_ends():
    text = torch.arange(5, dtype=torch.uint8)
    drawn = data.windows(text, 3, 200, torch.Generator().manual_seed(0))
    assert {tuple(row) for row in drawn.tolist()} == {(0, 1, 2, 3), (1, 2, 3, 4)}
    assert data.windows(text, 4, 1).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("part", "length", "batch", "sentence"),
    [
        (
            torch.zeros(5, dtype=torch.uint8),
            5,
            1,
            r"^length must be from 1 to 4 .* got 5\.$",
        ),
        (
            torch.zeros(5, dtype=torch.uint8),
            0,
            1,
            r"^length must be from 1 to 4 .* got 0\.$",
        ),
        (
            torch.zeros(5, dtype=torch.uint8),
            2,
            0,
            r"^batch must be at least 1; got 0\.$",
        ),
        (
            torch.zeros(5),
            2,
            1,
            r"^part must be uint8 with shape \[N\].* torch\.float32 \[5\]\.$",
        ),
        (
            torch.zeros(2, 5).byte(),
            2,
            1,
            r"^part must be uint8 with shape \[N\].* \[2, 5\]\.$",
        ),
    ],
)
def test_windows_refuse_in_one_sentence(part, length, batch, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.windows(part, length, batch)


def test_the_subset_is_made_by_its_rule(tmp_path):
    lines = [f"{c}山月，{c}水風。" for c in "甲乙丙丁戊己庚"]
    dropped = [
        "缺□月，水風。",  # a gap
        "山（一作水）月，風雨。",  # a note
        "甲山月，甲水風。日月，星辰。",  # a verse of the first poem
        "",
    ]
    for number, texts in {1000: lines[3:], 200: dropped, 0: lines[:3]}.items():
        entries = [
            {"paragraphs": [t[:6], t[6:]], "author": "", "title": ""} for t in texts
        ]
        path = tmp_path / f"poet.tang.{number}.json"
        path.write_text(json.dumps(entries), encoding="utf-8")
    make(tmp_path, tmp_path / "out.xz")
    made = lzma.decompress((tmp_path / "out.xz").read_bytes()).decode()
    assert made.splitlines() == [lines[0], lines[3], lines[6]]


def test_making_refuses_another_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must contain .* found none in"):
        make(tmp_path, tmp_path / "out.xz")
    assert not (tmp_path / "out.xz").exists()
