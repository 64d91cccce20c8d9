"""Models of other families against `transformers`, on configurations drawn at random."""

import json
import random

import pytest
import torch
import transformers

from deepseek_learn import lm
from deepseek_learn.errors import DamagedFileError

LIMIT = 1e-5  # of a logit, in float32
SEEDS = range(10)
FAMILIES = ("Llama", "Qwen2", "Qwen3", "Mistral", "Gemma3", "Qwen3Moe", "Mixtral")


def ropes(draw):
    """A random type of rotary embedding."""
    theta = draw.choice([1e4, 5e5, 1e6])
    return draw.choice(
        [
            {"rope_type": "default", "rope_theta": theta},
            {"rope_type": "linear", "rope_theta": theta, "factor": 4.0},
            {
                "rope_type": "llama3",
                "rope_theta": theta,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            {
                "rope_type": "yarn",
                "rope_theta": theta,
                "factor": 4.0,
                "original_max_position_embeddings": 32,
                "truncate": draw.random() < 0.5,
            },
        ]
    )


def options(family, draw):
    """Sizes and options of a small model; groups of 1, 2, 3 or 5 heads."""
    groups, per_group = draw.choice([1, 2, 3]), draw.choice([1, 2, 3, 5])
    heads, layers = groups * per_group, draw.choice([2, 3, 4])
    sizes = {
        "vocab_size": draw.choice([61, 128]),
        "hidden_size": heads * draw.choice([6, 8, 10]),
        "intermediate_size": draw.choice([24, 40, 56]),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": draw.choice([8, 10, 16]),
        "max_position_embeddings": 128,
        "tie_word_embeddings": draw.random() < 0.5,
        "rms_norm_eps": draw.choice([1e-5, 1e-6]),
    }
    if family == "Qwen2":
        sizes["head_dim"] = sizes["hidden_size"] // heads
    window = draw.choice([5, 11])
    if family in ("Qwen2", "Qwen3", "Qwen3Moe") and draw.random() < 0.5:
        sizes |= {"use_sliding_window": True, "sliding_window": window}
        sizes |= {"max_window_layers": 1} if family != "Qwen3Moe" else {}
    if family in ("Mistral", "Mixtral"):
        sizes["sliding_window"] = draw.choice([None, window])
    if family in ("Llama", "Qwen3", "Qwen3Moe", "Gemma3"):
        sizes["attention_bias"] = draw.random() < 0.5
    if family == "Llama":
        sizes |= {"mlp_bias": draw.random() < 0.5, "hidden_act": "silu"}
        sizes["hidden_act"] = draw.choice(["silu", "gelu", "gelu_pytorch_tanh"])
    if family == "Gemma3":
        sizes |= {
            "sliding_window": window,
            "layer_types": draw.choices(
                ["full_attention", "sliding_attention"], k=layers
            ),
            "query_pre_attn_scalar": draw.choice([8, 24]),
            "final_logit_softcapping": draw.choice([None, 2.0]),
            "rope_parameters": {
                "full_attention": ropes(draw),
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            },
        }
    else:
        sizes["rope_parameters"] = ropes(draw)
    if family == "Qwen3Moe":
        sizes |= {
            "num_experts": 6,
            "num_experts_per_tok": draw.choice([1, 2, 4]),
            "moe_intermediate_size": 16,
            "norm_topk_prob": draw.random() < 0.5,
            "decoder_sparse_step": draw.choice([1, 2]),
            "mlp_only_layers": draw.choice([[], [0]]),
        }
    if family == "Mixtral":
        sizes |= {"num_local_experts": 5, "num_experts_per_tok": 2}
    return sizes


def made(family, seed):
    """A model of `transformers` whose weights are far from those of initialization."""
    name = f"{family}Text" if family == "Gemma3" else family
    config = getattr(transformers, f"{name}Config")(
        **options(family, random.Random(f"{family}{seed}"))
    )
    torch.manual_seed(seed)
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    if family in ("Qwen3Moe", "Mixtral"):  # the default wants sizes divisible by 4
        model.set_experts_implementation("eager")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = 0.2 if "norm" in name or name.endswith("bias") else 0.15
            weight.add_(scale * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_transformers(family, seed, tmp_path):
    theirs = made(family, seed)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    ours = lm.load(tmp_path)
    ids = torch.randint(theirs.config.vocab_size, (2, 40))
    with torch.inference_mode():
        expected, got = theirs(ids).logits, ours(ids)
        assert (got - expected).abs().max() <= LIMIT * max(1, expected.abs().max())
        # token by token, from a cache
        cache = lm.Cache(ours, 2, 40)
        steps = [ours(ids[:, :17], cache)]
        steps += [ours(ids[:, i : i + 1], cache) for i in range(17, 40)]
        steps = torch.cat(steps, 1)
        assert (steps - expected).abs().max() <= LIMIT * max(1, expected.abs().max())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_gives_the_logits_of_the_model(family, seed, tmp_path):
    made(family, seed).save_pretrained(tmp_path)
    ours = lm.load(tmp_path)
    ids = torch.randint(ours.config.vocab_size, (40,))
    with torch.inference_mode():
        expected = ours(ids[None])[0]
    for prompt in (1, 3, 17):  # shorter and longer than the windows
        decoding = lm.Decoding(ours, 48)
        rows = [decoding.read(ids[:prompt])]
        rows += [decoding.step(int(token)).clone() for token in ids[prompt:]]
        difference = (torch.stack(rows) - expected[prompt - 1 :]).abs().max()
        assert difference <= 2 * LIMIT * max(1, expected.abs().max())


def test_a_config_json_of_before_version_5_means_the_same(tmp_path):
    theirs = made("Llama", 2)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    rope = content.pop("rope_parameters")
    content |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    path.write_text(json.dumps(content))
    ids = torch.randint(theirs.config.vocab_size, (1, 20))
    with torch.inference_mode():
        assert torch.allclose(lm.load(tmp_path)(ids), theirs(ids).logits, atol=LIMIT)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("Llama", {"model_type": "phi3"}, "model_type must be one of .*llama.*'phi3'"),
        ("Llama", {"hidden_act": "relu"}, "hidden_act must be 'silu' or .*'relu'"),
        ("Mixtral", {"hidden_act": "gelu"}, "hidden_act must be 'silu' for mixtral"),
        ("Llama", {"rope_parameters": {"rope_type": "dynamic"}}, "rope_type must be"),
        ("Llama", {"rope_parameters": {"rope_type": "linear"}}, "a number factor"),
        ("Llama", {"vocab_size": None}, "must have vocab_size; got none"),
        ("Gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping must be"),
        ("Qwen3", {"quantization_config": {"bits": 4}}, "quantization_config must be"),
        ("Llama", {"num_key_value_heads": 7}, "must be a multiple of key_value_heads"),
    ],
)
def test_what_is_not_supported_is_named_before_weights_are_read(
    family, change, message, tmp_path
):
    made(family, 0).config.save_pretrained(tmp_path)  # no weights
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        lm.load(tmp_path)


def test_a_missing_tensor_is_named(tmp_path):
    from safetensors.torch import load_file, save_file

    made("Llama", 0).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["model.layers.0.self_attn.v_proj.weight"]
    save_file(weights, path)
    with pytest.raises(DamagedFileError, match=r"layers\.0\.self_attn\.v_proj\.weight"):
        lm.load(tmp_path)
