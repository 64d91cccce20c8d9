"""Ours against the best peer, everywhere, on this machine: one command, a quarter hour.

    python benchmarks/versus.py [--quick] [--part PART ...]

Protocol. Each row is how many times as good ours is as the strongest peer that installs,
in one run on this machine: the peer's time (or loss) over ours, or our hypervolume over
the peer's; 1 is equal, below 1 ours is behind. Median and quartiles over rounds, in which
both sides take turns; one thread and processor time unless a row says otherwise. The full
protocols, more peers and the targets are those of the scripts named here; this one has
fewer rounds and no target.

- `decode` (`lm_speed.py`): a token of SmolLM2 after 512, and the prompt, against
  llama.cpp with Q4_0, on one thread and on two (by the clock); a token of the decoder of
  100 M against torchao's int4.
- `experts` (`lm_speed.py`): 64 tokens through 64 experts of 128 neurons, 6 for a token,
  width 512, in float32 and packed, against transformers' "eager"; a token after 1,024
  through latent attention with 16 heads, against transformers.
- `rounding` (`dpg_quality.py`): the divergence of a language model on Tang poems, by
  `dpg.compress` (4 bits, groups of 64) against torchao's HQQ (4 bits, groups of 32, which
  are more bytes) and bitsandbytes' nf4; the quartiles are those of the windows.
- `optimizer` (`deepopt.py`): the optimizer's own time in a step on flights and poems,
  Muon's over DeepOpt's.
- `tuner` (`tuner_peers.py`): hypervolume after 30 trials on both tables of trained
  networks, over that of Optuna's GPSampler, three seeds.
- `deploy` (`deploy_cpu.py`): one picture through the zoo's U-Net, its classifier of solar
  cells and U-Net-64 in float32, the faster of MNN and ncnn over the fastest of ONNX
  Runtime, OpenVINO and our engine on ONNX Runtime with its Winograd kernel.

A peer that does not install here is named and left out. `--quick`: two rounds of each.

Added later: the sampler was changed while the table of digits was looked at, so `tuner` has
the table of movements alone, which was held out. `tuner_peers.py` decides, on three
problems held out: level with GPSampler after 30 and 60 trials, .2 points of the best
hypervolume behind after 100.

Added later: the book's page shows the rows of the scripts named here, chosen in
`ledger/versus.toml`, and beside them the run of this one on the reader's machine, which
goes to `results/quick/versus.json`. The details in the ledger's folder are of two earlier
runs.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from deploying.backends import NotInstalled
from harness.interval import Estimate, quartiles, spread
from harness.script import Run, Script, Skip

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure.memory import REUSE_FREED

PARTS = ("decode", "experts", "rounding", "optimizer", "tuner", "deploy")
SCRIPT = Script(
    __file__,
    __doc__,
    quick="two rounds",
    parts=PARTS,
    own=True,
    environment=REUSE_FREED,
)
READ, ROUNDS, SEEDS, TRIALS, REPEATS = 512, 5, 3, 30, 10
NETWORKS = (
    "bacteria_unet, 224 x 224",
    "solar_defects, 288 x 288",
    "U-Net-64, 256 x 256",
)


def against(
    claim: str, what: str, peer: str, values: list[float] | Estimate, note: str
) -> Row:
    if isinstance(values, Estimate):
        estimate = values
    else:
        estimate = quartiles(values) if len(values) > 2 else spread(values)
    row = Row(
        claim=claim,
        source="ours",
        what=f"{what}, against {peer}",
        unit="times as good",
        better="higher",
        peer=peer,
        note=note,
        **vars(estimate),
    )
    print(f"{row.what}: {row.measured:.2f} ({note})", flush=True)
    return row.at(now())


def decode(rounds: int) -> Iterator[Row]:
    from language.against_llama_cpp import Sides, measured
    from language.other_decoders import decoder_rows

    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(Path(folder), quick=True)
        del sides.files["Q4_1"]
        for threads in (1, 2):
            ways = measured(sides, READ, threads, rounds)["ways"]
            pairs = list(zip(ways["ours"], ways["Q4_0"], strict=True))
            where = "one thread" if threads == 1 else "2 threads"
            for i, what in ((1, f"a token after {READ}"), (0, f"a prompt of {READ}")):
                values = [peer[i] / mine[i] for mine, peer in pairs]
                note = f"{1e3 * pairs[-1][0][i]:.1f} and {1e3 * pairs[-1][1][i]:.1f} ms"
                place = f"SmolLM2, {what}, {where}"
                yield against("C2", place, "llama.cpp", values, note)
    first = next(decoder_rows(rounds))
    place = "decoder of 100 M, a token"
    assert first.measured is not None
    facts = (first.low, first.high, first.interval, first.n)
    estimate = Estimate(first.measured, *facts)
    yield against("C2", place, "torchao int4", estimate, first.note or "")


def experts(rounds: int) -> Iterator[Row]:
    import torch
    from language.against_transformers import MIXTURES, mixture_pair
    from language.decoding import BLOCK, paces, ratios

    from deepseek_learn import dpg, lm

    torch.set_grad_enabled(False)
    reference, ours, x = mixture_pair(*MIXTURES[0])
    apart = lm.separate(torch.nn.ModuleList([ours]))
    packed = dpg.convert(apart, dpg.uniform(apart, 4))
    for threads in (1, 2):
        torch.set_num_threads(threads)
        clock = time.process_time if threads == 1 else time.perf_counter
        where = "one thread" if threads == 1 else "2 threads"
        for kind, model in (("float32", ours), ("4 bits", packed[0])):
            calls = (lambda: reference(x)), (lambda model=model: model(x))
            values = ratios(*calls, clock, 4 * rounds)
            place = f"64 tokens through 64 experts, {kind}, {where}"
            yield against("C7", place, "transformers", values, "eager")
    for context, values, note in paces(BLOCK, 16, rounds, (1024,)):
        place = f"latent attention, a token after {context:,}"
        yield against("C7", place, "transformers", values, note)
    torch.set_grad_enabled(True)


def rounding(rounds: int) -> Iterator[Row]:
    from compressing.quality import WINDOW, Language
    from models import peers

    from deepseek_learn import dpg
    from deepseek_learn.zoo.metrics import divergence

    language = Language(0, quick=rounds == 2)

    def losses(model) -> list[float]:
        each = divergence(language.answer(model), language.reference)
        return [float(window.mean()) for window in each.split(WINDOW)]

    mine = losses(dpg.compress(language.model, language.calibration).model)
    for name, quantize in (
        ("torchao HQQ", lambda model: peers.torchao_int4(model, hqq=True)),
        ("bitsandbytes nf4", peers.bitsandbytes_nf4),
    ):
        other = losses(quantize(language.model))
        values = [theirs / ours for theirs, ours in zip(other, mine, strict=True)]
        note = f"{sum(mine) / len(mine):.4f} and {sum(other) / len(other):.4f} nats"
        yield against("C2", "language model in 4 bits, divergence", name, values, note)


def optimizer(rounds: int) -> Iterator[Row]:
    from deepopt import TASKS, speed

    for name in ("flights", "poems"):
        own = speed(TASKS[name]())["own_ms"]
        values = [each["muon"] / each["deepopt"] for each in own]
        place = f"DeepOpt's own time in a step, {name}"
        yield against("C3", place, "Muon", values, f"{len(values)} steps")


def tuner(rounds: int) -> Iterator[Row]:
    import warnings

    import optuna
    from tuner_peers import GP, OURS, search
    from tuning.problems import problems

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    for problem in problems():
        if not (problem.is_table and problem.held_out):
            continue
        values, pace = [], []
        for seed in range(min(rounds, SEEDS)):
            found = {n: search(problem, n, seed, [TRIALS]) for n in (OURS, GP)}
            volumes = [found[n][f"at_{TRIALS}"] for n in (OURS, GP)]
            values.append(volumes[0] / volumes[1])
            pace.append(found[GP]["ms"] / found[OURS]["ms"])
        note = f"in {sum(pace) / len(pace):.0f} times less processor time"
        place = f"tuner, {problem.name}, {TRIALS} trials, hypervolume"
        yield against("C11", place, "GPSampler", values, note)


def deploy(rounds: int) -> Iterator[Row]:
    import torch
    from deploying import backends
    from models.deployed_nets import NETS

    from deepseek_learn.deploy import native, to_onnx
    from deepseek_learn.deploy.winograd import with_winograd

    library = "--library", native.library()
    for name in NETWORKS:
        net = NETS[name](False)
        proto, peers = to_onnx(net.model, net.x), {}
        with tempfile.TemporaryDirectory() as place, torch.inference_mode():
            folder = Path(place)
            engine = native.build(folder / "engine")
            fast = with_winograd(proto)
            ours = {
                "ONNX Runtime": backends.onnx_runtime(proto, net.x),
                "OpenVINO": backends.openvino(proto, net.x),
                "our engine": backends.Engine(engine, fast, net.x, folder, *library),
            }
            for kind in ("MNN", "ncnn"):
                facts = (net.model, proto, torch.cat(net.calibration), folder)
                try:
                    peers[kind] = backends.Elsewhere(kind, "fp32", *facts)
                except RuntimeError as error:
                    print(f"{kind} on {name}: {error}", flush=True)
            turns = [
                {way: run(REPEATS) for way, run in (ours | peers).items()}
                for _ in range(rounds)
            ]
        total = {way: sum(turn[way] for turn in turns) for way in turns[0]}
        best, peer = min(ours, key=total.get), min(peers, key=total.get)
        values = [turn[peer] / turn[best] for turn in turns]
        note = f"{best}: {turns[-1][best]:.1f}, {turns[-1][peer]:.1f} ms"
        yield against("C12", f"{name.partition(',')[0]}, float32", peer, values, note)


WORK = {
    "decode": decode,
    "experts": experts,
    "rounding": rounding,
    "optimizer": optimizer,
    "tuner": tuner,
    "deploy": deploy,
}


def measure(run: Run) -> Iterator[Row]:
    import torch

    for part in PARTS:
        if part not in run.parts:
            continue
        torch.set_num_threads(1)
        try:
            yield from WORK[part](2 if run.quick else ROUNDS)
        except (ImportError, NotInstalled, Skip) as error:
            print(f"{part} is left out: {error}", flush=True)


if __name__ == "__main__":
    SCRIPT.main(measure)
