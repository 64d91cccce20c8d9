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
are information. So are, at each size, OpenVINO with the same weights in float32, in the
form in which it uses its grouped product, and ours packed to 4 bits, whose answers differ.

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
perhaps nothing. For information: no target. The reading of part B on an AMD EPYC is of a
kernel that takes two rows and four tokens at once, that on an Intel Xeon of one that takes
four and six; readings of earlier ones were dropped.
"""

import os
import time
from collections.abc import Iterator

from harness.interval import quartiles
from harness.script import Run, Script
from language.cache_bytes import caches
from language.decoding import BLOCK, LIMIT, TINY, paces, ratios
from language.exactness import differences

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure.memory import REUSE_FREED

SCRIPT = Script(__file__, __doc__, quick="fewer rounds", environment=REUSE_FREED)
TARGETS = {1024: 8.0, 4096: 10.0}  # context length → target
HEADS, TABLE_ROUNDS = (4, 64, 128), 5
# width, neurons, experts, experts per token: the target is for the first
MIXTURES = ((512, 128, 64, 6), (256, 64, 64, 6), (256, 128, 32, 4), (1024, 256, 64, 6))
BATCH = 64
OVER = "the reference's time over ours"


def speed_row(what: str, values: list[float], target: float | None, note: str) -> Row:
    """A reading: how many times as fast ours is."""
    row = Row(
        claim="C7",
        source="ours",
        what=what,
        unit="ratio",
        better="higher",
        target=target,
        note=note,
        **vars(quartiles(values)),
    )
    print(f"{what}: {row.measured:.2f} ({note})", flush=True)
    return row.at(now())


def decode(rounds: int) -> Iterator[Row]:
    """Part A."""
    for context, values, note in paces(BLOCK, 16, rounds):
        what = f"one token after {context}: {OVER}"
        yield speed_row(what, values, TARGETS.get(context), note)


def table(rounds: int) -> Iterator[Row]:
    """Part E."""
    blocks = [(f"{heads} heads", BLOCK, heads) for heads in HEADS]
    for name, sizes, heads in [*blocks, ("tiny block, 4 heads", TINY, 4)]:
        for context, values, note in paces(sizes, heads, rounds):
            what = f"{name}, one token after {context}: {OVER}"
            yield speed_row(what, values, None, note)


def dispatch(rounds: int) -> Iterator[Row]:
    """Part B."""
    import torch

    for threads in (os.cpu_count() or 1, 1):
        torch.set_num_threads(threads)
        where = f"{threads} threads" if threads > 1 else "one thread"
        for sizes in MIXTURES:
            width, neurons, experts, top = sizes
            size = f"{experts} experts of {neurons}, {top} per token, width {width}"
            what = f"{BATCH} tokens through {size}, {where}"
            yield from mixtures(sizes, threads, 4 * rounds, what)


def mixtures(sizes: tuple, threads: int, rounds: int, what: str) -> Iterator[Row]:
    """Ours beside the reference and OpenVINO, and packed beside the reference."""
    import torch
    from language import openvino_experts

    from deepseek_learn import dpg, lm

    reference, ours, x = mixture_pair(*sizes)
    openvino = openvino_experts.compiled(reference, threads)
    answer, clock = ours(x), time.perf_counter
    differences = [abs(reference(x) - answer).max(), abs(openvino(x) - answer).max()]
    if max(differences) > LIMIT:
        raise ValueError(f"the outputs differ by {differences}")
    apart = lm.separate(torch.nn.ModuleList([ours]))
    packed = dpg.convert(apart, dpg.uniform(apart, 4))[0]
    notes = [f"answers differ by {float(each):.0e}" for each in differences]
    calls = (lambda: reference(x)), (lambda: ours(x))
    target = 2.0 if sizes == MIXTURES[0] else None
    yield speed_row(f"{what}: {OVER}", ratios(*calls, clock, rounds), target, notes[0])
    values = ratios(lambda: openvino(x), calls[1], clock, rounds)
    yield speed_row(f"{what}: OpenVINO's time over ours", values, None, notes[1])
    values = ratios(calls[0], lambda: packed(x), clock, rounds)
    yield speed_row(f"{what}: {OVER} in 4 bits", values, None, "weights rounded")


def mixture_pair(width: int, neurons: int, experts: int, top: int):
    """The reference's mixture of experts, ours with the same weights, and an input."""
    import torch
    from transformers import DeepseekV3Config
    from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE

    from deepseek_learn.lm import Config, MixtureOfExperts

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
    return reference.eval(), ours.eval(), torch.randn(BATCH, 1, width)


def memory() -> Iterator[Row]:
    """Part C."""
    for name, formula, measured in caches():
        yield Row(
            claim="C7",
            source="ours",
            what=f"cache of one token in bfloat16, {name}",
            unit="bytes",
            better="lower",
            target=formula,
            measured=measured,
            n=1,
            note=f"by arithmetic {formula:,.0f}",
        )


def exactness() -> Iterator[Row]:
    """Part D."""
    import torch

    torch.set_num_threads(1)
    for each in differences():
        yield Row(
            claim="C7",
            source="ours",
            what=f"largest difference of a logit from {each.kind}'s, {each.how}",
            unit="logit",
            better="lower",
            target=LIMIT,
            measured=each.largest,
            n=each.logits,
            note=f"standard deviation of the logits {each.deviation:.2f}",
        )


def measure(run: Run) -> list[Row]:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    rounds, few = (5, 2) if run.quick else (21, TABLE_ROUNDS)
    with torch.inference_mode():
        rows = [*exactness(), *memory(), *decode(rounds), *dispatch(rounds)]
        return [*rows, *table(few)]


if __name__ == "__main__":
    SCRIPT.main(measure)
