"""What llama.cpp answers: the log-probabilities of each next token.

    PYTHON llama_cpp_scores.py FILE FOLDER

reads `tokens.npy`, `[N, T]`, from the folder, asks for the token after each beginning of a
row, and writes `log_p.npy`, `[N, T - 1, V]`. It runs under the interpreter of an
environment that has the wheel `xllamacpp`, and imports nothing of ours.
"""

import sys
from pathlib import Path

import numpy as np


def main(file: str, folder: Path) -> None:
    import xllamacpp

    tokens = np.load(folder / "tokens.npy").tolist()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx = 256 + len(tokens[0])
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.n_parallel = 1
    parameters.warmup = False
    server = xllamacpp.Server(parameters)

    def after(beginning: list[int]) -> np.ndarray:
        request = {
            "prompt": beginning,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 10**6,  # of all tokens, as the model gives them
            # A letter is written next: half of one, or the end of the text, would be kept
            # back with its probabilities, which are those before this bias.
            "logit_bias": [["a", 1e4]],
            # with it, a sliding window would see tokens of the row before
            "cache_prompt": False,
        }
        answer = server.handle_completions(request)
        [first] = answer["choices"][0]["logprobs"]["content"]
        pairs = first["top_logprobs"]
        row = np.full(max(pair["id"] for pair in pairs) + 1, -np.inf, np.float32)
        row[[pair["id"] for pair in pairs]] = [pair["logprob"] for pair in pairs]
        return row

    rows = [[after(row[:end]) for end in range(1, len(row))] for row in tokens]
    np.save(folder / "log_p.npy", np.array(rows))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
