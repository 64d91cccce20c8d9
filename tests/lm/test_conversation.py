"""A conversation: its cache is kept, stop texts end it, pieces are whole characters."""

import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from typer.testing import CliRunner

from deepseek_learn import cli, lm
from deepseek_learn.dpg import backend
from deepseek_learn.lm.sampling import Sampler, penalized, probabilities

from .references import scatter

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ROLES = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def tokenizer(template: str | None = TEMPLATE):
    """Bytes and the ends of messages; the end of a reply is not its eos_token."""
    built = Tokenizer(models.BPE({letter: i for i, letter in enumerate(BYTES)}, []))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(role) for role in ROLES])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=built)
    fast.chat_template = template
    return fast


def model(limit=256):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(BYTES) + len(ROLES),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=limit,
    )
    return transformers.LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    llama = model()
    scatter(llama)
    llama.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return lm.load(saved)


class Scripted(lm.Conversation):
    """Says what the test wants, one token a time."""

    def script(self, text: str, end: bool = True):
        ends = ["<|end|>"] if end else []
        tokens = self.tokenizer(text)["input_ids"]
        self.wanted = iter([*tokens, *self.tokenizer.convert_tokens_to_ids(ends)])
        return self

    def _continue(self, tokens):
        logits = torch.full((self.model.config.vocab_size,), -9.0)
        logits[next(self.wanted)] = 9.0
        return logits


def test_a_template_ends_the_reply(loaded):
    conversation = Scripted(loaded, tokenizer(), system="Be kind.").script("yes")
    assert list(conversation.say("Well?")) == ["y", "e", "s"]
    assert conversation.messages == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Well?"},
        {"role": "assistant", "content": "yes"},
    ]


def test_pieces_are_whole_characters(loaded):
    conversation = Scripted(loaded, tokenizer()).script("é光!")
    assert list(conversation.say("a")) == ["é", "光", "!"]


@pytest.mark.parametrize(
    ("said", "stop", "pieces"),
    [
        ("one two", ["tw"], ["o", "n", "e", " "]),
        ("one two", ["zzz", "two", "wo"], ["o", "n", "e", " "]),
        ("tatata-", ["tata-"], ["ta"]),
        ("a ta", ["tan"], ["a", " ", "ta"]),
        ("ab", ["x"], ["a", "b"]),
    ],
)
def test_a_stop_text_ends_the_reply_and_is_not_shown(loaded, said, stop, pieces):
    conversation = Scripted(loaded, tokenizer()).script(said)
    assert list(conversation.say("a", stop=stop)) == pieces
    assert conversation.messages[-1]["content"] == "".join(pieces)


@pytest.mark.parametrize("fast", [False, True])
def test_the_cache_of_earlier_turns_gives_what_reading_anew_gives(loaded, fast):
    if fast and backend().name != "cpp":
        pytest.skip(f"the C++ kernel is not in use: {backend().reason}")
    words = tokenizer()
    conversation = lm.Conversation(loaded, words, fast=fast)
    for said in ("Hello!", "And now?", "x"):
        before = list(conversation.messages)
        reply = "".join(conversation.say(said, 20, temperature=1.0, seed=3))
        tokens = words.apply_chat_template(
            [*before, {"role": "user", "content": said}],
            add_generation_prompt=True,
            return_dict=False,
        )
        stop = words.convert_tokens_to_ids(["<|end|>"])
        options = {"temperature": 1.0, "seed": 3, "stop": stop}
        anew = lm.generate(loaded, [tokens], 20, **options)[0]
        assert reply == words.decode(anew, skip_special_tokens=True)


