"""llama.cpp in a process of its own: what it is started with, and its times.

    PYTHON llama_cpp.py FILE THREADS CONTEXT

answers each line `READ NEW` on standard input with the seconds that a prompt of READ
tokens takes and those of each of NEW tokens after it, and a line `memory` with the bytes
by which its resident memory has grown since the import. It runs under the interpreter of an
environment that has the wheel `xllamacpp`, and imports nothing of ours.
"""

import resource
import sys
import time

FIRST = 100  # the tokens are 100, 101, ...: what they say does not change the time


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main(file: str, threads: int, context: int) -> None:
    import xllamacpp

    before = resident()

    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_ctx = context
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.n_parallel = 1
    parameters.warmup = True
    server = xllamacpp.Server(parameters)
    clock = time.process_time if threads == 1 else time.perf_counter

    def seconds(read: int, new: int, cached: bool) -> float:
        start = clock()
        server.handle_completions(
            {
                "prompt": list(range(FIRST, FIRST + read)),
                "max_tokens": new,
                "temperature": 0,
                "ignore_eos": True,
                "cache_prompt": cached,
            }
        )
        return clock() - start

    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(resident() - before, flush=True)
            continue
        read, new = map(int, line.split())
        # a request also parses JSON and samples: the difference of two is the tokens'
        prompt = seconds(read, 1, cached=False) - seconds(read, 1, cached=True)
        few = seconds(read, 1, cached=True)
        token = (seconds(read, 1 + new, cached=True) - few) / new
        print(prompt, token, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
