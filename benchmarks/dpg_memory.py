"""The memory that compressed models take.

    python benchmarks/dpg_memory.py [--quick] [--anew] [--speed] [--part PART ...]

*resident*:
What a compressed decoder of 100 M parameters costs: resident memory and latency.

Protocol. `lm.Decoder(dim=1024, layers=8, heads=16)`, 101 M weights in linear layers,
random (memory and time do not depend on their values), one fresh process a variant, one
thread. Resident memory is the growth of the process after the imports, with the float32
original freed and two tokens answered, over 4 bytes x all parameters. Latency is
processor time, after a warm-up, the lower quartile of the calls in a process: *decode*
is one token after 64 in the cache, *prefill* 64 tokens at once. All variants take turns,
round by round; a ratio is taken within a round; the figure is the median over rounds,
its interval their range. Peers: torch's dynamic int8 (engine x86), torchao int8 and int4
(group 64, so that it spends nearly the bytes that DPG does), bitsandbytes nf4; the last
three run the whole model in bfloat16, as their kernels want it.

"dpg" has the default configuration: in every layer the shares of rows with 2, 3, 4, 5, 6
and 8 bits are those of the weights to which `dpg.allocate(model, calibration)` gave them
in the three trained language models of `models/tang_lm.py`, 4 bits on average. "dpg 4+4"
keeps 8 bits as two terms (what a cascade runs on); in a second reading its refine planes
are mapped from a file, used, and dropped.

Targets, stated before the run: resident at most 17 % of float32's (the guide: 35 %);
decode at least 1.4 x torchao int4's speed, 1.25 x torch int8's, 5 x float32's; prefill at
least torch int8's speed; "dpg 4+4" at most 30 % resident with all planes, and at most
17 % with the refine planes dropped.

*peak*:
The guide's sentence on one model: 98 % of the accuracy at 35 % of the memory.

Protocol. The accuracy and the peak memory of inference of one and the same trained model,
compressed by `dpg.compress` as it comes at 3, 4 and 5 bits a weight and at 8. Models:
SmolLM2-135M (`zoo.smollm2`, 135 M parameters) and the zoo's classifiers fashion_net and
solar_defects.

Accuracy, over the float32 model's: of SmolLM2 the next token's, on the windows of 256
tokens that `latent_cache.py` measures on (19 of prose, 39 of verse; 32 others calibrate),
the perplexity beside it; of the classifiers that of the test part. Memory: a fresh process
on one thread imports everything, reads its resident memory, loads the model (the
compressed one from the file that `dpg.save` wrote, so that the float32 weights are never
there), then has the system's high-water mark reset and works: SmolLM2 reads a prompt of 64
tokens and writes 64, a classifier answers a batch (64 pictures, 8 photographs), twice. The
figure is how far the mark then lies above the first reading, weights and activations
together, in per cent of the float32 model's, the median of 3 processes, with their range.

Target, stated before any run. The guide's: at most 35 % of the memory, at the smallest of
the budgets that keeps 98 % of the accuracy; where none keeps it, the float32 model's own
memory, 100 %, is what keeping it takes.

Finished budgets are lines in `results/dpg_memory.jsonl`. `--quick`: fashion_net at 4
bits, one process.

*ten_billion*:
A decoder of ten billion parameters on a small machine: the plan, and the run.

Protocol. *The plan* is arithmetic: a decoder with 10 billion weights in linear layers
(dim 5120, 32 layers of 12 dim^2, every head with keys and values of its own), a
vocabulary of 32,000 and keys and values for 1,024 tokens in bfloat16; DPG at b bits a
weight with its 16-bit scale for 64 weights; 0.5 GiB for the runtime. It lists the
largest b for cards of 8, 12, 16 and 24 GB (of 10^9 bytes), how many tokens of context
fit at 4 bits, and float16 beside it.

*The run* generates with such a decoder, its packed planes filled with random bits (no
trained model of that size is here): on a GPU under a cap of 8 GB of its memory (peak:
what PyTorch reserved), and on the CPU (peak: the process's resident high-water mark, no
cap). 8 tokens after a prompt of 8, so the cache is small, and it is float32 here: the
run shows the weights' memory, a long context costs what the plan says. `--quick` is a
model of a hundredth of the size.

Target, stated before the run: a peak of at most 7.3 GB (10^9 bytes) for 10 billion
parameters at 4 bits, on a GPU and on the CPU.
"""

from collections.abc import Iterator

from compressing import peaks, resident, ten_billion
from harness.script import Run, Script

from deepseek_learn.ledger.rows import Row

PARTS = {
    "resident": resident.measure,
    "peak": peaks.measure,
    "ten_billion": ten_billion.measure,
}
SCRIPT = Script(
    __file__,
    __doc__,
    quick="one round, small models",
    anew=True,
    speed=True,
    children={
        "variant": resident.print_variant,
        "save": resident.save,
        "peak": peaks.print_peak,
        "run": ten_billion.print_generation,
    },
    parts=(*PARTS,),
)


def measure(run: Run) -> Iterator[Row]:
    if run.speed:
        yield from resident.measure(run)
        return
    for part, work in PARTS.items():
        if part in run.parts:
            yield from work(run)


if __name__ == "__main__":
    SCRIPT.main(measure)
