"""DeepOpt: the rule against a plain reference, its state, what it rejects."""

import copy
import functools
import io
import math
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from deepseek_learn import DeepOpt
from deepseek_learn.dpg import DynamicParameterGroup
from deepseek_learn.optim import orthogonalize, rules
from deepseek_learn.optim.rules import momentum_at

from .conftest import Net, batches, learn

STATES = ("fp32", "bf16", "int8")


def roles(optimizer):
    return dict(optimizer.plan()[["parameter", "role"]].itertuples(index=False))


@pytest.mark.slow
def test_it_learns_in_every_storage(net):
    for state in STATES:
        model = copy.deepcopy(net)
        losses = learn(model, DeepOpt(model, lr=0.02, state=state), batches(60))
        assert losses[-1] < 0.2 * losses[0], state


def test_roles_follow_shape_and_module(net):
    plan = DeepOpt(net).plan().set_index("parameter")
    matrices = {"qkv.weight", "mix.weight", "more.weight", "conv.weight"}
    assert set(plan.index[plan["role"] == "matrix"]) == matrices
    assert plan["matrices"]["qkv.weight"] == "3 x [8, 8]"
    assert plan["matrices"]["conv.weight"] == "1 x [6, 72]"
    assert plan["reason"]["token.weight"] == "embedding"
    assert plan["reason"]["head.weight"] == "head"
    assert plan["reason"]["norm.weight"] == "vector"


def test_names_do_where_there_is_no_model(net):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_name = DeepOpt(net.named_parameters()).plan()
    columns = ["parameter", "role", "matrices"]
    assert by_name[columns].equals(DeepOpt(net).plan()[columns])


def test_bare_parameters_warn_and_still_work(net):
    with pytest.warns(UserWarning, match="cannot tell embeddings"):
        optimizer = DeepOpt(net.parameters())
    assert learn(net, optimizer, batches(40))[-1] < 1.0


def test_depthwise_kernels_tied_weights_and_norms_of_two_axes():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 4)
            self.inner = nn.Linear(4, 4)
            self.out = nn.Linear(4, 9, bias=False)
            self.out.weight = self.table.weight
            self.depthwise = nn.Conv2d(4, 4, 3, groups=4)
            self.norm = nn.LayerNorm((3, 5))
            self.last = nn.Conv2d(4, 2, 1)

    plan = DeepOpt(Tied()).plan().set_index("parameter")
    assert plan["reason"]["table.weight"] == "embedding"
    assert "out.weight" not in plan.index
    assert plan["role"]["inner.weight"] == "matrix"
    assert plan["reason"]["depthwise.weight"] == "grouped kernel"
    assert plan["reason"]["last.weight"] == "head"
    assert plan["role"]["norm.weight"] == "adamw"


def test_a_table_of_position_biases_is_no_matrix():
    timm = pytest.importorskip("timm")
    options = {"img_size": 64, "depths": (1,), "num_heads": (2,), "embed_dim": 8}
    swin = timm.models.SwinTransformer(window_size=4, num_classes=3, **options)
    result = roles(DeepOpt(swin))
    tables = [name for name in result if name.endswith("bias_table")]
    assert tables
    assert {result[name] for name in tables} == {"adamw"}


@pytest.mark.parametrize("way", ["weight_norm", "spectral_norm", "orthogonal", "prune"])
def test_a_layer_that_computes_its_weight_keeps_its_role(way):
    def changed(layer):
        if way == "prune":
            return prune.l1_unstructured(layer, "weight", 0.3)
        return getattr(nn.utils.parametrizations, way)(layer)

    model = nn.Sequential(
        changed(nn.Conv1d(4, 5, 3)), nn.Flatten(), changed(nn.Linear(5, 3))
    )
    before = copy.deepcopy(model.state_dict())
    plan = DeepOpt(model).plan()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    result = plan.set_index("reason")["matrices"].drop("vector")
    assert dict(result) == {"kernel": "1 x [5, 12]", "head": "1 x [3, 5]"}


