"""Calibration: exact moments, Fisher information, and an unchanged model."""

import copy
from collections import UserDict
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn import catalog, dpg
from deepseek_learn.dpg.batches import input_of
from deepseek_learn.dpg.calibration import check_calibration, drawn_labels
from deepseek_learn.dpg.matrix import input_rows, named_layers, output_rows
from deepseek_learn.dpg.statistics import Statistics
from tests.dpg.reports import check_report
from tests.dpg.small_models import decoder, features, mlp, net, pictures, tokens, twice


def products(model):
    """The layers with a matrix product: all but embeddings."""
    layers = named_layers(model).items()
    return {n: m for n, m in layers if not isinstance(m, nn.Embedding)}


def seen(model, x):
    """Layer → (input rows, output rows) of one forward, float64, by separate hooks."""
    result, handles = {}, []
    for name, layer in products(model).items():

        def hook(layer, inputs, output, name=name):
            rows = input_rows(layer, inputs[0].double()), output_rows(layer, output)
            before = result.get(name, ([], []))
            result[name] = before[0] + [rows[0]], before[1] + [rows[1].clone().double()]

        handles.append(layer.register_forward_hook(hook))
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return {name: tuple(map(torch.cat, rows)) for name, rows in result.items()}


MODELS = [(mlp, features), (net, pictures), (decoder, tokens), (twice, features)]


@pytest.mark.parametrize(("build", "inputs"), MODELS)
def test_moments_and_frequencies_are_those_of_the_inputs_and_outputs(build, inputs):
    model, x = build(), inputs()
    calibration = dpg.calibrate(model, [x])
    with dpg.DynamicParameterGroup(model) as watch:
        model.eval()(x)
    assert calibration.samples == len(x)
    assert calibration.layers.keys() == named_layers(model).keys()
    for name, (rows, outputs) in seen(model, x).items():
        facts = calibration.layers[name]
        H = rows.T @ rows / len(rows)
        # float32: each sum of M products has an error of at most M roundings
        slack = (rows.abs().T @ rows.abs()) / len(rows) * (len(rows) + 2) * 2.0**-24
        assert ((facts.second_moment - H).abs() <= slack).all()
        # where a norm follows, the neuron's value is the norm's output
        assert torch.equal(facts.frequency, watch.frequency(name).float())
        assert facts.gradient.shape == (outputs.shape[1],)
        assert (facts.gradient >= 0).all()


class Forked(nn.Module):
    """Two layers on one tensor, a third after that tensor was changed in place."""

    def __init__(self, columns):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(columns, 3) for _ in range(3))

    def forward(self, x):
        x = x + 1
        sides = self.a(x) + self.b(x)
        return sides + self.c(x.mul_(2))


@pytest.mark.parametrize("columns", [6, 600])  # 600: the product is split into blocks
def test_layers_with_one_input_have_one_moment_until_it_is_changed(columns):
    torch.manual_seed(0)
    batches = torch.randn(2, 50, columns)
    layers = dpg.calibrate(Forked(columns), [*batches]).layers
    rows = batches.flatten(0, 1).double() + 1
    H = rows.T @ rows / len(rows)
    torch.testing.assert_close(layers["a"].second_moment.double(), H, rtol=0, atol=1e-5)
    assert torch.equal(layers["b"].second_moment, layers["a"].second_moment)
    assert torch.equal(layers["c"].second_moment, 4 * layers["a"].second_moment)
    assert layers["b"].positions == layers["c"].positions == len(rows)


def test_one_input_with_another_mask_has_another_moment():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(5, 4)

        def forward(self, x, attention_mask):
            return self.head(x)

    torch.manual_seed(0)
    x, mask = torch.randn(2, 6, 5), torch.zeros(2, 6, dtype=torch.int64)
    mask[:, :4] = 1
    batches = [{"x": x, "attention_mask": mask}, {"x": x, "attention_mask": 1 - mask}]
    facts = dpg.calibrate(Masked(), batches).layers["head"]
    rows = x.flatten(0, 1)
    assert facts.positions == len(rows)
    torch.testing.assert_close(facts.second_moment, rows.T @ rows / len(rows))


