"""Storage: atomic writes, damage is detected, outputs are identical bit for bit."""

import copy
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from deepseek_learn import dpg
from deepseek_learn.dpg import container
from deepseek_learn.dpg.layers import packed_layers
from deepseek_learn.errors import DamagedFileError
from tests.dpg.small_models import (
    decoder,
    features,
    mlp,
    net,
    pictures,
    tokens,
    twice,
    waveforms,
    waves,
)

ROOT = Path(__file__).parents[2]
NETWORKS = {
    "mlp": (mlp, features),
    "net": (net, pictures),
    "decoder": (decoder, tokens),
    "tied": (lambda seed=0: decoder(seed, tied=True), tokens),
    "twice": (twice, features),
    "waves": (waves, waveforms),
    "linear": (lambda seed=0: nn.Linear(20, 7).eval(), features),
}


def small(name="mlp", refine=True, **options):
    model = NETWORKS[name][0](**options)
    allocation = dpg.uniform(model, 4)
    for bits in allocation.bits.values():  # segments of every kind
        bits[: len(bits) // 2] = 8
        bits[:3] = 3
    return dpg.convert(model, allocation, refine=refine)


def saved(folder, name="mlp", **options):
    model = small(name, **options)
    return model, dpg.save(model, folder / "model.safetensors")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_loaded_is_what_was_saved(tmp_path, name, refine, mapped, meta):
    model, path = saved(tmp_path, name, refine=refine)
    build, inputs = NETWORKS[name]
    if meta:
        with torch.device("meta"):
            frame = build()
    else:
        frame = build(seed=5).train()
    before = {k: v.clone() for k, v in frame.state_dict().items()}
    loaded = dpg.load(path, frame, map_refinement=mapped)
    assert torch.equal(loaded(inputs()), model(inputs()))
    reference, mine = model.state_dict(), loaded.state_dict()
    assert list(reference) == list(mine)
    assert all(torch.equal(v, mine[k]) for k, v in reference.items())
    assert all(v.dtype == mine[k].dtype for k, v in reference.items())
    assert dpg.bytes_of(loaded) == dpg.bytes_of(model)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not any(m.training for m in loaded.modules())
    with pytest.raises(dpg.FrozenModelError):
        loaded.train()
    assert not packed_layers(loaded).keys() ^ packed_layers(model).keys()
    # the template model is unchanged
    assert frame.training != meta
    for key, value in frame.state_dict().items():
        assert value.is_meta if meta else torch.equal(value, before[key])


def test_the_file_holds_the_planes_and_little_else(tmp_path):
    model, path = saved(tmp_path)
    size = path.stat().st_size
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert size == 8 + header + dpg.bytes_of(model)
    assert path == tmp_path / "model.safetensors"
    assert names(tmp_path) == ["model.safetensors"]
    assert dpg.save(model, str(tmp_path / "deep" / "er" / "x")).is_file()
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "deepseek_learn.dpg"
    assert metadata["version"] == "1"
    facts = json.loads(metadata["manifest"])["layers"]["0"]
    assert facts["matrix"] == [40, 20, 32]
    assert facts["segments"][0] == {"term": "base", "bits": 8, "first": 0, "rows": 32}


def test_one_layer_under_two_names_is_saved_once(tmp_path):
    model, path = saved(tmp_path, "twice")
    loaded = dpg.load(path, twice())
    assert loaded.first is loaded.second
    stored = load_file(path)
    assert not any(key.startswith("second.") for key in stored)
    assert sum(t.numel() * t.element_size() for t in stored.values()) == dpg.bytes_of(
        model
    )


def test_tied_layers_are_saved_once_and_stay_tied(tmp_path):
    model, path = saved(tmp_path, "tied")
    stored = load_file(path)
    names = [key for key in stored if key.startswith(("token.matrix", "head.matrix"))]
    assert len({key.split(".")[0] for key in names}) == 1
    size = sum(tensor.nbytes for tensor in stored.values())
    assert size == dpg.bytes_of(model)
    for frame in (decoder(tied=True), decoder()):  # the file knows what is tied
        loaded = dpg.load(path, frame)
        assert loaded.token.matrix is loaded.head.matrix
        assert dpg.bytes_of(loaded) == size
        loaded.double()  # they stay tied when tensors move
        assert loaded.token.matrix is loaded.head.matrix
    again = load_file(dpg.save(loaded, tmp_path / "again"))
    assert again.keys() == stored.keys()


def test_float_weights_that_stay_tied_are_saved_once(tmp_path):
    model = decoder(tied=True)
    allocation = dpg.uniform(model, 4, filter=lambda name, m: name != "head")
    small = dpg.convert(model, allocation)
    stored = load_file(dpg.save(small, tmp_path / "x"))
    assert ("token.weight" in stored) != ("head.weight" in stored)
    loaded = dpg.load(tmp_path / "x", decoder(tied=True))
    assert loaded.token.weight is loaded.head.weight
    assert torch.equal(loaded(tokens()), small(tokens()))


def test_what_was_apart_stays_apart_in_a_frame_that_is_tied(tmp_path):
    model, path = saved(tmp_path, "decoder")
    loaded = dpg.load(path, decoder(tied=True))
    assert loaded.token.matrix is not loaded.head.matrix
    assert torch.equal(loaded(tokens()), model(tokens()))


def test_a_meta_frame_with_buffers_that_no_file_holds(tmp_path):
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(20, 4)
            self.layer.register_buffer("angles", torch.ones(20), persistent=False)

        def forward(self, x):
            return self.layer(x * self.layer.angles)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.turned = nn.Linear(20, 20), Turned()
            self.register_buffer("inv_freq", torch.ones(3), persistent=False)
            self.register_buffer("kept", torch.ones(3))

        def forward(self, x):
            return self.turned(self.first(x))

    model = Net()
    path = dpg.save(dpg.convert(model, dpg.uniform(model, 4)), tmp_path / "x")
    with torch.device("meta"):
        frame = Net()
    with pytest.raises(
        ValueError, match=r"not saved in any file .*: inv_freq, turned\.layer\.angles"
    ):
        dpg.load(path, frame)
    frame = Net()
    frame.first.to("meta")  # its own tensors are all in the file
    assert dpg.load(path, frame).inv_freq.tolist() == [1, 1, 1]


def test_a_model_in_half_precision_is_saved_as_it_is(tmp_path):
    model = small("net").half()
    loaded = dpg.load(dpg.save(model, tmp_path / "half"), net())
    assert loaded.norm1.weight.dtype == torch.float16
    assert torch.equal(loaded(pictures().half()), model(pictures().half()))


def test_buffers_that_are_not_saved_come_from_the_frame(tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.full((1,), 3.0), persistent=False)
            self.layer = nn.Linear(20, 4)

        def forward(self, x):
            return self.layer(x) * self.scale

    model = Scaled()
    compressed = dpg.convert(model, dpg.uniform(model, 4))
    loaded = dpg.load(dpg.save(compressed, tmp_path / "x"), Scaled())
    assert torch.equal(loaded(features()), compressed(features()))


class Named(nn.Module):
    """Modules whose names could be mistaken for a refine term."""

    def __init__(self):
        super().__init__()
        self.refine, self.refinement = nn.Linear(20, 20), nn.LayerNorm(20)
        self.matrix = nn.ModuleDict({"refiner": nn.LayerNorm(20)})

    def forward(self, x):
        return self.matrix["refiner"](self.refinement(self.refine(x)))


def test_names_that_look_like_refine_terms_are_not_mapped(tmp_path):
    model = dpg.convert(Named(), dpg.uniform(Named(), 4), refine=True)
    path = dpg.save(model, tmp_path / "x")
    loaded = dpg.load(path, Named(), map_refinement=True)
    assert torch.equal(loaded(features()), model(features()))
    assert dpg.drop_refinement(loaded) == refine_bytes(model)


def refine_bytes(model):
    return sum(
        t.numel() * t.element_size()
        for layer in packed_layers(model).values()
        for name, t in layer.matrix.named_buffers()
        if name.startswith("refine")
    )


@pytest.mark.parametrize("name", ["mlp", "net", "twice", "linear"])
def test_mapped_planes_can_be_dropped_and_come_back(tmp_path, name):
    model, path = saved(tmp_path, name)
    loaded = dpg.load(path, NETWORKS[name][0](), map_refinement=True)
    x = NETWORKS[name][1]()
    expected = model(x)
    for _ in range(2):
        assert torch.equal(loaded(x), expected)
        assert dpg.drop_refinement(loaded) == refine_bytes(model)
    assert torch.equal(loaded(x), expected)
    # the file may be replaced: the mapping keeps the old one
    dpg.save(small("mlp", seed=7), path)
    dpg.drop_refinement(loaded)
    assert torch.equal(loaded(x), expected)
    plain = dpg.load(dpg.save(model, path), NETWORKS[name][0]())
    assert dpg.drop_refinement(plain) == 0
    assert dpg.drop_refinement(small(refine=False)) == 0
    with pytest.raises(ValueError, match="model must be DPG-compressed"):
        dpg.drop_refinement(mlp())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_dropping_gives_pages_back(tmp_path):
    torch.manual_seed(0)
    layer, path = nn.Linear(1024, 512), tmp_path / "model"
    dpg.save(dpg.convert(layer, dpg.uniform(layer, 4), refine=True), path)
    loaded = dpg.load(path, layer, map_refinement=True)
    loaded(torch.ones(1, 1024))
    used = resident(path)
    dropped = dpg.drop_refinement(loaded)
    assert dropped == 512 * 1024 // 2 + 512 * 16 * 2  # planes and scales
    assert used >= dropped - 2**13  # all but its partial first and last pages
    assert resident(path) <= used - dropped + 2**13
    loaded(torch.ones(1, 1024))
    assert resident(path) >= dropped - 2**13


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.slow
def test_a_loaded_model_takes_its_own_bytes_and_no_more(tmp_path):
    """Nothing that was freed stays with the process: it has a map of its own."""
    model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(16)))
    path = dpg.save(dpg.convert(model, dpg.uniform(model, 4)), tmp_path / "model")
    tiny = dpg.save(small(), tmp_path / "tiny")
    code = """
import os, sys, torch
from torch import nn
from deepseek_learn import dpg
from tests.dpg.small_models import mlp

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

with torch.device("meta"):
    model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(16)))
dpg.load(sys.argv[2], mlp())  # imports
before = resident()
loaded = dpg.load(sys.argv[1], model)
print((resident() - before) / dpg.bytes_of(loaded))
"""
    assert 0.9 <= float(finished(process(code, path, tiny))) <= 1.4  # was 2.0


