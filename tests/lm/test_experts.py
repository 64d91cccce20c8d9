"""Experts and router: the computation, and balance without an auxiliary loss."""

import pytest
import torch
import torch.nn.functional as F

from deepseek_learn import dpg
from deepseek_learn.dpg import backend
from deepseek_learn.dpg.kernels import cpp_backend
from deepseek_learn.dpg.layers import packed_layers
from deepseek_learn.lm import Config, MixtureOfExperts, separate
from deepseek_learn.lm import experts as module
from deepseek_learn.lm.experts import Experts, Router

SIZES = {"hidden_size": 16, "moe_intermediate_size": 8, "n_routed_experts": 12}


def config(**changes):
    return Config(**SIZES | {"num_experts_per_tok": 3} | changes)


def one_by_one(experts, x, chosen, weights):
    """The definition: each token through each of its experts."""
    rows = []
    for token, some, shares in zip(x, chosen, weights, strict=True):
        total = torch.zeros_like(token)
        for e, share in zip(some, shares, strict=True):
            gate, up = (experts.gate_up_proj[e] @ token).chunk(2)
            total = total + share * (experts.down_proj[e] @ (F.silu(gate) * up))
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("block", [0, 32], ids=["each expert alone", "batched"])
@pytest.mark.parametrize("tokens", [1, 2, 40])
def test_grouped_dispatch_is_the_sum_over_experts_with_its_gradients(
    block, tokens, monkeypatch
):
    monkeypatch.setattr(module, "BLOCK", block)
    torch.manual_seed(tokens)
    experts = Experts(config()).double()
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(tokens, 16, dtype=torch.float64, requires_grad=True)
    chosen = torch.rand(tokens, 12).topk(3).indices
    weights = torch.rand(tokens, 3, dtype=torch.float64, requires_grad=True)
    inputs = (x, weights, *experts.parameters())
    got = experts(x, chosen, weights)
    expected = one_by_one(experts, x, chosen, weights)
    torch.testing.assert_close(got, expected)
    upon = torch.randn_like(got)
    for mine, reference in zip(
        torch.autograd.grad(got, inputs, upon),
        torch.autograd.grad(expected, inputs, upon),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)


def test_separate_experts_answer_the_same_and_are_linear_layers():
    torch.manual_seed(0)
    mixture = MixtureOfExperts(config()).eval()
    apart = separate(torch.nn.ModuleList([mixture]))[0]
    x = torch.randn(2, 9, 16)
    torch.testing.assert_close(apart(x), mixture(x))
    layers = [m for m in apart.experts.modules() if isinstance(m, torch.nn.Linear)]
    assert len(layers) == 2 * 12
    layers[0].weight.data.zero_()  # a copy
    assert mixture.experts.gate_up_proj[0].abs().max() > 0


@pytest.fixture
def kernel(monkeypatch):
    """The C++ kernel for models of any size."""
    if backend().name != "cpp":
        pytest.skip(f"the C++ kernel is not in use: {backend().reason}")
    monkeypatch.setattr(module, "WORTH_A_KERNEL", 0)


SHAPES = {
    "usual": ({}, 20),
    "one token": ({}, 1),
    "many tokens an expert": ({"n_routed_experts": 3}, 30),
    "columns that do not fill a register": ({"hidden_size": 19}, 20),
    "an odd number of rows": ({"moe_intermediate_size": 7, "hidden_size": 33}, 20),
    "rows in several blocks": ({"moe_intermediate_size": 100}, 20),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_kernel_is_the_sum_over_experts(shape, kernel, monkeypatch):
    changes, tokens = SHAPES[shape]
    torch.manual_seed(tokens)
    c = config(**changes)
    experts = Experts(c)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter)
    calls = []
    product = module.grouped
    monkeypatch.setattr(module, "grouped", lambda *a: calls.append(a) or product(*a))
    x = torch.randn(tokens, c.hidden_size)
    chosen = torch.rand(tokens, c.n_routed_experts).topk(3).indices
    weights = torch.rand(tokens, 3)
    with torch.no_grad():
        got = experts(x, chosen, weights)
        assert len(calls) == 2
        expected = one_by_one(experts.double(), x.double(), chosen, weights.double())
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(8, 32), (7, 35), (130, 16), (3, 5)])
def test_a_token_gets_the_same_at_each_level_and_among_any_others(
    rows, columns, kernel
):
    torch.manual_seed(rows)
    counts = torch.arange(15)
    x, weight = torch.randn(105, columns), torch.randn(15, rows, columns)
    expert = torch.arange(15).repeat_interleave(counts)
    exact = torch.einsum("nk,nrk->nr", x.double(), weight[expert].double())
    best = cpp_backend.best_level()
    answers = [cpp_backend.grouped(x, counts, weight, n) for n in range(best + 1)]
    torch.testing.assert_close(answers[-1].double(), exact, rtol=1e-5, atol=1e-5)
    for each in answers[:-1]:
        assert torch.equal(each, answers[-1])
    one = torch.ones(1, dtype=torch.int64)
    for n, e in enumerate(expert.tolist()):
        alone = cpp_backend.grouped(x[n : n + 1], one, weight[e : e + 1])
        assert torch.equal(alone[0], answers[-1][n])


