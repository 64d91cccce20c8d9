"""Broken and cheating entries: each is refused in one sentence, or gains nothing."""

import socket
from hashlib import sha256

import pytest

from deepseek_learn.files import REPOSITORY
from deepseek_learn.leaderboard import Entry, EntryError
from deepseek_learn.leaderboard.attention import AttentionTrack
from deepseek_learn.leaderboard.entry import read
from deepseek_learn.leaderboard.grouping import GroupingTrack
from deepseek_learn.leaderboard.racing import run_once
from deepseek_learn.leaderboard.samplers import SamplersTrack
from deepseek_learn.leaderboard.source import check_source, original_line, stripped
from deepseek_learn.leaderboard.track import RaceResult
from deepseek_learn.sandbox import isolation

pytestmark = pytest.mark.slow
SEED = 987_654_321_012
HONEST = "from optuna.samplers import RandomSampler\ndef sampler(seed):\n"
HONEST += "    return RandomSampler(seed=7)\n"
PLAIN = """
from torch import nn
from deepseek_learn import attention
@attention.register("nothing", dims=(2,), native_scale=1.0)
class Nothing(nn.Identity):
    def __init__(self, channels):
        super().__init__()
"""
RECKONED = RaceResult(1.0, {"pace": 1.2})

closed = pytest.mark.skipif(
    isolation() != "namespaces", reason="this system has no namespaces to hide files in"
)


def entry(track: str, source: str) -> Entry:
    words = {"en": "", "zh": ""}
    return Entry(track, "mine", source.encode(), words, "", words, {})


def search(source: str, seconds: float = 60) -> float:
    """The score of a sampler after a few trials."""
    runner = SamplersTrack(trials=6, seconds=seconds)
    mine = entry("samplers", source)
    return run_once(runner, mine, runner.problem(SEED), SEED, None).score


@pytest.fixture(scope="module")
def layers():
    return GroupingTrack(calibration=16, images=32).problem(SEED)


def group(source: str, layers) -> float:
    runner = GroupingTrack(calibration=16, images=32)
    return run_once(runner, entry("grouping", source), layers, SEED, None).score


def test_a_line_of_the_stripped_code_is_found_in_the_source():
    source = b'"""Prose."""\n\n# more\nimport math\n\n\n@staticmethod\ndef f():\n'
    source += b'    """Prose."""\n    return (\n        1\n    )\n'
    # import math, an empty line, the decorator, its function, return
    lines = stripped(source).splitlines()
    found = {text.strip(): original_line(source, i + 1) for i, text in enumerate(lines)}
    assert found["import math"] == 4
    assert found["@staticmethod"] == found["def f():"] == 8
    assert found["return 1"] == 10
    assert original_line(source, 99) == 10
    assert original_line(b"", 3) == 3


def test_a_syntax_error_names_its_line(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("x = 1\ndef sampler(:\n")
    with pytest.raises(EntryError, match=r"mine.py, line 2: syntax error"):
        read(path, "samplers")


HASHES = [sha256(str(i).encode()).hexdigest() for i in range(240)]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1\n" * 4000, "has 24000 bytes; at most 16384 are permitted"),
        (f"x = 1\ny = {'a' * 3000!r}", "line 2: data in the source"),
        ("".join(f"x{i} = {'a' * 1500!r}\n" for i in range(8)), "line 2: data in"),
        (f"x = {'字' * 1200!r}", "line 1: data in the source"),
        (f"x = {list(range(300))}", "line 1: data in the source"),
        ("x = 0\n" + "x += 7\n" * 300, "line 201: data in the source"),
        (f"x = {10**20}", "line 1: data in the source"),
        ("\n".join(f"x{each} = 0" for each in HASHES[:190]), "compressed, has"),
        ("\n".join(f"def x{each}(): pass" for each in HASHES[:190]), "compressed, has"),
        ("x = " + "-" * 9000 + "1", "mine.py"),
    ],
)
def test_data_in_the_source_is_refused(source, words):
    with pytest.raises(EntryError, match=words):
        check_source(source.encode(), "mine.py")


