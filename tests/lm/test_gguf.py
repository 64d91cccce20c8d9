"""GGUF files become the models that were written, in float and packed."""

import json

import numpy as np
import pytest
import torch

from deepseek_learn import dpg, lm
from deepseek_learn.dpg.gguf_vocabulary import SPLITS
from deepseek_learn.errors import DamagedFileError
from tests.dpg.test_gguf import CONFIGS, TOKENS, built, byte_level, compressed, fast
from tests.services import need

gguf = need("gguf")
transformers = need("transformers")
tokenizers = need("tokenizers")
TEXTS = ("The lazy fox, 123 naïve 北京!", "  two  spaces\n\nand 'quotes' 4,567.89", "")


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_is_the_model_that_was_written(name, tmp_path):
    small = compressed(built(name))
    path = dpg.to_gguf(small, byte_level(), tmp_path / "model.gguf")
    tokens = torch.randint(3, TOKENS, (1, 40))
    with torch.no_grad(), dpg.use_backend("torch"):
        expected = small(tokens).logits
        for packed in (False, True):
            ours = lm.load(path, packed=packed)
            # Gemma's embedding is stored in float16, and packed in 8 bits
            limit = 1e-5 if name != "gemma3" else 2e-2 if packed else 2e-3
            difference = (ours(tokens) - expected).norm() / expected.norm()
            assert difference < limit, packed


def mixture(kind):
    sizes = {
        "vocab_size": TOKENS,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 128,
    }
    if kind == "Qwen3Moe":
        sizes |= {"num_experts": 6, "moe_intermediate_size": 32, "norm_topk_prob": True}
        sizes |= {"num_experts_per_tok": 2}
    else:
        sizes |= {"num_local_experts": 5, "sliding_window": None}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    model.set_experts_implementation("eager")
    return model


