"""Vendor kits without the vendors' tools: what the scripts would call."""

import os
import shutil
import subprocess
import sys

import pytest

from deepseek_learn.deploy import native
from deepseek_learn.deploy.kit import FILES
from deepseek_learn.deploy.native import BuildError
from tests.deploy.conftest import built
from tests.services import absent

pytestmark = pytest.mark.service


def atc(tmp_path, **environment):
    """`atc.sh` with a fake `atc` that only prints its arguments."""
    kit, tools = tmp_path / "kit", tmp_path / "tools"
    kit.mkdir()
    tools.mkdir()
    shutil.copy(FILES / "ascend-910b" / "atc.sh", kit)
    (tools / "atc").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tools / "atc").chmod(0o755)
    environment |= {"PATH": f"{tools}:/usr/bin:/bin"}
    command = ["bash", str(kit / "atc.sh")]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("soc", ["Ascend910B3", "910B3"])
def test_the_chips_name_is_ascend_and_what_npu_smi_prints(tmp_path, soc):
    done = atc(tmp_path, SOC=soc)
    assert done.returncode == 0, done.stderr
    assert "--soc_version=Ascend910B3" in done.stdout.splitlines()


def test_without_the_chips_name_it_says_how_to_get_it(tmp_path):
    done = atc(tmp_path)
    assert done.returncode == 2
    assert "SOC=Ascend910B3 for 910B3" in done.stderr


# ---------------------------------------------------------------- MIGraphX's options

SHIM = r"""
// ONNX Runtime's library with another version, and another answer to "MIGraphX".
#include <onnxruntime_c_api.h>
#include <cstdlib>
#include <dlfcn.h>
#include <string>

static OrtApi api;
static const OrtApiBase* real() {
  static auto* open = reinterpret_cast<const OrtApiBase* (*)()>(
      dlsym(dlopen(std::getenv("REAL_LIBRARY"), RTLD_NOW), "OrtGetApiBase"));
  return open();
}
static OrtStatus* refuse(const std::string& why) {
  return api.CreateStatus(ORT_FAIL, why.c_str());
}
static OrtStatus* by_name(OrtSessionOptions*, const char* name, const char* const* keys,
                          const char* const* values, size_t n) noexcept {
  if (!std::getenv("KNOWS_NAME")) return refuse("Unknown provider name. Known: others");
  const std::string given = n == 1 ? std::string(name) + " " + keys[0] : "";
  if (given != "MIGraphX device_id") return refuse("wrong: " + given);
  return refuse(std::string("by name, device ") + values[0]);
}
static OrtStatus* by_struct(OrtSessionOptions*,
                            const OrtMIGraphXProviderOptions* options) noexcept {
  return refuse("by struct, device " + std::to_string(options->device_id));
}
static const OrtApi* get(uint32_t version) noexcept {
  api = *real()->GetApi(version);
  api.SessionOptionsAppendExecutionProvider = by_name;
  api.SessionOptionsAppendExecutionProvider_MIGraphX = by_struct;
  return &api;
}
static const char* version() noexcept {
  static const std::string own = "1." + std::to_string(ORT_API_VERSION) + ".0";
  const char* other = std::getenv("OTHER_VERSION");
  return other ? other : own.c_str();
}
extern "C" const OrtApiBase* OrtGetApiBase() noexcept {
  static const OrtApiBase base{get, version};
  return &base;
}
"""


@pytest.fixture(scope="module")
def migraphx(tmp_path_factory):
    """The engine's error with a fake library."""
    folder = tmp_path_factory.mktemp("migraphx")
    engine = built(folder)
    source, library = folder / "shim.cpp", folder / "libshim.so"
    source.write_text(SHIM)
    places = [f"-I/usr/include/onnxruntime{more}" for more in ("", "/core/session")]
    compiler = shutil.which("c++") or shutil.which("g++")
    command = [compiler, "-std=c++17", "-shared", "-fPIC", *places]
    done = subprocess.run(
        [*command, source, "-o", library, "-ldl"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (folder / "model.onnx").write_bytes(b"not opened")

    def run(**environment):
        words = ["--provider", "migraphx", "--device", "3", "--library", str(library)]
        words += ["--checksum", "skip"]
        done = subprocess.run(
            [str(engine), str(folder / "model.onnx"), *words],
            capture_output=True,
            text=True,
            env=os.environ | {"REAL_LIBRARY": str(native.library())} | environment,
        )
        assert done.returncode == 2
        return done.stderr

    return run


@pytest.mark.skipif(sys.platform != "linux", reason="the double is made for Linux")
def test_migraphx_gets_its_options_by_name(migraphx):
    for version in ({}, {"OTHER_VERSION": "1.99.0"}):
        assert "by name, device 3" in migraphx(KNOWS_NAME="1", **version)


@pytest.mark.skipif(sys.platform != "linux", reason="the double is made for Linux")
def test_a_struct_only_of_the_same_version(migraphx):
    """Its size differs between versions: a different library would read past its end."""
    assert "by struct, device 3" in migraphx()
    message = migraphx(OTHER_VERSION="1.99.0")
    assert "by struct" not in message
    assert "build it with the headers of 1.99.0" in message


# ---------------------------------------------------------------- missing build tools


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ([], "needs cmake, which is not on the PATH"),
        (["cmake"], "needs make or ninja: apt-get install make"),
        (["cmake", "make"], r"needs a C\+\+ compiler, .* apt-get install g\+\+"),
    ],
)
def test_a_missing_tool_is_named_with_what_brings_it(
    tmp_path, monkeypatch, tools, said
):
    for tool in tools:
        if shutil.which(tool) is None:
            absent(f"{tool} is not on the PATH")
        (tmp_path / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match=said):
        native.build(tmp_path / "engine")


def test_the_advice_about_headers_can_be_followed(tmp_path, monkeypatch):
    nowhere = [
        "-DCMAKE_FIND_ROOT_PATH=/nowhere",
        "-DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY",
    ]
    if shutil.which("cmake") is None:
        absent("cmake is not on the PATH")
    with pytest.raises(BuildError) as error:
        native.build(tmp_path / "engine", options=nowhere)
    message = str(error.value)
    assert "libonnxruntime-dev" in message
    assert "set the environment variable CMAKE_PREFIX_PATH to its folder" in message
    # an unpacked release: FOLDER/include/*.h
    release = tmp_path / "onnxruntime-linux-x64"
    (release / "include").mkdir(parents=True)
    (release / "include" / "onnxruntime_cxx_api.h").write_text(
        "#error of the release\n"
    )
    monkeypatch.setenv("CMAKE_PREFIX_PATH", str(release))
    with pytest.raises(BuildError, match="#error of the release"):
        native.build(tmp_path / "engine")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_kit_says_where_the_headers_come_from(language, runtime):
    from deepseek_learn.catalog import text

    words = text(f"deploy.headers_{runtime}", language)
    names = ["pip install openvino"]
    if runtime == "onnxruntime":
        names = ["libonnxruntime-dev", "/releases", "CMAKE_PREFIX_PATH="]
    assert all(name in words for name in names)
    readme = (FILES / f"README.{language}.md").read_text()
    assert "{headers}" in readme
    assert "model.onnx.sha256" in readme
