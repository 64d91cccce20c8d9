"""How fast language models run here: against llama.cpp, and against transformers.

    python benchmarks/lm_speed.py [--quick] [--anew] [--part PART ...]

*transformers*:
The language model against the public reference: answers, pace, memory of a token.

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

*llama_cpp*:
One token at a time: SmolLM2 packed by DPG and read by `lm.Decoding`, beside llama.cpp.

Protocol. Ours: SmolLM2-135M-Instruct (`zoo.smollm2`), compressed by DPG to 4.2 bits a
weight on average, the head included, in rows of 4 or 8 bits (`dpg.allocate`, calibrated on
the windows of `lm_weights.py`), read by `lm.Decoding` with its cache in bfloat16. Rows of
3, 5 and 6 bits would lose less per byte, but take two planes, and reading those is slower
per byte. Peer: llama.cpp (the
wheel `xllamacpp`, in an environment and a process of its own) with the same weights in
Q4_0, the head in Q8_0, which is what its own tool makes of this model, and its settings
as they come. Q4_0 is the format for which it has its fastest products; "Q4_1" is the file
that the weights come from, for information. One round: the peer reads a prompt of so many
tokens and continues it by 64, then ours does; a ratio is the median over the rounds of the
ratio within a round, with the quartiles as interval. One thread: processor time. Two
threads: time by the clock. The peer's time of a token is the difference of a request for
65 tokens and one for 1, divided by 64: it includes sampling, of which ours has none.

"Ordinary path" is the same packed model called as it is, token by token. "AVX2": both
sides without AVX-512 and AMX in their products, as the wheel is built; ours lets the small
operators between them use what the processor has. The prompt is read by the model itself.

Quality: the divergence from the model of the file and the perplexity, on the windows of
`lm_weights.py`; ours is really run, with its 8-bit activations, of the peer's the weights
alone are rounded. Bytes: of all weights as they are stored. Memory: by how much a process
grows while it loads its file and reads 512 tokens, after the imports; room for 640 tokens.

Bound: the bytes of the weights and of the cache that a token reads, over the bandwidth
with which one core reads a large block with huge pages; the row is the fraction of it that
ours reaches.

Other models, one thread, processor time, after 64 tokens, in turn in one process: the
decoder of 100 M parameters of `dpg_memory.py`, in its mixture of bits, by `lm.Decoding`,
beside torchao's int4 in groups of 64 and float32 as they come; `small_deepseek` (hybrid
attention, experts) by `lm.Decoding`, in float32 and packed to 4 bits, beside itself called
as it is.

Targets, stated before the first run: a token in at most 0.5 of llama.cpp's time after up
to 512 tokens, 0.8 after up to 4,096, on one thread and on two; 0.75 at the AVX2 level; a
prompt of 512 in at most 0.5; its divergence and bytes at most the peer's, its memory at
most the peer's; 0.6 of the bound. After 8,192 tokens no target. The decoder of 100 M: at
least twice torchao int4's speed and 6 times float32's, 0.6 of the bound. Seen before: a
prototype, rounds of a first version, a full run that was ended after one thread at 4,096,
all against Q4_1; while the kernels were changed, a few readings of either side at 128 to
2,048, and one of each other model; with 2 to 8 bits a row, 4.0 on average, the contexts up
to 2,048 (0.63 of llama.cpp's time after 128, 0.52 after 512). The levels 4 and 8 at 4.2
bits were one of five choices whose divergence was looked at on 4 windows of each text.

What a run gives is one reading of each row; finished contexts are lines in
`results/lm_speed.llama_cpp.jsonl`, from which a run of the same day goes on. `--quick`: 128
and 512 tokens, 2 rounds.

Added later. What a run of parts A, B and E gives is one reading of its rows. Part E, where
the gain of part A comes from: the same block with 4, 64 and 128 heads, after 256, 1,024
and 4,096 tokens, and a tiny one (width 128, 4 heads of 32, a latent of 64 + 16), in 5
rounds, compared and timed as in part A. The reference's cost grows with heads x past, ours
hardly with the heads, so with few heads there is little to gain, and on the tiny block
perhaps nothing. For information: no target. The reading of part B on an AMD EPYC is of a
kernel that takes two rows and four tokens at once, that on an Intel Xeon of one that takes
four and six; readings of earlier ones were dropped.

Added later (*llama_cpp*):
a prompt's attention is a C++ kernel of ours (`lm/attending.py`), the rest is
still the model itself. The first reading was taken without it. Since 5:00 on 2026-12-01
the block is read in each round; before, it was read once for each number of tokens.
"""

from collections.abc import Iterator

from harness.script import Run, Script
from language import against_llama_cpp, against_transformers

from deepseek_learn.ledger.rows import Row
from deepseek_learn.measure.memory import REUSE_FREED

PARTS = {
    "transformers": against_transformers.measure,
    "llama_cpp": against_llama_cpp.measure,
}
SCRIPT = Script(
    __file__,
    __doc__,
    quick="fewer rounds, short contexts",
    anew=True,
    environment=REUSE_FREED,
    children={"grown": against_llama_cpp.grown},
    parts=(*PARTS,),
)


def measure(run: Run) -> Iterator[Row]:
    for part, work in PARTS.items():
        if part in run.parts:
            yield from work(run)


if __name__ == "__main__":
    SCRIPT.main(measure)
