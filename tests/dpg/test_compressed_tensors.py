"""compressed-tensors decompresses what the packed layers hold, bit for bit."""

import pytest
import torch

from deepseek_learn import dpg
from deepseek_learn.dpg.compressed_tensors import CompressedTensorsError
from deepseek_learn.dpg.layers import DPGLinear
from tests.services import need

from .test_hf import built, hf, inputs

transformers = need("transformers")
need("compressed_tensors")
HOW = {"group_size": 32, "granularity": "layer"}


def compressed(name, width=96, **options):
    wide = {"head_dim": 16} if name == "Qwen3" else {}
    model, auto = built(name, intermediate_size=width, **wide)
    options = {"bits": 4, **HOW, **options}
    return dpg.compress(model, [inputs(name)], **options).model, auto


@pytest.mark.parametrize("name", ["Llama", "Llama, tied", "Qwen3", "Mistral", "Phi"])
@pytest.mark.parametrize("bits", [3, 5.5])
@torch.no_grad()
def test_weights_and_logits_are_the_same(tmp_path, name, bits):
    small, auto = compressed(name, bits=bits)
    folder = dpg.to_compressed_tensors(small, tmp_path / "out", max_shard_size="30KB")
    loaded = auto.from_pretrained(folder)
    x, count = inputs(name), 0
    expected = small(**x).logits
    difference = (loaded(**x).logits - expected).norm() / expected.norm()
    assert difference < 0.02  # our kernels round activations to 8 bits
    # the first call has decompressed the weights
    for path, layer in small.named_modules():
        if hasattr(layer, "matrix"):
            weight = loaded.get_submodule(path).weight
            assert torch.equal(weight, layer.weight.as_subclass(torch.Tensor)), path
            count += isinstance(layer, DPGLinear)
    assert count >= 13


def test_transformers_decompresses_one_width_while_it_loads(tmp_path):
    """Of several widths it takes the first one for all, in version 5.24."""
    small, auto = compressed("Llama", levels=(4,))
    dpg.to_compressed_tensors(small, tmp_path)
    config = transformers.CompressedTensorsConfig(dequantize=True)
    loaded = auto.from_pretrained(tmp_path, quantization_config=config)
    for path, layer in small.named_modules():
        if isinstance(layer, DPGLinear):
            weight = loaded.get_submodule(path).weight
            assert torch.equal(weight, layer.weight.as_subclass(torch.Tensor)), path


def test_layers_of_many_widths_are_groups(tmp_path):
    widths = {
        f"model.layers.0.mlp.{n}_proj": b
        for n, b in zip(("gate", "up", "down"), (2, 6, 8), strict=True)
    }
    small, _ = compressed("Llama", layer_bits=widths)
    dpg.to_compressed_tensors(small, tmp_path)
    groups = transformers.AutoConfig.from_pretrained(tmp_path).quantization_config
    found = {
        name: group["weights"]["num_bits"]
        for group in groups["config_groups"].values()
        for name in group["targets"]
    }
    assert found.items() >= widths.items()
    assert groups["ignore"] == []


def test_what_the_format_has_no_place_for(tmp_path):
    small, _ = compressed("Llama", bits=4.3, granularity="rows")
    with pytest.raises(CompressedTensorsError, match="one width per layer"):
        dpg.to_compressed_tensors(small, tmp_path)
    small, _ = compressed("Llama", refine=True)
    with pytest.raises(CompressedTensorsError, match="a refine term"):
        dpg.to_compressed_tensors(small, tmp_path)
    small, _ = compressed("Llama", width=80)
    with pytest.raises(CompressedTensorsError, match="groups of 32 do not fill"):
        dpg.to_compressed_tensors(small, tmp_path)
    with pytest.raises(ValueError, match="must be DPG-compressed"):
        dpg.to_compressed_tensors(torch.nn.Linear(2, 2), tmp_path)
    packed = dpg.convert(
        net := torch.nn.Sequential(torch.nn.Linear(64, 32)), dpg.uniform(net, bits=4)
    )
    with pytest.raises(TypeError, match="must be a transformers model"):
        dpg.to_compressed_tensors(packed, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_layers_that_others_do_not_expect_are_refused(tmp_path):
    model, auto = built("GPT2")
    model.save_pretrained(tmp_path / "float")
    config = hf.DPGConfig(4, group_size=32)
    small = auto.from_pretrained(tmp_path / "float", quantization_config=config)
    with pytest.raises(CompressedTensorsError, match="was written as linear layers"):
        dpg.to_compressed_tensors(hf.prepare(small), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("way", ["transformers", "compressed-tensors"])
def test_a_full_disk_leaves_the_old_folder(tmp_path, full_disk, way):
    small, _ = compressed("Llama")
    hf.prepare(small)

    def save():
        if way == "transformers":
            small.save_pretrained(tmp_path)
        else:
            dpg.to_compressed_tensors(small, tmp_path)

    save()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk, pytest.raises(OSError, match=f"{tmp_path.name} could not be wri"):
        save()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_saving_again_leaves_files_of_others(tmp_path):
    small, _ = compressed("Llama")
    hf.prepare(small)
    small.save_pretrained(tmp_path)
    (tmp_path / "model_backup.safetensors").write_text("mine")
    small.save_pretrained(tmp_path, is_main_process=False)  # writes no weights
    small.save_pretrained(tmp_path, variant="q4")
    small.save_pretrained(tmp_path, max_shard_size="30KB")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"model_backup.safetensors", "model.q4.safetensors"} <= names
    assert "model.safetensors" not in names  # now in shards
    small.save_pretrained(tmp_path)
    left = {path.name for path in tmp_path.glob("model*.safetensors*")}
    expected = {"model.safetensors", "model.q4.safetensors", "model_backup.safetensors"}
    assert left == expected


def test_an_adapter_is_not_saved_as_part_of_the_model(tmp_path):
    """Its layers have other names, so that all readers would miss weights."""
    peft = need("peft")
    from deepseek_learn.dpg import lora

    small, _ = compressed("Llama")
    hf.prepare(small)
    config = peft.LoraConfig(r=2, target_modules=["q_proj"])
    adapted = lora.add(small, config)
    ways = (
        lambda: small.save_pretrained(tmp_path / "plugin"),
        lambda: dpg.to_compressed_tensors(small, tmp_path / "vllm"),
        lambda: dpg.to_compressed_tensors(adapted, tmp_path / "vllm"),
        lambda: dpg.save(small, tmp_path / "small.safetensors"),
    )
    for save in ways:
        with pytest.raises(ValueError, match=r"q_proj' has one: save the adapter"):
            save()
    assert not list(tmp_path.iterdir())
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.unload()
    dpg.save(small, tmp_path / "small.safetensors")