def test_a_comment_a_docstring_and_the_layout_are_not_in_the_process():
    noise = "".join(HASHES[:60])
    source = f'''"""{noise}"""
from __future__ import annotations
import optuna  # {noise}


def sampler(seed):
    "{noise}"
    text = open(__file__).read() + str(sampler.__doc__) + str(__doc__)
    assert "{noise[:9]}" + "{noise[9:20]}" not in text and len(text) < 800
    return (  optuna.samplers   .RandomSampler(
        seed=7))
'''
    check_source(source.encode(), "mine.py")
    assert 0 <= search(source) < 1


def test_a_fault_names_the_line_of_the_file_as_it_was_written():
    source = (
        f"# a comment\n\n\n{HONEST}\n\n# another\n@print\ndef f():\n    pass\n1 / 0\n"
    )
    line = source.splitlines().index("1 / 0") + 1
    with pytest.raises(EntryError, match=f"line {line}: ZeroDivisionError"):
        search(source)


def test_a_wrong_signature_is_refused():
    with pytest.raises(EntryError, match=r"sampler\(\) takes 0 positional arguments"):
        search("def sampler():\n    return None\n")


def test_nan_is_refused(layers):
    source = """
from deepseek_learn.dpg import grouping
@grouping.register("mine")
def mine(layer):
    return layer.statistics.frequency * float("nan")
"""
    with pytest.raises(EntryError, match="got NaN, infinity or a negative number"):
        group(source, layers)


def test_more_bytes_than_permitted_are_refused(layers):
    source = """
import torch
def allocate(layers, bits):
    return [torch.full((len(layer.weight),), 8) for layer in layers]
"""
    with pytest.raises(EntryError, match="takes more bytes than permitted"):
        group(source, layers)


def test_one_row_with_one_more_bit_is_refused(layers):
    source = """
import torch
def allocate(layers, bits):
    rows = [torch.full((len(layer.weight),), bits) for layer in layers]
    smallest = min(range(len(layers)), key=lambda i: layers[i].weight.numel())
    rows[smallest][0] += 1
    return rows
"""
    with pytest.raises(EntryError, match="takes more bytes than permitted"):
        group(source, layers)


@closed
@pytest.mark.parametrize(
    "path",
    [
        REPOSITORY / "leaderboard" / "samplers" / "records.jsonl",
        REPOSITORY / "deepseek_learn" / "data" / "files" / "fashion_mnist.npz",
    ],
    ids=["reference", "test data"],
)
def test_what_is_hidden_cannot_be_read(path):
    with pytest.raises(
        EntryError, match=f"line 1: it reads {path}, but an entry has no"
    ):
        search(f"open({str(path)!r}, 'rb').read()\n{HONEST}")


def test_the_network_cannot_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        source = f"import socket\nsocket.create_connection({address!r})\n{HONEST}"
        with pytest.raises(EntryError, match="line 2: it opens a network connection"):
            search(source)


def test_an_endless_loop_ends():
    with pytest.raises(EntryError, match="it was ended after 4 s"):
        search("while True: pass\n", seconds=4)


def test_an_entry_that_exits_is_refused():
    with pytest.raises(EntryError, match="ended with exit code 0"):
        search(f"import os\nos._exit(0)\n{HONEST}")


def test_a_value_outside_the_space_is_refused():
    source = """
import optuna
class Outside(optuna.samplers.RandomSampler):
    pass
import optuna.trial
optuna.trial.Trial.params = property(lambda self: {"p0": 5.0})
def sampler(seed):
    return Outside()
"""
    with pytest.raises(EntryError, match="a configuration must have the parameters"):
        search(source)


def test_a_scorer_patched_in_the_own_process_changes_nothing():
    patch = """
import deepseek_learn.tuner.pareto as pareto, deepseek_learn.tuner as tuner
import deepseek_learn.leaderboard.samplers as track
pareto.hypervolume = tuner.hypervolume = lambda *_: 1e9
track.SamplersTrack.measure = lambda *_: track.RaceResult(1.0)
"""
    assert search(patch + HONEST) == search(HONEST) < 1


