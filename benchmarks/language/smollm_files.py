"""SmolLM2 as other libraries store it: in GGUF's formats, and as transformers names it."""

import copy
import json
from pathlib import Path

import torch

HEAD = "lm_head"


def in_gguf(model, name: str):
    """A copy with weights as llama.cpp stores them, its head in Q8_0; their bytes."""
    from gguf import GGMLQuantizationType, quants

    from deepseek_learn import dpg

    small = copy.deepcopy(model)
    layers = {n: small.get_submodule(n) for n in dpg.uniform(model, 4).bits}
    size = dpg.bytes_of(model) - 4 * sum(x.weight.numel() for x in layers.values())
    for layer_name, layer in layers.items():
        kind = GGMLQuantizationType["Q8_0" if layer_name == HEAD else name]
        packed = quants.quantize(layer.weight.detach().numpy(), kind)
        size += packed.nbytes
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(quants.dequantize(packed, kind)))
    return small, size


def export(model, folder: Path) -> None:
    """The weights under the names that transformers has, and its configuration.

    Its rotary pairs are half a head apart, ours are neighbors.
    """
    from safetensors.torch import save_file

    config, state = model.config, {}
    heads, dim = config.num_attention_heads, config.head_dim

    def apart(weight):
        pairs = weight.unflatten(0, (-1, dim // 2, 2))  # [heads, dim / 2, 2, D]
        return pairs.transpose(1, 2).flatten(0, 2).contiguous()

    for name, weight in model.state_dict().items():
        if name.endswith("kv_proj.weight"):
            key, value = weight.chunk(2)
            state[name.replace("kv_proj", "k_proj")] = apart(key)
            state[name.replace("kv_proj", "v_proj")] = value.contiguous()
        elif name.endswith("q_proj.weight"):
            state[name] = apart(weight)
        elif name != "lm_head.weight":
            state[name] = weight.clone(memory_format=torch.contiguous_format)
    save_file(state, folder / "weights.safetensors")
    layers = model.model.layers
    facts = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": len(layers),
        "num_attention_heads": heads,
        "num_key_value_heads": layers[0].self_attn.kv_proj.out_features // 2 // dim,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_parameters["rope_theta"],
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(facts))
