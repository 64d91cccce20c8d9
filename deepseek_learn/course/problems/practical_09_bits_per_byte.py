# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""From losses of tokens to bits a byte, which models of other tokens can be held to."""

import numpy as np

from .. import expect
from ..problem import Failed, Problem

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
        if i == 0:  # blanks and line ends at the ends are bytes, too
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
        fits = [key for key, guess in guesses.items() if np.isclose(got, guess)]
        if len(fits) == 1:
            raise Failed(f"bits_per_byte.{fits[0]}")
    expect.close(got, want, CALL, 1e-6)


HEAD = "import math\n\n\ndef bits_per_byte(nats, text):\n"
BODY = "    return sum(nats) / math.log(2) / len(text.encode())\n"


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="bits_per_byte",
    version=2,
    lesson="train_a_small_deepseek",
    stage="practical",
    title={"en": "Bits a byte", "zh": "每字节多少位"},
    prompt={
        "en": """A loss *a token* depends on what a token is: a model of whole words has a large one, a model of bytes a small one, and neither says who is better.
What can be compared is how many **bits** a model needs for the text as it lies on disk.

Write `bits_per_byte(nats, text)`. `nats` is a list with the cross-entropy of each token of `text` in nats (natural logarithm, as PyTorch gives it), `text` a `str`.
Return the bits for the whole text over its bytes in UTF-8.""",
        "zh": """*每个词元*的损失取决于词元是什么：以整词为词元的模型损失大，以字节为词元的损失小，但这都说明不了哪个更好。可以比较的，是模型为磁盘上的这段文本需要多少**位**。

请编写 `bits_per_byte(nats, text)`。`nats` 是一个列表，是 `text` 中每个词元的交叉熵，单位为奈特（自然对数，PyTorch 给出的就是它）；`text` 是 `str`。返回整段文本所需的位数除以它的 UTF-8 字节数。""",
    },
    starter=HEAD + "    ...\n",
    answer="bits_per_byte",
    hints=(
        {
            "en": "A bit is ln 2 nats: divide by `math.log(2)`.",
            "zh": "1 位等于 ln 2 奈特：除以 `math.log(2)`。",
        },
        {
            "en": "`len(text)` counts characters; a Chinese one has three bytes: `len(text.encode())`.",
            "zh": "`len(text)` 数的是字符；一个汉字有三个字节：`len(text.encode())`。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "nats a byte": changed(" / math.log(2)", ""),
        "bits a character": changed("text.encode()", "text"),
        "bits a token": changed("len(text.encode())", "len(nats)"),
        "the mean token's bits over the bytes": changed(
            "sum(nats)", "sum(nats) / len(nats)"
        ),
        "times instead of over ln 2": changed("/ math.log(2)", "* math.log(2)"),
        "not divided": changed(" / len(text.encode())", ""),
        "blanks at the ends not counted": changed(
            "text.encode()", "text.strip().encode()"
        ),
        "UTF-16": changed("text.encode()", 'text.encode("utf-16-le")'),
    },
    right={
        "in PyTorch, float32": "import torch\n\n\n"
        + HEAD
        + """    bits = torch.tensor(nats) * torch.log2(torch.tensor(torch.e))
    return bits.sum() / len(bytes(text, "utf-8"))
""",
    },
    points=1,
    minutes=10,
)
