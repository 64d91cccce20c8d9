"""Checkpoints in the reference's format, as written by the reference."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from deepseek_learn import lm
from deepseek_learn.errors import DamagedFileError

from .references import reference, tokens

SMALL_SHARDS = {"max_shard_size": "60KB"}


@pytest.mark.parametrize("case", ["V2", "V3 YaRN", "V3.2"])
@pytest.mark.parametrize("shards", [{}, SMALL_SHARDS], ids=["one file", "shards"])
@torch.no_grad()
def test_a_saved_model_is_read_whole(case, shards, tmp_path):
    theirs = reference(case)
    theirs.save_pretrained(tmp_path, **shards)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1 or shards
    made = lm.load(tmp_path)
    ids = tokens(2, 40)
    assert (made(ids) - theirs(ids).logits).abs().max() < 5e-5
    assert not made.training


@pytest.fixture
def saved(tmp_path):
    reference("V3").save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def test_prediction_blocks_come_with_their_copies_of_the_embedding(saved):
    def add(weights):
        for name in list(weights):
            if "layers.2." in name:
                weights[name.replace("layers.2.", "layers.3.")] = weights[name].clone()
        for name in ("enorm", "hnorm", "shared_head.norm"):
            weights[f"model.layers.3.{name}.weight"] = torch.ones(48)
        weights["model.layers.3.eh_proj.weight"] = torch.ones(48, 96)
        weights["model.layers.3.embed_tokens.weight"] = torch.ones(97, 48)
        weights["model.layers.3.shared_head.head.weight"] = torch.ones(97, 48)

    rewrite(saved, add)
    made = lm.load(saved)
    assert made.config.num_nextn_predict_layers == 1
    assert lm.generate(made, [[1, 2]], speculative=True) == lm.generate(made, [[1, 2]])


@pytest.mark.parametrize("case", ["V2", "V3"])
@torch.no_grad()
def test_an_odd_number_of_heads_is_read(case, tmp_path):
    """V4's `o_groups`, which these models do not have, divides none of theirs."""
    theirs = reference(case, num_attention_heads=3, num_key_value_heads=3)
    theirs.save_pretrained(tmp_path)
    ids = tokens(2, 40)
    assert (lm.load(tmp_path)(ids) - theirs(ids).logits).abs().max() < 5e-5


@pytest.mark.parametrize("stored", ["the embedding", "the head", "both"])
@torch.no_grad()
def test_tied_embeddings_are_one_weight(stored, tmp_path):
    theirs = reference("V3", tie_word_embeddings=True)
    theirs.save_pretrained(tmp_path)

    def change(weights):
        assert "lm_head.weight" not in weights
        if stored != "the embedding":
            embedding = weights["model.embed_tokens.weight"].clone()
            weights["lm_head.weight"] = embedding
        if stored == "the head":
            del weights["model.embed_tokens.weight"]

    rewrite(tmp_path, change)
    made, ids = lm.load(tmp_path), tokens(2, 40)
    assert (made(ids) - theirs(ids).logits).abs().max() < 5e-5
    assert made.lm_head.weight is made.model.embed_tokens.weight
    assert lm.LanguageModel(made.config).lm_head.weight.shape == (97, 48)
    names = [name for name, _ in made.named_parameters()]
    assert "lm_head.weight" not in names


def test_a_tied_head_of_another_value_is_refused(tmp_path):
    reference("V3", tie_word_embeddings=True).save_pretrained(tmp_path)
    rewrite(tmp_path, lambda w: w.update({"lm_head.weight": torch.ones(97, 48)}))
    with pytest.raises(DamagedFileError, match=r"lm_head.weight in .* must equal"):
        lm.load(tmp_path)
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        rewrite(tmp_path, lambda w, name=name: w.pop(name))
    with pytest.raises(DamagedFileError, match=r"is missing weights \(2\): lm_head"):
        lm.load(tmp_path)


def test_rotary_angles_that_older_files_store_are_passed_over(saved):
    expected = lm.load(saved)(tokens(1, 9))

    def add(weights):
        weights["model.rotary_emb.inv_freq"] = torch.ones(4)
        for name in ("inv_freq", "cos_cached", "sin_cached"):
            key = f"model.layers.1.self_attn.rotary_emb.{name}"
            weights[key] = torch.ones(4, dtype=torch.float64)

    rewrite(saved, add)
    assert torch.equal(lm.load(saved)(tokens(1, 9)), expected)


def test_weights_are_of_the_dtype_asked_for_and_the_router_s_float32(saved):
    made = lm.load(saved, torch.bfloat16)
    assert made.lm_head.weight.dtype == torch.bfloat16
    assert made.model.layers[1].mlp.gate.weight.dtype == torch.float32
    assert torch.isfinite(made(tokens(1, 9))).all()


def test_each_fault_has_its_sentence(saved):
    name = "model.layers.0.self_attn.o_proj.weight"
    kept = load_file(saved / "model.safetensors")
    for change, message in (
        (lambda w: w.pop(name), rf"is missing weights \(1\): {name}"),
        (lambda w: w.update(more=torch.ones(1)), r"has unexpected weights \(1\): more"),
        (
            lambda w: w.update({name: w[name].T.contiguous()}),
            rf"{name} in .* must have shape \[48, 40\], .*; got \[40, 48\]",
        ),
        (
            lambda w: w.update({name: w[name].to(torch.float8_e4m3fn)}),
            "must be float32, bfloat16 or float16; got torch.float8_e4m3fn",
        ),
    ):
        rewrite(saved, change)
        with pytest.raises(DamagedFileError, match=message):
            lm.load(saved)
        save_file(kept, saved / "model.safetensors")


def test_a_cut_or_missing_file(saved):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match="is not a complete safetensors file"):
        lm.load(saved)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"No such file.*model\.safetensors"):
        lm.load(saved)
    (saved / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"No such file.*config\.json"):
        lm.load(saved)


def test_a_cut_config_and_a_lost_expert(saved):
    path = saved / "config.json"
    whole = path.read_text()
    path.write_text(whole[:-9])
    with pytest.raises(DamagedFileError, match="is not valid JSON"):
        lm.load(saved)
    path.write_text(whole)
    rewrite(saved, lambda kept: kept.pop("model.layers.1.mlp.experts.3.up_proj.weight"))
    with pytest.raises(
        DamagedFileError, match=r"experts must have indices range.*'up': \[0, 1"
    ):
        lm.load(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "phi"}, "model_type must be one of .*; got 'phi'"),
        ({"hidden_act": "gelu"}, "hidden_act must be 'silu' for .*; got 'gelu'"),
        ({"mlp_bias": True}, "mlp_bias must be False for .*; got True"),
        ({"moe_layer_freq": 2}, "moe_layer_freq must be 1 for .*; got 2"),
        (
            {"topk_method": "greedy"},
            "topk_method must be 'noaux_tc' for .*; got 'greedy'",
        ),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0}},
            "rope_type must be 'default' or 'yarn' for .*; got 'linear'",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
            "rope_parameters must include original_max_position_embeddings for yarn",
        ),
        ({"n_group": 3}, "n_routed_experts must be a multiple of n_group; got 8 and 3"),
        ({"scoring_func": "tanh"}, "scoring_func must be one of .*; got 'tanh'"),
    ],
)
def test_models_that_are_not_built_here(saved, change, said):
    path = saved / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=said):
        lm.load(saved)
