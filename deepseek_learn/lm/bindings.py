"""The operations of the modules of a language model, for `Decoding`.

A language model that reads one token spends most of its time between the products: each
small PyTorch operator costs some microseconds, and a model has hundreds of them. So the
operations of a model are written down once, as a `Program` (see `cpp/program.py`) that one
call executes for a token. Keys are turned once, when they are stored, and not at every
token that attends to them.

The models themselves remain the definition. A class of modules takes part if a function is
registered for it with `binds` (see `room.py`).
"""

from typing import Any

import torch
from torch import Tensor, nn

from ..dpg.layers import DPGLinear
from ..errors import DeepSeekLearnError
from . import decoder
from .cache import Cache
from .cpp import hybrid
from .cpp.program import Program
from .experts import MLP, Experts, MixtureOfExperts, SeparateExperts
from .grouped import GroupedQueryAttention
from .hybrid import EntryIndexer, HybridAttention, WindowPooling
from .latent import LatentAttention
from .model import DecoderLayer, SandwichLayer
from .room import Room, bind, binds
from .rotary import rotate


@binds(DecoderLayer)
def _block(module: DecoderLayer, program: Program, room: Room) -> None:
    program.norm(room.x, module.input_layernorm, room.normed)
    bind(module.self_attn, program, room)
    program.norm(room.x, module.post_attention_layernorm, room.normed)
    bind(module.mlp, program, room)


@binds(SandwichLayer)
def _sandwich(module: SandwichLayer, program: Program, room: Room) -> None:
    for before, layer, after in (
        (module.input_layernorm, module.self_attn, module.post_attention_layernorm),
        (
            module.pre_feedforward_layernorm,
            module.mlp,
            module.post_feedforward_layernorm,
        ),
    ):
        stream, branch = room.x, room.scratch("branch", len(room.x))
        program.norm(stream, before, room.normed)
        program.scale(branch, 0.0)
        room.x = branch  # the layer adds its output to zeros, to be normalized
        bind(layer, program, room)
        room.x = stream
        program.norm(branch, after, branch)
        program.add(branch, stream)


@binds(MLP)
def _mlp(module: MLP, program: Program, room: Room) -> None:
    width = module.gate_proj.out_features
    gate_up = room.scratch("gate_up", 2 * width)
    gate, up = gate_up.split(width)
    program.linear([module.gate_proj, module.up_proj], room.normed, gate_up)
    program.gate(gate, up, module.activation, gate)
    program.linear([module.down_proj], gate, room.x, add=True)


