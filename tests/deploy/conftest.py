"""For the tests of the wizard: none looks at a speed, and an engine is built once."""

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from deepseek_learn import binary_cache
from deepseek_learn.deploy import native
from deepseek_learn.deploy.native import BuildError
from tests.services import absent


@pytest.fixture(autouse=True, scope="module")
def no_long_measurements(short_measurements):
    pass


def built(folder: Path, runtime: str = "onnxruntime", options=()) -> Path:
    """The engine, from the library's cache, where one with options has its own key."""
    program = folder / "engine"
    try:
        if options:
            program.write_bytes(_with_options(runtime, tuple(options)))
        else:
            program.write_bytes(native.compiled(runtime))
    except BuildError as error:
        absent(str(error))
    program.chmod(0o755)
    return program


def _with_options(runtime: str, options: tuple[str, ...]) -> bytes:
    """As `native.compiled` does it: a change of anything it is built from is a new key."""
    key = native._engine_key(runtime, native.ENGINE / "engine.cpp")
    key, name = binary_cache.build_key(f"{key}".encode(), options), f"tested-{runtime}"
    for file in binary_cache.stored(name, key):
        return file.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        made = native.build(Path(folder) / "engine", runtime, options=options)
        with suppress(OSError):
            binary_cache.store(made, name, key)
        return made.read_bytes()


@pytest.fixture(scope="session")
def engine(tmp_path_factory) -> Path:
    """The engine on ONNX Runtime, without sanitizers."""
    return built(tmp_path_factory.mktemp("engine"))