def test_a_layers_own_name_counts_only_if_it_speaks_of_a_head():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerDecoderLayer(8, 2, 16)
            self.token_mixer, self.pos_ffn = nn.Linear(8, 8), nn.Linear(8, 8)
            self.pos_embed = nn.Parameter(torch.zeros(1, 7, 8))
            self.aux_head, self.last = nn.Linear(8, 3), nn.Linear(8, 3)

    plan = DeepOpt(Named()).plan().set_index("parameter")
    projections = ("multihead_attn.in_proj_weight", "multihead_attn.out_proj.weight")
    for name in (*(f"layer.{p}" for p in projections), "token_mixer.weight"):
        assert plan["role"][name] == "matrix", name
    assert plan["matrices"]["layer.self_attn.in_proj_weight"] == "3 x [8, 8]"
    assert plan["role"]["pos_ffn.weight"] == "matrix"
    for name in ("pos_embed", "aux_head.weight", "last.weight"):
        assert plan["role"][name] == "adamw", name


def test_experts_are_a_batch_of_matrices():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Parameter(torch.randn(3, 4, 6))

    model = Experts()
    optimizer = DeepOpt(model, lr=1.0, weight_decay=0.0, state="fp32")
    before, gradient = model.up.detach().clone(), torch.randn(3, 4, 6)
    model.up.grad = gradient.clone()
    optimizer.step()
    alone = nn.Linear(6, 4, bias=False)
    alone.weight.data.copy_(before[1])
    other = DeepOpt([("x", alone.weight)], lr=1.0, weight_decay=0.0, state="fp32")
    alone.weight.grad = gradient[1].clone()
    other.step()
    torch.testing.assert_close(model.up[1], alone.weight)


def test_roles_can_be_asked_for(net):
    optimizer = DeepOpt(net, roles={"mix*": "adamw", "head.weight": "matrix"})
    assert roles(optimizer)["mix.weight"] == "adamw"
    assert roles(optimizer)["head.weight"] == "matrix"
    for bad in ({"mix*": "sgd"}, {"norm.weight": "matrix"}):
        with pytest.raises(ValueError, match="roles must map a pattern to one of"):
            DeepOpt(net, roles=bad)


def test_the_step_of_a_matrix_is_the_documented_one():
    """Two steps of a matrix against the docstring's equations, in float64."""
    torch.manual_seed(0)
    layer, lr, decay, beta2 = nn.Linear(9, 5, bias=False), 0.3, 0.7, 0.95
    w = layer.weight.detach().double().clone()
    optimizer = DeepOpt(
        [("x", layer.weight)],
        lr=lr,
        weight_decay=decay,
        state="fp32",
        momentum_warmup=4,
    )
    momentum, square = torch.zeros_like(w), torch.zeros(1, 9, dtype=w.dtype)
    for t in (1, 2):
        g = torch.randn(5, 9)
        layer.weight.grad = g.clone()
        optimizer.step()
        g, mu = g.double(), 0.8 + 0.15 * t / 4
        momentum = mu * momentum + (1 - mu) * g
        o = orthogonalize((1 - mu) * g + mu * momentum, torch.float64)
        square = beta2 * square + (1 - beta2) * o.square().mean(0, keepdim=True)
        balanced = o / square.sqrt()
        o = balanced * o.norm() / balanced.norm()
        w = w - lr * decay * w * (o * w > 0) - lr * 0.2 * math.sqrt(9) * o
    # a matrix this small is orthogonalized in float32
    torch.testing.assert_close(layer.weight.double(), w, atol=1e-5, rtol=1e-5)


def test_a_large_matrix_is_orthogonalized_in_bfloat16_where_that_is_fast(monkeypatch):
    result = {}
    for fast in (False, True):
        monkeypatch.setattr(rules, "multiplies_bfloat16", lambda device, f=fast: f)
        torch.manual_seed(0)
        layer = nn.Linear(160, 160, bias=False)
        before = layer.weight.detach().clone()
        optimizer = DeepOpt([("x", layer.weight)], lr=1.0, weight_decay=0.0)
        layer.weight.grad = torch.randn(160, 160)
        optimizer.step()
        result[fast] = layer.weight.detach() - before
    assert not torch.equal(result[True], result[False])
    off = (result[True] - result[False]).norm() / result[False].norm()
    assert off < 0.05  # a direction rounded to 2^-8 over a few products