@pytest.mark.parametrize("packed", [False, True], ids=["float", "packed"])
def test_the_number_of_threads_changes_nothing(packed, kernel):
    torch.manual_seed(0)
    mixture = MixtureOfExperts(config(hidden_size=64, moe_intermediate_size=100)).eval()
    model = torch.nn.ModuleList([mixture])
    if packed:
        apart = separate(model)
        model = dpg.convert(apart, dpg.uniform(apart, 4))
    x, before = torch.randn(2, 9, 64), torch.get_num_threads()
    answers = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            with torch.no_grad():
                answers.append(model[0](x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*answers)


@pytest.mark.parametrize("precision", [8, 2])
def test_packed_experts_in_one_call_are_those_one_by_one(
    precision, kernel, monkeypatch
):
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "moe_intermediate_size": 24}
    model = torch.nn.ModuleList([MixtureOfExperts(config(**sizes)).eval()])
    apart = separate(model)
    small = dpg.convert(apart, dpg.uniform(apart, 4))
    dpg.set_precision(small, precision)
    x = torch.randn(2, 9, 48)
    with torch.no_grad():
        together = small[0](x)
        monkeypatch.setattr(module, "can_group", lambda *tensors: False)
        alone = small[0](x)
    assert torch.equal(together, alone)


def test_experts_of_different_kinds_are_called_one_by_one(kernel, monkeypatch):
    torch.manual_seed(0)
    model = torch.nn.ModuleList([MixtureOfExperts(config(hidden_size=48)).eval()])
    apart = separate(model)
    bits = {"*": 8}
    chosen = dpg.uniform(
        apart, 4, layer_bits=bits, filter=lambda name, _: "experts.3." not in name
    )
    small, x = dpg.convert(apart, chosen), torch.randn(2, 9, 48)
    monkeypatch.setattr(module, "grouped_packed", None)
    with torch.no_grad():
        torch.testing.assert_close(small[0](x), apart[0](x), rtol=0.02, atol=0.02)


def packed_experts():
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "moe_intermediate_size": 24}
    apart = separate(torch.nn.ModuleList([MixtureOfExperts(config(**sizes)).eval()]))
    return dpg.convert(apart, dpg.uniform(apart, 4))


def add_bias(layer):
    layer.register_buffer("bias", torch.randn(layer.out_features))


def biases(experts):
    for expert in experts:
        add_bias(expert.gate_up_proj)


def second_biases(experts):
    for expert in experts:
        add_bias(expert.down_proj)


def wide(experts):
    for packed in packed_layers(experts).values():
        packed.matrix.wide = True


def one_wide(experts):
    experts[3].gate_up_proj.matrix.wide = True


def of_another_size(experts):
    small = torch.nn.ModuleList([MixtureOfExperts(config(hidden_size=48)).eval()])
    apart = separate(small)
    experts[3] = dpg.convert(apart, dpg.uniform(apart, 4))[0].experts[3]


@pytest.mark.parametrize(
    "change", [biases, second_biases, wide, one_wide, of_another_size]
)
def test_one_call_multiplies_only_equal_matrices_without_biases(
    change, kernel, monkeypatch
):
    small, x = packed_experts(), torch.randn(2, 9, 48)
    plain = small[0](x)
    change(small[0].experts)
    with torch.no_grad():
        got = small[0](x)
        monkeypatch.setattr(module, "can_group", lambda *tensors: False)
        assert torch.equal(got, small[0](x))
    assert not torch.equal(got, plain)


def test_the_kernel_takes_blocks_up_to_its_limit(kernel, monkeypatch):
    calls = []
    product = module.grouped
    monkeypatch.setattr(module, "grouped", lambda *a: calls.append(a) or product(*a))
    experts = Experts(config(n_routed_experts=3))
    for tokens, count in ((module.BLOCK, 2), (module.BLOCK + 1, 0)):
        calls.clear()
        with torch.no_grad():
            chosen = torch.tensor([[0, 1, 2]] * tokens)
            experts(torch.randn(tokens, 16), chosen, torch.rand(tokens, 3))
        assert len(calls) == count


