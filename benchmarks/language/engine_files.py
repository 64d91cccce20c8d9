"""Two Llamas in the format of each engine, converted as its authors advise.

Files are kept under `zoo_runs/engines/`: some conversions take minutes.
"""

import importlib.util
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from deploying.backends import peer_python
from harness.script import BENCHMARKS, Skip
from language.gguf_files import written

FOLDER = Path(__file__).resolve().parents[2] / "zoo_runs" / "engines"
ENVIRONMENT = BENCHMARKS / ".venv" / "engines"
PACKAGES = (
    "optimum-intel[openvino]==2.2.*",
    "openvino-genai==2026.4.*",
    "onnxruntime-genai==0.18.*",
    "onnx==1.23.*",
    "onnx-ir==1.1.*",
    "ctranslate2==4.8.*",
    "ik-llama-cpp-python==0.1.*",
)
SMOLLM2, LARGE = "SmolLM2", "a Llama of 0.68 B"
SIZES = {  # of the second one, whose weights are random; 256 divides every row
    "vocab_size": 49_152,
    "hidden_size": 1536,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
GROUP = 64  # weights that share a scale: 128 does not divide SmolLM2's 576 columns


def python() -> Path:
    """The interpreter that has the engines."""
    return peer_python(ENVIRONMENT, *PACKAGES)


def quantizer() -> Path:
    """The program of ik_llama.cpp that writes GGUF files in other formats."""
    found = list(
        ENVIRONMENT.glob("lib/*/site-packages/ik_llama_cpp/bin/llama-quantize")
    )
    if not found:
        raise Skip("ik-llama-cpp-python has no llama-quantize here")
    return found[0]


def path(name: str, kind: str) -> Path:
    """A model in one format; it is made if it is not there.

    Args:
        kind: "folder" of transformers, "gguf" in at least 8 bits, a type of GGUF such as
            "IQ4_K", or the format of an engine: "openvino", "onnxruntime", "ctranslate2".
    """
    target = FOLDER / name.replace(" ", "_") / kind
    if not target.exists():
        make = MAKERS.get(kind, lambda name, to: _quantized(name, kind, to))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            unfinished = Path(folder) / kind
            make(name, unfinished)
            unfinished.rename(target)
    return target


def size(name: str, kind: str) -> int:
    """The bytes of its weights, without tokenizers and descriptions."""
    target = path(name, kind)
    if target.is_file():
        return target.stat().st_size
    weights = (
        "openvino_model.bin",
        "model.onnx.data",
        "model.bin",
        "model.safetensors",
    )
    return sum(p.stat().st_size for p in target.iterdir() if p.name in weights)


def _source() -> Path:
    from deepseek_learn.zoo import smollm2

    spec = importlib.util.find_spec(smollm2.PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / smollm2.FILE


def _folder(name: str, to: Path) -> None:
    """In float32, or the random one in float16, with SmolLM2's tokenizer."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        LlamaConfig,
        LlamaForCausalLM,
    )

    place, file = _source().parent, {"gguf_file": _source().name}
    AutoTokenizer.from_pretrained(place, **file).save_pretrained(to)
    if name == LARGE:
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(**SIZES)).half().save_pretrained(to)
        return
    read = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, **file)
    config = read.config
    del config.quantization_config  # as read, it cannot be saved
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(to)


def _gguf(name: str, to: Path) -> None:
    """SmolLM2 in float16; the random one in 8 bits, since values change no time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from deepseek_learn import dpg

    if name == SMOLLM2:
        written(_source(), to, "F16", head="F16")
        return
    folder = path(name, "folder")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    small = dpg.convert(model, dpg.uniform(model, 8, group_size=32))
    dpg.to_gguf(small, AutoTokenizer.from_pretrained(folder), to)


def _quantized(name: str, kind: str, to: Path) -> None:
    """With `_R8`, rows lie as ik_llama.cpp reads them fastest."""
    plain = kind.removesuffix("_R8")
    repack = ["--repack"] if plain != kind else []
    source = path(name, plain if repack else "gguf")
    _run(quantizer(), "--allow-requantize", *repack, source, to, kind, 2)


def _openvino(name: str, to: Path) -> None:
    command = [ENVIRONMENT / "bin" / "optimum-cli", "export", "openvino"]
    command += ["--model", path(name, "folder"), "--task", "text-generation-with-past"]
    _run(*command, "--weight-format", "int4", "--group-size", GROUP, to)


def _onnxruntime(name: str, to: Path) -> None:
    folder = path(name, "folder")
    with tempfile.TemporaryDirectory() as cache:
        command = [python(), "-m", "onnxruntime_genai.models.builder"]
        command += ["-i", folder, "-o", to, "-p", "int4", "-e", "cpu", "-c", cache]
        _run(*command, "--extra_options", "int4_accuracy_level=4")


def _ctranslate2(name: str, to: Path) -> None:
    command = [ENVIRONMENT / "bin" / "ct2-transformers-converter"]
    command += ["--model", path(name, "folder"), "--output_dir", to]
    _run(*command, "--quantization", "int8")


MAKERS: dict[str, Callable[[str, Path], None]] = {
    "folder": _folder,
    "gguf": _gguf,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "ctranslate2": _ctranslate2,
}


def _run(*command) -> None:
    result = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise RuntimeError(f"{Path(str(command[0])).name}: {last}")
