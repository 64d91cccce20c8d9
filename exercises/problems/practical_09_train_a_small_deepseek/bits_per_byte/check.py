"""Convert token losses to bits per byte, which are comparable across tokenizers."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "bits_per_byte(nats, text)"
WORDS = (
    "白日依山盡",
    "moon",
    "Déjà ",
    "黃河入海流，",
    "light ",
    "🙂",
    "the ",
    "。",
    "a",
)


def check(answer, rng) -> None:
    expect.function(answer, "bits_per_byte")
    for i in range(6):
        words = rng.choice(WORDS, size=int(rng.integers(3, 9)))
        nats = rng.uniform(0.1, 6, size=int(rng.integers(4, 20))).tolist()
        text = "山" + "".join(words)
        if i == 0:  # whitespace at both ends counts, too
            text = " \n" + text + "\t \r\n"
        if i == 1:
            nats = nats[:1]  # one token for the whole text
        got = expect.call(answer, nats, text)
        compare(float(expect.shape(got, (), CALL)), np.array(nats), text)


def compare(got: float, nats: np.ndarray, text: str) -> None:
    size = len(text.encode())
    want = nats.sum() / np.log(2) / size
    guesses = {
        "nats": nats.sum() / size,
        "characters": nats.sum() / np.log(2) / len(text),
        "tokens": nats.mean() / np.log(2),
        "bits": nats.sum() / np.log(2),
        "mean": nats.mean() / np.log(2) / size,
    }
    if not np.isclose(got, want):
        matches = [key for key, guess in guesses.items() if np.isclose(got, guess)]
        if len(matches) == 1:
            raise Failed(matches[0])
    expect.close(got, want, CALL, 1e-6)
