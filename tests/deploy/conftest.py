"""For the tests of the wizard: none of them looks at a speed."""

from pathlib import Path

import pytest

from deepseek_learn.deploy import native
from deepseek_learn.deploy.native import BuildError
from tests.services import absent


@pytest.fixture(autouse=True, scope="module")
def no_long_measurements(short_measurements):
    pass


def built(folder: Path, runtime: str = "onnxruntime", options=()) -> Path:
    """The engine; without options it is the one of the library's cache."""
    program = folder / "engine"
    try:
        if options:
            return native.build(program, runtime, options=options)
        program.write_bytes(native.compiled(runtime))
    except BuildError as error:
        absent(str(error))
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def engine(tmp_path_factory) -> Path:
    """The engine on ONNX Runtime, without sanitizers."""
    return built(tmp_path_factory.mktemp("engine"))
