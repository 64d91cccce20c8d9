"""A conversation with a language model, whose cache is kept from turn to turn."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .cache import Cache
from .decoding import Decoding
from .model import LanguageModel
from .sampling import Sampler, SamplingRules

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CAPACITY = 4096
UNFINISHED = "\ufffd"  # what a tokenizer writes for a character that is not complete
# `Decoding.read` takes about this fraction of the time of `step` for a token, or less;
# the choice between them changes only the time.
READ_TIME = 1 / 3


class Conversation:
    """A conversation in which a model answers one text after another.

    The tokenizer's chat template writes the messages; without one, the model continues
    the texts as they are. What the model has read of earlier turns stays in its cache.
    It is read anew only if the template changes it, or if a reply ended at a stop text.

    Args:
        model: a `LanguageModel`.
        tokenizer: the model's tokenizer, as `lm.tokenizer` loads it.
        system: an instruction that precedes the conversation.
        capacity: the largest number of tokens in all; by default, 4096 or what the model
            supports, if that is less.
        fast: whether to decode with `Decoding`, on a CPU and with a C++ compiler.

    Attributes:
        messages: the conversation so far, as dictionaries with the keys "role" and
            "content".

    Raises:
        ValueError: if `capacity` is out of range, or the tokenizer's chat template
            accepts no instruction.
        DeepSeekLearnError: if `fast` is requested for a model that cannot be decoded
            this way, or without a C++ compiler.

    >>> import transformers
    >>> from tokenizers import Tokenizer, models
    >>> from deepseek_learn import lm
    >>> words = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    >>> tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words)
    >>> model = lm.LanguageModel(lm.Config(num_hidden_layers=2, vocab_size=3)).eval()
    >>> conversation = lm.Conversation(model, tokenizer)
    >>> reply = "".join(conversation.say("ab", max_new_tokens=4))
    >>> [message["role"] for message in conversation.messages]
    ['user', 'assistant']
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: "PreTrainedTokenizerBase",
        *,
        system: str = "",
        capacity: int | None = None,
        fast: bool = False,
    ):
        limit = model.config.max_position_embeddings
        capacity = min(CAPACITY, limit) if capacity is None else capacity
        if not 1 <= capacity <= limit:
            raise ValueError(f"capacity must be from 1 to {limit}; got {capacity}.")
        self.model, self.tokenizer, self.capacity = model, tokenizer, capacity
        self.messages = [{"role": "system", "content": system}] if system else []
        self._decoding = Decoding(model, capacity) if fast else None
        self._cache: Cache | None = None
        self._read: list[int] = []  # the tokens in the cache
        if system:
            self._tokens([*self.messages, {"role": "user", "content": "x"}])
        self._ends = _ends(tokenizer)

    def say(
        self,
        text: str,
        max_new_tokens: int | None = None,
        *,
        stop: Sequence[str] = (),
        **rules: Any,
    ) -> Iterator[str]:
        """Say something, and yield the reply piece by piece.

        A reply that is not read to its end counts as said up to there.

        Args:
            max_new_tokens: by default, as many as fit in the capacity.
            stop: texts that end the reply. They are not part of it.
            **rules: how the next token is chosen: `temperature`, `top_p`, `top_k`,
                `repetition_penalty` and `seed`, as in `lm.stream`.

        Raises:
            TypeError: if `stop` is a single text.
            ValueError: if `text` is blank, an argument is out of range, or the
                conversation exceeds the capacity; nothing has been said then.
        """
        if isinstance(stop, str) or not all(isinstance(each, str) for each in stop):
            raise TypeError(f"stop must be a list of texts; got {stop!r:.40}.")
        if not text.strip():
            raise ValueError(f"text must not be blank; got {text!r}.")
        if "" in stop:
            raise ValueError(f"stop must not contain an empty text; got {list(stop)}.")
        sampler = SamplingRules(**rules).sampler(self.model, self.model.device)
        message = {"role": "user", "content": text}
        tokens = self._tokens([*self.messages, message])
        if not tokens:
            raise ValueError(
                f"text must have a token of the tokenizer; got {text!r:.40}."
            )
        room = self.capacity - len(tokens)
        if room < 1:
            raise ValueError(
                f"the conversation must be shorter than the capacity of {self.capacity} "
                f"tokens; got {len(tokens)} with this text."
            )
        budget = room if max_new_tokens is None else max_new_tokens
        if not 1 <= budget <= room:
            raise ValueError(f"max_new_tokens must be from 1 to {room}; got {budget}.")
        reply = {"role": "assistant", "content": ""}
        self.messages += [message, reply]
        return self._answer(tokens, budget, stop, sampler, reply)

    def _answer(
        self,
        prompt: list[int],
        budget: int,
        stop: Sequence[str],
        sampler: Sampler,
        message: dict[str, str],
    ) -> Iterator[str]:
        """Yield the reply to a prompt, and write it into the message."""
        tokens: list[int] = []
        history = sampler.history([prompt])  # [1, V]
        is_over = False
        while not is_over:
            with torch.inference_mode():
                logits = self._continue([*prompt, *tokens])  # [V]
                token = int(sampler.draw(sampler.of_logits(logits[None], history)))
            tokens.append(token)
            history[0, token] = True
            is_over = len(tokens) == budget or token in self._ends
            text = str(self.tokenizer.decode(tokens, skip_special_tokens=True))
            start, pending = len(message["content"]), 0
            if ends := [text.index(end) for end in stop if end in text]:
                text, is_over = text[: min(ends)], True
            if not is_over:  # hold back what the next token may change
                pending = max([0, *(_overlap(text, end) for end in stop)])
                if text.endswith(UNFINISHED):
                    pending = max(pending, len(text) - start)
            new = text[start : len(text) - pending]
            message["content"] += new
            if new:
                yield new

    def _continue(self, tokens: list[int]) -> Tensor:
        """Read the tokens that are not in the cache; return the last one's logits."""
        old = len(self._read)
        if tokens[:old] != self._read or old == len(tokens):
            old = 0
        decoding, device = self._decoding, self.model.device
        # If this is interrupted, the cache is read anew.
        self._read = []
        if decoding is None:
            if not old:
                self._cache = Cache(self.model, 1, self.capacity)
            ids = torch.tensor([tokens[old:]], device=device)
            assert self._cache is not None
            hidden = self.model.hidden(self.model.step(ids, self._cache))
            logits = self.model.logits(hidden[:, -1])[0]
        elif len(tokens) - old < READ_TIME * len(tokens):
            for token in tokens[old:]:
                logits = decoding.step(token)
        else:
            logits = decoding.read(torch.tensor(tokens))
        self._read = tokens
        return logits

    def _tokens(self, messages: list[dict[str, str]]) -> list[int]:
        if not self.tokenizer.chat_template:
            text = "".join(message["content"] for message in messages)
            return list(self.tokenizer(text)["input_ids"])
        from jinja2 import TemplateError

        try:
            tokens = self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=False
            )
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ValueError(
                f"The chat template of the tokenizer does not accept the roles {roles}: "
                f"{error}"
            ) from error
        return list(tokens)


def _ends(tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Return the tokens that end a reply: the tokenizer's and the chat template's."""
    end = tokenizer.eos_token_id
    ends = set() if end is None else {int(end)}
    if not tokenizer.chat_template:
        return ends
    mark = "reply"
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": mark},
    ]
    written = str(tokenizer.apply_chat_template(messages, tokenize=False))
    after = written[written.rindex(mark) + len(mark) :]
    first = tokenizer(after, add_special_tokens=False)["input_ids"][:1]
    return ends | {*first}.intersection(tokenizer.added_tokens_decoder)


def _overlap(reply: str, stop: str) -> int:
    """Return how many characters at the end of a reply may begin a stop text."""
    sizes = range(min(len(stop) - 1, len(reply)), 0, -1)
    return next((size for size in sizes if reply.endswith(stop[:size])), 0)
