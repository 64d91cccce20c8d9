"""The tables of trained networks: they snap and reject, and cells can be made again."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"
CELL = {"lr": 1e-3, "batch_size": 32, "width": 8, "depth": 2}
CELL |= {"optimizer": "adam", "activation": "relu"}


@pytest.fixture
def digits_table(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("models.digits_table")


@pytest.fixture
def table(digits_table):
    return digits_table.load()


def test_every_cell_of_the_grid_was_trained(digits_table, table):
    shape = tuple(len(values) for values in digits_table.GRID.axes.values())
    assert table.errors.shape == (*shape, digits_table.EPOCHS)
    assert np.prod(shape) == 1152
    assert np.isfinite(table.errors).all()
    right = table.errors * 719  # fractions of 719 images
    assert np.allclose(right, right.round(), atol=1e-9)
    assert (table.errors >= 0).all()
    assert (table.errors <= 1).all()
    assert (table.cpu_seconds > 0).all()
    assert (table.latency_ms > 0).all()
    assert table.facts["protocol"] == digits_table.TASK.version
    assert digits_table.TASK.path.stat().st_size <= 2**20


def test_networks_have_the_parameters_that_the_table_says(digits_table, table):
    for width, depth, activation in ((4, 1, "relu"), (32, 3, "tanh")):
        result = table.lookup(CELL | {"width": width, "depth": depth})["parameters"]
        size = {1: 4, 2: 2, 3: 2}[depth]
        convolutions = 9 * width + width + (depth - 1) * (9 * width**2 + width)
        assert result == convolutions + 10 * (width * size**2) + 10
        model = digits_table.network(width, depth, activation)
        assert model(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_lookup_snaps_in_the_logarithm(digits_table, table):
    exact = {name: values[1] for name, values in digits_table.GRID.axes.items()}
    answer = table.lookup(exact)
    assert answer["point"] == exact
    assert len(answer["errors"]) == 8
    place = (1,) * 6
    assert answer["errors"] == table.errors[place].tolist()
    ratio = digits_table.LRS[2] / digits_table.LRS[1]
    near = exact | {"lr": exact["lr"] * ratio**0.49, "width": 11, "batch_size": 45}
    assert table.lookup(near) == answer  # 11 < sqrt(8 * 16) < 12; 45 < sqrt(32 * 64)
    far = exact | {"lr": exact["lr"] * ratio**0.51, "width": 12, "batch_size": 46}
    assert table.lookup(far)["point"] == exact | {
        "lr": digits_table.LRS[2], "width": 16, "batch_size": 64
    }  # fmt: skip


def test_the_space_is_what_lookup_takes(digits_table, table):
    optuna = pytest.importorskip("optuna")
    assert list(table.space) == list(digits_table.GRID.axes)
    for name, distribution in table.space.items():
        values = digits_table.GRID.axes[name]
        if isinstance(values[0], str):
            assert distribution.choices == values
        else:
            assert (distribution.low, distribution.high) == (values[0], values[-1])
            logarithmic = name in digits_table.GRID.logarithmic
            assert distribution.log == logarithmic
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(50):
        assert table.lookup(study.ask(table.space).params)["latency_ms"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.31}, r"lr must be a number from 0\.0001 to 0\.3; got 0\.31"),
        ({"lr": float("nan")}, "lr must be a number"),
        ({"width": 3}, "width must be an integer from 4 to 32; got 3"),
        ({"depth": 1.5}, "depth must be an integer from 1 to 3; got 1.5"),
        ({"depth": True}, "depth must be an integer"),
        ({"width": "8"}, "width must be an integer"),
        ({"optimizer": "lion"}, r"optimizer must be one of \('sgd', 'adam'\)"),
        ({"momentum": 0.9}, r"config must name .*'activation'\]; got .*'momentum'"),
    ],
)
def test_what_lies_outside_is_refused(table, change, message):
    with pytest.raises(ValueError, match=message):
        table.lookup(CELL | change)


def test_a_config_that_lacks_a_name_is_refused(table):
    with pytest.raises(ValueError, match=r"config must name .*; got \['lr'\]"):
        table.lookup({"lr": 1e-3})


def test_the_table_of_movements_is_whole(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("models.movements_table")
    table, task = module.load(), module.TASK
    assert table.errors.shape == (6, 3, 4, 3, 3, 3, module.EPOCHS)
    right = table.errors * module.HELD_OUT
    assert np.allclose(right, right.round(), atol=1e-9)
    assert (table.errors >= 0).all()
    assert (table.errors <= 1).all()
    assert (table.latency_ms > 0).all()
    assert table.facts["protocol"] == task.version
    assert task.path.stat().st_size <= 2**20
    config = task.grid.configurations()[700]
    model = task.network(**{n: config[n] for n in task.grid.architecture})
    assert model(torch.rand(2, 6, 128)).shape == (2, 12)
    answer = table.lookup(config)
    assert answer["point"] == config
    assert answer["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_cells_trained_again_give_the_same_errors(
    digits_table, table, one_thread, optimizer
):
    from deepseek_learn.ledger.results import machine

    made, here = table.facts["machine"], machine()
    for fact in ("torch", "cpu"):
        if made[fact] != here[fact]:
            pytest.skip(f"{fact} is {here[fact]}, the table's is {made[fact]}")
    point = CELL | {"optimizer": optimizer}
    point |= {"lr": digits_table.LRS[3]}
    again = digits_table.TASK.train(point)
    assert again["errors"] == table.lookup(point)["errors"]


def test_a_loss_that_is_not_finite_ends_the_run(digits_table):
    x, y, x_out, y_out = digits_table.pictures()
    parts = (x.clone().fill_(float("nan")), y, x_out, y_out)
    run = digits_table.TASK.train(CELL, parts)
    assert run["errors"] == [1.0] * digits_table.EPOCHS


def test_order_of_cells_is_the_order_of_the_grid(digits_table, tmp_path):
    points = digits_table.GRID.configurations()
    cells = [
        {"errors": [i / 2000] * 8, "cpu_seconds": i + 1.0, "date": "2026-01-01"}
        | {"machine": {}}
        for i in range(len(points))
    ]
    latencies = [float(i) for i in range(24)]
    written = digits_table.TASK.write(cells, latencies, tmp_path / "table.npz")
    for i in (0, 17, 600, 1151):
        answer = written.lookup(points[i])
        assert answer["errors"] == [i / 2000] * 8
        assert answer["cpu_seconds"] == i + 1.0