def resident(path):
    """Resident bytes of the mappings of `path`."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_a_mapped_model_can_be_copied_pickled_and_saved_over_its_own_file(tmp_path):
    model, path = saved(tmp_path)
    loaded, x = dpg.load(path, mlp(), map_refinement=True), features()
    expected, before = model(x), load_file(path)
    for other in (copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        assert torch.equal(other(x), expected)
        assert dpg.drop_refinement(other) == 0  # it is in memory, not mapped
    after = load_file(dpg.save(loaded, path))
    assert after.keys() == before.keys()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert torch.equal(loaded(x), expected)


# ---- errors -------------------------------------------------------------------------


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="model must be DPG-compressed"):
        dpg.save(mlp(), tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        dpg.save(small(), tmp_path / "file" / "x")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["nothing", "."])
def test_no_such_file(tmp_path, name):
    with pytest.raises(
        FileNotFoundError, match=r"path must be a file written by dpg\.save"
    ):
        dpg.load(tmp_path / name, mlp())


def refused(path, model=None):
    """The message of the DamagedFileError raised; any other exception fails."""
    frame = mlp(seed=5) if model is None else model
    before = copy.deepcopy(frame.state_dict())
    with pytest.raises(DamagedFileError) as caught:
        dpg.load(path, frame)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert all(torch.equal(v, frame.state_dict()[k]) for k, v in before.items())
    return sentence


def test_files_that_are_cut_short(tmp_path):
    _, path = saved(tmp_path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in (0, 1, 7, 8, 9, header - 1, header, header + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "is not a complete safetensors file" in refused(path)
    path.write_bytes(whole + b"\0")
    assert "is not a complete safetensors file" in refused(path)


def flipped(whole, position, bit):
    damaged = bytearray(whole)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


@pytest.mark.slow
def test_every_changed_bit_is_found(tmp_path):
    """In the header length, the header with the manifest, and the data."""
    _, path = saved(tmp_path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    generator = torch.Generator().manual_seed(0)

    def drawn(first, end, count):
        places = torch.randint(first, end, (count,), generator=generator)
        bits = torch.randint(8, (count,), generator=generator)
        return zip(places.tolist(), bits.tolist(), strict=True)

    places = [(i, bit) for i in range(8) for bit in range(8)]
    places += [(8, 0), (header - 1, 0), (header, 0), (len(whole) - 1, 7)]
    facts = [b'"format"', b'"version"', b'"sha256"', b'"manifest"', b'"__metadata__"']
    for fact in facts:
        places += [(whole.index(fact) + i, i % 8) for i in range(len(fact) + 8)]
    places += [*drawn(8, header, 400), *drawn(header, len(whole), 150)]
    for place in places:
        path.write_bytes(flipped(whole, *place))
        assert refused(path), place
    path.write_bytes(whole)
    dpg.load(path, mlp())


def test_a_changed_bit_in_the_data_is_called_damage(tmp_path):
    _, path = saved(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(flipped(whole, len(whole) - 5, 3))
    assert "is damaged: its content does not match the" in refused(path)


def rewritten(path, tensors=None, **changes):
    """Rewrite the file with other metadata or tensors; None drops a metadata key."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() | changes
    metadata = {k: v for k, v in metadata.items() if v is not None}
    save_file(load_file(path) if tensors is None else tensors, path, metadata)


