"""The two votes of the reader, their sum, and its border."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from deepseek_learn.solutions.mail import train
from deepseek_learn.solutions.teacher import padded
from deepseek_learn.zoo.nets.mail_reader import TOKENS, MailReader, PieceCounter
from deepseek_learn.zoo.nets.text_encoder import LIMIT
from tests.services import need


@pytest.fixture
def letters():
    """Sixty texts as tokens, unwanted if they contain token 5."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(2, 50, rng.integers(3, 40)).tolist() for _ in range(60)]
    return texts, np.array([int(5 in text) for text in texts])


def test_the_counter_is_a_linear_model_of_tf_idf(letters):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    texts, labels = letters
    counter = PieceCounter(50)
    train.fit_counter(counter, texts, labels)
    own = TfidfVectorizer(analyzer=lambda text: text, min_df=2, sublinear_tf=True)
    model = LinearSVC(random_state=0).fit(own.fit_transform(texts), labels)
    want = model.decision_function(own.transform(texts))
    with torch.no_grad():
        torch.testing.assert_close(
            counter(padded(texts)), torch.tensor(want).float(), rtol=0, atol=1e-5
        )
        alone = torch.cat([counter(torch.tensor([text])) for text in texts])
        torch.testing.assert_close(counter(padded(texts)), alone, rtol=0, atol=1e-6)
    assert counter.weight[5] == counter.weight.max()


def test_a_mail_of_unknown_pieces_has_a_finite_score():
    score = PieceCounter(10)(torch.ones(2, 3, dtype=torch.int64))
    assert score.tolist() == [0.0, 0.0]


def test_the_border_loses_what_it_may():
    rng = np.random.default_rng(0)
    score, labels = rng.normal(size=1000), np.repeat([0, 1], 500)
    for lost in (0.0, 0.005, 0.1):
        border = train.border(score, labels, lost)
        assert (score[:500] > border).sum() == np.ceil(499 * lost)


def test_a_mail_is_unwanted_beyond_both_borders(letters):
    class Words:
        """A tokenizer of numbers."""

        def encode_batch_fast(self, texts):
            return [type("E", (), {"ids": [*map(int, t.split())]}) for t in texts]

    texts, labels = letters
    reader = MailReader(50).eval()
    train.fit_counter(reader.counter, texts, labels)
    said = [" ".join(map(str, text)) for text in texts]
    train.set_borders(reader, Words(), said, labels)
    odds = train.odds(reader, Words(), said)
    margins = train.margins(reader, Words(), said)
    borders = [train.border(each, labels, train.KEY_LOST) for each in odds.T]
    assert margins == pytest.approx((odds - borders) / odds.std(0), abs=1e-3)
    assert ((margins[labels == 0] > 0).sum(0) <= 1).all()
    logits = train._read(reader, Words(), said).numpy()
    assert logits[:, 1] - logits[:, 0] == pytest.approx(margins.min(1), abs=1e-4)


def test_a_long_mail_is_read_from_both_ends_and_counted_whole():
    tokenizers = need("tokenizers")
    words = {f"w{i}": i + 2 for i in range(900)} | {"?": 1, "<pad>": 0}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    text = " ".join(f"w{i}" for i in range(400))
    short, long, empty, endless = train.encode(
        tokenizer, ["w0 w1", text, "", f"{text} {text}"]
    )
    assert short == [2, 3]
    last = LIMIT // 4
    first = [*range(2, 2 + LIMIT - last), *range(402 - last, 402)]
    assert long[:LIMIT] == first
    assert sorted(long) == [*range(2, 402)]
    assert empty == [1]
    assert len(endless) == TOKENS


def test_half_of_the_mails_are_disturbed():
    rng = np.random.default_rng(0)
    text = "some words about cheap watches that nobody wants " * 4
    changed = [train.disturb(text, rng) != text for _ in range(300)]
    assert 0.3 < np.mean(changed) < 0.6


def test_what_is_found_and_lost_is_counted_per_kind(monkeypatch):
    """Of four unwanted emails three are found; of two wanted ones, one is lost."""
    logits = torch.eye(2)[[1, 1, 1, 0, 1, 0]]
    labels = torch.tensor([1, 1, 1, 1, 0, 0])
    monkeypatch.setattr(train, "predict", lambda model, test: (logits, labels))
    days = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=6)})
    found = train.measure(None, SimpleNamespace(frame=days))["all"]
    assert (found["found"]["value"], found["lost"]["value"]) == (0.75, 0.5)


def test_rates_resample_days():
    hits, days = np.array([1, 1, 0, 0] * 20, bool), np.repeat(np.arange(40), 2)
    own = train.rate(hits, days)
    assert own["value"] == 0.5
    assert own["n"] == 80
    # days are all or nothing: their interval is wider than that of 80 single mails
    assert own["high"] - own["low"] > 0.25
