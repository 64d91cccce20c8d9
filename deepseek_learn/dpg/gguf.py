"""Write a compressed language model as a GGUF file for llama.cpp, Ollama and LM Studio.

The codes of `dpg` in groups of 32 are GGUF's blocks, bit for bit. A block of 32 weights is
a float16 scale d, followed by its codes:

| bits | type | a weight is | bytes |
|---|---|---|---|
| 4 | Q4_0 | d (q - 8) | 2 + 16 |
| 5 | Q5_0 | d (q - 16) | 2 + 4 + 16 |
| 8 | Q8_0 | d q | 2 + 32 |

GGUF has one type per tensor, so all rows of a layer need the same bits. Source: the
specification and `ggml-common.h` of llama.cpp.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import require
from ..files import atomic_write
from .codes import Codes
from .container import writing
from .gguf_families import Family, GGUFError, family_of
from .gguf_vocabulary import vocabulary_of
from .layers import DPGLayer

BLOCK = 32  # weights that share a scale
TYPES = {4: "Q4_0", 5: "Q5_0", 8: "Q8_0"}
SIZES = {4: 18, 5: 22, 8: 34}  # bytes of a block
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class GGUFTensor:
    """A tensor of a GGUF file.

    Attributes:
        name: in the file.
        data: an array of the type's blocks, or of floats.
        kind: the name of a GGUF type.
    """

    name: str
    data: np.ndarray
    kind: str


def to_gguf(model: Any, tokenizer: Any, path: str | Path) -> Path:
    """Write a compressed model of transformers, with its tokenizer, as one GGUF file.

    Compress it with `group_size=32, levels=(4, 5, 8), granularity="layer"`. Layers that
    stayed in float are stored in float16, vectors in float32. A scale below 6e-5 is
    rounded to float16's steps of 6e-8; all other weights are exact.

    Args:
        model: a Llama, Qwen2, Qwen3 or Gemma 3 (text) that `dpg.compress` returned.
        tokenizer: its tokenizer, a fast one of transformers.

    Returns:
        The path.

    Raises:
        GGUFError: if the model has another architecture, options that llama.cpp does not
            know, or rows of several widths; or if its tokenizer cannot be stored.
        OSError: if the file cannot be written; an existing one is left unchanged.
        MissingPackageError: if the package gguf is not installed.

    >>> import torch, transformers
    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> from deepseek_learn import dpg
    >>> sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 128}
    >>> sizes |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    >>> model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    >>> batches = [torch.randint(64, (2, 8))]
    >>> small = dpg.compress(
    ...     model, batches, bits=5, logits=lambda model, x: model(x).logits,
    ...     group_size=32, levels=(4, 5, 8), granularity="layer",
    ... )
    >>> words = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    >>> words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    >>> tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words)
    >>> dpg.to_gguf(small.model, tokenizer, "model.gguf").name
    'model.gguf'
    """
    gguf = require("gguf", extra="language", purpose="Writing GGUF files")
    # 1. Refuse what the file could not say, before anything is written.
    family, config = family_of(model), model.config
    tensors = list(named_tensors(model, config.tie_word_embeddings))
    for name, tensor in tensors:
        if isinstance(tensor, DPGLayer):
            check(name, tensor)
    vocabulary = vocabulary_of(tokenizer, config.vocab_size)
    # 2. Write to a temporary file: header, tokenizer, then each tensor.
    path = Path(path)
    with writing(path), atomic_write(path) as temporary:
        writer = gguf.GGUFWriter(temporary, family.name)
        family.describe(writer, config)
        vocabulary.describe(writer)
        for name, tensor in tensors:
            stored = encode(family, config, name, tensor)
            kind = gguf.GGMLQuantizationType[stored.kind]
            writer.add_tensor(stored.name, stored.data, raw_dtype=kind)
        for name, values in family.extra_tensors(model):
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return path


def named_tensors(
    model: nn.Module, tied: bool
) -> Iterator[tuple[str, DPGLayer | Tensor]]:
    """Yield the name and the value of each weight, of two that are tied the first.

    Raises:
        GGUFError: if no layer is compressed, or if weights that are to be tied differ.
    """
    weights: dict[str, DPGLayer | Tensor] = {}
    weights |= model.named_parameters(remove_duplicate=False)
    for name, module in model.named_modules():
        if isinstance(module, DPGLayer):
            weights[f"{name}.weight"] = module
            if module.bias is not None:
                weights[f"{name}.bias"] = module.bias
    if not any(isinstance(value, DPGLayer) for value in weights.values()):
        raise GGUFError(
            "model must be compressed, with dpg.compress(..., group_size=32, "
            'levels=(4, 5, 8), granularity="layer").'
        )
    if HEAD not in weights:
        raise GGUFError(
            f"model must have a head, {HEAD}, as transformers' ...ForCausalLM models "
            f"have; got a {type(model).__name__}."
        )
    if tied:  # the file has the embedding, which its reader uses for both
        head, table = weights.pop(HEAD), weights[EMBEDDING]
        if getattr(head, "matrix", head) is not getattr(table, "matrix", table):
            raise GGUFError(
                f"config.tie_word_embeddings is True, but {HEAD} is not {EMBEDDING}: set "
                f"it to False."
            )
    yield from weights.items()


def check(name: str, layer: DPGLayer) -> None:
    """Refuse a layer whose codes are not blocks of one GGUF type.

    Raises:
        GGUFError: with what it has and how to compress it.
    """
    matrix = layer.matrix
    bits = sorted({s.bits for s in matrix.segments if s.term == "base"})
    how = 'compress with group_size=32, levels=(4, 5, 8), granularity="layer".'
    if len(bits) > 1:
        raise GGUFError(
            f"{name} has rows of {', '.join(map(str, bits))} bits, but a tensor of a "
            f"GGUF file has one type: {how}"
        )
    if bits[0] not in TYPES:
        raise GGUFError(
            f"{name} has {bits[0]} bits; GGUF's simple types have 4, 5 and 8: {how}"
        )
    if matrix.group_size != BLOCK or matrix.columns % BLOCK:
        raise GGUFError(
            f"{name} has {matrix.columns} columns in groups of {matrix.group_size}; "
            f"GGUF's blocks need whole groups of {BLOCK}: {how} A layer whose columns "
            f"{BLOCK} does not divide stays in float with filter=."
        )
    if matrix.has_refinement:
        raise GGUFError(f"{name} has a refinement, which GGUF has no place for.")


def encode(
    family: Family, config: Any, name: str, value: DPGLayer | Tensor
) -> GGUFTensor:
    """Return a weight in GGUF's name, order of rows and type."""
    own = family.tensor_name(name)
    if isinstance(value, DPGLayer):
        codes = value.matrix.codes()
        order = family.row_order(config, name, len(codes.bits))
        return GGUFTensor(own, blocks(codes, order), TYPES[int(codes.bits[0])])
    tensor = family.adjust(name, value.detach().cpu().float())
    order = family.row_order(config, name, len(tensor))
    tensor = tensor if order is None else tensor[order]
    if tensor.dim() > 1 and tensor.abs().max() <= HALF:
        return GGUFTensor(own, tensor.half().numpy(), "F16")
    return GGUFTensor(own, tensor.numpy(), "F32")


