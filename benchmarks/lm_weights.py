"""Language models in few bits: SmolLM2 against its peers, a small DeepSeek at many budgets.

    python benchmarks/lm_weights.py [--quick] [--anew] [--speed] [--part PART ...]

*weights*:
SmolLM2 in 4 and in 3 bits: what is lost at equal bytes, against seven ways to round.

Protocol. SmolLM2-135M-Instruct (`zoo.smollm2`; its head is tied to the embedding, and its
weights come from a file of 4 to 5 bits, which is the reference for all). Calibration: 32
windows of 256 tokens of the emails before the cut (`data.mail`), the same for all. Figures:
16 windows of 256 tokens each of two texts, later emails, and English verses
(`data.english_verses`), which are unrelated to the calibration; mean divergence from the
reference's predictions in nats, and perplexity. Weights alone are rounded: every side
multiplies in float32 (bitsandbytes and torchao in bfloat16).

Ours: `dpg.allocate` and GPTQ as they come, the head included (simulated: nothing packed).
At the bytes of a peer: the largest budget whose stored bytes are no more than the peer's.
"gptq" is ours with so many bits in every row, the head in 8.

Peers. NNCF (symmetric, AWQ, scale estimation and GPTQ together) and its mixed precision
by a HAWQ-like metric, AutoRound (200 steps a block), each in groups of 64, set up as
`language/weight_peers.py` says, in an environment and a process of their own; torchao's
int4 and its HQQ, groups of 32, and bitsandbytes' nf4, as they come, heads included;
llama.cpp's Q4_0 and Q5_0 as the package `gguf` writes them, the head in Q8_0 (its K-quants
need rows of 256 and fall back to these on this model). Bytes are those of all weights, of
which a tied matrix is one.

A row is our divergence over a peer's, at the peer's bytes or fewer: the mean over windows,
95 % of 2,000 resamplings of the windows, the same for both. Time: `dpg.compress`, by the
clock, two threads, nothing beside it; a reading each time the script runs with `--speed`.

Targets, stated before the run: at most 0.8 of the divergence of each peer, on either text;
`dpg.compress` within 60 s. Seen before: on twelve windows of verses, calibrated on verses,
ours, gptq and llama.cpp's formats.

Finished runs are lines in `results/lm_weights.jsonl`. `--quick`: 4 bits, two windows a
text, 8 to calibrate, llama.cpp's formats.

*budgets*:
DPG on a language model of experts: what the zoo's small DeepSeek keeps of its answers.

Protocol. `small_deepseek` without its block for drafts (which takes no part in these
answers, so that nothing of it could be measured), its experts as layers each
(`lm.separate`), compressed by DPG as it comes at 2 to 5 bits a weight on average,
really packed and run by the kernel that `dpg.backend()` names. "gptq" beside it is the
same storage, rounding and kernel with 3, 4 or 5 bits in every row. Calibration: 48
windows of 256 tokens of the train parts of `data.tang_poems` and `data.english_verses`,
half of each. Figures from their test parts, 96 windows of 256 tokens of lines in a random
order: accuracy of the next token over the float32 model's, the mean divergence from its
answer in nats, bits a token. Bytes are those of the whole stored model, the embedding and
what else stays in float32 included.

Equal bytes. DPG pads more than gptq does, so that the same number of bits is not the same
number of bytes. At the bytes of gptq the logarithm of DPG's divergence is interpolated,
in the bytes, between the two measured points around them, of which one is no more than
2 % away. Its ratio to gptq's divergence has an interval: 95 % of 2,000 resamplings of the
windows, the same for both. How it depends on the number of calibration windows: the same
at gptq's 4 bits with 6, 12, 24 and 96 windows, the first of the same order.

Targets, stated before the first run. The guide's: 98 % of the accuracy at 35 % of the
memory, for the smallest budget of 3, 4 and 5 bits that keeps 98 %. Ours: at 4 bits at
least 99 % of the accuracy, and a divergence of at most 0.7 of gptq's.

Seen before: in a first run the block for drafts was part of the model. Calibration never
reaches it, so that it stayed in float32, and the guide's memory was missed by about one
point; then it was taken out, of both sides. In the run after it the divergences at 4 bits
were compared, DPG's at 27.4 % of the bytes with gptq's at 25.3 %: a ratio of 0.55, which
the target was said to meet. Read off by hand at equal bytes it was near 1. No target was
changed.

Finished points are lines in `results/lm_weights.budgets.jsonl`. `--quick`: gptq at 4 bits,
DPG at the three points around it, a third of the windows.

Added later (*weights*):
how far few calibration inputs are trusted (`dpg.statistics`) was chosen on
other windows, eight of earlier emails and eight of the verses' training part, in about
thirty tries at 3, 4 and 4.75 bits. The windows above were not looked at for it, but once by
`lm_speed.py`, whose divergence on verses, 1.05 of Q4_0's, was the reason to try.

Added later (*weights*):
torchao and bitsandbytes round the head and leave the tied embedding as it was,
which would be stored beside it. Its lookups were unrounded and its bytes not counted in a
first run (torchao int4 0.057 and 0.071, its HQQ 0.097 and 0.068, nf4 0.482 and 0.491 nats
on emails and verses; ours 0.80, 0.47, 0.32 and 1.48, 1.55, 0.63 of that). Now the lookup
reads the rounded head, as in all other columns; those three lines were measured anew.

torchao's columns say less than they seem to: outside the head, the groups of 32 weights of
the reference lie on a grid of 16 levels (a row says how many; its file is in Q4_1), the
very format that torchao rounds to, so that it loses nothing there. On models whose weights
never were in 4 bits, `dpg_quality.py` and `versus.py` compare with it. The rows keep their
target.

Added later (*weights*):
the condition of AutoRound's and NNCF's rows stands in their notes. All sides
have the same 32 windows of 256 tokens; AutoRound's authors advise 128 of 2,048, and NNCF
takes 128 samples by default. Neither was measured with these.

Added later (*weights*, *budgets*):
since each group of weights chooses the sign of its scale, ours and gptq's lines were
measured again, once. `dpg_quality.py` compares with positive scales.

Added later (*lora*):
adapters on SmolLM2 compressed by `dpg.compress` as it comes (4 bits a
weight, calibrated on the emails above), and on the float32 model: rank 8 and a factor of 2
on all seven projections of each block, AdamW at 1e-3, 60 steps of two windows of 256 tokens
of the verses' training part, in the same order, three seeds, one thread, a process each.
The loss is that of the 16 windows of later verses above. Memory is the highest resident
memory of the process over that before it loads its model. Nothing was chosen: rank, rate
and steps were set before the first run. Seen before: four steps on two windows, where the
memory was 1.06 of the float32 model's, and 0.86 once gradients unpacked weights again.
Targets, stated before the run: at most 1.02 of the float32 model's loss, at most 0.75 of
its memory. A first run gave 1.037 of the loss and 0.759 of the memory; then gradients
unpacked the head in pieces, which saved little more, and the compressed model's runs were
measured anew.

Added later (*gguf*):
SmolLM2 compressed for llama.cpp (groups of 32, 4, 5 or 8 bits a layer, 4.5
on average), written by `dpg.to_gguf` and read by xllamacpp, which gives the probabilities
of every token after each beginning of a window: the first 64 tokens of each window above.
PyTorch multiplies the same weights in float32; llama.cpp rounds activations to 8 bits.
Targets, stated before the run: a divergence of at most 0.01 nats, and a perplexity within
0.5 %, with 95 % of 2,000 resamplings of the windows. Seen before: one window of each text.

Added later (*formats*):
file formats of about 4.5 and 3.5 bits a weight, on SmolLM2 and on a Llama of width 768
that `language/own_decoder.py` trains on the training parts of the emails and the verses;
its weights never were in few bits, and 256 divides its columns. Calibration, windows and
figures are those of *weights*, in each model's own tokens. llama.cpp's Q4_0, Q4_K_M,
IQ4_XS, IQ3_S and Q3_K_M, and, on the second model, ik_llama.cpp's IQ4_K and IQ3_K: each
matrix goes through the library's own `ggml_quantize_chunk`, in the types that its
`llama-quantize` picks (heads and some others get more bits), with the mean squares of the
calibration's inputs as imatrix. AutoRound's AutoScheme on the second model (on SmolLM2 it
takes most of an hour, and AutoRound's 4 and 3 bits are in *weights*): 2, 3, 4 or 8 bits a
layer, groups of 64, 200 steps a block, the head in 8 bits. A row is DPG's divergence over
that of the peer that comes closest, each compared at its own bytes or up to 2 % fewer.
"DPG's GGUF file" is what `dpg.to_gguf` can write: 4, 5 or 8 bits a layer, groups of 32.
Target, stated before the first run: 0.8. Seen before: a quick run, two windows a text of
SmolLM2 at 4.5 bits.
"""

from collections.abc import Iterator

from harness.script import Run, Script
from language import adapters, budgets, formats, gguf_exit, weights

from deepseek_learn.ledger.rows import Row

PARTS = {
    "weights": weights.measure,
    "budgets": budgets.measure,
    "lora": adapters.measure,
    "gguf": gguf_exit.measure,
    "formats": formats.measure,
}
SCRIPT = Script(
    __file__,
    __doc__,
    quick="few windows",
    anew=True,
    speed=True,
    children={"child": weights.compress_once, "adapter": adapters.train},
    of_the_machine=False,
    parts=(*PARTS,),
)


def measure(run: Run) -> Iterator[Row]:
    if run.speed:
        yield from PARTS["weights"](run)
        return
    for part, work in PARTS.items():
        if part in run.parts:
            yield from work(run)


if __name__ == "__main__":
    SCRIPT.main(measure)