def test_small_models_and_long_blocks_need_no_kernel(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(module, "grouped", None)
    monkeypatch.setattr(module, "can_group", lambda *tensors: True)
    experts = Experts(config(n_routed_experts=3))
    counts = {"short": 5, "long": module.BLOCK + 1}
    for worth, tokens in ((1 << 20, "short"), (0, "long")):
        monkeypatch.setattr(module, "WORTH_A_KERNEL", worth)
        x = torch.randn(counts[tokens], 16)
        chosen, weights = torch.tensor([[0, 1, 2]] * len(x)), torch.rand(len(x), 3)
        with torch.no_grad():
            expected = one_by_one(experts, x, chosen, weights)
            torch.testing.assert_close(experts(x, chosen, weights), expected)


@pytest.mark.parametrize(
    ("most", "others", "is_batched"),
    [(33, 33, False), (32, 32, True), (20, 3, False), (20, 4, True)],
)
def test_blocks_are_batched_if_they_are_short_and_about_equal(
    most, others, is_batched, monkeypatch
):
    """At most 32 rows, and in all at most four times as many as there are tokens."""
    calls = []
    monkeypatch.setattr(module, "feed", lambda x, *_, **__: calls.append(x) or x)
    load = torch.tensor([most] + [others] * 11)
    expert = torch.arange(12).repeat_interleave(load)
    Experts(config())._run(torch.randn(len(expert), 16), expert, load)
    assert len(calls) == (1 if is_batched else 12)


def test_with_gradients_the_batched_product_is_used(kernel, monkeypatch):
    monkeypatch.setattr(module, "grouped", None)
    experts = Experts(config())
    y = experts(torch.randn(4, 16), torch.tensor([[0, 1, 2]] * 4), torch.ones(4, 3))
    (gradient,) = torch.autograd.grad(y.sum(), experts.down_proj)
    assert gradient[:3].abs().max() > 0
    assert gradient[3:].abs().max() == 0


def test_an_expert_that_no_token_chose_is_not_read(kernel):
    experts = Experts(config())
    with torch.no_grad():
        experts.gate_up_proj[5:] = float("nan")
    x, chosen = torch.randn(4, 16), torch.tensor([[0, 1, 2], [2, 3, 4]] * 2)
    assert torch.isfinite(experts(x, chosen, torch.ones(4, 3))).all()
    with torch.no_grad():
        assert torch.isfinite(experts(x, chosen, torch.ones(4, 3))).all()


def test_the_bias_steers_the_choice_and_not_the_weights():
    router = Router(config(num_experts_per_tok=1, norm_topk_prob=False)).eval()
    x = torch.randn(50, 16)
    chosen, weights = router(x)
    scores = torch.sigmoid(x @ router.weight.T)
    torch.testing.assert_close(weights, scores.gather(1, chosen))
    router.e_score_correction_bias[7] = 9.0
    steered, weights = router(x)
    assert (steered == 7).all()
    torch.testing.assert_close(weights, scores[:, 7:8])


def test_the_chosen_are_of_the_best_groups():
    router = Router(config(n_group=4, topk_group=2)).eval()
    x = torch.randn(80, 16) * 20
    chosen, _ = router(x)
    scores = torch.sigmoid(x @ router.weight.T).unflatten(1, (4, 3))
    best = scores.topk(2).values.sum(2).topk(2).indices
    groups = chosen // 3
    assert ((groups[:, :, None] == best[:, None]).any(2)).all()


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("method", ["noaux_tc", "greedy", "group_limited_greedy"])
def test_each_method_chooses_and_weighs_as_its_paper_says(method, normalized):
    """V3 sums a group's two best scores, V2 takes the best; greedy ignores groups."""
    torch.manual_seed(0)
    sizes = {"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5}
    sizes |= {"topk_method": method, "norm_topk_prob": normalized}
    router = Router(config(**sizes)).eval()
    x = torch.randn(200, 16) * 20
    chosen, weights = router(x)
    for scores, some, shares in zip(
        torch.sigmoid(x.double() @ router.weight.T.double()).tolist(),
        chosen.tolist(),
        weights.tolist(),
        strict=True,
    ):
        groups = [sorted(scores[3 * g : 3 * g + 3], reverse=True) for g in range(4)]
        worth = [sum(g[:2]) if method == "noaux_tc" else g[0] for g in groups]
        allowed = sorted(range(4), key=lambda g: -worth[g])
        allowed = allowed if method == "greedy" else allowed[:2]
        experts = [e for g in allowed for e in range(3 * g, 3 * g + 3)]
        expected = sorted(experts, key=lambda e: -scores[e])[:3]
        assert sorted(some) == sorted(expected)
        whole = sum(scores[e] for e in expected) if normalized else 1
        expected = [2.5 * scores[e] / whole for e in some]
        assert shares == pytest.approx(expected, rel=1e-4)


def test_the_greedy_method_ignores_groups():
    router = Router(
        config(n_group=4, topk_group=1, topk_method="greedy", num_experts_per_tok=2)
    )
    scores = torch.zeros(1, 12)
    scores[0, [0, 11]] = torch.tensor([2.0, 1.0])  # in the first and the last group
    assert router._best(scores).tolist() == [[0, 11]]


@pytest.mark.parametrize("method", ["noaux_tc", "greedy"])
def test_a_router_can_be_converted_and_balanced_at_any_time(method):
    router = Router(config(topk_method=method)).half()
    router.balance()  # nothing was routed so far
    assert router.weight.dtype == torch.float16
    router.train()(torch.randn(7, 16))
    assert int(router.load.sum()) == 7 * 3
    router.balance(rate=0.5)
    assert isinstance(router.load, int)
    if method == "noaux_tc":
        assert router.e_score_correction_bias.dtype == torch.float32
        assert router.e_score_correction_bias.abs().max() == 0.5


def test_weights_start_at_a_standard_deviation_of_one_fiftieth():
    torch.manual_seed(0)
    experts = Experts(config(hidden_size=64, moe_intermediate_size=64))
    for weight in (experts.gate_up_proj, experts.down_proj):
        # from 49,152 samples or more, the deviation is known to 1 / sqrt(2 n) = 0.3 %
        assert weight.std().item() == pytest.approx(0.02, rel=0.02)


def skewed(tokens=512):
    """Tokens in mostly one direction: a router without bias overloads some experts."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, 16, generator=generator)
    x[:, 0] += 4
    return x


def violation(router, x):
    """Largest load over the mean load, less 1."""
    load = router(x)[0].flatten().bincount(minlength=12).float()
    return (load.max() / load.mean() - 1).item()


def test_the_load_evens_out_by_the_bias_alone():
    torch.manual_seed(0)
    router = Router(config())
    torch.nn.init.normal_(router.weight, std=0.5)
    before, weights = violation(router, skewed()), router.weight.clone()
    assert before > 1
    router.balance(0.0)
    for _ in range(600):
        router(skewed())
        router.balance(2e-3)
    assert violation(router, skewed()) < 0.2
    assert torch.equal(router.weight, weights)


def test_balance_moves_each_bias_by_the_rate_towards_the_mean():
    router = Router(config())
    router(skewed(64))
    load = router.load.clone()
    router(skewed(64))
    assert torch.equal(router.load, 2 * load)
    router.balance(0.01)
    expected = 0.01 * torch.sign(load.float().mean() - load.float())
    torch.testing.assert_close(router.e_score_correction_bias, expected)
    assert router.load == 0
    router.eval()(skewed(64))
    assert router.load == 0


def test_without_a_bias_there_is_nothing_to_balance():
    router = Router(config(topk_method="greedy", scoring_func="softmax"))
    assert "e_score_correction_bias" not in router.state_dict()
    router(skewed(8))
    router.balance()


def test_shared_experts_see_every_token():
    mixture = MixtureOfExperts(config(n_shared_experts=2)).eval()
    assert mixture.shared_experts.up_proj.weight.shape == (16, 16)
    x = torch.randn(2, 3, 16)
    with torch.no_grad():
        mixture.experts.down_proj.zero_()
        torch.testing.assert_close(mixture(x), mixture.shared_experts(x))


def test_a_score_that_is_not_known():
    with pytest.raises(ValueError, match=r"scoring_func must be one of .*; got 'tanh'"):
        Router(config(scoring_func="tanh"))


def test_each_score_is_its_formula():
    """With all experts selected, `greedy` leaves the scores themselves as weights."""
    x = torch.randn(5, 16)
    options = {
        "topk_method": "greedy",
        "norm_topk_prob": False,
        "num_experts_per_tok": 12,
    }
    for name, formula in {
        "sigmoid": lambda z: 1 / (1 + (-z).exp()),
        "softmax": lambda z: z.exp() / z.exp().sum(-1, keepdim=True),
        "sqrtsoftplus": lambda z: (1 + z.exp()).log().sqrt(),
    }.items():
        router = Router(config(scoring_func=name, **options))
        chosen, weights = router(x)
        expected = formula(x @ router.weight.T).gather(1, chosen)
        torch.testing.assert_close(weights, expected)
