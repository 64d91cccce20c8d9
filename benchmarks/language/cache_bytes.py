"""Bytes that one token adds to the cache, by kind of attention."""

from collections.abc import Iterator


def bytes_of(attention: str, layers: int, **sizes) -> float:
    """Growth of our cache per token, measured on one layer, for all `layers`."""
    import torch

    from deepseek_learn.lm import Cache, Config, LanguageModel

    config = Config(
        vocab_size=8,
        num_hidden_layers=1,
        intermediate_size=8,
        max_position_embeddings=512,
        layer_types=(attention,),
        **sizes,
    )
    model = LanguageModel(config).bfloat16().eval()
    totals = []
    for capacity in (256, 512):
        cache = Cache(model, 1, capacity)
        model(torch.zeros(1, 256, dtype=torch.int64), cache)
        totals.append(cache.bytes())
    return (totals[1] - totals[0]) / 256 * layers


def bytes_of_heads(heads: int, key: int, value: int, layers: int) -> float:
    """Growth of the reference's key-value cache per token, for any such layer."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    for _ in range(2):
        cache.update(
            torch.zeros(1, heads, 256, key, dtype=torch.bfloat16),
            torch.zeros(1, heads, 256, value, dtype=torch.bfloat16),
            0,
        )
    layer = cache.layers[0]
    return (layer.keys.nbytes + layer.values.nbytes) / 512 * layers


V3 = {
    "hidden_size": 64,  # the cache depends neither on it nor on the heads
    "num_attention_heads": 2,
    "q_lora_rank": 64,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
    "index_head_dim": 128,
}


def hybrid_bytes() -> float:
    """V4-Flash's 21 compressed sparse and 20 heavily compressed layers."""
    from deepseek_learn.lm.config import COMPRESSED_SPARSE, HEAVILY_COMPRESSED

    rates = {COMPRESSED_SPARSE: 4, HEAVILY_COMPRESSED: 128}
    v4 = V3 | {"head_dim": 512, "compress_rates": rates}
    sparse = bytes_of(COMPRESSED_SPARSE, 21, **v4)
    return sparse + bytes_of(HEAVILY_COMPRESSED, 20, **v4)


def caches() -> Iterator[tuple[str, float, float]]:
    """Name, bytes of a token by arithmetic, and measured."""
    from deepseek_learn.lm.config import LATENT, SPARSE

    full, shared = 2 * 61 * 128 * (192 + 128), 2 * 61 * 8 * (128 + 128)
    measured = bytes_of_heads(128, 192, 128, 61)
    yield "keys and values of 128 heads", full, measured
    measured = bytes_of_heads(8, 128, 128, 61)
    yield "keys and values of 8 shared heads", shared, measured
    yield "V3's latent", 2 * 61 * (512 + 64), bytes_of(LATENT, 61, **V3)
    sparse = 2 * 61 * (512 + 64 + 128)
    yield "V3.2's latent and index key", sparse, bytes_of(SPARSE, 61, **V3)
    hybrid = 2 * (21 * (512 + 128) / 4 + 20 * 512 / 128)
    yield "V4-Flash's hybrid attention", hybrid, hybrid_bytes()
