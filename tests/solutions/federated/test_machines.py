"""The federation on several machines: each process in a network namespace of its own."""

import json
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from tests import services

services.need("flwr")
pytestmark = [
    pytest.mark.in_turn,
    pytest.mark.skipif(
        " " in sys.prefix,
        reason="Flower 1.42 creates no tables if its environment's path contains a space",
    ),
]

from deepseek_learn.solutions.federated.local import simulate  # noqa: E402
from deepseek_learn.solutions.federated.server import STATE  # noqa: E402

from .cases import save_hospitals  # noqa: E402
from .federation import Federation, namespaces  # noqa: E402

HOSPITALS = ("a", "b", "c")


@pytest.fixture
def machines():
    try:
        with namespaces("server", HOSPITALS) as made:
            yield {n: ["ip", "netns", "exec", own] for n, own in made.items()}
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this machine makes no network namespaces: {error}")


@pytest.mark.timeout(200)
def test_hospitals_on_other_machines_find_the_same_model(machines, tmp_path):
    sites = save_hospitals(tmp_path)
    settings = {"rounds": 1, "steps": 3, "patients": 4}
    with Federation(tmp_path, "10.77.0.1", machines) as running:
        running.start_server()
        for site in sites:
            running.start_node(site)
        run = running.run(out=str(tmp_path / "out"), **settings)
        assert run.wait(120) == 0
    state = json.loads((tmp_path / "out" / STATE).read_text())
    found = load_file(tmp_path / "out" / state["model"])
    expected, _ = simulate(sites, **settings)
    assert max(float((found[n] - v).abs().max()) for n, v in expected.items()) < 1e-6
