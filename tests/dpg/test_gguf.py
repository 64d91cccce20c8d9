"""GGUF files hold what the packed model computes, and refuse what they cannot hold."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deepseek_learn import dpg
from deepseek_learn.dpg.gguf import blocks
from deepseek_learn.dpg.gguf_vocabulary import SPLITS, vocabulary_of
from tests.services import need

gguf = need("gguf")
transformers = need("transformers")
tokenizers = need("tokenizers")

LLAMA_CPP = Path(__file__).parents[2] / "benchmarks/language/llama_cpp_scores.py"
TOKENS = 320
HOW = {"group_size": 32, "levels": (4, 5, 8), "granularity": "layer"}
SIZES = {
    "vocab_size": TOKENS,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
PLAIN = {"rope_type": "default", "rope_theta": 1e4}
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
CONFIGS = {
    "llama": ("LlamaConfig", {}),
    "llama, tied, biases, wide heads": (
        "LlamaConfig",
        {"tie_word_embeddings": True, "attention_bias": True, "head_dim": 32},
    ),
    "llama 3": ("LlamaConfig", {"rope_parameters": LLAMA_3}),
    "llama, one key head": ("LlamaConfig", {"num_key_value_heads": 1}),
    "llama, stretched": ("LlamaConfig", {"rope_parameters": LINEAR}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2, tied": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {"head_dim": 48}),
    "gemma3": (
        "Gemma3TextConfig",
        {
            "num_hidden_layers": 7,
            "head_dim": 32,
            "query_pre_attn_scalar": 32,
            "sliding_window": 16,
        },
    ),
}


def built(name, **changes):
    kind, options = CONFIGS[name]
    config = getattr(transformers, kind)(**SIZES | options | changes)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():  # norms that are not 1, biases that are not 0
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def compressed(model, **options):
    tokens = torch.randint(3, TOKENS, (4, 24))
    options = {"bits": 5, "logits": lambda m, x: m(x).logits, **HOW, **options}
    return dpg.compress(model, [tokens], **options).model


def byte_level(before=None, **model):
    kinds = tokenizers.pre_tokenizers
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(**model))
    last = kinds.ByteLevel(
        add_prefix_space=False, use_regex=type(before) is not kinds.Split
    )
    tokenizer.pre_tokenizer = kinds.Sequence([before, last]) if before else last
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=kinds.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the lazy dog and the quick fox"] * 3, trainer)
    return fast(tokenizer)


def fast(tokenizer, **options):
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    kind = transformers.PreTrainedTokenizerFast
    return kind(tokenizer_object=tokenizer, **special, **options)


@pytest.fixture(scope="module")
def tokenizer():
    return byte_level()


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_blocks_are_those_of_ggml(bits):
    codes = dpg.quantize(torch.randn(40, 96), bits, 32)
    kind = gguf.GGMLQuantizationType[{4: "Q4_0", 5: "Q5_0", 8: "Q8_0"}[bits]]
    order = torch.randperm(40)
    weights = gguf.quants.dequantize(blocks(codes, order), kind)
    assert torch.equal(torch.from_numpy(weights), codes.dequantize()[order])


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_reads_the_same_model(name, tokenizer, tmp_path):
    model = built(name)
    small = compressed(model)
    path = dpg.to_gguf(small, tokenizer, tmp_path / "model.gguf")
    # its reader ignores the size of heads: that is given
    back = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, config=model.config
    ).eval()
    tokens = torch.randint(3, TOKENS, (2, 40))
    with torch.no_grad(), dpg.use_backend("torch"):
        expected = small(tokens).logits
    with torch.no_grad():
        difference = (back(tokens).logits - expected).norm() / expected.norm()
    # Gemma's embedding is no nn.Embedding, stays in float and is stored in float16
    assert difference < (2e-3 if name == "gemma3" else 1e-6)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    text = "The lazy fox, 123 naïve 北京!"
    assert read(text)["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_llama_cpp_computes_what_the_model_does(name, tokenizer, tmp_path):
    need("xllamacpp")
    small = compressed(built(name))
    path = dpg.to_gguf(small, tokenizer, tmp_path / "model.gguf")
    tokens = torch.randint(
        3, TOKENS, (2, 20), generator=torch.Generator().manual_seed(2)
    )
    np.save(tmp_path / "tokens.npy", tokens.numpy())
    command = [sys.executable, LLAMA_CPP, path, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = torch.from_numpy(np.load(tmp_path / "log_p.npy"))
    with torch.no_grad(), dpg.use_backend("torch"):
        ours = small(tokens).logits.log_softmax(-1)[:, :-1]
    assert theirs.shape == ours.shape
    # llama.cpp rounds activations to 8 bits, and attends in float16
    divergence = (ours.exp() * (ours - theirs)).sum(-1)
    assert divergence.max() < 1e-3


def test_the_header_says_what_transformers_does_not_read(tokenizer, tmp_path):
    model = built("gemma3")
    path = dpg.to_gguf(compressed(model), tokenizer, tmp_path / "model.gguf")
    fields = gguf.GGUFReader(path).fields
    values = {
        name: fields[f"gemma3.{name}"].contents()
        for name in (
            "attention.key_length",
            "attention.sliding_window",
            "rope.freq_base",
            "rope.freq_base_swa",
            "attention.head_count_kv",
        )
    }
    assert list(values.values()) == [32, 16, 1e6, 1e4, 3]
    assert len(fields["tokenizer.ggml.tokens"].contents()) == TOKENS
    types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors}
    assert types["token_embd.weight"] == "F16"
    assert "output.weight" not in types  # tied
    assert types["blk.0.attn_q_norm.weight"] == "F32"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"granularity": "rows"}, "has rows of .* bits, but a tensor .* one type"),
        ({"levels": (3, 6)}, "has [36] bits; GGUF's simple types have 4, 5 and 8"),
        ({"group_size": 64, "levels": (4,), "bits": 4}, "in groups of 64"),
        ({"refine": True}, "has a refinement"),
    ],
)
def test_what_is_no_block_is_refused(options, sentence, tokenizer, tmp_path):
    model = built("llama", hidden_size=192)
    small = compressed(model, **options)
    with pytest.raises(dpg.GGUFError, match=sentence):
        dpg.to_gguf(small, tokenizer, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("llama", {"hidden_act": "gelu"}, "does not support the activation 'gelu'"),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "rope_theta": 1e4,
                    "factor": 2.0,
                }
            },
            "does not support rotary embeddings of the kind",
        ),
        ("llama", {"mlp_bias": True, "hidden_act": "relu"}, "the activation 'relu'"),
        (
            "gemma3",
            {"query_pre_attn_scalar": 64},
            "query_pre_attn_scalar 64 with heads",
        ),
        ("gemma3", {"layer_types": 7 * ["full_attention"]}, "sliding windows"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "soft-capped logits"),
    ],
)
def test_options_that_llama_cpp_has_not(name, changes, sentence, tokenizer, tmp_path):
    small = compressed(built(name, **changes), bits=4, criterion="uniform")
    with pytest.raises(dpg.GGUFError, match=sentence):
        dpg.to_gguf(small, tokenizer, tmp_path / "model.gguf")


def test_a_head_that_is_not_the_embedding_is_not_lost(tokenizer, tmp_path):
    model = built("llama")
    small = compressed(model)
    small.config.tie_word_embeddings = True
    with pytest.raises(dpg.GGUFError, match="tie_word_embeddings is True, but lm_head"):
        dpg.to_gguf(small, tokenizer, tmp_path / "model.gguf")


def test_small_scales_are_rounded_to_steps_of_float16():
    weight = 1e-5 * torch.randn(8, 64)
    codes = dpg.quantize(weight, 4, 32)
    kind = gguf.GGMLQuantizationType.Q4_0
    back = torch.from_numpy(gguf.quants.dequantize(blocks(codes), kind))
    assert 0 < (back - codes.dequantize()).abs().max() <= 8 * 2.0**-25


def test_models_of_other_kinds(tokenizer, tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(64, 32))
    with pytest.raises(dpg.GGUFError, match="one of transformers' language models"):
        dpg.to_gguf(net, tokenizer, tmp_path / "model.gguf")
    with pytest.raises(dpg.GGUFError, match="model must be compressed, with"):
        dpg.to_gguf(built("llama"), tokenizer, tmp_path / "model.gguf")


def regex(pattern):
    split = tokenizers.pre_tokenizers.Split
    return split(tokenizers.Regex(pattern), behavior="isolated")


@pytest.mark.parametrize("pattern", SPLITS)
def test_rules_that_have_a_name(pattern):
    ignores = SPLITS[pattern] == "llama-bpe"
    vocabulary = vocabulary_of(
        byte_level(regex(pattern), ignore_merges=ignores), TOKENS
    )
    assert (vocabulary.model, vocabulary.pre) == ("gpt2", SPLITS[pattern])
    other = byte_level(regex(pattern), ignore_merges=not ignores)
    with pytest.raises(dpg.GGUFError, match=f"ignore_merges={not ignores}"):
        vocabulary_of(other, TOKENS)


def test_the_rules_of_gpt_2_and_smollm(tokenizer):
    assert vocabulary_of(tokenizer, TOKENS).pre == "gpt-2"
    digits = tokenizers.pre_tokenizers.Digits(individual_digits=True)
    assert vocabulary_of(byte_level(digits), TOKENS).pre == "smollm"


def changed(**steps):
    other = byte_level()
    for name, step in steps.items():
        setattr(other.backend_tokenizer, name, step)
    return other


def test_texts_that_llama_cpp_would_split_in_another_way():
    pieces, steps = tokenizers.pre_tokenizers, tokenizers.normalizers
    spaced = pieces.ByteLevel(add_prefix_space=True)
    others = (
        byte_level(regex(r"\s")),
        changed(pre_tokenizer=spaced),
        changed(normalizer=steps.Lowercase()),
    )
    for other in others:
        with pytest.raises(dpg.GGUFError, match="split texts as those of GPT-2"):
            vocabulary_of(other, TOKENS)
    assert vocabulary_of(changed(normalizer=steps.NFC()), TOKENS).pre == "gpt-2"


def test_tokens_without_a_word_are_unused(tokenizer):
    vocabulary = vocabulary_of(tokenizer, TOKENS)
    count = len(tokenizer)
    assert vocabulary.types[:3] == [3, 3, 3]  # control
    assert set(vocabulary.types[3:count]) == {1}
    assert set(vocabulary.types[count:]) == {5}
    assert vocabulary.special == {"bos": 0, "eos": 1, "pad": 2}
    with pytest.raises(dpg.GGUFError, match=f"but the model only {count - 1} tokens"):
        vocabulary_of(tokenizer, count - 1)


def test_sentencepiece_has_scores_in_the_order_of_its_merges():
    bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    words = ["<unk>", "<s>", "</s>", *bytes_, "\u2581", "a", "b", "ab", "\u2581ab"]
    merges = [("a", "b"), ("\u2581", "ab")]
    model = tokenizers.models.BPE(
        {word: n for n, word in enumerate(words)},
        merges,
        byte_fallback=True,
        unk_token="<unk>",
    )
    inner = tokenizers.Tokenizer(model)
    inner.normalizer = tokenizers.normalizers.Sequence(
        [
            tokenizers.normalizers.Prepend("\u2581"),
            tokenizers.normalizers.Replace(" ", "\u2581"),
        ]
    )
    inner.add_special_tokens(["<s>", "</s>"])
    vocabulary = vocabulary_of(fast(inner), TOKENS)
    assert (vocabulary.model, vocabulary.adds["space"]) == ("llama", True)
    score = dict(zip(vocabulary.tokens, vocabulary.scores, strict=True))
    assert score["ab"] > score["\u2581ab"] > score["a"]
    kinds = dict(zip(vocabulary.tokens, vocabulary.types, strict=True))
    assert (kinds["<unk>"], kinds["<s>"], kinds["<0x0A>"], kinds["a"]) == (2, 3, 6, 1)


def test_tokenizers_of_other_kinds():
    words = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0}))
    with pytest.raises(dpg.GGUFError, match="WordPiece has no place"):
        vocabulary_of(fast(words), TOKENS)
    with pytest.raises(dpg.GGUFError, match="fast one of transformers; got a str"):
        vocabulary_of("tokenizer.json", TOKENS)


def test_a_full_disk_leaves_the_old_file(tokenizer, tmp_path, full_disk):
    path = tmp_path / "model.gguf"
    path.write_text("the old one")
    small = compressed(built("llama"))
    with full_disk, pytest.raises(OSError, match=r"model\.gguf could not be written: "):
        dpg.to_gguf(small, tokenizer, path)
    assert path.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_without_a_head_is_refused(tokenizer, tmp_path, tied):
    small = compressed(built("llama", tie_word_embeddings=tied))
    with pytest.raises(dpg.GGUFError, match=r"must have a head, .* got a LlamaModel"):
        dpg.to_gguf(small.model, tokenizer, tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())
