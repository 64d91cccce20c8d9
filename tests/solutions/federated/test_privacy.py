"""The accountant, the ledger, and gradients that are clipped per patient."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from deepseek_learn.errors import DamagedFileError
from deepseek_learn.files import exclusive
from deepseek_learn.solutions.federated import (
    attacks,
    hospitals,
    learning,
    privacy,
)
from deepseek_learn.solutions.federated.candidates import (
    CandidateNet,
    inputs,
    loss,
)
from deepseek_learn.solutions.federated.ledger import PrivacyLedger
from deepseek_learn.solutions.federated.privacy import (
    Budget,
    BudgetSpentError,
    Spending,
    clipped_sum,
    epsilon_of,
    noise_for,
)
from tests import services

from .cases import patients

services.need("dp_accounting")


def test_epsilon_of_plain_gaussian_noise_is_that_of_renyi_privacy():
    sigma, steps, delta = 4.0, 10, 1e-5
    orders = np.array([*range(2, 65), 128, 256, 512])
    renyi = steps * orders / (2 * sigma**2)
    # Canonne, Kamath and Steinke 2020, proposition 12
    bound = renyi + np.log1p(-1 / orders) - np.log(delta * orders) / (orders - 1)
    assert epsilon_of([Spending(sigma, 1.0, steps)], delta) == pytest.approx(
        bound.min(), rel=0.01
    )


def test_spendings_add_up_and_patients_left_out_cost_nothing():
    one, two = Spending(1.0, 0.1, 10), Spending(1.0, 0.1, 20)
    assert epsilon_of([], 1e-4) == 0
    assert epsilon_of([one, one], 1e-4) == pytest.approx(epsilon_of([two], 1e-4))
    assert epsilon_of([one], 1e-4) < epsilon_of([two], 1e-4)
    assert epsilon_of([Spending(1.0, 0.05, 10)], 1e-4) < epsilon_of([one], 1e-4)


@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
def test_the_noise_uses_the_whole_budget_and_no_more(epsilon):
    budget = Budget(epsilon)
    noise = noise_for(budget, 0.2, 50)
    spent = epsilon_of([Spending(noise, 0.2, 50)], budget.delta)
    assert 0.98 * epsilon < spent <= epsilon


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, math.nan, "4", True])
def test_a_budget_must_be_positive(epsilon):
    with pytest.raises(ValueError, match="epsilon must be a positive number"):
        Budget(epsilon)


def test_delta_must_be_a_probability():
    with pytest.raises(ValueError, match="delta must be a number between"):
        Budget(1.0, 0.0)


@pytest.fixture
def path(tmp_path):
    """An empty ledger with a budget of 8."""
    return PrivacyLedger.create(tmp_path / "ledger.json", "north", Budget(8.0)).path


def test_a_ledger_outlives_its_process_and_refuses_beyond_the_budget(path):
    step = Spending(1.0, 0.2, 10)
    first = PrivacyLedger(path).charge(step)
    again = PrivacyLedger(path)
    assert (again.hospital, again.budget) == ("north", Budget(8.0))
    assert again.epsilon == pytest.approx(first)
    assert again.charge(step) > first
    before = path.read_text()
    with pytest.raises(BudgetSpentError, match="exceeds the budget of 8"):
        again.charge(Spending(1.0, 0.2, 500))
    assert path.read_text() == before


def test_two_trainings_at_once_share_one_ledger(path):
    one, two = PrivacyLedger(path), PrivacyLedger(path)
    one.charge(Spending(1.0, 0.2, 10))
    spent = two.charge(Spending(1.0, 0.2, 10))
    assert spent == pytest.approx(epsilon_of([Spending(1.0, 0.2, 20)], 1e-4))


def test_a_ledger_that_another_process_charges_is_not_charged(path):
    before = path.read_text()
    with path.with_name("ledger.json.lock").open("w") as file:
        exclusive(file.fileno(), path)
        with pytest.raises(FileExistsError, match="another process"):
            PrivacyLedger(path).charge(Spending(1.0, 0.2, 10))
    assert path.read_text() == before


EMPTY = (
    '{"hospital": "north", "budget": {"epsilon": 8.0, "delta": 0.0001}, "spent": SPENT}'
)


@pytest.mark.parametrize(
    "spent",
    [
        *("", "{}", "1", '""', "null", "[1]", '[{"noise": 1}]', '[{"noise": "1"}]'),
        '[{"noise": NaN, "rate": 0.1, "steps": 1}]',
        '[{"noise": 1, "rate": 0.1, "steps": -1}]',
        '[{"noise": 1, "rate": 0.1, "steps": 9, "steps": 1}]',
        '[{"noise": 1, "rate": 0.1, "steps": 9}], "spent": []',
    ],
)
def test_a_damaged_ledger_stops_everything_and_is_not_sealed(path, spent):
    text = EMPTY.replace("SPENT", spent)
    path.write_text(text)
    for read in (PrivacyLedger, PrivacyLedger.seal):
        with pytest.raises(DamagedFileError, match="nobody knows what has been spent"):
            read(path)
    assert path.read_text() == text


def test_each_bit_of_a_ledger_counts(path):
    PrivacyLedger(path).charge(Spending(1.25, 0.2, 10))
    content = path.read_bytes()
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="no training may start"):
            PrivacyLedger(path)
    path.write_bytes(content + b"\n")
    with pytest.raises(DamagedFileError, match="does not fit its checksum"):
        PrivacyLedger(path)
    path.write_bytes(content)
    assert PrivacyLedger(path).spent == (Spending(1.25, 0.2, 10),)


def test_a_ledger_without_a_checksum_is_sealed_by_command_only(path):
    spent = '[{"noise": 1.0, "rate": 0.1, "steps": 9}]'
    path.write_text(EMPTY.replace("SPENT", spent))
    with pytest.raises(DamagedFileError, match="it has no checksum"):
        PrivacyLedger(path)
    command = ["-m", "deepseek_learn", "federated", "ledger", str(path)]
    subprocess.run([sys.executable, *command, "--seal"], check=True)
    assert PrivacyLedger(path).spent == (Spending(1.0, 0.1, 9),)
    assert PrivacyLedger(path).budget == Budget(8.0)
    with pytest.raises(FileExistsError, match="has a checksum already"):
        PrivacyLedger.seal(path)


def test_a_spending_is_on_the_disk_before_the_steps_run(path, monkeypatch):
    """A rename is lost in a power failure unless the folder is synced as well."""
    synced, sync = [], os.fsync

    def record(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    PrivacyLedger(path).charge(Spending(1.0, 0.2, 10))
    assert synced[-2:] == [path.stat().st_ino, path.parent.stat().st_ino]


def test_a_missing_ledger_is_no_empty_one(path):
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no ledger .*ledger\.json"):
        PrivacyLedger(path)
    assert not path.exists()


def test_a_ledger_is_made_once(path):
    with pytest.raises(FileExistsError, match="a ledger is made once"):
        PrivacyLedger.create(path, "north", Budget(100.0))
    assert PrivacyLedger(path).budget == Budget(8.0)


def test_what_is_left_can_be_used_and_no_more(path):
    ledger = PrivacyLedger(path)
    first = ledger.noise(0.2, 50, 50)
    ledger.charge(Spending(first, 0.2, 25))
    assert ledger.noise(0.2, 25, 50) == pytest.approx(first, rel=1e-2)
    more = ledger.noise(0.2, 50, 50)  # a new run
    assert first < more < 2 * first
    assert ledger.charge(Spending(more, 0.2, 50)) <= 8
    with pytest.raises(BudgetSpentError, match="what is left does not suffice"):
        ledger.noise(0.2, 50, 50)


def test_the_command_makes_a_ledger(tmp_path):
    path = tmp_path / "own.json"
    command = ["-m", "deepseek_learn", "federated", "ledger", str(path)]
    subprocess.run([sys.executable, *command, "harbor", "2.5"], check=True)
    assert PrivacyLedger(path).hospital == "harbor"
    assert PrivacyLedger(path).budget == Budget(2.5, 1e-4)


@pytest.mark.parametrize("values", [(math.nan, 0.1, 1), (1.0, 0.0, 1), (1.0, 0.1, 1.5)])
def test_a_spending_that_cannot_be_is_refused(values):
    with pytest.raises(ValueError, match=r"(noise|rate|steps) must be"):
        Spending(*values)


def test_a_patient_whose_gradient_overflows_adds_nothing():
    torch.manual_seed(0)
    model, own = CandidateNet(), patients(4)
    crops, labels = inputs(own)
    wild = crops.clone()
    wild[2] = float("inf")
    pairs = list(zip(wild, labels, strict=True))
    with_him = clipped_sum(model, loss, pairs, 1.0)
    without = clipped_sum(model, loss, pairs[:2] + pairs[3:], 1.0)
    assert all(torch.equal(a, b) for a, b in zip(with_him, without, strict=True))


def test_fedprox_keeps_a_private_model_near_the_one_that_was_sent():
    own, moved = patients(8), []
    for proximal in (0.0, 1e6):
        torch.manual_seed(0)
        model = CandidateNet()
        start = [p.detach().clone() for p in model.parameters()]
        local = learning.Local(steps=6, patients=4, proximal=proximal)
        learning.train_privately(model, own, local, noise=1.0, seed=0)
        pairs = zip(model.parameters(), start, strict=True)
        moved.append(sum((p.detach() - p0).square().sum().item() for p, p0 in pairs))
    assert moved[1] < moved[0]


@pytest.mark.parametrize("clip", [0.01, 0.5, 1e6])
def test_each_patients_gradient_is_clipped(clip):
    torch.manual_seed(0)
    model, own = CandidateNet(), patients(5)
    crops, labels = inputs(own)
    expected = [torch.zeros_like(p) for p in model.parameters()]
    for x, y in zip(crops, labels, strict=True):
        model.zero_grad()
        cross_entropy(model(x), y).backward()
        grads = [p.grad for p in model.parameters()]
        norm = torch.cat([g.flatten() for g in grads]).norm()
        for total, g in zip(expected, grads, strict=True):
            total += g * min(1.0, clip / norm.item())
    summed = clipped_sum(model, loss, zip(crops, labels, strict=True), clip)
    for total, value in zip(expected, summed, strict=True):
        torch.testing.assert_close(value, total, rtol=1e-4, atol=1e-6)
    flat = torch.cat([value.flatten() for value in summed])
    assert flat.norm() <= 5 * clip * (1 + 1e-4)


def test_no_patient_gives_no_gradient():
    summed = clipped_sum(CandidateNet(), loss, [], 1.0)
    assert all((value == 0).all() for value in summed)


def test_without_noise_and_clipping_private_steps_are_plain_steps():
    torch.manual_seed(0)
    model, own = CandidateNet(), patients(6)
    other = CandidateNet()
    other.load_state_dict(model.state_dict())
    local = learning.Local(steps=3, patients=6)  # all of them in each step
    learning.train(model, own, local, seed=0)
    learning.train_privately(other, own, local, noise=0.0, clip=1e9, seed=0)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4)  # a step moves 0.01


def test_the_noise_has_the_deviation_that_was_accounted_for(monkeypatch):
    own = patients(10)

    def zeros(model, *_):
        return [torch.zeros_like(p) for p in model.parameters()]

    monkeypatch.setattr(learning, "clipped_sum", zeros)
    model = CandidateNet()
    learning.train_privately(
        model, own, learning.Local(steps=1, patients=5), noise=3.0, clip=0.5, seed=0
    )
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert flat.std().item() == pytest.approx(3.0 * 0.5 / 5, rel=0.02)


def test_noise_differs_from_run_to_run():
    own, local = patients(6), learning.Local(steps=1, patients=3)
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        model = CandidateNet()
        learning.train_privately(model, own, local, noise=1.0)
        results.append(model.head.weight.detach().clone())
    assert not torch.equal(*results)


def test_membership_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    same = attacks.membership(rng.normal(size=200), rng.normal(size=200), repeats=200)
    assert same.low < 0 < same.high
    apart = attacks.membership(rng.normal(size=200), 9 + rng.normal(size=200), 200)
    assert apart.value > 0.95
    with pytest.raises(ValueError, match="members must be at least 4"):
        attacks.membership(np.zeros(3), np.zeros(9))


def test_no_attack_exceeds_what_privacy_allows():
    assert attacks.largest_advantage(0.0, 0.0) == 0
    assert attacks.largest_advantage(1.0, 0.0) == pytest.approx(math.tanh(0.5))
    assert attacks.largest_advantage(8.0, 1e-4) < 1
    assert attacks.largest_advantage(1000.0, 1e-4) == 1


def test_the_interval_of_an_attack_that_knows_nothing_is_around_zero():
    rng = np.random.default_rng(1)
    middles = []
    for _ in range(20):
        found = attacks.membership(rng.normal(size=40), rng.normal(size=40), 200)
        middles.append((found.low + found.high) / 2)
    assert abs(np.mean(middles)) < 0.05


def test_a_gradient_gives_a_crop_away():
    torch.manual_seed(0)
    model = CandidateNet()
    crops, labels = inputs(hospitals.patients("north", "test"))
    crop, label = crops[:1, 0], labels[:1, 0]  # a nodule at the pleura
    sent = [g.detach() for g in attacks.gradient(model, crop, label)]
    copy = attacks.invert(model, sent, label, steps=300)
    unlike = attacks.invert(
        model, [torch.randn_like(g) for g in sent], label, steps=300
    )
    assert attacks.likeness(copy, crop) > attacks.likeness(unlike, crop) + 0.3


def test_an_attacker_who_knows_a_filter_sees_through_it():
    torch.manual_seed(0)
    model = CandidateNet()
    crops, labels = inputs(hospitals.patients("north", "test"))
    crop, label = crops[:1, 0], labels[:1, 0]
    plain = [g.detach() for g in attacks.gradient(model, crop, label)]
    sent = attacks.percentile_filter(plain)
    naive = attacks.invert(model, sent, label, steps=200)
    hide = attacks.percentile_filter
    knowing = attacks.invert(model, sent, label, steps=200, known=hide)
    assert attacks.likeness(knowing, crop) > attacks.likeness(naive, crop) + 0.2


def test_a_percentile_filter_keeps_the_larger_values_clipped():
    update = [torch.tensor([0.001, -0.5, 0.02]), torch.tensor([[0.005]])]
    first, second = attacks.percentile_filter(update, percentile=50, largest=0.1)
    torch.testing.assert_close(first, torch.tensor([0.0, -0.1, 0.02]))
    torch.testing.assert_close(second, torch.tensor([[0.0]]))


def test_privacy_needs_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dp_accounting.rdp", None)
    with pytest.raises(ImportError, match="dp_accounting"):
        privacy.epsilon_of([Spending(1.0, 0.5, 1)], 1e-4)
