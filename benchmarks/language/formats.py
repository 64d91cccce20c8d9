"""Two Llamas in the formats of llama.cpp, ik_llama.cpp and AutoRound, at equal bytes.

The protocol is in `benchmarks/lm_weights.py`.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from deploying.backends import peer_python
from harness.interval import ratio_of_means
from harness.script import BENCHMARKS, Run, Skip
from language.texts import CALIBRATION, TEST, Losses, windows
from language.weights import rounded_by
from models.at_bytes import at_most

from deepseek_learn.ledger.rows import Row

WORKER = BENCHMARKS / "language/ggml_rounding.py"
IK_ENVIRONMENT, IK_PACKAGE = BENCHMARKS / ".venv" / "ik", "ik-llama-cpp-python==0.1.*"
BETTER, HEAD = 0.8, "lm_head"
# Level in bits → what is about as large. IQ-K needs columns that 256 divides.
LLAMA_CPP = {4.5: ("Q4_0", "Q4_K_M", "IQ4_XS"), 3.5: ("IQ3_S", "Q3_K_M")}
IK_LLAMA_CPP = {4.5: ("IQ4_K",), 3.5: ("IQ3_K",)}
AS_GGUF = ("Q4_0", "Q4_K_M")
GGUF = {"group_size": 32, "levels": (4, 5, 8), "granularity": "layer"}
SMOLLM2, OWN = "SmolLM2", "a Llama trained here"


@dataclass(frozen=True)
class Mix:
    """The types of a file: of most matrices, of the tied head, and of some others.

    As `llama_tensor_get_type` of llama.cpp (`llama-quant.cpp`) and of ik_llama.cpp choose
    them for a Llama with two or three query heads per key head, given an imatrix.

    Attributes:
        special: part of a name → the type in some layers, and in which (`_is_there`).
    """

    most: str
    head: str
    special: tuple[tuple[str, str, str], ...] = ()

    def type_of(self, name: str, columns: int, layers: int) -> str:
        kind = self.head if name == HEAD else self.most
        for part, other, where in self.special:
            if part in name and _is_there(where, int(name.split(".")[2]), layers):
                kind = other
                break
        return kind if columns % 256 == 0 else NARROW.get(kind, kind)


MIXES = {
    "Q4_0": Mix("q4_0", "q6_K", (("down_proj", "q4_1", "eighth"),)),
    "Q4_K_M": Mix(
        "q4_K", "q6_K", (("v_proj", "q6_K", "more"), ("down_proj", "q6_K", "more"))
    ),
    "IQ4_XS": Mix("iq4_xs", "q6_K"),
    "IQ3_S": Mix("iq3_s", "q6_K"),
    "Q3_K_M": Mix(
        "q3_K",
        "q6_K",
        (
            ("v_proj", "q5_K", "two"),
            ("v_proj", "q4_K", "all"),
            ("down_proj", "q5_K", "sixteenth"),
            ("down_proj", "q4_K", "all"),
            ("o_proj", "q4_K", "all"),
        ),
    ),
    "IQ4_K": Mix("iq4_k", "q6_K", (("v_proj", "iq5_k", "all"),)),
    "IQ3_K": Mix("iq3_k", "iq4_k", (("v_proj", "iq4_k", "all"),)),
}
# instead of a type that 256 columns share, where 256 does not divide them
NARROW = {"q3_K": "q4_0", "q4_K": "q5_0", "q5_K": "q5_1", "q6_K": "q8_0"}
NARROW |= {"iq3_s": "iq4_nl", "iq4_xs": "iq4_nl"}


def _is_there(where: str, layer: int, layers: int) -> bool:
    """Whether a layer is one of "all", the first "two", "eighth" or "sixteenth", or "more".

    "more" is the first and the last eighth, and every third layer between.
    """
    first, last = layers // 8, 7 * layers // 8
    return {
        "all": True,
        "two": layer < 2,
        "eighth": layer < first,
        "sixteenth": layer < layers // 16,
        "more": layer < first or layer >= last or (layer - first) % 3 == 2,
    }[where]


class Bench:
    """A Llama of transformers, its texts, and every way to round it."""

    def __init__(self, run: Run, name: str):
        self.name, self.quick = name, run.quick
        self.runs = run.finished_runs(part="formats", anywhere=True)

    @cached_property
    def material(self):
        from language import own_decoder, weight_peers
        from language.smollm_files import export

        from deepseek_learn.zoo import smollm2

        counts = (2, 8) if self.quick else (TEST, CALIBRATION)
        if self.name == OWN:
            model, tokenizer = own_decoder.load()
        else:
            with tempfile.TemporaryDirectory() as folder:
                smollm, tokenizer = smollm2.load()
                export(smollm, Path(folder))
                model = weight_peers.load(Path(folder))
        tokens = windows(lambda text: tokenizer.encode(text).ids, *counts)
        return model, tokenizer, *tokens

    @cached_property
    def losses(self) -> Losses:
        model, _, _, texts = self.material
        return Losses(model, texts)

    @cached_property
    def statistics(self):
        from deepseek_learn import dpg

        model, _, calibration, _ = self.material
        return dpg.calibrate(model, calibration.split(4))

    def once(self, way: str, measure, **more) -> dict:
        return self.runs.once({"model": self.name, "way": way, **more}, measure)

    def ours(self, most: int, **options) -> dict:
        """DPG with the largest budget that is stored in no more than `most` bytes."""
        from deepseek_learn import dpg

        model = self.material[0]
        chosen, bits = at_most(model, self.statistics, most, **options)
        small = dpg.simulate(model, chosen, self.statistics)
        facts = {"bytes": chosen.stored_bytes, "bits": bits}
        return facts | self.losses.of(self.losses.answers(small))

    def ggml(self, python: Path, package: str, file_type: str) -> dict:
        """A file type of llama.cpp's, with the mean squares of the calibration."""
        import copy

        import torch

        from deepseek_learn import dpg

        small = copy.deepcopy(self.material[0])
        layers = dpg.Layers.of(small)
        count = small.config.num_hidden_layers
        types = {
            name: MIXES[file_type].type_of(name, layer.weight.shape[1], count)
            for name, layer in layers.items()
        }
        means = {
            name: self.statistics.layers[name].second_moment.diagonal().numpy()
            for name in layers
        }
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            weights = {n: x.weight.detach().numpy() for n, x in layers.items()}
            np.savez(folder / "weights.npz", **weights)
            np.savez(folder / "importance.npz", **means)
            (folder / "types.json").write_text(json.dumps(types))
            command = [*map(str, (python, WORKER, package, folder))]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(
                    f"{package}: {done.stderr.strip() or done.returncode}"
                )
            sizes = json.loads((folder / "bytes.json").read_text())
            with np.load(folder / "rounded.npz") as rounded, torch.no_grad():
                for layer_name, layer in layers.items():
                    layer.weight.copy_(torch.from_numpy(rounded[layer_name]))
        float_bytes = 4 * sum(layer.weight.numel() for layer in layers.values())
        size = dpg.bytes_of(small) - float_bytes + sum(sizes.values())
        return {"bytes": size} | self.losses.of(self.losses.answers(small))

    def peers(self, level: float) -> dict[str, dict]:
        """Way → its bytes and losses, of those about as large as the level."""
        results = {}
        for name in LLAMA_CPP[level]:
            here = Path(sys.executable), "xllamacpp", name
            results[name] = self.once(name, lambda here=here: self.ggml(*here))
        if self.name != OWN:
            return results
        for name in IK_LLAMA_CPP[level]:
            results[name] = self.once(name, lambda name=name: self.ik(name))
        results["AutoScheme"] = self.once(
            "AutoScheme", lambda: self.autoscheme(level), level=level
        )
        return results

    def ik(self, name: str) -> dict:
        python = peer_python(IK_ENVIRONMENT, IK_PACKAGE)
        return self.ggml(python, "ik_llama_cpp", name)

    def autoscheme(self, level: float) -> dict:
        from safetensors.torch import save_file

        model, tokenizer, calibration, texts = self.material
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            state = {n: w for n, w in model.state_dict().items() if HEAD not in n}
            save_file(state, folder / "weights.safetensors")
            (folder / "config.json").write_text(model.config.to_json_string())
            tokenizer.save(str(folder / "tokenizer.json"))
            facts, answers = rounded_by("autoscheme", level, folder, calibration, texts)
        return facts | self.losses.of(answers)

    def ratios(self, text: str, peers: dict[str, dict], **options) -> dict:
        """Way → our divergence over its own, at its bytes or fewer, and our bytes."""
        results = {}
        for name, peer in peers.items():
            most = peer["bytes"]
            ours = self.once(
                "dpg",
                lambda most=most: self.ours(most, **options),
                most=most,
                gguf=bool(options),
            )
            estimate = ratio_of_means(ours[text], peer[text])
            results[name] = estimate, ours["bytes"] / most
        return results


