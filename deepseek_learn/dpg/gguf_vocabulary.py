"""Write a tokenizer of transformers into a GGUF file, as llama.cpp reads it.

llama.cpp has its own tokenizers. Two are common: byte-pair encoding of bytes ("gpt2"),
whose rule for splitting a text into words has a name in llama.cpp, and SentencePiece's
byte-pair encoding of characters ("llama"), which merges the pair with the best score.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .gguf_families import GGUFError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+"
    r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# llama.cpp's name of a rule that splits a text into words, by the rule
SPLITS = {WORDS % "{1,3}": "llama-bpe", WORDS % "": "qwen2"}
BYTE_LEVEL, DIGITS, SPACE = "ByteLevel", "Digits", "\u2581"


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as GGUF stores it.

    Attributes:
        model: "gpt2" for byte-pair encoding of bytes, "llama" for SentencePiece's.
        pre: the name of the rule that splits a text into words.
        tokens: by number.
        types: of the tokens, such as `CONTROL`.
        merges: pairs of tokens, the first merged first; empty for "llama".
        scores: of the tokens; empty for "gpt2".
        special: the numbers of special tokens, such as "bos".
        adds: what is added to a text: "bos", "eos" and, at its beginning, "space".
        chat_template: Jinja; "" for none.
    """

    model: str
    pre: str
    tokens: Sequence[str]
    types: Sequence[int]
    merges: Sequence[str] = ()
    scores: Sequence[float] = ()
    special: Mapping[str, int] = field(default_factory=dict)
    adds: Mapping[str, bool] = field(default_factory=dict)
    chat_template: str = ""

    def describe(self, writer: Any) -> None:
        """Write the tokenizer."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.merges:
            writer.add_token_merges(self.merges)
        if self.scores:
            writer.add_token_scores(self.scores)
        for name, number in self.special.items():
            getattr(writer, f"add_{name}_token_id")(number)
        writer.add_add_bos_token(self.adds["bos"])
        writer.add_add_eos_token(self.adds["eos"])
        if self.model == "llama":
            writer.add_add_space_prefix(self.adds["space"])
        if self.chat_template:
            writer.add_chat_template(self.chat_template)


def vocabulary_of(tokenizer: Any, size: int) -> Vocabulary:
    """Return a tokenizer as GGUF stores it.

    Args:
        tokenizer: a fast one of transformers.
        size: the number of tokens of the model, at least the tokenizer's.

    Raises:
        GGUFError: if llama.cpp has no such tokenizer, or if it has more tokens.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise GGUFError(
            f"tokenizer must be a fast one of transformers; got a "
            f"{type(tokenizer).__name__}."
        )
    facts = json.loads(backend.to_str())
    model = facts["model"]
    if model["type"] != "BPE":
        raise GGUFError(
            f"tokenizer must be byte-pair encoding; {model['type']} has no place in a "
            f"GGUF file."
        )
    merges = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]
    ]
    tokens, types = _tokens(facts, size)
    pieces = bool(model.get("byte_fallback"))
    return Vocabulary(
        model="llama" if pieces else "gpt2",
        pre="default" if pieces else _split(facts),
        tokens=tokens,
        types=types,
        merges=() if pieces else merges,
        scores=_scores(tokens, merges) if pieces else (),
        special=_special_tokens(tokenizer),
        adds=_additions(tokenizer, facts),
        chat_template=getattr(tokenizer, "chat_template", None) or "",
    )


def _tokens(facts: dict, size: int) -> tuple[list[str], list[int]]:
    tokens = [f"[PAD{number}]" for number in range(size)]
    types = [UNUSED] * size
    model = facts["model"]
    added = {each["id"]: each for each in facts["added_tokens"]}
    words = {number: token for token, number in model["vocab"].items()}
    words |= {number: each["content"] for number, each in added.items()}
    if words and max(words) >= size:
        raise GGUFError(
            f"tokenizer has the token {max(words)}, but the model only {size} tokens."
        )
    for number, token in words.items():
        tokens[number] = token
        if number in added:
            types[number] = CONTROL if added[number]["special"] else USER_DEFINED
        elif token == model.get("unk_token"):
            types[number] = UNKNOWN
        elif model.get("byte_fallback") and token.startswith("<0x") and len(token) == 6:
            types[number] = BYTE
        else:
            types[number] = NORMAL
    return tokens, types


def _scores(tokens: Sequence[str], merges: Sequence[str]) -> list[float]:
    """Return minus the rank of the first merge that makes a token; the later the lower."""
    rank: dict[str, int] = {}
    for number, pair in enumerate(merges):
        rank.setdefault(pair.replace(" ", "", 1), number)
    return [-float(rank.get(token, len(merges))) for token in tokens]


def _parts(facts: dict, kind: str) -> list[dict]:
    """Return the parts of a step of the tokenizer, such as its pre-tokenizer."""
    step = facts.get(kind) or {"type": "Sequence"}
    if step["type"] != "Sequence":
        return [step]
    return step.get("pretokenizers") or step.get("normalizers") or []


def _split(facts: dict) -> str:
    """Return llama.cpp's name of the rule that splits a text into words."""
    normalizers = [part["type"] for part in _parts(facts, "normalizer")]
    parts = _parts(facts, "pre_tokenizer")
    name = _rule(parts)
    ignores = bool(facts["model"].get("ignore_merges"))
    if name is None or ignores != (name == "llama-bpe") or {*normalizers} - {"NFC"}:
        raise GGUFError(
            f"tokenizer must split texts as those of GPT-2, Llama 3, Qwen 2 and 3 or "
            f"SmolLM do, which llama.cpp knows; got the pre-tokenizer "
            f"{json.dumps(parts)[:200]}, ignore_merges={ignores} and the normalizers "
            f"{normalizers}."
        )
    return name


def _rule(parts: Sequence[dict]) -> str | None:
    """Return the name of a pre-tokenizer's parts; None if llama.cpp has none for it."""
    if not parts or parts[-1]["type"] != BYTE_LEVEL or parts[-1]["add_prefix_space"]:
        return None
    first, has_rule = parts[0], parts[-1]["use_regex"]
    kinds = [part["type"] for part in parts]
    if kinds == [BYTE_LEVEL] and has_rule:
        return "gpt-2"
    if kinds == [DIGITS, BYTE_LEVEL] and has_rule and first["individual_digits"]:
        return "smollm"
    plain = not has_rule and not first.get("invert")
    if kinds == ["Split", BYTE_LEVEL] and plain and first["behavior"] == "Isolated":
        return SPLITS.get(first["pattern"].get("Regex"))
    return None


def _special_tokens(tokenizer: Any) -> dict[str, int]:
    names = ("bos", "eos", "unk", "pad")
    numbers = {name: getattr(tokenizer, f"{name}_token_id") for name in names}
    return {name: number for name, number in numbers.items() if number is not None}


def _additions(tokenizer: Any, facts: dict) -> dict[str, bool]:
    """Return what the tokenizer adds to a text."""
    numbers = tokenizer("a")["input_ids"]
    steps = [*_parts(facts, "normalizer"), *_parts(facts, "pre_tokenizer")]
    space = any(
        (step["type"] == "Prepend" and step["prepend"] == SPACE)
        or (step["type"] == "Metaspace" and step.get("prepend_scheme") != "never")
        for step in steps
    )
    return {
        "bos": bool(numbers) and numbers[0] == tokenizer.bos_token_id,
        "eos": bool(numbers) and numbers[-1] == tokenizer.eos_token_id,
        "space": space,
    }
