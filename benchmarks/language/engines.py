"""Other engines for language models, each in a process of its own: times of a prompt.

    PYTHON engines.py ENGINE MODEL THREADS CONTEXT [OPTIONS]

answers each line `READ NEW` on standard input with the seconds that a prompt of READ
tokens takes and those of each of NEW tokens after it, and a line `logits FROM TO` by
writing the logits `[T, V]` of the tokens `[T]` in an array's file into another. It runs
under the interpreter of an environment that has the engines, and imports nothing of ours.
OPTIONS is a JSON object that the engine takes as properties.
"""

import json
import sys
import time
from collections.abc import Callable

import numpy as np

FIRST, LAST = 100, 40_000  # tokens are drawn between: what they say changes no time


def ik_llama_cpp(model: str, threads: int, context: int, options: dict):
    """ik_llama.cpp, with flash attention."""
    from ik_llama_cpp import _ctypes_api as c
    from ik_llama_cpp._internals import (
        IkContext,
        IkModel,
        make_batch_range,
        make_batch_single,
    )
    from numpy.ctypeslib import as_array

    weights = IkModel(model)
    run = IkContext(weights, n_ctx=context, n_threads=threads, flash_attn=True)

    def decode(batch) -> None:
        if run.decode(batch):
            raise RuntimeError("llama_decode failed")
        c.llama_batch_free(batch)

    def times(ids: list[int], new: int, clock: Callable[[], float]) -> list[float]:
        run.kv_cache_clear()
        marks = [clock()]
        for start in range(0, len(ids), run._n_ubatch):
            part = ids[start : start + run._n_ubatch]
            decode(make_batch_range(part, pos_start=start, logits_last=True))
        marks.append(clock())
        for i in range(new):
            # its own sampler is a loop in Python over all tokens
            best = as_array(run.get_logits(), (weights.n_vocab,)).argmax()
            decode(make_batch_single(int(best), len(ids) + i))
            marks.append(clock())
        return marks

    def logits(ids: list[int]) -> np.ndarray:
        run.kv_cache_clear()
        batch = make_batch_range(ids, pos_start=0)
        for i in range(len(ids)):
            batch.logits[i] = 1
        decode(batch)
        return np.stack(
            [as_array(run.get_logits(i), (weights.n_vocab,)) for i in range(len(ids))]
        )

    return times, logits


def openvino(model: str, threads: int, context: int, options: dict):
    """OpenVINO GenAI, from an int4 export of `optimum-cli` or a GGUF file."""
    import openvino_genai as genai
    from openvino import Core, Tensor

    limits = {"INFERENCE_NUM_THREADS": threads} | options
    pipeline = genai.LLMPipeline(model, "CPU", **limits)

    class Marks(genai.StreamerBase):
        def __init__(self, clock):
            super().__init__()
            self.clock, self.marks = clock, [clock()]

        def write(self, token):
            count = len(token) if isinstance(token, list) else 1
            self.marks += [self.clock()] * count
            return genai.StreamingStatus.RUNNING

        def end(self):
            pass

    def times(ids: list[int], new: int, clock: Callable[[], float]) -> list[float]:
        config = genai.GenerationConfig(
            max_new_tokens=new + 1, ignore_eos=True, do_sample=False
        )
        streamer = Marks(clock)
        pipeline.generate(Tensor(np.array([ids])), config, streamer)
        return streamer.marks

    def logits(ids: list[int]) -> np.ndarray:
        """Of the exported model itself, with the same properties."""
        run = Core().compile_model(f"{model}/openvino_model.xml", "CPU", limits)
        asked = {
            "input_ids": np.array([ids]),
            "attention_mask": np.ones((1, len(ids)), np.int64),
            "position_ids": np.arange(len(ids))[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        request = run.create_infer_request()
        return np.array(next(iter(request.infer(asked).values())))[0]

    return times, logits


def onnxruntime(model: str, threads: int, context: int, options: dict):
    """ONNX Runtime GenAI, from an int4 export of its builder."""
    import onnxruntime_genai as genai

    config = genai.Config(model)
    settings = {"intra_op_num_threads": threads, "inter_op_num_threads": 1} | options
    config.overlay(json.dumps({"model": {"decoder": {"session_options": settings}}}))
    weights = genai.Model(config)

    def times(ids: list[int], new: int, clock: Callable[[], float]) -> list[float]:
        parameters = genai.GeneratorParams(weights)
        length = len(ids) + new + 1
        parameters.set_search_options(max_length=length, min_length=length)
        generator = genai.Generator(weights, parameters)
        marks = [clock()]
        generator.append_tokens(ids)
        for _ in range(new + 1):
            generator.generate_next_token()
            marks.append(clock())
        return marks

    def logits(ids: list[int]) -> np.ndarray:
        parameters = genai.GeneratorParams(weights)
        parameters.set_search_options(max_length=len(ids) + 1)
        generator = genai.Generator(weights, parameters)
        generator.append_tokens(ids)
        return np.array(generator.get_output("logits"))[0]

    return times, logits


def ctranslate2(model: str, threads: int, context: int, options: dict):
    """CTranslate2, with weights and products in int8."""
    import ctranslate2 as library

    generator = library.Generator(model, "cpu", intra_threads=threads, **options)
    with open(f"{model}/vocabulary.json", encoding="utf-8") as file:
        names = json.load(file)

    def times(ids: list[int], new: int, clock: Callable[[], float]) -> list[float]:
        prompt, marks = [names[i] for i in ids], [clock()]

        def mark(step) -> bool:
            marks.append(clock())
            return False

        generator.generate_batch(
            [prompt],
            max_length=new + 1,
            min_length=new + 1,
            include_prompt_in_result=False,
            callback=mark,
        )
        return marks

    def logits(ids: list[int]) -> np.ndarray:
        scores = generator.forward_batch([[names[i] for i in ids]])
        return np.array(scores)[0]

    return times, logits


ENGINES = {
    each.__name__: each for each in (ik_llama_cpp, openvino, onnxruntime, ctranslate2)
}


def main(
    engine: str, model: str, threads: int, context: int, options: str = "{}"
) -> None:
    times, logits = ENGINES[engine](model, threads, context, json.loads(options))
    clock = time.process_time if threads == 1 else time.perf_counter
    print("ready", flush=True)
    for turn, line in enumerate(sys.stdin):
        words = line.split()
        if words[0] == "logits":
            np.save(words[2], logits(np.load(words[1]).tolist()))
            print("done", flush=True)
            continue
        read, new = map(int, words)
        # each prompt begins with another token: an engine may keep prefixes
        ids = [FIRST + (turn * 7919 + i * 31) % (LAST - FIRST) for i in range(read)]
        marks = times(ids, new, clock)
        token = (marks[-1] - marks[1]) / (len(marks) - 2)
        print(marks[1] - marks[0], token, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
