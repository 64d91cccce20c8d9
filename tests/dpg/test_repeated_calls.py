"""Layers that run more than once in one forward pass, in calibration and monitoring."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deepseek_learn import dpg
from deepseek_learn.dpg.calibration import drawn_labels
from deepseek_learn.dpg.matrix import input_rows, named_layers, output_rows
from deepseek_learn.dpg.statistics import ROWS_A_BATCH

TOKENS, LENGTHS = 40, (7, 4)


class Encoder(nn.Module):
    """Embeddings `[B, T, 16]` → `[B, 16]`: attention, a convolution, a linear layer."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm1d(16)

    def forward(self, x: Tensor) -> Tensor:
        y = F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        x = x + self.out(y)
        return self.norm(self.conv(x.mT)).relu().mean(-1)


class Siamese(nn.Module):
    """Two sentences of unequal lengths in `[B, 11]` → 5 classes.

    `split_first` decides whether the embedding is called on each sentence or on both
    together, and `reentrant` how the encoder runs (see `torch.utils.checkpoint`).
    """

    def __init__(self, split_first: bool = True, reentrant: bool | None = None):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.encoder = nn.Embedding(TOKENS, 16), Encoder()
        self.head = nn.Linear(32, 5)
        self.split_first, self.reentrant = split_first, reentrant
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.split_first:
            sentences = [self.table(part) for part in x.split(LENGTHS, 1)]
        else:
            sentences = [*self.table(x).split(LENGTHS, 1)]
        return self.head(torch.cat([self._encode(part) for part in sentences], 1))

    def _encode(self, x: Tensor) -> Tensor:
        if self.reentrant is None:
            return self.encoder(x)
        return checkpoint(self.encoder, x, use_reentrant=self.reentrant)


def siamese(split_first: bool = True, reentrant: bool | None = None) -> Siamese:
    return Siamese(split_first, reentrant).eval()


