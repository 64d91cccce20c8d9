"""The language model against the public reference: answers, pace, memory of a token.

    python benchmarks/lm_speed.py [--quick]

Protocol. Both sides have the same random weights (pace does not depend on them) in
float32, their answers are compared before anything is timed, and they are timed in one
process, round by round in turn; a ratio is the median over the rounds of the ratio within
a round, with the quartiles as interval. The reference is `transformers`' DeepseekV3 as it
comes: attention by PyTorch's fused kernel, experts "eager".

Part A, one new token after 256, 1,024 and 4,096: one block of 16 heads, width 1,024, a
latent of 512 + 64, processor time of one thread. The reference expands the latents of
the whole past for each token, ours reads them as they are. Targets: 8 times as fast at
1,024 tokens, 10 times at 4,096.

Part B, a mixture of experts at 64 tokens at once, as 64 sequences being written have
them: time by the clock, on all cores and in one thread. Target: twice as fast as the
reference, in both, at 64 experts of 128 neurons, 6 for a token, width 512; other sizes
are information.

Part C, bytes a token adds to the cache in bfloat16, by arithmetic and measured on one
layer of each kind, its growth from 256 to 512 tokens, times the layers: keys and values
for each of DeepSeek-V3's 128 heads (128 + 64 and 128 numbers in 61 layers); for 8 heads
shared by all (128 and 128); V3's latent; V3.2's with the indexer's key; V4-Flash's hybrid
attention (of 43 layers 2 have windows alone, 21 are compressed sparse of rate 4, 20 heavily
compressed of rate 128; heads of 512, indexer of 128), whose windows do not grow. The
first two are measured on the reference. Target: arithmetic and measurement agree to the
byte.

Part D, exactness: small models of the reference's DeepseekV2, V3 and V32 (3 layers, width
48, 8 experts in 4 groups, 16 index heads) with large random weights, so that logits have
a standard deviation of about 2; 2 texts of 70 tokens, read whole, and in pieces with a
cache. Target: no logit differs by more than 5e-5. (With 8 index heads one of these tokens
scores several others exactly 0, each head's product being negative; which of them are
read then depends on the order in which a sort finds them, and logits in pieces differ
visibly. The reference has the same ties.)

Added later. What a run of parts A, B and E gives is one reading of its rows. Part E, where
the gain of part A comes from: the same block with 4, 64 and 128 heads, after 256, 1,024
and 4,096 tokens, and a tiny one (width 128, 4 heads of 32, a latent of 64 + 16), in 5
rounds, compared and timed as in part A. The reference's cost grows with heads x past, ours
hardly with the heads, so with few heads there is little to gain, and on the tiny block
perhaps nothing. For information: no target.
"""

import argparse
import os
import statistics
import sys
import time

from models.decode_pace import BLOCK, LIMIT, TINY, paces, ratios

from deepseek_learn.ledger.readings import now

# allocate large tensors from the process's heap, not from the system at each call:
# otherwise page faults are timed instead of arithmetic
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
}
TARGETS = {1024: 8.0, 4096: 10.0}  # context length → target
HEADS, TABLE_ROUNDS = (4, 64, 128), 5
# width, neurons, experts, experts per token: the target is for the first
MIXTURES = ((512, 128, 64, 6), (256, 64, 64, 6), (256, 128, 32, 4), (1024, 256, 64, 6))
BATCH = 64
OVER = "the reference's time over ours"


def row(what: str, values: list[float], target: float | None, note: str) -> dict:
    low, median, high = statistics.quantiles(values, n=4)
    print(f"{what}: {median:.2f} ({note})", flush=True)
    return {
        "claim": "C7",
        "source": "ours",
        "what": what,
        "unit": "ratio",
        "target": target,
        "better": "higher",
        "measured": median,
        "low": low,
        "high": high,
        "n": len(values),
        "note": note,
        "time": now(),
    }


def decode(rounds: int) -> list[dict]:
    """Part A."""
    return [
        row(f"one token after {context}: {OVER}", values, TARGETS.get(context), note)
        for context, values, note in paces(BLOCK, 16, rounds)
    ]


def table(rounds: int) -> list[dict]:
    """Part E."""
    blocks = [(f"{heads} heads", BLOCK, heads) for heads in HEADS]
    rows = []
    for name, sizes, heads in [*blocks, ("tiny block, 4 heads", TINY, 4)]:
        for context, values, note in paces(sizes, heads, rounds):
            what = f"{name}, one token after {context}: {OVER}"
            rows.append(row(what, values, None, note))
    return rows


def dispatch(rounds: int) -> list[dict]:
    """Part B."""
    import torch
    from transformers import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

    from deepseek_learn.lm import Config, MixtureOfExperts

    rows = []
    for threads in (os.cpu_count(), 1):
        torch.set_num_threads(threads)
        for width, neurons, experts, top in MIXTURES:
            sizes = {
                "hidden_size": width,
                "moe_intermediate_size": neurons,
                "n_routed_experts": experts,
                "num_experts_per_tok": top,
                "routed_scaling_factor": 2.5,
                "n_group": 1,
                "topk_group": 1,
            }
            torch.manual_seed(0)
            config = DeepseekV3Config(**sizes, experts_implementation="eager")
            reference, ours = DeepseekV3MoE(config), MixtureOfExperts(Config(**sizes))
            for parameter in reference.parameters():
                torch.nn.init.normal_(parameter, std=0.05)
            ours.load_state_dict(reference.state_dict())
            reference, ours, x = (
                reference.eval(),
                ours.eval(),
                torch.randn(BATCH, 1, width),
            )
            difference = (reference(x) - ours(x)).abs().max().item()
            if difference > LIMIT:
                raise ValueError(f"the outputs differ by {difference}")
            calls = (lambda m=reference, x=x: m(x)), (lambda m=ours, x=x: m(x))
            values = ratios(*calls, time.perf_counter, 4 * rounds)
            size = f"{experts} experts of {neurons}, {top} a token, width {width}"
            where = f"{threads} threads" if threads > 1 else "one thread"
            what = f"{BATCH} tokens through {size}, {where}: {OVER}"
            target = 2.0 if (width, neurons, experts, top) == MIXTURES[0] else None
            rows.append(
                row(what, values, target, f"answers differ by {difference:.0e}")
            )
    return rows


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