@binds(MixtureOfExperts)
def _mixture(module: MixtureOfExperts, program: Program, room: Room) -> None:
    router = module.gate
    c, factor = router.config, room.scratch("factor", 1)
    scores = room.scratch("scores", c.n_routed_experts)
    program.dense(router.weight, room.normed, scores)
    limited = c.topk_group < c.n_group and c.topk_method != "greedy"
    each = min(2 if router.balanced else 1, c.n_routed_experts // c.n_group)
    program.experts(
        scores,
        router.e_score_correction_bias if router.balanced else None,
        [_expert(layers, room, factor) for layers in _weights(module.experts)],
        factor,
        scoring=c.scoring_func,
        top=c.num_experts_per_tok,
        scale=c.routed_scaling_factor,
        normalized=c.norm_topk_prob,
        groups=(c.n_group, c.topk_group, each) if limited else (1, 1, 1),
    )
    if module.shared_experts is not None:
        bind(module.shared_experts, program, room)


def _weights(experts: nn.Module) -> list[tuple[Any, Any]]:
    """Return the two layers of each expert, or their weights."""
    if isinstance(experts, SeparateExperts):
        return [(each.gate_up_proj, each.down_proj) for each in experts]
    assert isinstance(experts, Experts)
    return list(experts.pairs())


def _expert(layers: tuple[Any, Any], room: Room, factor: Tensor) -> Program:
    """Return the program of one expert; its output is linear in `factor`."""
    program, (first, last) = Program(), layers
    packed = isinstance(first, nn.Module)
    size = first.out_features if packed else len(first)
    gate_up = room.scratch("gate_up_of_expert", size)
    gate, up = gate_up.chunk(2)
    if packed:
        program.linear([first], room.normed, gate_up)
    else:
        program.dense(first, room.normed, gate_up)
    program.gate(gate, up, "silu", gate, factor)
    if packed:
        program.linear([last], gate, room.x, add=True)
    else:
        program.dense(last, gate, room.x, add=True)
    return program


@binds(LatentAttention)
def _latent(module: LatentAttention, program: Program, room: Room) -> None:
    c, heads = module.config, module.config.num_attention_heads
    nope, rank, dim = c.qk_nope_head_dim, c.kv_lora_rank, c.qk_rope_head_dim
    turns = room.turns(dim, c.rope("main"))
    first = module.q_a_proj if c.q_lora_rank else module.q_proj
    joined = room.scratch("query_latent", first.out_features + rank + dim)
    q, latent, shared = joined.split([first.out_features, rank, dim])
    program.linear([first, module.kv_a_proj_with_mqa], room.normed, joined)
    if c.q_lora_rank:
        query = room.scratch("query", module.q_b_proj.out_features)
        program.norm(q, module.q_a_layernorm, q)
        program.linear([module.q_b_proj], q, query)
        q = query
    program.norm(latent, module.kv_a_layernorm, latent)
    program.rotate(shared[None], turns, shared[None])
    cache = room.cache(1, rank + dim)
    program.store(joined[None, first.out_features :], cache)
    # the keys' expansion is absorbed into the query, and the values' into the output
    weight = module.kv_b_proj.weight.detach().unflatten(0, (heads, -1))
    key_up, value_up = weight.split([nope, c.v_head_dim], 1)  # [H, ., rank]
    q, absorbed = q.view(heads, -1), room.scratch("absorbed", heads, rank + dim)
    program.dense(key_up.mT, q[:, :nope], absorbed[:, :rank])
    program.rotate(q[:, nope:], turns, absorbed[:, rank:])
    context = room.scratch("context", heads, rank)
    program.attend(absorbed, cache, cache[:, :, :rank], context, module.scale)
    output = room.scratch("heads", heads, c.v_head_dim)
    program.dense(value_up, context, output)
    program.linear([module.o_proj], output.flatten(), room.x, add=True)

    def take(cache_of_model: Cache, length: int) -> None:
        buffer = cache_of_model.vectors(module.layer, "latent")
        cache[0, :length] = buffer[0, :length]

    room.takes.append(take)


@binds(GroupedQueryAttention)
def _grouped(module: GroupedQueryAttention, program: Program, room: Room) -> None:
    c, dim, groups = (
        module.config,
        module.config.head_dim,
        module.config.key_value_heads,
    )
    if not isinstance(module.up, nn.Identity):
        raise DeepSeekLearnError(
            "a model with a latent cache cannot be decoded this way, because its keys "
            "cannot be stored after the rotation."
        )
    turns, queries = room.turns(dim, c.rope(module.rope)), module.q_proj.out_features
    both = room.scratch("qkv", queries + module.kv_proj.out_features)
    program.linear([module.q_proj, module.kv_proj], room.normed, both)
    q = both[:queries].view(-1, dim)
    key, value = both[queries:].view(2, groups, dim)
    if c.qk_norm:
        program.norm(q, module.q_norm, q)
        program.norm(key, module.k_norm, key)
    program.rotate(q, turns, q)
    program.rotate(key, turns, key)
    # with a window, the newest token takes the place of the one that leaves it
    length = min(module.window or room.capacity, room.capacity)
    keys, values = (room.cache(groups, dim, length) for _ in range(2))
    program.store(key, keys)
    program.store(value, values)
    output = room.scratch("heads", *q.shape)
    program.attend(q, keys, values, output, module.scale)
    program.linear([module.o_proj], output.flatten(), room.x, add=True)

    def take(cache: Cache, tokens: int) -> None:
        stored = cache.vectors(module.layer, "latent")[0]  # [S, r]
        first = max(tokens - length, 0)
        pair = stored[first:tokens].unflatten(1, (2, -1, dim))
        key, value = pair.unbind(1)  # [S, G, dim]
        cos, sin = turns[None, first:tokens].unbind(-1)
        key = module.k_norm(key) if c.qk_norm else key
        slots = torch.arange(first, tokens) % length
        keys[:, slots] = rotate(key[None], (cos, sin))[0].transpose(0, 1).to(keys)
        values[:, slots] = value.transpose(0, 1).to(values)

    room.takes.append(take)


@binds(HybridAttention)
def _hybrid(module: HybridAttention, program: Program, room: Room) -> None:
    c = module.config
    heads, dim = c.num_attention_heads, c.head_dim
    turns = room.turns(c.qk_rope_head_dim, c.rope(module.turn))
    tail = dim - c.qk_rope_head_dim
    rank = module.q_a_proj.out_features
    joined = room.scratch("query_latent", rank + dim)
    q_latent, kv = joined.split([rank, dim])
    program.linear([module.q_a_proj, module.kv_proj], room.normed, joined)
    program.norm(q_latent, module.q_a_norm, q_latent)
    program.norm(kv, module.kv_norm, kv)
    program.rotate(kv[None, tail:], turns, kv[None, tail:])
    recent = room.cache(1, dim)
    program.store(kv[None], recent)
    q = room.scratch("query", heads * dim)
    program.linear([module.q_b_proj], q_latent, q)
    q = q.view(heads, dim)
    program.norm_heads(q, c.rms_norm_eps, q)
    program.rotate(q[:, tail:], turns, q[:, tail:])
    if module.turn == "compress":
        compressor = module.compressor
        entries, rate = _windows(compressor, program, room), compressor.rate
        choice = None
        if module.indexed:
            choice = _index(compressor.indexer, q_latent, program, room)
        keys, seen = hybrid.gather(
            program, recent, c.sliding_window, entries, rate, choice
        )
    else:
        keys, seen = hybrid.gather(program, recent, c.sliding_window)
    output = room.scratch("heads", heads, dim)
    program.attend(q, keys, keys, output, dim**-0.5, seen, module.sinks)
    back = turns * torch.tensor([1.0, -1.0])  # the opposite angle: sin changes its sign
    program.rotate(output[:, tail:], back, output[:, tail:])
    low = room.scratch("groups", c.o_groups, c.o_lora_rank)
    weight = module.o_a_proj.weight.unflatten(0, (c.o_groups, -1))
    program.dense(weight, output.view(c.o_groups, -1), low)
    program.linear([module.o_b_proj], low.flatten(), room.x, add=True)

    def take(cache: Cache, length: int) -> None:
        positions, values = cache.held(module.layer, "recent")
        recent[0, positions] = values.to(recent.dtype)

    room.takes.append(take)


def _windows(windows: WindowPooling, program: Program, room: Room) -> Tensor:
    """Write the operations that compress the tokens, and return the entries' cache."""
    layers, rate = [windows.kv_proj, windows.gate_proj], windows.rate
    both = room.scratch("windows", 2 * windows.kv_proj.out_features)
    program.linear(layers, room.normed, both)
    # a ring: this window and the previous one
    tokens = torch.zeros(2 * rate, len(both))
    entries = room.cache(1, windows.dim, room.capacity // rate + 1)
    c = windows.config
    turns = room.turns(c.qk_rope_head_dim, c.rope("compress"))
    bias, norm = windows.position_bias, windows.kv_norm
    hybrid.compress(program, both, tokens, bias, norm, turns, entries)

    def take(cache: Cache, length: int) -> None:
        of_ring = cache.held(windows.layer, windows.name + " tokens")
        positions, values = (rows[-len(tokens) :] for rows in of_ring)
        tokens[positions % len(tokens)] = values.float()
        done = length // rate
        of_model = cache.vectors(windows.layer, windows.name + " entries")
        entries[0, :done] = of_model[0, :done].to(entries.dtype)

    room.takes.append(take)
    return entries


def _index(
    indexer: EntryIndexer, q_latent: Tensor, program: Program, room: Room
) -> tuple[Tensor, Tensor]:
    """Write the operations that choose entries; see `cpp.hybrid.choose`."""
    c = indexer.config
    entries = _windows(indexer, program, room)
    q = room.scratch("index query", indexer.q_b_proj.out_features)
    program.linear([indexer.q_b_proj], q_latent, q)
    q = q.view(c.index_n_heads, -1)
    tail = q.shape[1] - c.qk_rope_head_dim
    turns = room.turns(c.qk_rope_head_dim, c.rope("compress"))
    program.rotate(q[:, tail:], turns, q[:, tail:])
    scorer = indexer.scorer["weights_proj"]
    assert isinstance(scorer, nn.Linear | DPGLinear)
    weights = room.scratch("index weights", c.index_n_heads)
    program.linear([scorer], room.normed, weights)
    return hybrid.choose(program, q, weights, entries, indexer.rate, c.index_topk)


@binds(decoder.TransformerBlock)
def _plain_block(
    module: decoder.TransformerBlock, program: Program, room: Room
) -> None:
    program.norm(room.x, module.norm_attention, room.normed)
    bind(module.attention, program, room)
    program.norm(room.x, module.norm_mlp, room.normed)
    hidden = room.scratch("hidden", module.up.out_features)
    program.linear([module.up], room.normed, hidden)
    kind = next(
        k for k, v in decoder.ACTIVATIONS.items() if type(module.activation) is v
    )
    program.gate(hidden, None, kind, hidden)
    program.linear([module.down], hidden, room.x, add=True)


@binds(decoder.CausalSelfAttention)
def _plain_attention(
    module: decoder.CausalSelfAttention, program: Program, room: Room
) -> None:
    heads, size = module.heads, len(room.x)
    qkv = room.scratch("qkv", 3, heads, size // heads)
    program.linear([module.qkv], room.normed, qkv.flatten())
    output = room.scratch("heads", heads, size // heads)
    keys, values = (room.cache(heads, size // heads) for _ in range(2))
    program.store(qkv[1], keys)
    program.store(qkv[2], values)
    program.attend(qkv[0], keys, values, output, (size // heads) ** -0.5)
    program.linear([module.out], output.flatten(), room.x, add=True)

    def take(cache: decoder.KeyValueCache, length: int) -> None:
        for target, source in zip(
            (keys, values), cache.pairs[module.layer], strict=True
        ):
            target[:, :length] = source[0]

    room.takes.append(take)
