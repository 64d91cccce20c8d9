"""Which rule a parameter gets, at the boundaries of each."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from deepseek_learn import DeepOpt
from deepseek_learn.optim import roles


@pytest.mark.parametrize(
    ("low", "fact"), [(4, "layer"), (5, "layer"), (6, "rarely active neurons")]
)
def test_a_layer_of_which_most_neurons_are_rarely_active_moves_by_rows(low, fact):
    model = nn.Sequential(nn.Linear(3, 10), nn.Linear(10, 2))
    group = torch.tensor([2] * low + [1] * (10 - low))  # 2: rarely active
    facts = roles.facts_of(model, SimpleNamespace(group={"0": group}))
    assert facts[model[0].weight] == fact
    assert facts[model[1].weight] == "head"


def test_vectors_without_names_are_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vectors = [nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(()))]
        optimizer = DeepOpt(vectors)
    assert {group["role"] for group in optimizer.param_groups} == {"adamw"}


def test_the_warning_of_bare_parameters_points_at_the_line_that_gave_them():
    with pytest.warns(UserWarning, match="without names") as record:
        DeepOpt([nn.Parameter(torch.zeros(5, 5))])
    assert record[0].filename == __file__


@pytest.mark.parametrize(
    ("shape", "fact", "seen"),
    [
        ((), "", (1, 1, 1)),
        ((7,), "", (1, 1, 7)),
        ((4, 6), "", (1, 4, 6)),
        ((3, 4, 6), "", (3, 4, 6)),  # a batch, e.g. of experts
        ((3, 4, 6), "kernel", (1, 3, 24)),
        ((3, 4, 6), "grouped kernel", (1, 3, 24)),
        ((3, 4, 6), "head", (1, 3, 24)),
        ((3, 4, 6, 2), "", (1, 3, 48)),
    ],
)
def test_matrices_are_seen_as_documented(shape, fact, seen):
    assert roles.matrices("x", torch.zeros(shape), fact) == seen


@pytest.mark.parametrize(
    ("name", "rows", "seen"),
    [
        ("block.qkv.weight", 12, (3, 4, 4)),
        ("in_proj_weight", 12, (3, 4, 4)),
        ("myqkv.weight", 12, (1, 12, 4)),
        ("block.qkv.weight", 8, (1, 8, 4)),
        ("mix.weight", 12, (1, 12, 4)),
    ],
)
def test_a_fused_projection_is_three_matrices(name, rows, seen):
    assert roles.matrices(name, torch.zeros(rows, 4)) == seen


@pytest.mark.parametrize(
    ("name", "shape", "role"),
    [
        ("x", (2, 2), "matrix"),
        ("x", (1, 9), "adamw"),
        ("x", (9, 1), "adamw"),
        ("x", (1, 2, 2), "matrix"),
        ("x", (9,), "adamw"),
        ("lm_head.weight", (9, 4), "adamw"),
        ("wte.weight", (9, 4), "adamw"),
    ],
)
def test_shape_and_name_give_a_role(name, shape, role):
    assert roles.place(name, torch.zeros(shape), {}, {})[0] == role