def memory() -> list[dict]:
    """Part C."""
    from deepseek_learn.lm.config import (
        COMPRESSED_SPARSE,
        HEAVILY_COMPRESSED,
        LATENT,
        SPARSE,
    )

    v3 = {
        "hidden_size": 64,  # the cache depends neither on it nor on the heads
        "num_attention_heads": 2,
        "q_lora_rank": 64,
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "index_head_dim": 128,
    }
    rates = {COMPRESSED_SPARSE: 4, HEAVILY_COMPRESSED: 128}
    v4 = v3 | {"head_dim": 512, "compress_rates": rates}
    hybrid = bytes_of(COMPRESSED_SPARSE, 21, **v4)
    hybrid += bytes_of(HEAVILY_COMPRESSED, 20, **v4)
    kinds = (
        (
            "keys and values of 128 heads",
            2 * 61 * 128 * (192 + 128),
            bytes_of_heads(128, 192, 128, 61),
        ),
        (
            "keys and values of 8 shared heads",
            2 * 61 * 8 * (128 + 128),
            bytes_of_heads(8, 128, 128, 61),
        ),
        ("V3's latent", 2 * 61 * (512 + 64), bytes_of(LATENT, 61, **v3)),
        (
            "V3.2's latent and index key",
            2 * 61 * (512 + 64 + 128),
            bytes_of(SPARSE, 61, **v3),
        ),
        (
            "V4-Flash's hybrid attention",
            2 * (21 * (512 + 128) / 4 + 20 * 512 / 128),
            hybrid,
        ),
    )
    rows = []
    for name, formula, measured in kinds:
        print(f"{name}: {measured:,.0f} bytes a token, by arithmetic {formula:,.0f}")
        rows.append(
            {
                "claim": "C7",
                "source": "ours",
                "what": f"cache of one token in bfloat16, {name}",
                "unit": "bytes",
                "target": formula,
                "better": "lower",
                "measured": measured,
                "n": 1,
                "note": f"by arithmetic {formula:,.0f}",
            }
        )
    return rows


def exactness() -> list[dict]:
    """Part D."""
    import torch
    import transformers

    from deepseek_learn.lm import Cache, Config, LanguageModel

    torch.set_num_threads(1)
    sizes = {
        "vocab_size": 97,
        "hidden_size": 48,
        "intermediate_size": 64,
        "moe_intermediate_size": 24,
        "num_hidden_layers": 3,
        "first_k_dense_replace": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "num_experts_per_tok": 3,
        "n_group": 4,
        "topk_group": 2,
        "kv_lora_rank": 16,
        "q_lora_rank": 20,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 12,
        "v_head_dim": 10,
        "max_position_embeddings": 128,
        "attn_implementation": "eager",
    }
    indexer = {"index_topk": 8, "index_head_dim": 16, "index_n_heads": 16}
    kinds = {
        "DeepseekV2": {"topk_method": "group_limited_greedy"},
        "DeepseekV3": {"num_mtp_layers": 0},
        "DeepseekV32": indexer,
    }
    rows, ids = [], torch.randint(97, (2, 70))
    for name, options in kinds.items():
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**sizes, **options)
        reference = getattr(transformers, f"{name}ForCausalLM")(config).eval()
        for parameter in reference.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        ours = LanguageModel(Config.from_reference(config.to_dict())).eval()
        ours.load_state_dict(reference.state_dict(), strict=True)
        expected, cache = reference(ids).logits, Cache(ours, 2, 70)
        pieces = ids.split([25, *[1] * 20, 25], 1)
        for how, logits in (
            ("read whole", ours(ids)),
            ("in pieces, cached", torch.cat([ours(p, cache) for p in pieces], 1)),
        ):
            largest = (logits - expected).abs().max().item()
            print(f"{name}, {how}: logits differ by at most {largest:.1e}")
            rows.append(
                {
                    "claim": "C7",
                    "source": "ours",
                    "what": f"largest difference of a logit from {name}'s, {how}",
                    "unit": "logit",
                    "target": LIMIT,
                    "better": "lower",
                    "measured": largest,
                    "n": logits.numel(),
                    "note": f"standard deviation of the logits {expected.std():.2f}",
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        command = [sys.executable, __file__, *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | MALLOC)
    import torch
    import transformers

    from deepseek_learn.ledger.results import write_result

    transformers.logging.set_verbosity_error()
    rounds = 5 if arguments.quick else 21
    with torch.inference_mode():
        rows = exactness() + memory() + decode(rounds) + dispatch(rounds)
        rows += table(2 if arguments.quick else TABLE_ROUNDS)
    mode = "quick" if arguments.quick else "full"
    command = "python benchmarks/lm_speed.py"
    print(write_result("lm_speed", rows, command, mode, protocol=__doc__))


if __name__ == "__main__":
    main()