def test_other_formats_and_versions(tmp_path):
    _, path = saved(tmp_path)
    rewritten(path)
    dpg.load(path, mlp())  # rewritten unchanged, it still loads
    rewritten(path, version="2")
    assert "has format version 2; this library reads version 1" in refused(path)
    rewritten(path, format="pt")
    assert "is not a DPG-compressed model" in refused(path)
    save_file({"weight": torch.ones(2)}, path)
    assert "is not a DPG-compressed model" in refused(path)
    torch.save(mlp().state_dict(), path)
    assert "is not a complete safetensors file" in refused(path)
    path.write_text("<html>404</html>")
    assert "is not a complete safetensors file" in refused(path)
    os.truncate(path, 0)
    assert "is not a complete safetensors file" in refused(path)


def test_a_manifest_or_tensors_that_were_changed(tmp_path):
    for changes in (
        {"manifest": None},
        {"manifest": "{"},
        {"manifest": '{"layers": {}, "aliases": {}, "model": "x"}'},
        {"sha256": None},
        {"sha256": "0" * 64},
        {"version": None},
    ):
        _, path = saved(tmp_path)
        rewritten(path, **changes)
        refused(path)
    _, path = saved(tmp_path)
    tensors = load_file(path)
    for changed in (
        tensors | {"more": torch.ones(1)},
        {k: v for k, v in tensors.items() if k != "0.bias"},
        tensors | {"0.bias": tensors["0.bias"].double()},
        tensors | {"0.bias": tensors["0.bias"].view(20, 2)},
        tensors | {"0.bias": -tensors["0.bias"]},
    ):
        rewritten(path, tensors=changed)
        assert "is damaged" in refused(path)