def fisher_of_logits(probabilities):
    """Mean and variance of (p - onehot(y))² for labels y ~ p, `[n, classes]`."""
    p = probabilities
    mean = p * (1 - p)
    square = p * (1 - p) ** 4 + (1 - p) * p**4
    return mean, square - mean**2


def test_the_gradient_is_fisher_information_with_sampled_labels():
    model, x = mlp(), features(3000)
    with torch.no_grad():
        probabilities = model(x).double().softmax(1)
    mean, variance = fisher_of_logits(probabilities)
    measured = dpg.calibrate(model, [x]).layers["3"].gradient
    deviation = variance.sum(0).sqrt() / len(x)
    assert ((measured - mean.mean(0)).abs() <= 5 * deviation).all()
    # this detects wrong labels, such as the argmax instead of a sampled label
    largest = F.one_hot(probabilities.argmax(1), 5)
    other = (probabilities - largest).square().mean(0)
    assert ((other - mean.mean(0)).abs() > 5 * deviation).all()


@pytest.mark.parametrize(("build", "inputs"), MODELS)
def test_gradients_are_those_of_autograd_for_the_same_labels(build, inputs):
    model, x = build(), inputs()
    measured = dpg.calibrate(model, [x], seed=3).layers
    with torch.no_grad():
        scores = model(x)
    scores = scores.reshape(-1, scores.shape[-1])
    generator = torch.Generator().manual_seed(3)
    labels = drawn_labels(scores.softmax(-1), generator)
    # add zero to each layer's output: the gradient of this zero is the output's
    offsets, handles = {}, []

    def add(name):
        def hook(layer, inputs, output):
            offset = torch.zeros_like(output, requires_grad=True)
            offsets.setdefault(name, []).append((layer, offset))
            return output + offset

        return hook

    for name, layer in products(model).items():
        handles.append(layer.register_forward_hook(add(name)))
    scores = model(x)
    scores = scores.reshape(-1, scores.shape[-1])
    F.cross_entropy(scores, labels, reduction="sum").backward()
    for handle in handles:
        handle.remove()
    for name, pairs in offsets.items():
        rows = torch.cat([output_rows(layer, o.grad) for layer, o in pairs]).double()
        expected = rows.square().sum(0) / len(x)
        torch.testing.assert_close(
            measured[name].gradient.double(), expected, rtol=1e-4, atol=1e-9
        )


def test_labels_are_drawn_by_their_probability():
    scores = torch.tensor([[0.0, 1.0, -1e9, 2.0], [-1e9, 5.0, -1e9, -1e9]])
    rows = scores.repeat_interleave(20_000, 0)
    labels = drawn_labels(rows.softmax(-1), torch.Generator().manual_seed(0)).view(
        2, -1
    )
    p = scores.double().softmax(1)
    share = torch.stack([(labels == k).double().mean(1) for k in range(4)], 1)
    assert ((share - p).abs() <= 5 * (p * (1 - p) / 20_000).sqrt()).all()
    assert labels.dtype == torch.int64