def blocks(codes: Codes, order: Tensor | None = None) -> np.ndarray:
    """Return codes as GGUF blocks, uint8 of shape `[N, K / 32 * bytes]`.

    Args:
        codes: all rows with 4, 5 or 8 bits, in groups of 32.
        order: which row comes first, second, ...; None for the order that they have.
    """
    rows = torch.arange(len(codes.bits)) if order is None else order
    bits = int(codes.bits[0])
    q: Any = codes.codes[rows].numpy().reshape(len(rows), -1, BLOCK)  # [N, K / 32, 32]
    d = codes.scale.T[rows].float().numpy().astype("<f2")[..., None]  # [N, K / 32, 1]
    parts = [d.view(np.uint8)]
    if bits == 8:
        parts.append(q ^ 0x80)  # q - 128 in two's complement
    else:
        if bits == 5:  # the fifth bits of all codes come first
            parts.append(np.packbits(q >> 4, axis=-1, bitorder="little"))
        # one byte has the codes j and j + 16
        parts.append((q[..., :16] & 15) | (q[..., 16:] << 4))
    return np.concatenate(parts, -1).reshape(len(rows), -1)


def codes_of(blocks: np.ndarray, bits: int) -> Codes:
    """Return the codes in GGUF blocks, the inverse of `blocks`.

    A float16 scale is rounded to bfloat16, which changes a weight by at most 1/256; the
    scales of files that `to_gguf` wrote stay as they are.

    Args:
        blocks: uint8 of shape `[N, K / 32 * bytes]`, of the type Q4_0, Q5_0 or Q8_0.
        bits: 4, 5 or 8.
    """
    rows = len(blocks)
    parts = blocks.reshape(rows, -1, SIZES[bits])  # [N, K / 32, bytes]
    scale = np.ascontiguousarray(parts[..., :2]).view("<f2")[..., 0]  # [N, K / 32]
    if bits == 8:
        q = parts[..., 2:] ^ 0x80
    else:
        low = parts[..., -16:]
        q = np.concatenate([low & 15, low >> 4], -1)
        if bits == 5:
            high = np.unpackbits(parts[..., 2:6], axis=-1, bitorder="little")
            q |= high << 4
    return Codes(
        torch.from_numpy(q.reshape(rows, -1)),
        torch.from_numpy(scale.astype(np.float32)).bfloat16().T.contiguous(),
        torch.full((rows,), bits),
        q.shape[1] * BLOCK,
    )
