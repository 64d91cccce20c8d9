"""How fast language models run here, against the strongest engines for CPUs of today.

    python benchmarks/lm_engines.py [--quick] [--anew]

Protocol. Two Llamas. *SmolLM2* (135 M parameters), ours compressed by DPG to 4.2 bits a
weight as in `lm_speed.py`: rows of 4 or 8 bits, GPTQ, the head included. *A Llama of
0.68 B* (24 layers, width 1,536, 24 heads on 8, the tokens of SmolLM2) with random weights,
which do not change the time: ours rounded to 4 bits, its head to 8. Both are read by
`lm.Decoding` with a cache in bfloat16.

Peers, each in a process of its own, set up as its authors advise: llama.cpp (the wheel
`xllamacpp`) with Q4_0; ik_llama.cpp (the wheel `ik-llama-cpp-python`) with flash attention,
Q4_0 repacked in eight rows, and IQ4_K; OpenVINO GenAI with the int4 export of
`optimum-cli` in groups of 64 (its usual 128 do not divide SmolLM2's columns), once as it
comes, which rounds activations to int8 in groups of its own choice, and once in groups of
64; ONNX Runtime GenAI with the int4 export of its builder, accuracy level 4, which rounds
activations to int8 as well; CTranslate2 in int8, the fewest bits that it has on a CPU.
Weights of ours, llama.cpp and the int4 exports take 4 to 5 bits; the row of bytes says it
exactly.

Contexts: 128, 512, 1,024, 2,048 and 4,096 tokens of SmolLM2, 128, 512 and 4,096 of the
large one. One round: each engine in turn reads a prompt and continues it by 64 tokens, then
ours does. No prompt begins as an earlier one did. A ratio is the median over the rounds of
the ratio within a round, with the quartiles as interval. One thread: processor time. Two
threads: time by the clock. A peer's token includes choosing the next one, greedily, of
which ours has none (0.02 ms); llama.cpp's times are those of `lm_speed.py`. "The fastest"
is, of all peers, the one with the smallest median in that very row.

Divergence: from the model in float32, over the windows of `lm_weights.py`, with each
engine really run, activations rounded as it does.

Targets, stated before the run: a token in at most 0.6 of the fastest peer's time after up
to 4,096 tokens, and a prompt of 512 in at most 0.6, on one thread and on two, of both
models. Seen before: single readings on a busy machine of SmolLM2 after 128 and 512 tokens
(ours 5.1 and 5.9 ms, ONNX Runtime 7.6 and 10, OpenVINO 9 and 11, ik_llama.cpp 5.7 and 7.2,
CTranslate2 21 and 27; a prompt of 512 in 0.74 s, OpenVINO 0.53, CTranslate2 0.65), and one
quick run (a token after 512 in 0.59 of the fastest's time, a prompt in 1.3).

Finished contexts are lines in `results/lm_engines.jsonl`, from which a run of the same day
goes on. `--quick`: SmolLM2 after 128 and 512 tokens, 2 rounds.

Added later. The rows after 1,024 tokens, 0.59 and 0.51 in the first run, became details, to
keep the ledger short. In that run, ours was slower after 128 tokens on one thread than
after 512, in what was measured first of either model; the reason is not known. The two
differ by more than the machine's noise, so these rows say too little of 128 tokens.
"""

from harness.script import Script
from language import against_engines

from deepseek_learn.measure.memory import REUSE_FREED

SCRIPT = Script(
    __file__,
    __doc__,
    quick="SmolLM2, short contexts, fewer rounds",
    anew=True,
    environment=REUSE_FREED,
)

if __name__ == "__main__":
    SCRIPT.main(against_engines.measure)