def test_what_was_read_is_not_read_again(loaded, monkeypatch):
    read = []
    step = loaded.step

    def counted(ids, *rest):
        read.append(ids.shape[1])
        return step(ids, *rest)

    monkeypatch.setattr(loaded, "step", counted)
    words = tokenizer(None)  # the next text continues the last reply
    letter = torch.tensor([words("z")["input_ids"]])
    monkeypatch.setattr(Sampler, "draw", lambda sampler, p: letter)
    conversation = lm.Conversation(loaded, words)
    assert "".join(conversation.say("abc", 2)) == "zz"
    assert "".join(conversation.say("de", 1)) == "z"
    assert read == [3, 1, 3]  # at last: what ended the reply, and the two new ones


def test_a_reply_that_is_not_read_to_its_end(loaded):
    conversation = Scripted(loaded, tokenizer()).script("yes")
    assert next(conversation.say("a")) == "y"
    list(conversation.script("no").say("b"))
    roles = [(m["role"], m["content"]) for m in conversation.messages]
    assert roles == [
        ("user", "a"),
        ("assistant", "y"),
        ("user", "b"),
        ("assistant", "no"),
    ]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (" ", {}, "text must not be blank"),
        ("a", {"stop": [""]}, "stop must not contain an empty text"),
        ("a", {"max_new_tokens": 0}, "max_new_tokens must be from 1 to 252; got 0"),
        ("a", {"max_new_tokens": 253}, "max_new_tokens must be from 1 to 252; got 253"),
        ("a" * 254, {}, "capacity of 256 tokens; got 257"),
        ("a", {"top_k": 0}, "top_k must be at least 1"),
        ("a", {"repetition_penalty": 0}, "repetition_penalty must be above 0"),
        ("a", {"top_p": 0}, "top_p must be above 0"),
    ],
)
def test_what_is_refused_was_not_said(loaded, text, options, said):
    conversation = lm.Conversation(loaded, tokenizer())
    with pytest.raises(ValueError, match=said):
        conversation.say(text, **options)
    assert not conversation.messages


def test_settings_that_are_refused(loaded):
    with pytest.raises(ValueError, match="capacity must be from 1 to 256; got 257"):
        lm.Conversation(loaded, tokenizer(), capacity=257)
    with pytest.raises(TypeError, match="stop must be a list of texts; got 'ab'"):
        lm.Conversation(loaded, tokenizer()).say("a", stop="ab")
    strict = (
        "{% if messages[0].role == 'system' %}"
        "{{ raise_exception('no system message') }}{% endif %}"
    )
    with pytest.raises(ValueError, match="roles system, user: no system message"):
        lm.Conversation(loaded, tokenizer(strict + TEMPLATE), system="Be kind.")


def test_a_repetition_penalty_as_in_ctrl():
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert penalized(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_top_k_keeps_the_most_likely():
    p = probabilities(torch.tensor([1.0, 3.0, 2.0, 0.0]), top_k=2)
    assert p.tolist() == pytest.approx([0, 0.7310586, 0.2689414, 0])
    assert probabilities(torch.zeros(4), top_k=9).tolist() == [0.25] * 4


@pytest.mark.parametrize("fast", [False, True])
def test_a_strong_penalty_repeats_nothing(loaded, fast):
    if fast and backend().name != "cpp":
        pytest.skip(f"the C++ kernel is not in use: {backend().reason}")
    options = {"repetition_penalty": 1e9, "fast": fast}
    (tokens,) = lm.generate(loaded, [[5, 7, 9]], 40, **options)
    assert len({*tokens, 5, 7, 9}) == 43


def test_the_command_talks_to_a_folder(saved):
    arguments = ["chat", str(saved), "--tokens", "5", "--temperature", "0"]
    runner = CliRunner()
    done = runner.invoke(cli.app, [*arguments, "--system", "x"], input="Hi\n\nYou\n")
    assert done.exit_code == 0, done.output
    conversation = lm.Conversation(lm.load(saved), tokenizer(), system="x")
    replies = ["".join(conversation.say(said, 5)) for said in ("Hi", "You")]
    assert done.output == "".join(f"{reply}\n" for reply in replies)