@pytest.mark.parametrize(("amx", "shape", "expected"), [
    (False, (1, 64, 128), torch.bfloat16),
    (False, (1, 64, 127), torch.float32),  # small
    (False, (9, 64, 127), torch.float32),
    (False, (1, 64, 64 * rules.LONG), torch.float32),
    (True, (1, 128, 128), torch.float32),
    (True, (2, 128, 128), torch.bfloat16),
    (True, (1, 160, 160 * rules.LONG_AMX - 1), torch.bfloat16),
    (True, (1, 160, 160 * rules.LONG_AMX), torch.float32),
])  # fmt: skip
@pytest.mark.parametrize("tall", [False, True])
def test_small_and_long_matrices_stay_in_float32(
    monkeypatch, amx, shape, expected, tall
):
    """They are faster there: of long ones, only products over the shorter side remain."""
    u = torch.randn(shape).mT if tall else torch.randn(shape)
    dtypes = []
    monkeypatch.setattr(rules, "multiplies_bfloat16", lambda device: True)
    monkeypatch.setattr(rules, "has_amx", lambda: amx)
    record = lambda x, dtype: dtypes.append(dtype) or x  # noqa: E731
    monkeypatch.setattr(rules, "orthogonalize", record)
    square = torch.zeros(len(u), *((u.shape[1], 1) if tall else (1, u.shape[2])))
    rules.direction(u, square, 0.95)
    assert dtypes == [expected]


@pytest.mark.parametrize("state", ["fp32", "bf16", "int8"])
def test_blocks_of_rows_change_nothing(monkeypatch, state):
    """Small and large matrices, several together, one stored channels last."""

    def trained(cached: int) -> list[torch.Tensor]:
        monkeypatch.setattr(rules, "CACHED", cached)
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 40),
            nn.Linear(40, 40), nn.Linear(40, 2),
        ).to(memory_format=torch.channels_last)  # fmt: skip
        optimizer = DeepOpt(model, state=state)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(4, 3, 6, 6)).square().mean().backward()
            optimizer.step()
        return list(model.parameters())

    whole = trained(2**20)
    for cached in (1, 100, 500):  # one row, some rows, several small matrices at once
        for a, b in zip(trained(cached), whole, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_a_block_holds_no_more_than_fits():
    matrices = [torch.empty(n, 64) for n in (3, 2000, 5, 0, 1)]
    blocks = list(rules._blocks(matrices))
    sizes = [sum(matrices[i][rows].numel() for i, rows in block) for block in blocks]
    assert max(sizes) <= rules.CACHED
    assert sum(sizes) == sum(x.numel() for x in matrices)


def test_vectors_are_updated_as_by_torchs_adamw():
    ours = nn.Parameter(torch.randn(20))
    reference = nn.Parameter(ours.detach().clone())
    settings = {"betas": (0.8, 0.9), "eps": 1e-8}
    mine = DeepOpt(
        [("v", ours)], lr=0.1, state="fp32", adamw_weight_decay=0.3, **settings
    )
    peer = torch.optim.AdamW([reference], lr=0.1, weight_decay=0.3, **settings)
    for _ in range(5):
        ours.grad = torch.randn(20)
        reference.grad = ours.grad.clone()
        mine.step()
        peer.step()
    torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize("eps", [1e-8, 0.3])
def test_a_table_is_updated_with_one_variance_per_row(eps):
    """Three steps against the docstring's equation, in float64."""
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(5, 3, 4))
    lr, beta1, beta2, decay = 0.1, 0.8, 0.9, 0.3
    optimizer = DeepOpt(
        [("emb", table)], lr=lr, roles={"*": "adamw"}, state="fp32", eps=eps,
        betas=(beta1, beta2), adamw_weight_decay=decay,
    )  # fmt: skip
    p, scales = table.detach().double(), torch.tensor([1e-3, 0.1, 1, 10, 0]).double()
    m, v = torch.zeros_like(p), torch.zeros(5, 1, 1).double()
    for t in (1, 2, 3):
        table.grad = torch.randn(5, 3, 4) * scales[:, None, None].float()
        g = table.grad.double()
        optimizer.step()
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g.square().mean((1, 2), keepdim=True)
        step = (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + eps)
        p = (1 - lr * decay) * p - lr * step
    torch.testing.assert_close(table.double(), p, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("eps", [1e-8, 0.3])
def test_an_active_row_begins_with_its_first_square(eps):
    """Steps against the docstring's equation; an inactive row keeps its average."""
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(4, 6))
    options = {"roles": {"*": "rows"}, "lr": 0.1, "betas": (0.5, 0.9), "eps": eps}
    optimizer = DeepOpt([("emb", table)], **options)
    p, v = table.detach().double(), [None] * 4
    for active in ([0, 1], [1, 2], [0, 1]):  # row 3 never
        table.grad = torch.zeros(4, 6)
        table.grad[active] = torch.randn(2, 6) * torch.tensor([[0.01], [3.0]])
        optimizer.step()
        for row in active:
            g = table.grad[row].double()
            now = g.square().mean()
            v[row] = now if v[row] is None else 0.9 * v[row] + (1 - 0.9) * now
            p[row] -= 0.1 * g / (v[row].sqrt() + eps)
    torch.testing.assert_close(table.double(), p, atol=1e-5, rtol=1e-5)


