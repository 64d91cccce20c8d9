"""A language model of the zoo with its tokenizer: text in, text out."""

import re
from collections.abc import Iterator
from typing import Any

from ..errors import UnknownNameError, require
from ..lm import LanguageModel, stream
from .models import load, zoo
from .storage import WEIGHTS, check_weights

KINDS = ("poem", "verse", "prose", "manual")  # each begins its documents with a token
END = "<|end|>"
CHINESE = re.compile(r"[\u3400-\u9fff]")


class Writer:
    """Writes on from what it is given.

    Attributes:
        model: its `LanguageModel`.
        tokenizer: its `tokenizers.Tokenizer`.
    """

    def __init__(self, model: LanguageModel, tokenizer: Any):
        self.model, self.tokenizer = model, tokenizer

    def tokens(self, text: str, kind: str | None = None) -> list[int]:
        """The tokens of a document's beginning.

        Args:
            kind: one of `KINDS`; by default "poem" for Chinese, else "verse".

        Raises:
            ValueError: for an empty text, or one that is not whole Unicode.
            UnknownNameError: for another kind, naming those there are.
        """
        if not text.strip():
            raise ValueError(f"text must have at least one character; got {text!r}.")
        if any("\ud800" <= letter <= "\udfff" for letter in text):  # bytes of no letter
            raise ValueError(f"text must be in UTF-8; got {text!r}.")
        kind = kind or ("poem" if CHINESE.search(text) else "verse")
        if kind not in KINDS:
            raise UnknownNameError("kind of text", kind, KINDS)
        return document(self.tokenizer, kind, text)[:-1]

    def stream(
        self,
        text: str,
        kind: str | None = None,
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.8,
        top_p: float = 0.95,
        seed: int | None = None,
        speculative: bool = False,
    ) -> Iterator[str]:
        """What it writes after `text`, in pieces as they come, to the document's end.

        Args:
            max_new_tokens: by default as many as the context has room for.

        Other arguments and errors: see `tokens` and `lm.stream`.
        """
        prompt = self.tokens(text, kind)
        room = self.model.config.max_position_embeddings - len(prompt)
        news = stream(
            self.model,
            [prompt],
            room if max_new_tokens is None else max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=[self.tokenizer.token_to_id(END)],
            seed=seed,
            speculative=speculative,
        )
        written: list[int] = []
        shown = ""
        for (new,) in news:
            written += new
            whole = self.tokenizer.decode(written)
            if not whole.endswith("\ufffd"):  # else a character is not whole yet
                yield whole[len(shown) :]
                shown = whole

    def write(self, text: str, kind: str | None = None, **options) -> str:
        """All that `stream` gives, in one."""
        return "".join(self.stream(text, kind, **options))


def document(tokenizer: Any, kind: str, text: str) -> list[int]:
    """A document's tokens: its kind's, the text's, the end."""
    begin, end = (tokenizer.token_to_id(name) for name in (f"<|{kind}|>", END))
    return [begin, *tokenizer.encode(text).ids, end]


def writer(name: str) -> Writer:
    """The language model `name` of the zoo, ready to write.

    Raises:
        UnknownNameError: naming the models there are.
        ValueError: for a model that is no language model.
        MissingPackageError: when the package of tokenizers is not installed.
        DamagedFileError: when weights or tokenizer are not what the card says.
    """
    model = zoo[name]
    if model.tokenizer is None:
        raise ValueError(f"name must be of a language model; {name!r} is none.")
    library = require("tokenizers", extra="language", purpose="a tokenizer")
    path = WEIGHTS / model.tokenizer
    check_weights(path, model.tokenizer_sha256)
    return Writer(load(name), library.Tokenizer.from_file(str(path)))
