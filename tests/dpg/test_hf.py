"""transformers compresses while it loads, and keeps what was compressed."""

import copy
import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from deepseek_learn import dpg
from deepseek_learn.dpg.frozen import FrozenModelError
from deepseek_learn.errors import DamagedFileError
from tests.services import need

transformers = need("transformers")
hf = pytest.importorskip("deepseek_learn.dpg.hf")

TOKENS = 96
SIZES = {
    "vocab_size": TOKENS,
    "hidden_size": 96,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
# one more set of names for sizes; each class takes those that it knows
GPT = {"n_embd": 96, "n_layer": 2, "n_head": 6, "n_positions": 64, "rotary_pct": 0.5}
DECODERS = {
    "Llama": {},
    "Llama, tied": {"tie_word_embeddings": True, "attention_bias": True},
    "Qwen3": {"head_dim": 8, "tie_word_embeddings": True},
    "Gemma3Text": {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 8},
    "Mistral": {"sliding_window": 8},
    "Phi": {"num_key_value_heads": 6},
    "GPT2": GPT,
    "GPTNeoX": {},
    "Mixtral": EXPERTS,
    "Qwen3Moe": EXPERTS | {"head_dim": 8, "moe_intermediate_size": 40},
    "Mamba": {"state_size": 8},
}
IMAGE = {"image_size": 32, "patch_size": 8, "num_labels": 5}
SPEECH = {
    "d_model": 96,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 80,
    "decoder_ffn_dim": 80,
    "num_mel_bins": 16,
    "max_source_positions": 20,
    "max_target_positions": 24,
    "decoder_start_token_id": 3,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}
T5 = {"d_model": 96, "d_ff": 80, "d_kv": 8, "num_heads": 6, "num_layers": 2}
OTHERS = {
    "Bert": ("AutoModelForMaskedLM", SIZES),
    "T5": ("AutoModelForSeq2SeqLM", SIZES | T5 | {"decoder_start_token_id": 2}),
    "ViT": ("AutoModelForImageClassification", SIZES | IMAGE),
    "Whisper": ("AutoModelForSpeechSeq2Seq", SIZES | SPEECH),
}
ALL = [*DECODERS, *OTHERS]


def built(name, **changes):
    """A model of some architecture with random weights, and its kind."""
    kind, sizes = "AutoModelForCausalLM", SIZES
    if name in OTHERS:
        kind, sizes = OTHERS[name]
    options = DECODERS.get(name, {})
    config = getattr(transformers, f"{name.partition(',')[0]}Config")
    torch.manual_seed(0)
    auto = getattr(transformers, kind)
    model = auto.from_config(config(**sizes | options | changes)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # norms that are not 1, biases that are not 0
            weight.add_(0.1 * torch.randn_like(weight))
    return model, auto


def inputs(name):
    """Arguments for a model; for decoders a batch with padding on the left."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, TOKENS, (2, 9), generator=generator)
    if name == "ViT":
        return {"pixel_values": torch.rand(2, 3, 32, 32, generator=generator)}
    if name == "Whisper":
        sound = torch.randn(2, 16, 40, generator=generator)
        return {"input_features": sound, "decoder_input_ids": tokens}
    mask = torch.ones_like(tokens)
    if name in DECODERS:
        mask[0, :3], tokens[0, :3] = 0, 2
    both = {"input_ids": tokens, "attention_mask": mask}
    return both | ({"decoder_input_ids": tokens} if name == "T5" else {})


@pytest.fixture(scope="module", params=ALL)
def saved(request, tmp_path_factory):
    """Name, folder of the float model, folder of the compressed one, and that model."""
    name = request.param
    model, auto = built(name)
    folder, small = (tmp_path_factory.mktemp(kind) for kind in ("float", "small"))
    model.save_pretrained(folder)
    config = hf.DPGConfig(5, calibration=[inputs(name)], group_size=32)
    compressed = auto.from_pretrained(folder, quantization_config=config)
    compressed.save_pretrained(small)
    return name, folder, small, compressed, auto


@torch.no_grad()
def test_what_was_saved_is_what_is_loaded(saved):
    name, folder, small, compressed, auto = saved
    loaded, report = auto.from_pretrained(small, output_loading_info=True)
    assert {k: v for k, v in report.items() if v} == {}
    x = inputs(name)
    expected = compressed(**x).logits
    assert torch.equal(loaded(**x).logits, expected)
    original = auto.from_pretrained(folder)(**x).logits
    assert 0 < (expected - original).norm() / original.norm() < 0.2
    sizes = [f.joinpath("model.safetensors").stat().st_size for f in (small, folder)]
    assert sizes[0] < 0.6 * sizes[1]


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"use_cache": False}])
def test_it_generates_what_it_generated(saved, how):
    name, _, small, compressed, auto = saved
    if name not in DECODERS and name not in ("T5", "Whisper"):
        pytest.skip(f"{name} generates nothing")
    x = {k: v for k, v in inputs(name).items() if k != "decoder_input_ids"}
    how = {"max_new_tokens": 6, "do_sample": False} | how
    loaded = auto.from_pretrained(small)
    assert torch.equal(loaded.generate(**x, **how), compressed.generate(**x, **how))


def test_a_compressed_model_is_saved_again(saved, tmp_path):
    _, _, small, _, auto = saved
    auto.from_pretrained(small).save_pretrained(tmp_path)
    first, second = (load_file(f / "model.safetensors") for f in (small, tmp_path))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    configs = [json.loads((f / "config.json").read_text()) for f in (small, tmp_path)]
    assert configs[0]["quantization_config"] == configs[1]["quantization_config"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tied Llama that `dpg.compress` made, prepared and saved."""
    model, _ = built("Llama, tied")
    small = dpg.compress(model, [inputs("Llama")], bits=4, group_size=32).model
    with pytest.raises(FrozenModelError, match=r"hf\.prepare"):
        small.save_pretrained("nowhere")
    folder = tmp_path_factory.mktemp("llama")
    hf.prepare(small).save_pretrained(folder, max_shard_size="12KB")
    return folder, small


def test_shards_and_a_model_that_compress_made(llama):
    folder, small = llama
    assert len([*folder.glob("*.safetensors")]) > 2
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")
    x = inputs("Llama")
    assert torch.equal(loaded(**x).logits, small(**x).logits)
    first, last = loaded.get_input_embeddings(), loaded.get_output_embeddings()
    assert first.matrix is last.matrix
    assert dpg.bytes_of(loaded) == dpg.bytes_of(small)
    with pytest.raises(FrozenModelError, match="cannot train"):
        loaded.train()


@torch.no_grad()
def test_the_rest_may_be_in_half_precision(llama):
    folder, small = llama
    auto = transformers.AutoModelForCausalLM
    loaded = auto.from_pretrained(folder, dtype=torch.bfloat16)
    assert loaded.model.norm.weight.dtype == torch.bfloat16
    x = inputs("Llama")
    expected = small(**x).logits
    assert (loaded(**x).logits - expected).norm() / expected.norm() < 0.05


def test_without_the_plugin_it_is_refused(llama):
    code = f"""
import transformers
transformers.AutoModelForCausalLM.from_pretrained({str(llama[0])!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode
    assert hf.HINT in done.stderr + done.stdout


def damaged(folder, to, change):
    """A copy of a folder with one file changed by `change(path, tensors)`."""
    for path in folder.iterdir():
        to.joinpath(path.name).write_bytes(path.read_bytes())
    path = next(p for p in to.glob("*.safetensors") if "plane" in str(load_file(p)))
    tensors = load_file(path)
    change(path, tensors)


def test_a_changed_bit_a_missing_tensor_and_a_missing_file(llama, tmp_path):
    def bit(path, tensors):
        plane = next(t for name, t in tensors.items() if "plane" in name)
        plane.view(-1)[0] ^= 1
        save_file(tensors, path, {"format": "pt"})

    def tensor(path, tensors):
        tensors.pop(next(name for name in tensors if "plane" in name))
        save_file(tensors, path, {"format": "pt"})

    def file(path, tensors):
        path.unlink()

    load = transformers.AutoModelForCausalLM.from_pretrained
    cases = (
        (bit, DamagedFileError, "not those that were saved"),
        (tensor, DamagedFileError, "lacks 1 tensor"),
        (file, OSError, "safetensors"),
    )
    for change, error, words in cases:
        folder = tmp_path / change.__name__
        folder.mkdir()
        damaged(llama[0], folder, change)
        with pytest.raises(error, match=words):
            load(folder)


def other_size(config):
    config["intermediate_size"] = 96


def other_version(config):
    config["quantization_config"]["version"] = 2


def newer_version(config):
    config["quantization_config"] |= {"version": 2, "entropy_coding": True}


def negative_rows(config):
    config["quantization_config"]["layers"]["lm_head"]["segments"][0]["rows"] = -16


def no_segments(config):
    del config["quantization_config"]["layers"]["lm_head"]["segments"]


def no_such_stack(config):
    config["quantization_config"]["replaced"] = ["model.experts"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other_size, "does not fit this model"),
        (other_version, "has version 2, and this library reads version 1"),
        (newer_version, "has version 2, and this library reads version 1"),
        (negative_rows, "damaged or of another version: RuntimeError"),
        (no_segments, "damaged .* KeyError.*segments"),
        (no_such_stack, "damaged .* KeyError.*model.experts"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(llama, tmp_path, change, words):
    for path in llama[0].iterdir():
        tmp_path.joinpath(path.name).write_bytes(path.read_bytes())
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(DamagedFileError, match=words):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path)


def test_without_calibration_rows_are_rounded_to_nearest(tmp_path):
    model, auto = built("Llama")
    model.save_pretrained(tmp_path)
    config = hf.DPGConfig(4, layer_bits={"lm_head": 8}, group_size=32)
    small = auto.from_pretrained(tmp_path, quantization_config=config)
    bits = {n: {s.bits for s in x.matrix.segments} for n, x in dpg_layers(small)}
    assert bits.pop("lm_head") == {8}
    assert set.union(*bits.values()) == {4}


def dpg_layers(model):
    return [(n, m) for n, m in model.named_modules() if hasattr(m, "matrix")]


def test_a_disk_that_is_full_leaves_the_folder_as_it_was(llama, tmp_path, monkeypatch):
    _, small = llama
    small.save_pretrained(tmp_path, max_shard_size="12KB")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", full)
    with pytest.raises(OSError, match="No space"):
        small.save_pretrained(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    monkeypatch.undo()
    small.save_pretrained(tmp_path)  # one file, and none of the shards is left
    assert [p.name for p in tmp_path.glob("*.safetensors*")] == ["model.safetensors"]
    with pytest.raises(NotADirectoryError, match="needs a folder; got a file"):
        small.save_pretrained(tmp_path / "config.json")


def test_the_hub_gets_the_files_and_a_card(llama, monkeypatch):
    _, small = llama
    calls, files = [], {}

    class Hub:
        def __init__(self, token=None):
            calls.append(token)

        def create_repo(self, repo_id, **how):
            calls.append((repo_id, how))
            return type("Url", (), {"repo_id": f"me/{repo_id}"})

        def upload_folder(self, repo_id, folder_path, **how):
            calls.append((repo_id, how))
            files.update(
                {p.name: p.read_text("latin-1") for p in folder_path.iterdir()}
            )

    monkeypatch.setattr("deepseek_learn.dpg.hf_saving.HfApi", Hub)
    small.push_to_hub("tiny", token="t", private=True, commit_message="a model")
    created = ("tiny", {"private": True, "exist_ok": True})
    assert calls == ["t", created, ("me/tiny", {"commit_message": "a model"})]
    assert {"config.json", "model.safetensors", "README.md"} <= files.keys()
    assert 'LlamaForCausalLM.from_pretrained("tiny")' in files["README.md"]
    assert re.search(r"[34]\.\d\d\nbits per weight", files["README.md"])


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(TypeError, match="no option 'bit'"):
        hf.DPGConfig(bit=4)
    with pytest.raises(ValueError, match="levels needs calibration: without it"):
        hf.DPGConfig(4, levels=(4, 8))
    config = hf.DPGConfig(4, calibration=(batch for batch in [inputs("Llama")]))
    assert copy.deepcopy(config).calibration  # as transformers does
    with pytest.raises(TypeError, match="must be a transformers model; got a Linear"):
        hf.prepare(torch.nn.Linear(3, 3))
    model, auto = built("Llama")
    with pytest.raises(ValueError, match="must be DPG-compressed"):
        hf.prepare(model)
    model.save_pretrained(tmp_path)
    split = {"model": "cpu", "lm_head": "disk"}
    with pytest.raises(ValueError, match="device_map must put the whole model"):
        auto.from_pretrained(
            tmp_path, quantization_config=hf.DPGConfig(4), device_map=split
        )