def test_momentum_rises_in_a_line():
    def at(step: int, **options) -> float:
        optimizer = DeepOpt([("x", nn.Linear(2, 2).weight)], **options)
        return momentum_at(optimizer.param_groups[0] | {"step": step})

    assert at(1) == pytest.approx(0.80015)
    assert at(500) == pytest.approx(0.875)
    assert at(9999) == at(1, momentum_warmup=0) == 0.95
    assert at(1, momentum=0.5) == 0.5
    assert at(500, first_momentum=0.6) == pytest.approx(0.775)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rarely", [None, True])
def test_a_saved_run_goes_on_bit_for_bit(net, state, dtype, rarely):
    net.to(dtype)
    options = {"lr": 0.02, "state": state, "rarely_active": rarely}
    optimizer = DeepOpt(net, **options)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    learn(net, optimizer, batches(4), scheduler)
    file = io.BytesIO()
    parts = net, optimizer, scheduler
    torch.save([part.state_dict() for part in parts], file)
    learn(net, optimizer, batches(5, seed=1), scheduler)

    torch.manual_seed(99)
    other = Net().to(dtype)
    again = DeepOpt(other, **options)
    later = torch.optim.lr_scheduler.CosineAnnealingLR(again, 20)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for part, content in zip((other, again, later), saved, strict=True):
        part.load_state_dict(content)
    learn(other, again, batches(5, seed=1), later)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert a.keys() == b.keys()
        for x, y in zip(a.values(), b.values(), strict=True):
            same = torch.equal(x, y) if torch.is_tensor(x) else x == y
            assert same
            assert getattr(x, "dtype", None) == getattr(y, "dtype", None)


@pytest.mark.parametrize("state", STATES)
def test_state_bytes_are_what_the_plan_adds_up_to(net, state):
    optimizer = DeepOpt(net, state=state)
    assert optimizer.state_bytes() == 0
    learn(net, optimizer, batches(1))
    assert optimizer.state_bytes() == optimizer.plan()["state_bytes"].sum()
    kept = optimizer.state[net.mix.weight]  # [8, 24]
    each = {"fp32": 4, "bf16": 2, "int8": 1}[state]
    assert kept["momentum"].element_size() == each
    scales = 8 * 4 if state == "int8" else 0
    row = optimizer.plan().set_index("parameter").loc["mix.weight"]
    assert row["state_bytes"] == 8 * 24 * each + scales + 24 * 4


def test_int8_is_never_larger_than_bf16():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1))
    kept = {}
    for state in ("bf16", "int8"):
        optimizer = DeepOpt(model, state=state)
        model(torch.randn(2, 8, 5, 5)).sum().backward()
        optimizer.step()
        kept[state] = optimizer.plan().set_index("parameter")["state_bytes"]
    assert (kept["int8"] <= kept["bf16"]).all()
    assert kept["int8"]["0.weight"] < kept["bf16"]["0.weight"]


def test_a_copy_and_a_pickle_go_on_alike(net):
    optimizer = DeepOpt(net)
    learn(net, optimizer, batches(2))
    pickle.loads(pickle.dumps(optimizer))
    twin_net, twin = copy.deepcopy((net, optimizer))
    learn(net, optimizer, batches(2, seed=3))
    learn(twin_net, twin, batches(2, seed=3))
    assert torch.equal(net.mix.weight, twin_net.mix.weight)


def test_missing_zero_and_frozen_gradients(net):
    net.mix.weight.requires_grad_(False)
    optimizer = DeepOpt(net)
    before = copy.deepcopy(net.state_dict())
    x, y = next(batches(1))
    nn.functional.cross_entropy(net(x).flatten(0, 1), y.flatten()).backward()
    net.more.weight.grad = None
    net.conv.weight.grad.zero_()
    optimizer.step()
    for name in ("mix.weight", "more.weight", "conv.weight"):
        assert torch.equal(net.state_dict()[name], before[name]), name
    assert not torch.equal(net.head.weight, before["head.weight"])
    assert all(p.isfinite().all() for p in net.parameters())
    optimizer.zero_grad()
    optimizer.step()  # no gradient at all