def test_the_seed_is_not_in_the_process():
    source = f"""
import gc, os, sys
def sampler(seed):
    texts = [str(dict(os.environ)), str(sys.argv), str(seed)]
    frame = sys._getframe()
    while frame:
        texts.append(repr(frame.f_locals))
        frame = frame.f_back
    assert not any("{SEED}" in text for text in texts), "seen"
    return __import__("optuna").samplers.RandomSampler()
"""
    assert search(source) < 1


def test_training_on_while_predicting_is_refused():
    source = """
import torch
from torch import nn
from deepseek_learn import attention
@attention.register("mine", dims=(2,), native_scale=1.0)
class Mine(nn.Module):
    def __init__(self, channels):
        super().__init__()
    def forward(self, x):
        if not self.training:  # stands for steps that are taken late
            for _ in range(400):
                torch.randn(64, 64, 64).sin_()
        return x
"""
    runner = AttentionTrack(steps=6, images=64, tests=32)
    mine = entry("attention", source)
    with pytest.raises(EntryError, match=r"predicting took \d.* s are permitted"):
        run_once(runner, mine, runner.problem(SEED), SEED, RECKONED)


LEARNER = """
import os, time
import torch
from deepseek_learn.leaderboard.attention import TrainingServer
honest, seen = TrainingServer.train, []

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        torch.randn(64, 64, 64).sin_()
"""


def attend(patch: str):
    runner = AttentionTrack(steps=12, images=64, tests=32)
    mine = entry("attention", f"{LEARNER}\n{PLAIN}\n{patch}")
    return run_once(runner, mine, runner.problem(SEED), SEED, RECKONED)


def test_training_on_in_one_long_step_is_refused():
    """Cheap steps at first, so that many are permitted; then one takes all the time."""
    patch = """
def train(self, *batch):
    seen.append(batch)
    if len(seen) == 14:
        burn(2)
TrainingServer.train = train
"""
    words = r"training took [2-9]\.\d s of processor time; \d\.\d s are permitted"
    with pytest.raises(EntryError, match=words):
        attend(patch)


@closed
def test_a_child_that_nobody_waits_for_cannot_be_started():
    patch = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def train(self, *batch):
    if os.fork() == 0:
        burn(2)
        os._exit(0)
TrainingServer.train = train
"""
    words = r"line \d+: PermissionError: .* Operation not permitted"
    with pytest.raises(EntryError, match=words):
        attend(patch)


def test_training_on_while_handing_over_the_weights_is_refused():
    patch = """
def weights(self):
    burn(2)
    return dict(self.model.state_dict())
TrainingServer.weights = weights
"""
    with pytest.raises(EntryError, match="training took"):
        attend(patch)


def test_the_process_that_predicts_has_seen_no_training_picture():
    patch = """
def train(self, *batch):
    seen.append(batch)
    open("/tmp/seen", "w").close()
    honest(self, *batch)

def predict(self, images):
    assert not seen and not os.path.exists("/tmp/seen"), "seen"
    return torch.zeros(len(images), 10)
TrainingServer.train, TrainingServer.predict = train, predict
"""
    assert 0 <= attend(patch).score <= 1


def test_pictures_among_the_weights_are_refused():
    patch = """
def weights(self):
    return {"w": torch.zeros(100_000)} | dict(self.model.state_dict())
TrainingServer.weights = weights
"""
    with pytest.raises(EntryError, match="bytes of weights; 320000 are permitted"):
        attend(patch)


def test_the_time_is_the_kernels():
    """An entry that stops its own clocks does not get more steps for its time."""
    stopped = """
import time
time.process_time = time.thread_time = time.perf_counter = lambda: 0.0
"""
    runner = AttentionTrack(steps=20, images=64, tests=32)
    problem = runner.problem(SEED)
    steps = []
    for source in ("", stopped):
        mine = entry("attention", f'{source}\nENTRY = "nothing"\n{PLAIN}')
        facts = run_once(runner, mine, problem, SEED, RECKONED).facts
        assert facts["pace"] > 0.3
        steps.append(facts["steps"])
    assert steps[0] / 3 < steps[1] < steps[0] * 3
