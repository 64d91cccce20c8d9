"""One token of other models: the decoder of 100 M parameters and `small_deepseek`."""

import statistics
import time
from collections.abc import Callable, Iterator

from harness.interval import Estimate, quartiles

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row

SHARE = 0.6  # of the bound of memory


def row(what: str, unit: str, estimate: Estimate, better="lower", **facts) -> Row:
    facts |= {"claim": "C2", "source": "ours", "better": better}
    result = Row(what=what, unit=unit, **vars(estimate), **facts)
    print(f"{what}: {result.measured:.3g} ({result.note})", flush=True)
    return result


def large_block():
    """A block with huge pages; how fast one core reads it is the bandwidth."""
    import torch

    from deepseek_learn.dpg.arena import Pool

    block = Pool().zeros(64 << 20, dtype=torch.float32)
    block += 1
    block.dot(block)
    return block


def seconds_per_byte(block) -> float:
    """To read the block: the median of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        block.dot(block)
        times.append(time.perf_counter() - start)
    return statistics.median(times) / block.nbytes


def bound_note(bounds: list[float]) -> str:
    return f"the bound is {1e3 * statistics.median(bounds):.1f} ms"


def in_turn(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list]:
    """The processor seconds of a call of each way in each round; a call's is a mean."""
    times: dict[str, list] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, call in ways.items():
            start = time.process_time()
            for _ in range(8):
                call()
            if turn:  # the first warms up
                times[name].append((time.process_time() - start) / 8)
    return times


def decoder_rows(rounds: int) -> Iterator[Row]:
    """The decoder of 100 M parameters."""
    import torch
    from compressing.resident import PREFILL, build, mixture

    from deepseek_learn import dpg, lm

    torch.set_num_threads(1)
    shares = mixture()
    names = ("float32", "torchao int4", "dpg")
    models = {name: build(name, shares) for name in names}
    tokens = torch.randint(0, 256, (1, PREFILL))
    decoding = lm.Decoding(models["dpg"], PREFILL + 8, torch.bfloat16)
    ways: dict[str, Callable] = {}
    with torch.inference_mode():
        for name in names[:2]:
            cache = lm.decoder.KeyValueCache()
            models[name](tokens, cache)
            pairs = dict(cache.pairs)

            def call(model=models[name], cache=cache, pairs=pairs) -> None:
                cache.pairs = dict(pairs)
                model(tokens[:, :1], cache)

            ways[name] = call

        def ours() -> None:
            decoding.length = PREFILL
            decoding.step(0)

        decoding.read(tokens[0])
        block = large_block()
        ways |= {"ours": ours, "read": lambda: block.dot(block)}
        times = in_turn(ways, 3 * rounds)
    for name, target in (("torchao int4", 2.0), ("float32", 6.0)):
        pairs = zip(times[name], times["ours"], strict=True)
        ratios = [peer / ours for peer, ours in pairs]
        medians = [1e3 * statistics.median(times[n]) for n in ("ours", name)]
        what = f"decoder of 100 M, a token: {name}'s time over ours"
        note = f"{medians[0]:.1f} against {medians[1]:.1f} ms"
        facts = {"target": target, "note": note}
        yield row(what, "ratio", quartiles(ratios), "higher", **facts).at(now())
    share = dpg.bytes_of(models["dpg"]) / block.nbytes
    bounds = [share * seconds for seconds in times["read"]]
    pairs = zip(bounds, times["ours"], strict=True)
    shares_reached = [bound / seconds for bound, seconds in pairs]
    what = "decoder of 100 M, a token: fraction of the bound of memory"
    facts = {"target": SHARE, "note": bound_note(bounds)}
    yield row(what, "of 1", quartiles(shares_reached), "higher", **facts).at(now())


def small_rows(rounds: int) -> Iterator[Row]:
    """`small_deepseek`, in float32 and packed."""
    import torch

    from deepseek_learn import dpg, lm, zoo

    torch.set_num_threads(1)
    model = lm.separate(zoo.writer("small_deepseek").model)
    del model.model.layers[model.config.num_hidden_layers :]
    packed = dpg.convert(model, dpg.uniform(model, 4))
    ids, prompt = torch.arange(5, 70), 64
    for name, each in (("float32", model), ("4 bits", packed)):
        with torch.inference_mode():
            decoding = lm.Decoding(each, 96, torch.float32)
            decoding.read(ids[:prompt])
            cache = lm.Cache(each, 1, 96)
            each(ids[None, :prompt], cache)

            def ours(decoding=decoding) -> None:
                decoding.length = prompt
                decoding.step(int(ids[prompt]))

            def ordinary(each=each, cache=cache) -> None:
                each(ids[None, prompt:], cache)
                cache.rewind(1)

            times = in_turn({"ordinary": ordinary, "ours": ours}, rounds)
        pairs = zip(times["ordinary"], times["ours"], strict=True)
        ratios = [slow / fast for slow, fast in pairs]
        medians = [1e3 * statistics.median(times[n]) for n in ("ours", "ordinary")]
        what = f"small_deepseek, {name}, a token: the ordinary path's time over ours"
        note = f"{medians[0]:.2f} against {medians[1]:.2f} ms"
        yield row(what, "ratio", quartiles(ratios), "higher", note=note).at(now())
