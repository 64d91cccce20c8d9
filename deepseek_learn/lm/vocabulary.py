"""Read the tokenizer of a language model, from a folder or a GGUF file.

A GGUF file has the tokens and their merges, but only a name for the rule that splits a
text into words. The names and rules here are those that `dpg.to_gguf` writes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..dpg.gguf_vocabulary import CONTROL, SPACE, SPLITS, USER_DEFINED
from ..errors import require
from .gguf import opened

if TYPE_CHECKING:
    from gguf import GGUFReader
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

RULES = {name: rule for rule, name in SPLITS.items()}
# names of the same rules in files of other models
RULES |= {"llama-v3": RULES["llama-bpe"], "deepseek-r1-qwen": RULES["qwen2"]}
PLAIN = ("gpt-2", "smollm")
PURPOSE = "reading a tokenizer"


def tokenizer(path: str | Path) -> "PreTrainedTokenizerBase":
    """Load the tokenizer of the model in `path`, with its chat template.

    Args:
        path: a folder of transformers or a GGUF file.

    Returns:
        A tokenizer of transformers.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        DamagedFileError: if the file is truncated.
        MissingPackageError: if transformers or gguf is not installed.
        ValueError: if the file's tokenizer is not supported.

    >>> import transformers
    >>> from tokenizers import Tokenizer, models
    >>> from deepseek_learn import lm
    >>> words = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    >>> fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words)
    >>> _ = fast.save_pretrained("model")
    >>> lm.tokenizer("model")("ab")["input_ids"]
    [2]
    """
    transformers = require("transformers", extra="hf", purpose=PURPOSE)
    path = Path(path)
    if path.suffix != ".gguf":
        if not path.is_dir():
            raise FileNotFoundError(f"there is no folder {path}.")
        return transformers.AutoTokenizer.from_pretrained(path)
    reader = opened(path)
    tokens = _facts(reader, "tokens")
    special = {}
    for kind in ("bos", "eos", "unk", "pad"):
        name = "unknown" if kind == "unk" else "padding" if kind == "pad" else kind
        number = _facts(reader, f"{name}_token_id")
        if number is not None:
            special[f"{kind}_token"] = tokens[number]
    template = reader.fields.get("tokenizer.chat_template")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend(reader),
        chat_template=template and template.contents(),
        clean_up_tokenization_spaces=False,
        **special,
    )


def backend(reader: "GGUFReader") -> "Tokenizer":
    """Build the tokenizer in a GGUF file.

    Raises:
        MissingPackageError: if the package tokenizers is not installed.
        ValueError: if the file's tokenizer is not supported.
    """
    tokenizers = require("tokenizers", extra="language", purpose=PURPOSE)
    kind = _facts(reader, "model")
    if kind not in ("gpt2", "llama"):
        raise ValueError(
            f"tokenizer.ggml.model must be 'gpt2' or 'llama'; got {kind!r}."
        )
    tokens: list[str] = _facts(reader, "tokens")
    built = (_of_bytes if kind == "gpt2" else _of_characters)(reader, tokens)
    types = _facts(reader, "token_type") or []
    for wanted, add in (
        (CONTROL, built.add_special_tokens),
        (USER_DEFINED, built.add_tokens),
    ):
        chosen = [t for t, type in zip(tokens, types, strict=False) if type == wanted]
        add([tokenizers.AddedToken(t, normalized=False) for t in chosen])
    ends = [
        _facts(reader, f"{end}_token_id")
        if _facts(reader, f"add_{end}_token", kind == "llama" and end == "bos")
        else None
        for end in ("bos", "eos")
    ]
    _add_ends(built, [None if end is None else (tokens[end], end) for end in ends])
    return built


def _facts(reader: "GGUFReader", name: str, default: Any = None) -> Any:
    field = reader.fields.get(f"tokenizer.ggml.{name}")
    return default if field is None else field.contents()


def _of_bytes(reader: "GGUFReader", tokens: Sequence[str]) -> "Tokenizer":
    """Byte-pair encoding of bytes, as in GPT-2, Llama 3, Qwen and SmolLM."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    rule = _facts(reader, "pre", "default")
    if rule not in (*PLAIN, *RULES):
        known = ", ".join((*PLAIN, *RULES))
        raise ValueError(f"tokenizer.ggml.pre must be one of {known}; got {rule!r}.")
    pairs = [tuple(pair.split(" ")) for pair in _facts(reader, "merges")]
    vocab = {token: i for i, token in enumerate(tokens)}
    whole = RULES.get(rule) == RULES["llama-bpe"]  # a word that is a token stays whole
    built = tokenizers.Tokenizer(models.BPE(vocab, pairs, ignore_merges=whole))
    steps: list[Any] = []
    if rule == "smollm":
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if rule in RULES:
        regex = tokenizers.Regex(RULES[rule])
        steps.append(pre_tokenizers.Split(regex, "isolated"))
    steps.append(
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule in PLAIN)
    )
    built.pre_tokenizer = pre_tokenizers.Sequence(steps)
    built.decoder = decoders.ByteLevel()
    return built


def _of_characters(reader: "GGUFReader", tokens: Sequence[str]) -> "Tokenizer":
    """SentencePiece's encoding of characters, as in Llama 2, Mistral and Gemma."""
    import tokenizers
    from tokenizers import decoders, models, normalizers

    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [*_merges(vocab, _facts(reader, "scores"))]
    unknown = _facts(reader, "unknown_token_id")
    built = tokenizers.Tokenizer(
        models.BPE(
            vocab,
            merges,
            unk_token=None if unknown is None else tokens[unknown],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    prefix = _facts(reader, "add_space_prefix", True)
    before = [normalizers.Prepend(SPACE)] if prefix else []
    built.normalizer = normalizers.Sequence([*before, normalizers.Replace(" ", SPACE)])
    after = [decoders.Strip(" ", 1, 0)] if prefix else []
    built.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *after,
        ]
    )
    return built


def _merges(vocab: dict[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """Return the pairs that make a token, those of the best score first."""

    def pairs() -> Iterator[tuple[float, int, int, str, str]]:
        for token, number in vocab.items():
            for at in range(1, len(token)):
                left, right = token[:at], token[at:]
                if left in vocab and right in vocab:
                    yield -scores[number], vocab[left], vocab[right], left, right

    return [(left, right) for *_, left, right in sorted(pairs())]


def _add_ends(built: "Tokenizer", ends: Sequence[tuple[str, int] | None]) -> None:
    """Add tokens before and after each text that is encoded."""
    from tokenizers import processors

    first, last = ([end[0]] if end else [] for end in ends)
    if first or last:
        built.post_processor = processors.TemplateProcessing(
            single=[*first, "$A", *last],
            pair=[*first, "$A", *last, *(f"{t}:1" for t in first), "$B:1"]
            + [f"{t}:1" for t in last],
            special_tokens=[end for end in ends if end],
        )
