"""SmolLM2 with the weights of another library's quantization: its answers and its bytes.

    PYTHON weight_peers.py METHOD BITS GROUP FOLDER

runs under the interpreter of an environment with the packages in `PACKAGES`, and imports
nothing of ours. FOLDER holds `weights.safetensors` (the model as transformers names its
tensors), `config.json`, and `calibration.npy` and `texts.npy`, tokens `[N, T]`; for
"autoscheme" `tokenizer.json` as well. It writes
`logits.npy`, `[N, T, V]` in float32 from a run in float32, and `facts.json`: the stored
bytes, and the seconds that the quantization took.

Methods: "nncf", OpenVINO's, symmetric with AWQ, scale estimation and GPTQ; "nncf hawq", the
same with 0.8 of the weights in so many bits and the rest in 8, chosen by its HAWQ-like
metric; "autoround" with its 200 steps a block; "autoscheme", the same with 2, 3, 4 or 8
bits a layer, as its AutoScheme chooses for so many bits on average, scales included. All
keep the head in 8 bits, one scale a row, which NNCF does by default and is done here for
AutoRound, which would leave it in float. "float" changes nothing.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

PACKAGES = ("nncf==3.4.*", "openvino==2026.4.*", "auto-round==0.16.*")


def load(folder: Path):
    import torch
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**json.loads((folder / "config.json").read_text()))
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    state = load_file(folder / "weights.safetensors")
    model.load_state_dict(state, assign=True, strict=False)
    model.tie_weights()
    # the one buffer that is no weight was made on no device
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


def rounded_head(model) -> int:
    """Round the head to 8 bits, one scale a row; the bytes that it takes."""
    import torch

    with torch.no_grad():
        weight = model.lm_head.weight
        scale = weight.abs().amax(1, keepdim=True) / 127
        weight.copy_((weight / scale).round() * scale)
    return weight.numel() + 2 * len(weight)


def with_torch(model, texts: np.ndarray) -> np.ndarray:
    import torch

    with torch.inference_mode():
        rows = [model(torch.tensor(row)[None], use_cache=False).logits for row in texts]
    return torch.cat(rows).float().numpy()


def autoround(model, bits: int, group: int, tokens: np.ndarray) -> int:
    import torch

    batches = [{"input_ids": torch.tensor(row)[None]} for row in tokens]
    settings = {"scheme": f"W{bits}A16", "group_size": group, "sym": True}
    return tuned(model, tokens, tokenizer=object(), dataset=batches, **settings)


def autoscheme(model, bits: float, group: int, tokens: np.ndarray, folder: Path) -> int:
    from auto_round import AutoScheme
    from transformers import PreTrainedTokenizerFast

    # The scheme reads its texts from a file, and skips those shorter than a window: each
    # goes on with the next one, and is cut.
    words = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    rows = np.concatenate([tokens, np.roll(tokens, -1, axis=0)], axis=1)
    path = folder / "calibration.json"
    path.write_text(json.dumps([{"text": words.decode(row)} for row in rows]))
    scheme = AutoScheme(
        avg_bits=bits,
        options=",".join(f"W{width}A16G{group}" for width in (2, 3, 4, 8)),
        dataset=str(path),
        nsamples=len(tokens),
        seqlen=tokens.shape[1],
        low_cpu_mem_usage=False,  # else it looks for the weights in a file
    )
    return tuned(model, tokens, tokenizer=words, dataset=str(path), scheme=scheme)


def tuned(model, tokens: np.ndarray, **settings) -> int:
    """Round a model with AutoRound; the bytes that it takes."""
    from auto_round import AutoRound

    sizes = {"nsamples": len(tokens), "seqlen": tokens.shape[1], "batch_size": 8}
    AutoRound(model, device_map="cpu", **sizes, **settings).quantize()
    size = 4 * model.model.norm.weight.numel()
    for layer in model.model.layers.modules():
        if not hasattr(layer, "weight"):
            continue
        count, matrix = layer.weight.numel(), layer.weight.dim() == 2
        size += (
            count * layer.bits // 8 + count // layer.group_size * 2
            if matrix
            else 4 * count
        )
    return size + rounded_head(model)


def nncf(model, bits: int, group: int, tokens: np.ndarray, hawq: bool):
    """The compressed OpenVINO model."""
    import nncf as library
    import openvino as ov
    import torch

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids):
            return self.model(input_ids, use_cache=False).logits

    example = torch.tensor(tokens[:1])
    # a traced model has operators that OpenVINO does not read
    graph = ov.convert_model(torch.export.export(Logits(), (example,)))
    modes = library.CompressWeightsMode
    metric = library.SensitivityMetric.HESSIAN_INPUT_ACTIVATION
    return library.compress_weights(
        graph,
        mode={4: modes.INT4_SYM, 3: modes.INT3_SYM}[bits],
        group_size=group,
        ratio=0.8 if hawq else 1.0,
        sensitivity_metric=metric if hawq else None,
        dataset=library.Dataset([row[None] for row in tokens]),
        subset_size=len(tokens),
        awq=True,
        scale_estimation=True,
        gptq=True,
    )


def stored(graph) -> int:
    """The bytes of a model's constants."""
    sizes = [
        node.get_element_type().bitwidth * int(np.prod(node.get_output_shape(0)))
        for node in graph.get_ops()
        if node.get_type_name() == "Constant"
    ]
    return sum(sizes) // 8


def with_openvino(graph, texts: np.ndarray) -> np.ndarray:
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    run = ov.Core().compile_model(graph, "CPU", settings)
    return np.concatenate([run(row[None])[0] for row in texts])


def main(method: str, bits: float, group: int, folder: Path) -> None:
    tokens, texts = (np.load(folder / f"{n}.npy") for n in ("calibration", "texts"))
    model, start = load(folder), time.monotonic()
    if method.startswith("nncf"):
        graph = nncf(model, int(bits), group, tokens, "hawq" in method)
        seconds, size = time.monotonic() - start, stored(graph)
        logits = with_openvino(graph, texts)
    else:
        size = 4 * sum(p.numel() for p in model.parameters())
        if method == "autoround":
            size = autoround(model, int(bits), group, tokens)
        if method == "autoscheme":
            size = autoscheme(model, bits, group, tokens, folder)
        seconds = time.monotonic() - start
        logits = with_torch(model, texts)
    np.save(folder / "logits.npy", logits.astype(np.float32))
    facts = {"bytes": size, "seconds": seconds}
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
