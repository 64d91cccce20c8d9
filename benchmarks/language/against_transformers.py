"""The language model against the public reference: answers, pace, memory of a token.

The protocol is in `benchmarks/lm_speed.py`.
"""

import os
import time
from collections.abc import Iterator

from harness.interval import quartiles
from harness.script import Run
from language.cache_bytes import caches
from language.decoding import BLOCK, LIMIT, TINY, paces, ratios
from language.exactness import differences

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row

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
