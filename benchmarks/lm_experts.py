"""What experts bring, and what they take: against dense models, and from the disk.

    python benchmarks/lm_experts.py [--quick] [--speed] [--part PART ...]

*train*:
Do experts pay? A mixture against dense models of equal active and equal total size.

Protocol. The zoo's `small_deepseek` without its block for drafts, and the same with one
network in each layer in place of the experts: together as many neurons as the mixture
has at work on a token (two routed experts and a shared one), or in all (seventeen). Text
that is in this repository: the train parts of `data.tang_poems` and
`data.english_verses`, line by line in a random order, in the zoo's tokens. 600 steps of
16 windows of 256 tokens (2.5 million tokens, 2.2 times what there are), training as
`zoo.train.small_deepseek` does it but for the learning rate: of 0.003, 0.006, 0.012 each
contestant has the one whose bits on the validation parts are fewest after 200 steps with
seed 100. Seeds 0, 1, 2 decide the initial weights and the windows. Measured: bits a byte
on both test parts (each line alone, the end included), by their bytes together; the
processor time of a step, of one thread (that of the whole training, making the tokens
included, over its steps); for the mixture the *violation* on the test parts, the largest
load over the mean load, less 1.

A row is the mean over the seeds of the difference to the mixture, with Student's 95 %
interval. Targets, stated before the run: the mixture needs fewer bits than the dense
model of equal active size, and at most 0.02 more than that of equal total size, with less
processor time a step than the latter; its violation is at most 1 in each layer, with each
seed ("with each seed" was added during the run; it is the harder reading).

The full run was made by two processes at a time, partly beside other work: compare its
processor times with one another only.

`--quick`: 30 steps, one seed, the zoo's rate. Each finished run is one line of
results/lm_experts.jsonl; an interrupted script goes on.

*disk*:
A mixture of experts larger than its memory: the experts stay on disk, few in memory.

Protocol. A language model of `deepseek_learn.lm`: width 1,024, 24 layers of latent
attention, in each a shared expert and 64 routed ones of 1,216 neurons, 4 for a token;
5.7 billion weights in experts, which are files of 4-bit planes (3.05 GB with their
scales), mapped by `dpg.MappedExperts`. All else is bfloat16 in memory. The weights are
random (no trained model of that size is here): tokens then go to all experts alike,
which is the worst that a cache can meet; text has favourites. The prompt is 8 tokens,
32 more are written, greedily. What is given back is dropped from the system's cache of
files too, as if memory were short, and before each run all of it is: an expert that is
not in memory is read from the disk. One process for each number of experts a layer that
stay in memory (4, 8, 16, 32, 64), one after the other.

Measured: the largest anonymous memory of the process after any token, from the system
(`RssAnon`: what it could not drop and read again), tokens a second, and how many of the
wanted experts were in memory. `--quick`: 4 layers, 8 tokens.

Targets, stated before the run: the files hold at least 3.0 GB, and anonymous memory
stays below 1.0 GB (10^9 bytes) in every run. The pace has no target.

And by arithmetic, for ten billion parameters of this architecture (42 such layers): what
is always in memory, and with a quarter of the experts.

Added later (*train*):
`--speed` takes one more reading of the processor times: 20 steps of each
contestant in turn, with each seed, without making the tokens.
"""

from collections.abc import Iterator

from harness.script import Run, Script
from language import experts_on_disk, experts_trained

from deepseek_learn.ledger.rows import Row

PARTS = {"train": experts_trained.measure, "disk": experts_on_disk.measure}
SCRIPT = Script(
    __file__,
    __doc__,
    quick="30 steps, one seed; 4 layers, 8 tokens",
    speed=True,
    children={"run": experts_on_disk.print_generation},
    parts=(*PARTS,),
)


def measure(run: Run) -> Iterator[Row]:
    if run.speed:
        yield from PARTS["train"](run)
        return
    for part, work in PARTS.items():
        if part in run.parts:
            yield from work(run)


if __name__ == "__main__":
    SCRIPT.main(measure)