def write_mixture(model, architecture, path, type="Q8_0"):
    """Write a mixture of experts as llama.cpp's conversion does."""
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    experts = getattr(config, "num_local_experts", None) or config.num_experts
    writer.add_expert_count(experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    if architecture == "qwen3moe":
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    names = gguf.get_tensor_name_map(
        getattr(gguf.MODEL_ARCH, architecture.upper()), config.num_hidden_layers
    )
    kinds = gguf.GGMLQuantizationType
    for name, weight in model.state_dict().items():
        data, kind = weight.numpy(), kinds.F32
        if weight.dim() > 1 and not name.endswith("gate.weight"):
            kind = kinds[type]
            data = gguf.quants.quantize(data, kind)  # [..., rows, bytes]
            weight.copy_(torch.tensor(gguf.quants.dequantize(data, kind)))
        parts = {name: data}
        if name.endswith("experts.gate_up_proj"):
            gate, up = np.split(data, 2, 1)
            block = name.removesuffix("gate_up_proj")
            parts = {f"{block}gate_proj": gate, f"{block}up_proj": up}
        for key, rows in parts.items():
            own = f"{names.get_name(key.removesuffix('.weight'))}.weight"
            if architecture == "llama" and ("attn_q." in own or "attn_k." in own):
                heads = rows.reshape(-1, 2, config.head_dim // 2, rows.shape[-1])
                rows = heads.swapaxes(1, 2).reshape(rows.shape)
            writer.add_tensor(own, np.ascontiguousarray(rows), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("type", ["Q4_0", "Q4_1", "Q5_0", "Q8_0", "F16"])
@pytest.mark.parametrize("kind", ["Qwen3Moe", "Mixtral"])
def test_mixtures_of_experts(kind, type, tmp_path):
    model, path = mixture(kind), tmp_path / "model.gguf"
    write_mixture(model, "qwen3moe" if kind == "Qwen3Moe" else "llama", path, type)
    tokens = torch.randint(TOKENS, (1, 40))
    with torch.no_grad(), dpg.use_backend("torch"):
        expected = model(tokens).logits
        assert torch.allclose(lm.load(path)(tokens), expected, atol=1e-5)
        small = lm.load(path, packed=True)
        difference = (small(tokens) - expected).norm() / expected.norm()
    # scales are rounded to bfloat16, and the types without codes to 8 bits
    assert 0 < difference < 2e-2
    assert dpg.bytes_of(small) < 0.4 * sum(p.nbytes for p in model.parameters())


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_decodes_as_its_model(packed, tmp_path):
    small = compressed(built("qwen3"))
    path = dpg.to_gguf(small, byte_level(), tmp_path / "model.gguf")
    model = lm.load(path, packed=packed)
    tokens = torch.randint(3, TOKENS, (40,))
    with torch.no_grad(), dpg.use_backend("torch"):
        expected = model(tokens[None])[0]
    decoding = lm.Decoding(model, 48)
    rows = [decoding.read(tokens[:17])]
    rows += [decoding.step(int(token)).clone() for token in tokens[17:]]
    difference = (torch.stack(rows) - expected[16:]).norm() / expected.norm()
    assert difference < (2e-2 if packed else 1e-5)  # packed: activations in 8 bits


def digits():
    return tokenizers.pre_tokenizers.Digits(individual_digits=True)


def split(name):
    rule = next(rule for rule, known in SPLITS.items() if known == name)
    kind = tokenizers.pre_tokenizers.Split
    return kind(tokenizers.Regex(rule), behavior="isolated")


def of_characters(prefix):
    """A tokenizer of SentencePiece's kind, trained on a few words."""
    steps = tokenizers.normalizers
    inner = tokenizers.Tokenizer(
        tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    before = [steps.Prepend("\u2581")] if prefix else []
    inner.normalizer = steps.Sequence([*before, steps.Replace(" ", "\u2581")])
    kinds = tokenizers.decoders
    after = [kinds.Strip(" ", 1, 0)] if prefix else []
    inner.decoder = kinds.Sequence(
        [kinds.Replace("\u2581", " "), kinds.ByteFallback(), kinds.Fuse(), *after]
    )
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=310, special_tokens=special + bytes_, show_progress=False
    )
    inner.train_from_iterator(["the lazy dog and the quick fox"] * 3, trainer)
    # the bytes are tokens of the model, not special ones
    facts = json.loads(inner.to_str())
    facts["added_tokens"] = [
        t for t in facts["added_tokens"] if t["content"] in special
    ]
    return fast(tokenizers.Tokenizer.from_str(json.dumps(facts)))


MADE = {
    "gpt-2": byte_level,
    "smollm": lambda: byte_level(digits()),
    "llama-bpe": lambda: byte_level(split("llama-bpe"), ignore_merges=True),
    "qwen2": lambda: byte_level(split("qwen2")),
    "characters": lambda: of_characters(False),
    "characters, a space before": lambda: of_characters(True),
}


@pytest.mark.parametrize("name", MADE)
def test_a_file_has_the_tokenizer_that_was_written(name, tmp_path):
    written = MADE[name]()
    written.chat_template = "{% for m in messages %}<s>{{ m.content }}{% endfor %}"
    small = compressed(built("llama"))
    path = dpg.to_gguf(small, written, tmp_path / "model.gguf")
    read = lm.tokenizer(path)
    for text in TEXTS:
        ids = written(text)["input_ids"]
        assert read(text)["input_ids"] == ids
        assert read.decode(ids) == written.decode(ids)
    assert read.eos_token == "</s>"
    assert read("</s>")["input_ids"][-1] == read.eos_token_id
    message = [{"role": "user", "content": "a fox"}]
    one, two = (t.apply_chat_template(message, tokenize=False) for t in (read, written))
    assert one == two == "<s>a fox"


def test_a_token_before_each_text(tmp_path):
    written = byte_level()
    written.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        "<s> $A", None, [("<s>", 0)]
    )
    path = dpg.to_gguf(compressed(built("llama")), written, tmp_path / "model.gguf")
    assert lm.tokenizer(path)("the fox")["input_ids"] == written("the fox")["input_ids"]


def rewritten(path, **changes):
    """Write the file anew with other metadata."""
    reader = gguf.GGUFReader(path)
    architecture = changes.pop("architecture", "llama")
    other = path.with_name("other.gguf")
    writer = gguf.GGUFWriter(other, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value, kind = field.contents(), field.types[0]
        if name in changes:
            value = changes.pop(name)
            if value is None:
                continue
        sub = field.types[1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, kind, sub)
    for name, value in changes.items():
        writer.add_string(name, value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return other


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.gguf"
    return dpg.to_gguf(compressed(built("llama")), byte_level(), path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bytes", [0, 3, 100, 3000, 60_000])
def test_a_truncated_file(file, tmp_path, bytes, packed):
    path = tmp_path / "part.gguf"
    path.write_bytes(file.read_bytes()[:bytes])
    with pytest.raises(DamagedFileError, match="is not a complete GGUF file"):
        lm.load(path, packed=packed)
    with pytest.raises(DamagedFileError, match="is not a complete GGUF file"):
        lm.tokenizer(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "mamba"}, "must be one of llama, .* got 'mamba'"),
        ({"llama.rope.scaling.type": "longrope"}, "must be one of none, linear, yarn"),
        ({"llama.embedding_length": None}, "embedding_length must be given"),
    ],
)
def test_what_a_file_says_that_is_not_supported(file, changes, message):
    with pytest.raises(ValueError, match=message):
        lm.load(rewritten(file, **changes))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"llama.attention.head_count": 3}, "must have shape"),
        ({"llama.feed_forward_length": 96}, "must have shape"),
        ({"llama.block_count": 1}, "has unexpected weights"),
        ({"llama.block_count": 3}, "is missing weights"),
    ],
)
def test_weights_that_the_metadata_does_not_describe(file, changes, message, packed):
    with pytest.raises(DamagedFileError, match=message):
        lm.load(rewritten(file, **changes), packed=packed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.pre": "tekken"}, "pre must be one of gpt-2, .* got 'tekken'"),
        ({"tokenizer.ggml.model": "bert"}, "must be 'gpt2' or 'llama'; got 'bert'"),
    ],
)
def test_tokenizers_that_are_not_supported(file, changes, message):
    with pytest.raises(ValueError, match=message):
        lm.tokenizer(rewritten(file, **changes))


def test_paths_that_are_no_file(tmp_path):
    for load in (lm.load, lm.tokenizer):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            load(tmp_path / "model.gguf")
    with pytest.raises(ValueError, match="packed must be False for a folder"):
        lm.load(tmp_path, packed=True)