class Looked(nn.Module):
    """Tokens `[B, T]` → logits `[B, T, 5]`: embedding, nonlinearity, head."""

    def __init__(self, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(5, 8), nn.Linear(8, 5, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x):
        return self.head(torch.tanh(self.table(x)))


def gradients_of_the_table(model, x, labels):
    """Squared gradients of each looked-up row, float64 `[M, K]`."""
    looked_up = model.table(x).detach().requires_grad_()
    scores = F.linear(torch.tanh(looked_up), model.head.weight).flatten(0, 1)
    F.cross_entropy(scores, labels, reduction="sum").backward()
    return looked_up.grad.flatten(0, 1).double().square(), scores.detach()


def test_an_embedding_has_frequencies_and_gradients_of_its_tokens():
    model, x = Looked(), torch.tensor([[0, 0, 1], [2, 0, 1]])  # 3 and 4 never occur
    facts = dpg.calibrate(model, [x[:1], x[1:]], seed=3).layers["table"]
    assert facts.frequency.tolist() == pytest.approx([3 / 6, 2 / 6, 1 / 6, 0, 0])
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        labels = [
            drawn_labels(model(some)[0].softmax(-1), generator) for some in x.split(1)
        ]
    squares, _ = gradients_of_the_table(model, x, torch.cat(labels))
    sums = torch.zeros(5, dtype=torch.float64)
    sums.index_add_(0, x.flatten(), squares.mean(1))
    # Laplace: each token counts one extra time, with the mean gradient
    expected = (sums + sums.sum() / 6) * 6 / (6 + 5) / 2
    torch.testing.assert_close(facts.gradient.double(), expected, rtol=1e-4, atol=0)
    relative = squares.mean(0) / squares.mean()
    torch.testing.assert_close(
        facts.second_moment.double(), relative, rtol=1e-4, atol=0
    )


def test_a_tied_matrix_bears_the_damage_of_both_its_uses():
    tied, x = Looked(tied=True), torch.tensor([[0, 0, 1], [2, 0, 1]])
    calibration = dpg.calibrate(tied, [x])
    assert list(calibration.layers) == ["head"]
    facts, apart = calibration.layers["head"], Looked()
    apart.load_state_dict(tied.state_dict())  # equal values, stored twice
    both = dpg.calibrate(apart, [x]).layers

    def at_stake(seen):
        moment = seen.second_moment.double()
        moment = moment.diagonal() if moment.dim() == 2 else moment
        return seen.gradient.double() * moment.mean()

    expected = at_stake(both["head"]) + at_stake(both["table"])
    torch.testing.assert_close(at_stake(facts), expected, rtol=1e-5, atol=0)
    weights = [
        at_stake(both[name]).sum() / expected.sum() for name in ("head", "table")
    ]
    H, D = (both[name].second_moment.double() for name in ("head", "table"))
    moment = weights[0] * H + weights[1] * torch.diag(D) * H.diagonal().mean()
    torch.testing.assert_close(
        facts.second_moment.double(), moment, rtol=1e-5, atol=1e-8
    )
    assert torch.equal(facts.frequency, both["head"].frequency)


def test_without_correlations_moments_are_the_diagonals():
    model, x, seen = net(), pictures(), []
    model.register_forward_pre_hook(
        lambda *_: seen.append(torch.get_float32_matmul_precision())
    )
    full, diagonal = (
        dpg.calibrate(model, [x], correlations=c).layers for c in (True, False)
    )
    for name, facts in full.items():
        # the factors of a product may be bfloat16: each is off by at most 2^-9, and
        # a square by twice that; the errors of a few layers add up
        torch.testing.assert_close(
            diagonal[name].second_moment,
            facts.second_moment.diagonal(),
            rtol=2**-4,
            atol=1e-3,
        )
        assert diagonal[name].gradient.shape == facts.gradient.shape
    assert seen == ["highest", "medium"]
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_filter_says_which_layers_are_calibrated():
    chosen = dpg.calibrate(mlp(), [features()], filter=lambda name, m: name == "3")
    assert list(chosen.layers) == ["3"]
    linear = dpg.calibrate(
        net(), [pictures()], filter=lambda name, m: isinstance(m, nn.Linear)
    )
    assert list(linear.layers) == ["head"]
    with pytest.raises(ValueError, match="at least one layer; it selected none of 2"):
        dpg.calibrate(mlp(), [features()], filter=lambda name, m: False)


class Named(Looked):
    """Like Hugging Face models: keyword arguments, and an output with logits."""

    def forward(self, input_ids, attention_mask=None):
        if attention_mask is not None:
            assert attention_mask.shape == input_ids.shape
        return SimpleNamespace(logits=super().forward(input_ids))


def test_mappings_are_arguments_and_masked_positions_do_not_count():
    model, x = Named(), torch.tensor([[0, 0, 1], [2, 4, 4]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    batch = UserDict(input_ids=x, attention_mask=mask)  # as a tokenizer returns it
    masked = dpg.calibrate(model, [batch])
    assert masked.samples == 2
    alone = dpg.calibrate(model, [{"input_ids": x[:1]}, {"input_ids": x[1:, :1]}])
    assert alone.samples == 2
    for name, facts in alone.layers.items():
        mine = masked.layers[name]
        # labels are drawn for the same four positions in the same order
        torch.testing.assert_close(mine.gradient, facts.gradient)
        torch.testing.assert_close(mine.second_moment, facts.second_moment)
    assert masked.layers["table"].frequency.tolist() == [0.5, 0.25, 0.25, 0, 0]


def test_an_answer_that_is_no_tensor():
    model = mlp()
    model.forward = lambda x: [1]
    with pytest.raises(TypeError, match=r"return logits as a tensor; got a list"):
        dpg.calibrate(model, [features()])


@pytest.mark.parametrize("batches", [features(), {"input_ids": tokens()}])
def test_one_batch_in_place_of_a_list(batches):
    for call in (dpg.calibrate, dpg.compress):
        with pytest.raises(
            TypeError, match=r"list of batches .*Pass \[batch\] instead"
        ):
            call(mlp(), batches)


def test_an_output_of_zero_is_not_active():
    model = mlp()
    with torch.no_grad():
        model[0].weight[:3], model[0].bias[:3] = 0, 0
    frequency = dpg.calibrate(model, [features()]).layers["0"].frequency
    assert (frequency[:3] == 0).all()
    assert (frequency[3:] > 0).all()


def test_an_activation_in_place_changes_nothing():
    x = pictures()
    one, other = (dpg.calibrate(net(inplace=i), [x]).layers for i in (False, True))
    for name in one:
        assert torch.equal(one[name].second_moment, other[name].second_moment)
        assert torch.equal(one[name].frequency, other[name].frequency)
        torch.testing.assert_close(one[name].gradient, other[name].gradient)


@pytest.mark.parametrize("parts", [(30,), (1, 29), (7, 7, 7, 9)])
def test_the_size_of_batches_changes_only_the_order_of_sums(parts):
    model, x = mlp(), features()
    whole = dpg.calibrate(model, [x]).layers
    split = dpg.calibrate(model, x.split(parts)).layers
    for name in whole:
        assert torch.equal(whole[name].frequency, split[name].frequency)
        for one, other in (
            (whole[name].second_moment, split[name].second_moment),
            (whole[name].gradient, split[name].gradient),  # the same sampled labels
        ):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_many_positions_are_sampled_for_the_moment_only():
    torch.manual_seed(0)
    pool = nn.AdaptiveAvgPool2d(1)
    model = nn.Sequential(nn.Conv2d(1, 4, 1), pool, nn.Flatten(), nn.Linear(4, 2))
    x = torch.ones(1, 1, 70, 70)  # 4,900 equal positions, more than are sampled
    x[0, 0, 0, :7] = -1000
    facts = dpg.calibrate(model, [x]).layers["0"]
    with torch.no_grad():
        expected = output_rows(model[0], model[0](x))
    assert torch.equal(facts.frequency, (expected > 0).float().mean(0))
    x[0, 0, 0, :7] = 1
    facts = dpg.calibrate(model, [x]).layers["0"]
    assert facts.second_moment.tolist() == [[1.0]]  # whichever are sampled


def test_the_same_seed_gives_the_same_numbers_and_another_gives_others():
    model, x = mlp(), features()
    one, same, other = (dpg.calibrate(model, [x], seed=s).layers for s in (0, 0, 1))
    for name in one:
        assert torch.equal(one[name].gradient, same[name].gradient)
        assert not torch.equal(one[name].gradient, other[name].gradient)
        assert torch.equal(one[name].second_moment, other[name].second_moment)


def state(model):
    return {
        "weights": {k: v.clone() for k, v in model.state_dict().items()},
        "modes": [m.training for m in model.modules()],
        "flags": [p.requires_grad for p in model.parameters()],
        "grads": [
            None if p.grad is None else p.grad.clone() for p in model.parameters()
        ],
        "hooks": [len(m._forward_hooks) for m in model.modules()],
        "enabled": torch.is_grad_enabled(),
    }


def assert_same(one, other):
    for key in ("modes", "flags", "hooks", "enabled"):
        assert one[key] == other[key]
    assert all(torch.equal(v, other["weights"][k]) for k, v in one["weights"].items())
    for a, b in zip(one["grads"], other["grads"], strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_stays_as_it_is(fails):
    model, x = net().train(), pictures()
    model.norm1.eval()
    model.head.weight.requires_grad_(False)
    model(x).sum().backward()
    before, draws = state(model), torch.get_rng_state()
    bad = [x, x.masked_fill(x < 0.01, float("nan"))]
    with torch.no_grad():  # on purpose: calibration must enable gradients itself
        if fails:
            with pytest.raises(ValueError, match="layer 'conv1'"):
                dpg.calibrate(model, bad)
        else:
            dpg.calibrate(model, [x])
        after = state(model) | {"enabled": True}
    assert_same(before, after)
    assert torch.equal(torch.get_rng_state(), draws)


def test_it_works_where_gradients_are_switched_off():
    model, x = mlp(), features()
    expected = dpg.calibrate(model, [x]).layers
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            seen = dpg.calibrate(model, [x]).layers
        assert all(
            torch.equal(seen[n].gradient, expected[n].gradient) for n in expected
        )


def test_it_runs_in_evaluation_mode():
    model, x = mlp(), features()
    trained = copy.deepcopy(model).train()
    one, other = (dpg.calibrate(m, [x]).layers for m in (model, trained))
    assert all(torch.equal(one[n].gradient, other[n].gradient) for n in one)


def test_batches_may_be_tuples_lists_and_generators():
    model, x = mlp(), features()
    label = torch.zeros(30)
    one_by_one = ((x[i : i + 1],) for i in range(30))
    for batches in ([(x, label)], [[x, label]], iter([x]), one_by_one):
        assert dpg.calibrate(model, batches).samples == 30


def test_an_answer_that_is_something_else():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x, scale):
            return {"scores": self.net(x) * scale}

    model, x = Named(), features()
    calibration = dpg.calibrate(
        model, [x], logits=lambda model, batch: model(batch, scale=1)["scores"]
    )
    expected = dpg.calibrate(mlp(), [x])
    for name, facts in expected.layers.items():
        assert torch.equal(calibration.layers[f"net.{name}"].gradient, facts.gradient)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_in_other_precisions(dtype):
    model, x = mlp().to(dtype), features().to(dtype)
    for facts in dpg.calibrate(model, [x]).layers.values():
        for tensor in (facts.second_moment, facts.gradient, facts.frequency):
            assert tensor.dtype == torch.float32
            assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("batches", [[], [torch.empty(0, 20)], iter(())])
def test_an_empty_calibration_set(batches):
    with pytest.raises(ValueError, match="batches must contain at least one input"):
        dpg.calibrate(mlp(), batches)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_name_the_first_layer(bad):
    x = features()
    x[3, 4] = bad
    with pytest.raises(
        ValueError, match="the inputs of layer '0' contain NaN or infinity"
    ):
        dpg.calibrate(mlp(), [features(), x])


def test_activations_that_are_not_finite_name_the_layer_that_meets_them():
    class Logarithm(nn.Module):
        def forward(self, x):
            return x.log()  # NaN for negative numbers

    model = nn.Sequential(
        nn.Linear(20, 8), nn.Linear(8, 8), Logarithm(), nn.Linear(8, 3)
    )
    with pytest.raises(
        ValueError, match="the inputs of layer '3' contain NaN or infinity"
    ):
        dpg.calibrate(model, [features()])


def test_an_answer_that_is_not_finite():
    model = mlp()
    with torch.no_grad():
        model[3].bias[2] = float("nan")
    with pytest.raises(ValueError, match="output is not finite after 0 valid inputs"):
        dpg.calibrate(model, [features()])


def test_without_correlations_every_second_batch_is_passed_over():
    batches = features(60).split(12)
    options = {"correlations": False}
    every = dpg.calibrate(mlp(), iter(batches), **options)
    expected = dpg.calibrate(
        mlp(), [b for x in batches[::2] for b in (x, x)], **options
    )
    assert every.samples == expected.samples == 36
    for name, seen in every.layers.items():
        for fact in ("second_moment", "gradient", "frequency"):
            value = getattr(expected.layers[name], fact)
            torch.testing.assert_close(getattr(seen, fact), value)


def test_an_answer_whose_sum_alone_is_not_finite():
    model = nn.Sequential(nn.Linear(20, 4))
    nn.init.constant_(model[0].bias, 3e38)
    assert dpg.calibrate(model, [features()]).samples == len(features())


def test_weights_that_are_not_finite():
    model = mlp()
    with torch.no_grad():
        model[0].weight[2, 2] = float("nan")
    with pytest.raises(ValueError, match="the inputs of layer '3' contain NaN"):
        dpg.calibrate(model, [features()])


def test_inputs_whose_squares_are_not_finite():
    with pytest.raises(ValueError, match="the squared inputs of layer '0' contain"):
        dpg.calibrate(mlp(), [features() * 1e25])


def test_a_layer_that_takes_no_part():
    model = nn.Sequential(mlp())
    model.add_module("spare", nn.Linear(3, 3))
    model.forward = model[0].forward
    calibration = dpg.calibrate(model, [features()])
    assert list(calibration.layers) == ["0.0", "0.3"]
    small = dpg.compress(model, [features()])
    assert small.in_float == {"spare": "unused"}
    assert type(small.model.spare) is nn.Linear
    model.forward = lambda x: x @ model.spare.weight
    with pytest.raises(ValueError, match="no layer contributed to the model's output"):
        dpg.calibrate(model, [torch.ones(2, 3)])


@pytest.mark.parametrize("batch", ["picture.png", {"x": [1.0]}, {}, (), [3], None])
def test_batches_that_hold_no_tensor(batch):
    with pytest.raises(
        TypeError, match="batches must contain tensors, tuples that begin"
    ):
        dpg.calibrate(mlp(), [batch])


def test_the_input_of_a_batch():
    x = torch.ones(2)
    net = mlp()
    assert input_of(x, net) is input_of((x, 1), net) is input_of([x], net) is x


def test_models_that_cannot_be_calibrated():
    with pytest.raises(ValueError, match="model has no layer to compress"):
        dpg.calibrate(nn.Sequential(nn.ReLU()), [features()])
    with pytest.raises(TypeError, match=r"model must be an nn\.Module"):
        dpg.calibrate(lambda x: x, [features()])


def test_the_statistics_of_another_model_are_refused():
    calibration = dpg.calibrate(mlp(), [features()])
    assert list(check_calibration(calibration, mlp(seed=9))) == ["0", "3"]
    for model, odd in ((mlp(width=41), "0"), (twice(), "0")):
        with pytest.raises(
            ValueError, match=f"to another model: layer {odd!r} is missing"
        ):
            check_calibration(calibration, model)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_calibration_report(language):
    catalog.set_language(language)
    calibration = dpg.calibrate(net(), [pictures(12)])
    check_report(calibration, language)
    frame = calibration.to_frame()
    assert frame["outputs"].tolist() == [12, 20, 20, 4]
    assert frame["inputs"].tolist() == [27, 180, 12, 20]
    assert "12" in calibration.why()
    one = frame.loc["head"]
    facts = calibration.layers["head"]
    assert one["mean_frequency"] == pytest.approx(facts.frequency.mean().item())
    assert one["gradient"] == pytest.approx(facts.gradient.sum().item())
    assert frame["rank_correlation"].dropna().between(-1, 1).all()


def test_a_draw_that_rounds_up_to_the_whole_is_the_last_label(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **options: torch.ones(size))
    labels = drawn_labels(torch.full((2, 3), 1 / 3), torch.Generator())
    assert labels.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("positions", "rows", "columns"),
    # of 6 rows and 4 columns: N / 4M and K / M, at most 0.2, and nothing if M is unknown
    [(0, 0.0, 0.0), (3, 0.2, 0.2), (10, 0.15, 0.2), (100, 0.015, 0.04)],
)
def test_few_positions_move_the_estimates_toward_each_other(positions, rows, columns):
    moment = torch.rand(4, 4) + torch.eye(4)
    gradient = torch.rand(6)
    found = Statistics(moment, gradient, torch.zeros(6), positions)
    expected = (1 - rows) * gradient + rows * gradient.mean()
    torch.testing.assert_close(found.shrunk_gradient, expected)
    diagonal = torch.diag(moment.diagonal())
    expected = (1 - columns) * moment + columns * diagonal
    torch.testing.assert_close(found.shrunk_moment, expected)
    only = Statistics(moment.diagonal(), gradient, torch.zeros(6), positions)
    assert torch.equal(only.shrunk_moment, moment.diagonal())


def test_positions_are_counted():
    model = nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 5))
    batches = [torch.randint(9, (2, 7)), torch.randint(9, (1, 4))]
    found = dpg.calibrate(model, batches).layers
    assert {name: each.positions for name, each in found.items()} == {"0": 18, "1": 18}