@pytest.mark.parametrize(
    "model",
    [
        mlp(width=41),
        nn.Sequential(*mlp()[:3], nn.Linear(40, 5, bias=False)),
        nn.Sequential(nn.Linear(20, 40)),
        twice(),
        decoder(),
    ],
    ids=range(5),
)
def test_a_file_of_another_network(tmp_path, model):
    _, path = saved(tmp_path)
    sentence = refused(path, model)
    assert "holds a compressed Sequential whose layers differ from" in sentence


def test_a_network_that_differs_only_in_what_is_not_packed(tmp_path):
    _, path = saved(tmp_path)
    normed = nn.Sequential(mlp()[0], nn.LayerNorm(40), *mlp()[2:])
    assert "does not fit this model: it differs in '1." in refused(path, normed)
    _, path = saved(tmp_path, "net")
    other = net()
    other.norm1 = nn.BatchNorm2d(13)
    assert "does not fit this model: 'norm1." in refused(path, other)
    other = net()  # the same sizes, but another stride
    other.conv2.stride = (1, 1)
    assert "whose layers differ from those of this Net" in refused(path, other)
    _, path = saved(tmp_path, "decoder")
    other = decoder()
    other.token = nn.Linear(16, 11, bias=False)  # the same sizes, another kind of layer
    assert "whose layers differ from those of this Decoder" in refused(path, other)


def test_layers_that_were_not_packed_are_loaded_in_float(tmp_path):
    model = nn.Sequential(*mlp(), nn.Linear(5, 5))
    allocation = dpg.uniform(model, 4)
    del allocation.bits["4"]
    compressed = dpg.convert(model, allocation)
    path = dpg.save(compressed, tmp_path / "x")
    loaded = dpg.load(path, nn.Sequential(*mlp(seed=5), nn.Linear(5, 5)))
    assert list(packed_layers(loaded)) == ["0", "3"]
    assert torch.equal(loaded[4].weight, model[4].weight)
    assert torch.equal(loaded(features()), compressed(features()))
    assert "it differs in '4.bias'" in refused(path)  # a template without that layer
    _, path = saved(tmp_path)
    deeper = nn.Sequential(*mlp(), nn.Linear(5, 5))
    assert "does not fit this model: it differs in '4.bias'" in refused(path, deeper)


def test_a_frame_with_nothing_to_compress(tmp_path):
    _, path = saved(tmp_path)
    with pytest.raises(ValueError, match="model has no layer to compress"):
        dpg.load(path, nn.ReLU())
    with pytest.raises(TypeError, match="model must be an"):
        dpg.load(path, None)