def row(name: str, text: str, ratios: dict, what: str) -> Row:
    """The peer that comes closest, and all of them in the note."""
    best = max(ratios, key=lambda way: ratios[way][0].measured)
    each = ", ".join(
        f"{way} {ratio.measured:.2f}" for way, (ratio, _) in ratios.items()
    )
    least = min(part for _, part in ratios.values())
    return Row(
        claim="C2",
        source="ours",
        what=f"{name}, {text}: divergence of {what}",
        unit="ratio",
        better="lower",
        target=BETTER,
        note=f"{best} comes closest: {each}; at {100 * least:.1f} to 100 % of its bytes",
        **vars(ratios[best][0]),
    )


def measure(run: Run) -> Iterator[Row]:
    if importlib.util.find_spec("xllamacpp") is None:
        raise Skip("lm_weights needs the package xllamacpp (the extra dev)")
    for name in (SMOLLM2,) if run.quick else (SMOLLM2, OWN):
        bench = Bench(run, name)
        for level in (4.5,) if run.quick else (4.5, 3.5):
            peers = bench.peers(level)
            for text in ("emails", "verses"):
                what = f"DPG over that of the best format of about {level} bits"
                yield row(name, text, bench.ratios(text, peers), what)
                if level < 4.5:
                    continue
                some = {way: peers[way] for way in AS_GGUF}
                what = "DPG's GGUF file over that of the better of Q4_0 and Q4_K_M"
                yield row(name, text, bench.ratios(text, some, **GGUF), what)