def pairs(count: int = 40, seed: int = 1) -> Tensor:
    """The second sentences use other tokens than the first ones."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(TOKENS // 2, (count, sum(LENGTHS)), generator=generator)
    x[:, LENGTHS[0] :] += TOKENS // 2
    return x


def calls_of(model: nn.Module, x: Tensor, labels: Tensor) -> dict[str, list]:
    """Layer → (input, output, output gradient) of each of its calls, in float64.

    A zero is added to each output: its gradient is that of the output.
    """
    model, calls = model.double(), {}

    def record(name):
        def hook(layer, inputs, output):
            offset = torch.zeros_like(output, requires_grad=True)
            calls.setdefault(name, []).append((inputs[0].detach(), output, offset))
            return output + offset

        return hook

    for name, layer in named_layers(model).items():
        layer.register_forward_hook(record(name))
    F.cross_entropy(model(x), labels, reduction="sum").backward()
    return {
        name: [(x, y.detach(), offset.grad) for x, y, offset in each]
        for name, each in calls.items()
    }


def labels_of(model: nn.Module, x: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return drawn_labels(model(x).softmax(-1), generator)


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_each_call_pairs_its_own_inputs_and_gradients(reentrant):
    model, x = siamese(reentrant=reentrant), pairs()
    measured = dpg.calibrate(model, [x], seed=3).layers
    reference = calls_of(siamese(), x, labels_of(model, x, 3))
    assert measured.keys() == reference.keys() == named_layers(model).keys()
    norm = model.encoder.norm.double()
    for name, calls in reference.items():
        layer, facts = model.get_submodule(name), measured[name]
        assert facts.positions == len(x) * (1 if name == "head" else sum(LENGTHS))
        if name == "table":
            continue
        inputs = torch.cat([input_rows(layer, inputs) for inputs, _, _ in calls])
        damage = [output_rows(layer, gradient).square() for _, _, gradient in calls]
        H, g = inputs.T @ inputs / len(inputs), torch.cat(damage).sum(0) / len(x)
        torch.testing.assert_close(facts.second_moment.double(), H, rtol=0, atol=1e-5)
        torch.testing.assert_close(facts.gradient.double(), g, rtol=1e-4, atol=1e-9)
        outputs = [norm(y) if name == "encoder.conv" else y for _, y, _ in calls]
        active = torch.cat([output_rows(layer, y) for y in outputs]) > 0
        expected = active.double().mean(0).float()
        torch.testing.assert_close(facts.frequency, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_an_embedding_credits_each_gradient_to_the_tokens_of_its_call(reentrant):
    model, x = siamese(reentrant=reentrant), pairs()
    facts = dpg.calibrate(model, [x], seed=3).layers["table"]
    calls = calls_of(siamese(), x, labels_of(model, x, 3))["table"]
    tokens = torch.cat([tokens.flatten() for tokens, _, _ in calls])
    squares = torch.cat([g.flatten(0, 1) for _, _, g in calls]).square()  # [M, K]
    sums = torch.zeros(TOKENS, dtype=torch.float64)
    sums.index_add_(0, tokens, squares.mean(1))
    # Laplace: each token counts one extra time, with the mean gradient
    count = len(tokens)
    g = (sums + sums.sum() / count) * count / (count + TOKENS) / len(x)
    torch.testing.assert_close(facts.gradient.double(), g, rtol=1e-4, atol=1e-9)
    relative = squares.mean(0) / squares.mean()
    moment = facts.second_moment.double()
    torch.testing.assert_close(moment, relative, rtol=1e-4, atol=0)


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_tokens_that_the_model_changes_in_place_after_the_call(reentrant):
    class Shifted(Siamese):
        inplace = False

        def forward(self, x: Tensor) -> Tensor:
            x = x.clone()
            first = self._encode(self.table(x))
            x = x.add_(1) if self.inplace else x + 1
            return self.head(torch.cat([first, self._encode(self.table(x))], 1))

    model, x = Shifted(reentrant=reentrant).eval(), pairs() % (TOKENS - 1)
    expected = dpg.calibrate(model, [x]).layers["table"].gradient
    model.inplace = True
    assert torch.equal(dpg.calibrate(model, [x]).layers["table"].gradient, expected)


def error(compressed: nn.Module, model: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        exact = model(x)
        return ((compressed(x) - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("bits", [2.5, 3])
def test_two_calls_compress_an_embedding_as_well_as_one(bits):
    twice, once, x = siamese(), siamese(split_first=False), pairs(200)
    parts = [*x.split(20)]
    small, reference = (dpg.compress(m, parts, bits=bits) for m in (twice, once))
    for name, rows in reference.allocation.bits.items():
        assert torch.equal(small.allocation.bits[name], rows)
    test = pairs(200, seed=2)
    expected = error(reference.model, once, test)
    assert error(small.model, twice, test) == pytest.approx(expected, rel=1e-3)


def test_halves_are_of_the_batches_and_not_of_the_calls():
    class Opposed(nn.Module):
        """The first call matters for one half of the rows, the second for the other."""

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 32)
            self.register_buffer("side", torch.arange(32) < 16)

        def forward(self, x: Tensor) -> Tensor:
            first, second = self.layer(x[:, 0]), self.layer(x[:, 1])
            return torch.where(self.side, first, second).unflatten(1, (8, 4)).sum(2)

    torch.manual_seed(0)
    for batches in (torch.randn(1, 30, 2, 4), torch.randn(3, 30, 2, 4)):
        assert dpg.calibrate(Opposed(), [*batches]).layers["layer"].halves_agree


def test_a_long_call_weighs_more_than_a_short_one_although_it_is_sampled():
    model = nn.Sequential(nn.Conv1d(1, 4, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    rows = 3 * ROWS_A_BATCH
    long, short = torch.ones(1, 1, rows), torch.full((1, 1, 1000), 2.0)
    facts = dpg.calibrate(model, [long, short]).layers["0"]
    expected = (rows + 4 * 1000) / (rows + 1000)
    assert facts.second_moment.item() == pytest.approx(expected)
    assert facts.positions == ROWS_A_BATCH + 1000


class Pyramid(nn.Module):
    """One convolution on two sizes of an image, each with a norm of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))
        for norm in self.norms:
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        sizes = [self.conv(x), self.conv(x[..., ::2, ::2])]  # both before the norms
        return [norm(y) for norm, y in zip(self.norms, sizes, strict=True)]


def test_norms_that_run_after_both_calls_replace_both_counts():
    model, x = Pyramid().eval(), torch.randn(4, 3, 11, 11)
    with dpg.DynamicParameterGroup(model) as watch, torch.no_grad():
        outputs = [*model(x), *model(x)]
    values = torch.cat([y.movedim(1, -1).flatten(0, 2) for y in outputs])
    assert watch.positions == {"conv": len(values)}
    expected = (values > 0).double().mean(0)
    torch.testing.assert_close(watch.frequency("conv"), expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_counts_no_call_twice(reentrant):
    model, plain, x = siamese(reentrant=reentrant), siamese(), pairs()
    counts = []
    for each in (model, plain):
        with dpg.DynamicParameterGroup(each) as watch:
            each(x).sum().backward()
        counts.append(watch)
    assert counts[0].positions == counts[1].positions
    for name in plain.encoder.state_dict():
        layer = f"encoder.{name.removesuffix('.weight')}"
        if layer in counts[0].layers:
            assert torch.equal(*(watch.frequency(layer) for watch in counts))