# ---- disks and processes ------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left"), SafetensorError("full")]
)
def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch, error):
    _, path = saved(tmp_path)
    before = path.read_bytes()

    def fails(tensors, file, metadata):
        Path(file).write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(container, "save_file", fails)
    with pytest.raises(OSError, match=r"No space left|could not be written: full"):
        dpg.save(small(seed=1), path)
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]
    with pytest.raises(OSError, match=r"No space left|full"):
        dpg.save(small(seed=1), tmp_path / "new" / "model")
    assert names(tmp_path / "new") == []


def process(code, *arguments, **environment):
    """Start a separate process in the repository root."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import torch\ntorch.set_num_threads(1)\n{code}"]
        + [str(argument) for argument in arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(running):
    out, error = running.communicate(timeout=120)
    assert running.returncode == 0, error
    return out


FULL = """
import resource, sys
from deepseek_learn import dpg
from tests.dpg.test_storage import small
model = small(seed=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    dpg.save(model, sys.argv[1])
except OSError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_file_that_the_system_does_not_let_grow(tmp_path):
    if sys.platform == "win32":
        pytest.skip("no RLIMIT_FSIZE on Windows")
    _, path = saved(tmp_path)
    before = path.read_bytes()
    message = finished(process(FULL, path))
    assert "File too large" in message
    assert path.read_bytes() == before
    assert names(tmp_path) == [path.name]


SAVES = """
import sys, time
from pathlib import Path
from deepseek_learn import dpg
from tests.dpg.test_storage import small
path, seed = Path(sys.argv[1]), int(sys.argv[2])
model = small(seed=seed)
(path.parent / f"ready{seed}").touch()
while len(list(path.parent.glob("ready*"))) < 2:
    time.sleep(0.001)
for _ in range(15):
    dpg.save(model, path)
"""


@pytest.mark.slow
def test_two_processes_that_save_to_one_path_at_once(tmp_path):
    path, seen = tmp_path / "model", []
    both = [process(SAVES, path, seed) for seed in (1, 2)]
    while any(running.poll() is None for running in both):
        if path.exists():
            seen.append(path.read_bytes())  # one open file: one of the two
            time.sleep(0.002)
    for running in both:
        finished(running)
    assert names(tmp_path) == ["model", "ready1", "ready2"]
    x, expected = features(), [small(seed=seed)(features()) for seed in (1, 2)]
    copied = tmp_path / "copy"
    for whole in [path.read_bytes(), *list(dict.fromkeys(seen))[:20]]:
        copied.write_bytes(whole)
        y = dpg.load(copied, mlp())(x)
        assert any(torch.equal(y, w) for w in expected)
    assert len(set(seen)) > 1


ANSWERS = """
import sys
from safetensors.torch import save_file
from deepseek_learn import dpg
from deepseek_learn.errors import DeepSeekLearnError
from tests.dpg.test_storage import NETWORKS
answers = {}
for name in ("mlp", "net", "decoder"):
    build, inputs = NETWORKS[name]
    model = dpg.load(f"{sys.argv[1]}/{name}", build(seed=3))
    for backend in ("torch", "int4", "cpp"):
        with dpg.use_backend(backend):
            try:
                answers[f"{name} {backend}"] = model(inputs()).contiguous()
            except DeepSeekLearnError as error:
                print(error)
save_file(answers, f"{sys.argv[1]}/answers")
"""


@pytest.mark.slow
def test_another_process_answers_the_same_bit_for_bit(tmp_path):
    models = {name: small(name) for name in ("mlp", "net", "decoder")}
    for name, model in models.items():
        dpg.save(model, tmp_path / name)
    finished(process(ANSWERS, tmp_path))
    answers = load_file(tmp_path / "answers")
    assert {"mlp torch", "net torch", "decoder torch"} <= answers.keys()
    for key, reference in answers.items():
        name, backend = key.split()
        with dpg.use_backend(backend):
            assert torch.equal(models[name](NETWORKS[name][1]()), reference)


def test_loading_imports_nothing_of_the_pipeline_that_compresses():
    """A file of a compressed model is all that is needed to run it."""
    command = "import sys, deepseek_learn.dpg.storage; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", command], text=True)
    pipeline = ("allocation", "calibration", "compression", "criteria", "statistics")
    assert not {f"deepseek_learn.dpg.{name}" for name in pipeline} & {*modules.split()}


def test_a_model_of_torch_compile_is_the_model_that_it_wraps(tmp_path):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(64, 32), nn.ReLU()), torch.randn(8, 64)
    compiled = torch.compile(net)
    small = dpg.compress(compiled, [x], bits=4).model
    path = dpg.save(small, tmp_path / "small.safetensors")
    for model in (net, compiled):
        assert torch.equal(dpg.load(path, model)(x), small(x))
