"""Generate text with a language model from the zoo and its tokenizer."""

import re
from collections.abc import Iterator
from typing import Any

from ..errors import UnknownNameError, require
from ..lm import LanguageModel, stream
from .models import load, zoo
from .storage import WEIGHTS, check_weights

# the first token of a document gives its kind
KINDS = ("poem", "verse", "prose", "manual")
END = "<|end|>"
CHINESE = re.compile(r"[\u3400-\u9fff]")


class Writer:
    """A text generator that combines a language model with its tokenizer.

    Attributes:
        model: the `LanguageModel`.
        tokenizer: the model's `tokenizers.Tokenizer`.

    >>> from deepseek_learn import zoo
    >>> writer = zoo.writer("small_deepseek")
    >>> text = writer.write("In the beginning", max_new_tokens=8)
    """

    def __init__(self, model: LanguageModel, tokenizer: Any):
        self.model, self.tokenizer = model, tokenizer

    def tokens(self, text: str, kind: str | None = None) -> list[int]:
        """Return the tokens for a prompt, starting with the token for its kind.

        Args:
            kind: one of `KINDS`. The default is "poem" for Chinese text and "verse" for
                any other text.

        Raises:
            ValueError: if the text is blank or is not valid Unicode.
            UnknownNameError: if the kind is unknown; the message lists the known kinds.
        """
        if not text.strip():
            raise ValueError(f"text must not be blank; got {text!r}.")
        if any("\ud800" <= letter <= "\udfff" for letter in text):  # surrogates
            raise ValueError(f"text must be valid Unicode; got {text!r}.")
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
        **options: Any,
    ) -> Iterator[str]:
        """Yield the continuation of `text` piece by piece until the document ends.

        Args:
            max_new_tokens: the maximum number of new tokens; by default, as many as fit
                in the context.
            **options: the other options of `lm.stream`, such as `top_k` and `seed`.

        For the exceptions, see `tokens` and `lm.stream`.
        """
        prompt = self.tokens(text, kind)
        room = self.model.config.max_position_embeddings - len(prompt)
        batches = stream(
            self.model,
            [prompt],
            room if max_new_tokens is None else max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=[self.tokenizer.token_to_id(END)],
            **options,
        )
        tokens: list[int] = []
        previous = ""
        for (new_tokens,) in batches:
            tokens += new_tokens
            decoded = self.tokenizer.decode(tokens)
            if not decoded.endswith("\ufffd"):  # the last character is complete
                yield decoded[len(previous) :]
                previous = decoded

    def write(self, text: str, kind: str | None = None, **options: Any) -> str:
        """Return the entire output of `stream` as one string."""
        return "".join(self.stream(text, kind, **options))


def document(tokenizer: Any, kind: str, text: str) -> list[int]:
    """Return the tokens for a document, from the token for its kind to `END`."""
    start, end = (tokenizer.token_to_id(name) for name in (f"<|{kind}|>", END))
    return [start, *tokenizer.encode(text).ids, end]


def writer(name: str) -> Writer:
    """Return a `Writer` for the language model `name`.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the known models.
        ValueError: if the model is not a language model.
        MissingPackageError: if the package `tokenizers` is not installed.
        DamagedFileError: if the weights or the tokenizer do not match the card.

    >>> from deepseek_learn import zoo
    >>> writer = zoo.writer("small_deepseek")
    >>> type(writer.model).__name__
    'LanguageModel'
    """
    language_model = load(name) if zoo[name].tokenizer else None
    if not isinstance(language_model, LanguageModel):
        raise ValueError(
            f"name must be the name of a language model; {name!r} is not one."
        )
    return Writer(language_model, tokenizer(name))


def tokenizer(name: str) -> Any:
    """Return the `tokenizers.Tokenizer` of the model `name`.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the known models.
        ValueError: if the model does not read text.
        MissingPackageError: if the package `tokenizers` is not installed.
        DamagedFileError: if the tokenizer does not match the card.

    >>> from deepseek_learn import zoo
    >>> tokenizer = zoo.tokenizer("small_deepseek")
    >>> tokenizer.decode(tokenizer.encode("light").ids)
    'light'
    """
    model = zoo[name]
    if model.tokenizer is None:
        raise ValueError(
            f"name must be the name of a model that reads text; {name!r} is not one."
        )
    library = require("tokenizers", extra="language", purpose="a tokenizer")
    path = WEIGHTS / model.tokenizer
    check_weights(path, model.tokenizer_sha256)
    return library.Tokenizer.from_file(str(path))