def test_closures_clipping_and_mixed_precision(net):
    optimizer = DeepOpt(net)
    x, y = next(batches(1))

    def closure():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(net(x).flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        return loss

    first = optimizer.step(closure)
    for _ in range(30):
        last = optimizer.step(closure)
    assert last < 0.5 * first
    assert net.mix.weight.dtype == torch.float32


SCHEDULERS = {
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 40),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.03, total_steps=41),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(
        o, lambda t: 1 / (1 + t / 40)
    ),
    "warm-up, then linear": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [
            torch.optim.lr_scheduler.LinearLR(o, 0.1, 1.0, 5),
            torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, 35),
        ],
        milestones=[5],
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_drive_every_group(net, name):
    optimizer = DeepOpt(net, lr=0.02, adamw_lr=0.5)
    scheduler = SCHEDULERS[name](optimizer)
    before = [group["lr"] for group in optimizer.param_groups]
    assert learn(net, optimizer, batches(40), scheduler)[-1] < 0.8
    after = [group["lr"] for group in optimizer.param_groups]
    assert all(a < b for a, b in zip(after, before, strict=True)) or name == "one cycle"


CYCLES = {
    "one cycle": lambda o, **k: torch.optim.lr_scheduler.OneCycleLR(
        o, 0.03, total_steps=20, **k
    ),
    "cyclic": lambda o, **k: torch.optim.lr_scheduler.CyclicLR(
        o, 0.01, 0.03, step_size_up=5, **k
    ),
}


@pytest.mark.parametrize("name", CYCLES)
def test_a_cycled_momentum_is_that_of_matrices_too(net, name):
    """From the upper bound to the lower and back, as for AdamW's first beta."""
    optimizer, cycled = DeepOpt(net), {"base_momentum": 0.5, "max_momentum": 0.9}
    scheduler, seen = CYCLES[name](optimizer, **cycled), []
    for _ in range(10):
        seen.append([momentum_at(group) for group in optimizer.param_groups])
        learn(net, optimizer, batches(1), scheduler)
        betas = {group["betas"][0] for group in optimizer.param_groups}
        assert {momentum_at(group) for group in optimizer.param_groups} == betas
    assert seen[0] == [0.9] * len(optimizer.param_groups)
    assert min(map(min, seen)) == pytest.approx(0.5, abs=0.01)
    again = DeepOpt(net)
    again.load_state_dict(optimizer.state_dict())
    assert momentum_at(again.param_groups[0]) == momentum_at(optimizer.param_groups[0])


@pytest.mark.parametrize("name", CYCLES)
def test_a_scheduler_that_leaves_momentum_alone(net, name):
    optimizer = DeepOpt(net)
    CYCLES[name](optimizer, cycle_momentum=False)
    group = optimizer.param_groups[0] | {"step": 500}
    assert momentum_at(group) == pytest.approx(0.875)


@pytest.mark.parametrize("rarely", [None, True])
def test_maximizing_is_minimizing_the_negative(net, rarely):
    """Each rule, including its decay, which pulls toward 0 either way."""
    twin = copy.deepcopy(net)
    options = {"adamw_weight_decay": 0.3, "rarely_active": rarely, "state": "fp32"}
    up, down = DeepOpt(net, maximize=True, **options), DeepOpt(twin, **options)
    for x, y in batches(3):
        for model, optimizer, sign in ((net, up, -1), (twin, down, 1)):
            loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            (sign * loss).backward()
            optimizer.step()
    assert all(map(torch.equal, net.parameters(), twin.parameters()))
    groups = [{"params": list(net.named_parameters()), "maximize": True}]
    assert all(group["maximize"] for group in DeepOpt(groups).param_groups)


def test_a_state_of_before_there_was_maximize_is_taken_up(net):
    optimizer = DeepOpt(net)
    learn(net, optimizer, batches(1))
    saved = optimizer.state_dict()
    for group in saved["param_groups"]:
        del group["maximize"]
    again = DeepOpt(net, maximize=True)
    again.load_state_dict(saved)
    assert all(group["maximize"] for group in again.param_groups)
    learn(net, again, batches(1))


def test_an_optimizer_of_before_there_was_maximize_minimizes(net):
    optimizer = DeepOpt(net)
    state = pickle.loads(pickle.dumps(optimizer.__getstate__()))
    for options in (state["defaults"], *state["param_groups"]):
        options.pop("maximize")
    optimizer.__setstate__(state)
    assert not any(group["maximize"] for group in optimizer.param_groups)


