"""Experts on disk: the same outputs, few experts in memory, damage is detected."""

import mmap
import sys

import pytest
import torch
import torch.nn.functional as F

from deepseek_learn import dpg, lm
from deepseek_learn.errors import DamagedFileError

COUNT, WIDTH, HIDDEN = 6, 128, 64


def weights(count=COUNT, width=WIDTH):
    torch.manual_seed(0)
    for _ in range(count):
        yield torch.randn(2 * HIDDEN, width) / 8, torch.randn(width, HIDDEN) / 8


@pytest.fixture
def path(tmp_path):
    return dpg.write_experts(tmp_path / "experts.bin", weights(), bits=4)


def routed(tokens=20, count=COUNT):
    torch.manual_seed(1)
    chosen = torch.rand(tokens, count).topk(2).indices
    return torch.randn(tokens, WIDTH), chosen, torch.rand(tokens, 2)


def rounded(gate_up, down):
    return [dpg.quantize(weight, 4, 64).dequantize() for weight in (gate_up, down)]


def test_answers_are_those_of_the_rounded_experts(path):
    x, chosen, shares = routed()
    with dpg.use_backend("torch"):
        got = dpg.MappedExperts(path, resident=2)(x, chosen, shares)
    experts = [rounded(*pair) for pair in weights()]
    expected = torch.zeros_like(x)
    for n, (some, parts) in enumerate(zip(chosen, shares, strict=True)):
        for e, part in zip(some.tolist(), parts, strict=True):
            gate, up = F.linear(x[n], experts[e][0]).chunk(2)
            expected[n] += part * F.linear(F.silu(gate) * up, experts[e][1])
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_how_many_are_in_memory_changes_no_answer(path):
    given = routed()
    cold = sys.platform == "linux"
    answers = [dpg.MappedExperts(path, n, cold)(*given) for n in (1, 3, COUNT)]
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


def test_the_least_recently_used_is_given_back(path):
    experts = dpg.MappedExperts(path, resident=2)
    for index in (0, 1, 0, 2, 0, 1):
        experts.expert(index)
    assert (experts.used, experts.read) == (6, 4)  # experts 0, 1, 2, and 1 again
    assert list(experts._cache) == [0, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_expert_given_back_is_no_longer_resident(path):
    """According to the kernel's statistics of the mapping (Linux)."""
    experts = dpg.MappedExperts(path, resident=1)
    for index in range(COUNT):
        [matrix.base4_plane0.sum() for matrix in experts.expert(index)]
    mapped, name = 0, str(path)
    with open("/proc/self/smaps") as file:
        inside = False
        for line in file:
            if "-" in line.split(" ")[0]:
                inside = name in line
            elif inside and line.startswith("Rss:"):
                mapped += int(line.split()[1]) * 1024
    # the system also maps some pages around those that are touched
    assert mapped < experts._bytes + 16 * mmap.PAGESIZE


def test_it_stands_in_for_a_mixture_s_experts(tmp_path):
    torch.manual_seed(0)
    options = {"hidden_size": 128, "n_routed_experts": 8, "moe_intermediate_size": 64}
    model = lm.LanguageModel(lm.Config(num_hidden_layers=2, **options)).eval()
    experts = model.model.layers[1].mlp.experts
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.mul_(10)
    pairs = zip(experts.gate_up_proj.detach(), experts.down_proj.detach(), strict=True)
    path = dpg.write_experts(tmp_path / "layer1.bin", pairs, bits=8)
    ids = torch.randint(256, (2, 30))
    with torch.no_grad():
        before = model(ids)
        model.model.layers[1].mlp.experts = dpg.MappedExperts(path, resident=3)
        after = model(ids)
    assert (after - before).abs().max() < 0.05 * before.abs().max()
    assert not torch.equal(after, before)


def test_what_is_refused(path, tmp_path):
    with pytest.raises(ValueError, match="resident must be at least 1; got 0"):
        dpg.MappedExperts(path, 0)
    x, chosen, shares = routed()
    with pytest.raises(ValueError, match="chosen must be from 0 to 5; got 9"):
        dpg.MappedExperts(path, 2)(x, chosen + 9, shares)
    with pytest.raises(ValueError, match="at least one expert; got none"):
        dpg.write_experts(tmp_path / "none.bin", [])
    mixed = [*weights(2), *weights(1, width=192)]
    with pytest.raises(ValueError, match="all have the same sizes; number 2 differs"):
        dpg.write_experts(tmp_path / "mixed.bin", mixed)
    assert not list(tmp_path.glob("*none*")) + list(tmp_path.glob("*mixed*"))


def test_a_cut_or_another_file_is_refused(path):
    content = path.read_bytes()
    path.write_bytes(content[: -2 * mmap.PAGESIZE])
    with pytest.raises(DamagedFileError, match="is truncated: some experts are"):
        dpg.MappedExperts(path, 1)
    path.write_bytes(content.replace(b'"page": ', b'"page": 1'))
    with pytest.raises(
        DamagedFileError, match=r"has pages of 1\d+ bytes, but this mach"
    ):
        dpg.MappedExperts(path, 1)
    path.write_bytes(b"x" * 9000)
    with pytest.raises(DamagedFileError, match="is not a file of experts"):
        dpg.MappedExperts(path, 1)
    with pytest.raises(FileNotFoundError):
        dpg.MappedExperts(path.with_name("absent"), 1)
