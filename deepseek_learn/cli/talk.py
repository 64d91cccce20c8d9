"""Talk to a language model at the terminal."""

import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

Answer = Callable[[str], Iterator[str]]


def chat(
    what: Annotated[
        str, typer.Argument(help="zoo:NAME, a folder of transformers or a .gguf file")
    ],
    prompt: Annotated[
        str | None, typer.Option(help="answer or continue this text, then exit")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="poem, verse, prose or manual, for zoo:NAME")
    ] = "",
    system: Annotated[str, typer.Option(help="an instruction, for a file")] = "",
    tokens: Annotated[
        int | None, typer.Option(help="maximum number of new tokens")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 for greedy decoding")] = 0.8,
    top_p: Annotated[float, typer.Option(help="nucleus sampling threshold")] = 0.95,
    top_k: Annotated[
        int | None, typer.Option(help="sample from this many likely tokens")
    ] = None,
    repetition_penalty: Annotated[
        float, typer.Option(help="above 1: fewer repetitions")
    ] = 1.0,
    stop: Annotated[
        list[str] | None, typer.Option(help="a text that ends a reply, for a file")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="for reproducible output", min=0, max=2**63 - 1)
    ] = None,
    drafts: Annotated[
        bool, typer.Option(help="use speculative decoding, for zoo:NAME")
    ] = False,
    fast: Annotated[
        bool, typer.Option(help="compile the decoder with the system's C++ compiler")
    ] = False,
) -> None:
    """Answer or continue --prompt, or each line typed at the terminal.

    A model of the zoo continues each text. A model in a folder or a file answers in a
    conversation, if its tokenizer has a chat template.
    """
    source, _, name = what.partition(":")
    options: dict[str, Any] = {
        "max_new_tokens": tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "repetition_penalty": repetition_penalty,
        "seed": seed,
    }
    if source == "zoo":
        _only_for("a folder or a file", system=system, stop=stop)
        options |= {"speculative": drafts, "fast": fast}
        answer, is_continuation = _writer(name, kind or None, options), True
    elif Path(what).exists():
        _only_for("zoo:NAME", kind=kind, drafts=drafts)
        answer, is_continuation = _conversation(what, system, fast, stop, options)
    else:
        raise ValueError(
            f"the model must be zoo:NAME, or a folder or .gguf file that exists; got "
            f"{what!r}."
        )
    for line in sys.stdin if prompt is None else [prompt]:
        if prompt is None and not line.strip():
            continue
        start = line.rstrip("\n")
        pieces = answer(start)
        first = next(pieces, "")  # raise any error before printing the prompt
        if is_continuation:
            typer.echo(start, nl=False)
        for piece in chain([first], pieces):
            typer.echo(piece, nl=False)
            sys.stdout.flush()
        typer.echo()


def _only_for(models: str, **options: Any) -> None:
    for name, value in options.items():
        if value:
            raise ValueError(f"--{name} is only for {models}; got {value!r}.")


def _writer(name: str, kind: str | None, options: dict[str, Any]) -> Answer:
    from .. import zoo

    writer = zoo.writer(name)
    return lambda text: writer.stream(text, kind, **options)


def _conversation(
    path: str,
    system: str,
    fast: bool,
    stop: list[str] | None,
    options: dict[str, Any],
) -> tuple[Answer, bool]:
    """Return what answers, and whether it only continues texts."""
    from .. import lm

    tokenizer = lm.tokenizer(path)
    packed = path.endswith(".gguf")
    model = lm.load(path, packed=packed, progress=sys.stderr.isatty())
    conversation = lm.Conversation(model, tokenizer, system=system, fast=fast)

    def answer(text: str) -> Iterator[str]:
        return conversation.say(text, stop=stop or (), **options)

    return answer, not tokenizer.chat_template