@pytest.mark.parametrize("rarely", [None, True])
def test_a_learning_rate_in_a_tensor_is_the_number(net, rarely):
    twin, lr = copy.deepcopy(net), torch.tensor(0.05)
    options = {"adamw_lr": 0.5, "adamw_weight_decay": 0.1, "rarely_active": rarely}
    ours, reference = DeepOpt(net, lr, **options), DeepOpt(twin, lr.item(), **options)
    for model, optimizer in ((net, ours), (twin, reference)):
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        learn(model, optimizer, batches(3), scheduler)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert lr.item() == pytest.approx(0.05)  # the user's tensor is unchanged
    rates = [group["lr"] for group in ours.param_groups]
    assert all(isinstance(rate, torch.Tensor) for rate in rates)
    assert len({id(rate) for rate in rates}) == len(rates)


def test_with_a_gradient_scaler(net):
    optimizer, scaler = DeepOpt(net), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for x, y in batches(30):
        loss = nn.functional.cross_entropy(net(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    assert loss < 1.0


def test_large_gradients_are_not_taken_for_infinite(net):
    for optimizer in (DeepOpt(net), DeepOpt(net, rarely_active=True)):
        learn(net, optimizer, batches(1))
        for p in net.parameters():
            p.grad.view(-1)[:2] = torch.tensor([1e25, -1e25])  # squares are infinite
        optimizer.step()
        learn(net, optimizer, batches(3))
        for name, p in net.named_parameters():
            assert p.isfinite().all(), name
    half = nn.Parameter(torch.zeros(100, dtype=torch.float16))
    optimizer = DeepOpt([("v", half)])
    half.grad = torch.full_like(half, 6e4)  # their norm is infinite in float16
    optimizer.step()
    assert (half < 0).all()


def test_matrices_are_computed_in_batches_of_bounded_size(net, monkeypatch):
    twin = copy.deepcopy(net)
    learn(net, DeepOpt(net, state="fp32"), batches(3))
    sizes, move = [], rules._move_batch

    def watched(group, batch, state):
        sizes.append([p.numel() for p, _ in batch])
        move(group, batch, state)

    monkeypatch.setattr(rules, "BATCH", 3 * 8 * 8 + 8 * 24)
    monkeypatch.setattr(rules, "_move_batch", watched)
    learn(twin, DeepOpt(twin, state="fp32"), batches(3))
    # mix, more and the three of qkv have 192 entries each, the kernel 432
    assert sorted(sizes[: len(sizes) // 3]) == [[192], [192, 192], [432]]
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite(net, bad):
    for choice in ("raise", "skip"):
        optimizer = DeepOpt(net, nonfinite=choice)
        learn(net, optimizer, batches(1))
        before = copy.deepcopy(net.state_dict())
        kept = copy.deepcopy(list(optimizer.state.values()))
        net.mix.weight.grad[0, 0] = bad
        if choice == "raise":
            with pytest.raises(
                ValueError, match=r"must be finite; got NaN .* in mix\.weight"
            ):
                optimizer.step()
        else:
            optimizer.step()
            assert optimizer.skipped == 1
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
        for old, new in zip(kept, optimizer.state.values(), strict=True):
            assert all(torch.equal(old[k], v) for k, v in new.items() if k != "updates")
            assert old.get("updates") == new.get("updates")


def test_only_active_rows_move_and_little_is_kept(net):
    optimizer = DeepOpt(net, rarely_active=True)
    before = net.token.weight.detach().clone()
    x = torch.tensor([[1, 2, 1]])
    learn(net, optimizer, [(x, x % 5)])
    moved = (net.token.weight != before).any(1).nonzero()[:, 0].tolist()
    assert moved == [1, 2]
    assert set(optimizer.state[net.token.weight]) == {"square"}
    assert optimizer.state[net.token.weight]["square"].shape == (11, 1)
    assert learn(net, optimizer, batches(60))[-1] < 0.4


def test_rows_of_a_kernel_move_in_every_memory_format():
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        layer = nn.Conv2d(3, 4, 3).to(memory_format=memory_format)
        before = layer.weight.detach().clone()
        optimizer = DeepOpt(layer, roles={"weight": "rows"})
        layer.weight.grad = torch.zeros_like(layer.weight)
        layer.weight.grad[2] = 1.0
        optimizer.step()
        moved = (layer.weight != before).flatten(1).any(1)
        assert moved.tolist() == [False, False, True, False]


def test_groups_of_a_monitor_choose_layers():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 8), nn.Linear(8, 3)
    )
    model[0].bias.data.fill_(-4)  # its neurons are rarely active
    with DynamicParameterGroup(model) as watch:
        model(torch.randn(200, 6))
    plan = DeepOpt(model, rarely_active=watch.groups()).plan().set_index("parameter")
    assert plan["reason"]["0.weight"] == "rarely active neurons"
    assert plan["role"]["2.weight"] == "matrix"
    with pytest.raises(ValueError, match="rarely_active requires the model"):
        DeepOpt(model.named_parameters(), rarely_active=True)


def test_groups_have_their_own_options(net):
    first = {"params": list(net.qkv.named_parameters()), "lr": 0.5}
    rest = [(n, p) for n, p in net.named_parameters() if not n.startswith("qkv")]
    optimizer = DeepOpt([first, {"params": rest}], lr=0.1, adamw_lr=0.2)
    result = {(g["role"], round(g["lr"], 6)) for g in optimizer.param_groups}
    assert result == {("matrix", 0.5), ("adamw", 0.1), ("matrix", 0.1), ("adamw", 0.02)}
    extra = nn.Linear(3, 3)
    optimizer.add_param_group({"params": list(extra.named_parameters())})
    assert roles(optimizer)["weight"] == "matrix"


@pytest.mark.service
@pytest.mark.skipif(
    not __import__("shutil").which("g++"), reason="no C++ compiler here"
)
def test_the_compiled_rule_does_the_same(net):
    twin = copy.deepcopy(net)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for x, y in batches(3):
            learn(net, DeepOpt(net, state="fp32"), [(x, y)])
            learn(twin, DeepOpt(twin, state="fp32", compiled=True), [(x, y)])
    failed = [w for w in caught if "torch.compile failed" in str(w.message)]
    assert len(failed) == (
        " " in torch.__file__
    )  # with a space in its path, PyTorch cannot compile
    # bfloat16 products in another order
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("when", ["at once", "at the call"])
def test_where_nothing_can_be_compiled_a_sentence_says_so_once(net, monkeypatch, when):
    """As when PyTorch's folder has a space in its path, or without a compiler."""

    def fails(*arguments, **options):
        raise RuntimeError("C++ compile error\n\ncommand: g++ -I/a folder/include")

    made = fails if when == "at once" else lambda rule, dynamic: fails
    monkeypatch.setattr(torch, "compile", made)
    monkeypatch.setattr(
        rules, "_compiled", functools.cache(rules._compiled.__wrapped__)
    )
    twin = copy.deepcopy(net)
    learn(twin, DeepOpt(twin), batches(3))
    optimizer = DeepOpt(net, compiled=True)
    with pytest.warns(
        UserWarning, match=r"compile failed \(C\+\+ compile error\)"
    ) as w:
        learn(net, optimizer, batches(3))
    assert len(w) == 1
    assert all(map(torch.equal, net.parameters(), twin.parameters()))


def test_an_error_of_the_update_itself_is_not_taken_for_one_of_the_compiler(
    net, monkeypatch
):
    def fails(*arguments):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(torch, "compile", lambda rule, dynamic: fails)
    monkeypatch.setattr(
        rules, "_compiled", functools.cache(rules._compiled.__wrapped__)
    )
    monkeypatch.setattr(rules, "direction", fails)
    with (
        pytest.warns(UserWarning, match="compile failed"),
        pytest.raises(RuntimeError, match="out of memory"),
    ):
        learn(net, DeepOpt(net, compiled=True), batches(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("state", STATES)
def test_on_a_gpu(net, state):
    net.cuda()
    pairs = [(x.cuda(), y.cuda()) for x, y in batches(60)]
    assert learn(net, DeepOpt(net, state=state), pairs)[-1] < 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0}, "lr must be a number above 0; got 0"),
        ({"lr": -1.0}, "lr must be a number above 0"),
        ({"lr": float("nan")}, "lr must be a number above 0"),
        ({"lr": "0.1"}, "lr must be a number above 0; got '0.1'"),
        ({"lr": torch.tensor(0.0)}, "lr must be a number above 0; got 0.0"),
        ({"lr": torch.ones(2)}, "lr must be a number above 0; got tensor"),
        ({"lr": torch.ones(1)[:0]}, "lr must be a number above 0; got tensor"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1"),
        ({"first_momentum": -1}, "first_momentum must be at least 0 and below 1"),
        ({"betas": (0.9, 1.5)}, "beta_2 must be at least 0"),
        ({"betas": (0.9,)}, r"betas must be two numbers; got \(0.9,\)"),
        ({"betas": 0.9}, "betas must be two numbers; got 0.9"),
        ({"weight_decay": -1}, "weight_decay must be at least 0"),
        ({"state": "fp8"}, "state must be one of"),
        ({"nonfinite": "ignore"}, "nonfinite must be one of"),
    ],
)
def test_bad_numbers_are_refused(net, options, words):
    with pytest.raises(ValueError, match=words):
        DeepOpt(net, **options)


def test_bad_parameters_are_refused(net):
    with pytest.raises(ValueError, match="params must hold at least one parameter"):
        DeepOpt([])
    with pytest.raises(ValueError, match="params must hold at least one parameter"):
        DeepOpt(nn.ReLU())
    with pytest.raises(ValueError, match=r"each parameter once; mix\.weight appears"):
        DeepOpt([*net.named_parameters(), ("mix.weight", net.mix.weight)])
    with pytest.raises(ValueError, match='a group must be a dict with "params"'):
        DeepOpt([{"lr": 0.1}])
    with pytest.raises(ValueError, match="lr must be a number above 0; got -1"):
        DeepOpt([{"params": list(net.named_parameters()), "lr": -1}])
    with pytest.raises(ValueError, match="state must be one of"):
        DeepOpt([{"params": list(net.named_parameters()), "state": "fp8"}])
    with pytest.raises(ValueError, match="nonfinite must be set for the whole"):
        DeepOpt([{"params": list(net.named_parameters()), "nonfinite": "skip"}])
    with pytest.raises(TypeError, match="got a Parameter"):
        DeepOpt(net.mix.weight)
    with pytest.raises(TypeError, match="must hold tensors, or pairs"):
        DeepOpt([1.0])
    table = nn.Parameter(torch.randn(3, 3, dtype=torch.complex64))
    with pytest.raises(ValueError, match=r"must be real; w is torch.complex64"):
        DeepOpt([("w", table)])
    sparse = nn.Embedding(5, 3, sparse=True)
    optimizer = DeepOpt(sparse)
    sparse(torch.tensor([1])).sum().backward()
    with pytest.raises(
        ValueError, match="gradients must be dense; the gradient of weight is"
    ):
        optimizer.step()


def test_states_of_others_are_refused_before_anything_changes(net):
    optimizer = DeepOpt(net)
    learn(net, optimizer, batches(1))
    kept = copy.deepcopy(optimizer.state_dict())
    adamw = torch.optim.AdamW(net.parameters()).state_dict()
    with pytest.raises(ValueError, match="state_dict must come from DeepOpt"):
        optimizer.load_state_dict(adamw)
    wider = Net()
    wider.mix = nn.Linear(24, 9, bias=False)
    with pytest.raises(
        ValueError, match=r"mix\.weight of \[1, 8, 24\], not \[1, 9, 24\]"
    ):
        optimizer.load_state_dict(DeepOpt(wider).state_dict())
    fewer = DeepOpt([("a", net.mix.weight)])
    with pytest.raises(
        ValueError, match=r"groups with the roles \['adamw', 'matrix'\]"
    ):
        optimizer.load_state_dict(fewer.state_dict())
    with pytest.raises(ValueError, match="state_dict must come from DeepOpt"):
        optimizer.load_state_dict({"weights": 1})
    kernel, linear = nn.Conv2d(4, 5, 3), nn.Linear(36, 5)
    donor = DeepOpt(kernel)
    kernel(torch.randn(1, 4, 3, 3)).sum().backward()
    donor.step()
    with pytest.raises(
        ValueError, match=r"part of weight, \[5, 36\]; got \[5, 4, 3, 3"
    ):
        DeepOpt(linear).load_state_dict(donor.state_dict())
    for old, new in zip(
        kept["state"].values(), optimizer.state_dict()["state"].values(), strict=True
    ):
        assert all(
            torch.equal(old[k], v) if torch.is_tensor(v) else old[k] == v
            for k, v in new.items()
        )


def test_the_plan_shows_matrices_only_of_what_has_two_axes():
    model = nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(3, 2))
    plan = DeepOpt(model).plan().set_index("parameter")
    assert plan["matrices"]["0.weight"] == "1 x [3, 4]"
    assert plan["matrices"]["0.bias"] == ""
