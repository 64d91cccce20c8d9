"""Recurrent layers, written as linear layers and packed."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_sequence
from torch.utils._pytree import tree_leaves

from deepseek_learn import dpg
from deepseek_learn.deploy import to_onnx
from deepseek_learn.errors import DamagedFileError

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Reader(nn.Module):
    """Tokens → 3 classes, from the last step."""

    def __init__(self, kind=nn.LSTM, **options):
        super().__init__()
        self.table = nn.Embedding(20, 16)
        self.rnn = kind(16, 32, batch_first=True, **options)
        self.head = nn.Linear(self.rnn.hidden_size, 3)

    def forward(self, tokens):
        self.rnn.flatten_parameters()
        return self.head(self.rnn(self.table(tokens))[0][:, -1, : self.rnn.hidden_size])


def tokens(count=6, seed=0):
    return torch.randint(20, (count, 7), generator=torch.Generator().manual_seed(seed))


def build(kind, **options):
    torch.manual_seed(0)
    return Reader(KINDS[kind], **options).eval()


def assert_same(one, other):
    for a, b in zip(tree_leaves(one), tree_leaves(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


LAYOUTS = [*itertools.product([1, 2], *[[False, True]] * 3)]


@pytest.mark.parametrize(("depth", "both", "first", "bias"), LAYOUTS)
@pytest.mark.parametrize("kind", [*KINDS, "relu", "projected"])
def test_it_computes_what_pytorch_does(kind, depth, both, first, bias):
    torch.manual_seed(0)
    options = {"relu": {"nonlinearity": "relu"}, "projected": {"proj_size": 3}}
    layer = {"relu": nn.RNN, "projected": nn.LSTM}.get(kind) or KINDS[kind]
    names = "num_layers", "bidirectional", "batch_first", "bias"
    layout = dict(zip(names, (depth, both, first, bias), strict=True))
    layer = layer(5, 7, **layout, **options.get(kind, {}))
    steps = dpg.stepwise(layer)
    ends = depth * (1 + both)
    widths = [3 if kind == "projected" else 7] + [7] * (layer.mode == "LSTM")
    states = tuple(torch.randn(ends, 4, width) for width in widths)
    one = tuple(state[:, 0] for state in states)
    x = torch.randn(*((4, 6) if first else (6, 4)), 5)
    packed = pack_sequence([torch.randn(n, 5) for n in (3, 6, 1, 4)], False)
    if layer.mode != "LSTM":
        states, one = states[0], one[0]
    with torch.no_grad():
        for args in [(x,), (x, states), (x[0],), (x[0], one), (x[0], None)]:
            assert_same(steps(*args), layer(*args))
        for args in [(packed,), (packed, states)]:
            (found, end), (expected, other) = steps(*args), layer(*args)
            assert_same((tuple(found), end), (tuple(expected), other))


def test_dropout_between_the_layers_is_that_of_the_mode():
    layer = nn.GRU(5, 40, 2, dropout=0.5)
    steps, x = dpg.stepwise(layer), torch.randn(6, 4, 5)
    assert steps.training
    assert not torch.equal(steps(x)[0], steps(x)[0])
    assert_same(steps.eval()(x), layer.eval()(x))
    once = dpg.stepwise(nn.GRU(5, 40, 1))  # it has no layer to drop between
    assert torch.equal(once(x)[0], once(x)[0])


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
@pytest.mark.parametrize("kind", KINDS)
def test_compress_packs_it_and_a_file_keeps_it(kind, options, tmp_path):
    model = build(kind, **options)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = dpg.compress(model, [tokens(seed=s) for s in range(4)], bits=8)
    assert small.in_float == {}
    assert small.ratio < 0.6  # the biases are a large part of so small a network
    x = tokens(seed=9)
    with torch.no_grad():
        expected, found = model(x), small.model(x)
    assert (found - expected).norm() < 0.03 * expected.norm()
    # the original is as it was
    assert type(model.rnn) is KINDS[kind]
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    path = dpg.save(small.model, tmp_path / "small.safetensors")
    with torch.device("meta"):
        empty = Reader(KINDS[kind], **options)
    for other in (build(kind, **options), empty):
        with torch.no_grad():
            assert torch.equal(dpg.load(path, other)(x), found)


def test_a_file_is_refused_by_a_model_of_another_kind(tmp_path):
    small = dpg.compress(build("lstm"), [tokens()], bits=4).model
    path = dpg.save(small, tmp_path / "small.safetensors")
    with pytest.raises(DamagedFileError, match=r"'rnn' has mode='GRU', not 'LSTM'\."):
        dpg.load(path, build("gru"))
    with pytest.raises(DamagedFileError, match=r"'rnn' has num_layers=2, not 1\."):
        dpg.load(path, build("lstm", num_layers=2))
    other = build("lstm")
    other.rnn = nn.Linear(16, 32)
    with pytest.raises(DamagedFileError, match="'rnn' is a Linear"):
        dpg.load(path, other)
    with pytest.raises(DamagedFileError, match="'rnn' is missing"):
        dpg.load(path, nn.Sequential(nn.Linear(3, 3)))


def test_a_filter_and_bits_by_name_reach_each_matrix():
    model = build("lstm")
    small = dpg.compress(
        model,
        [tokens()],
        bits=4,
        filter=lambda name, _: name != "rnn.ih_l0",
        layer_bits={"rnn.hh*": 8},
    )
    assert small.in_float == {"rnn.ih_l0": "filtered"}
    assert set(small.allocation.bits["rnn.hh_l0"].tolist()) == {8}


def test_the_steps_of_the_api_can_be_taken_one_by_one():
    model, batches = build("gru"), [tokens(seed=s) for s in range(3)]
    assert list(dpg.calibrate(model, batches).layers) == ["table", "head"]
    steps = dpg.stepwise(model)
    assert steps.rnn.hh_l0.weight is model.rnn.weight_hh_l0  # nothing is copied
    calibration = dpg.calibrate(steps, batches)
    assert calibration.layers["rnn.hh_l0"].positions == 3 * 6 * 7
    allocation = dpg.allocate(steps, calibration, bits=6)
    one = dpg.convert(steps, allocation, calibration)
    other = dpg.compress(model, batches, bits=6).model
    assert torch.equal(one(tokens()), other(tokens()))


def test_layers_that_share_their_weights_do_so_afterward():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.GRU(16, 16), nn.GRU(16, 16)
            for name in ("weight_ih_l0", "weight_hh_l0"):
                setattr(self.other, name, getattr(self.one, name))

        def forward(self, x):
            return self.other(self.one(x)[0])[0][-1]

    x = torch.randn(5, 4, 16)
    small = dpg.compress(Twice().eval(), [x], bits=4).model
    assert small.one.hh_l0.matrix is small.other.hh_l0.matrix
    assert small.one.hh_l0.bias is not small.other.hh_l0.bias


def test_what_may_compute_something_else_stays_in_float():
    class Mine(nn.LSTM):
        pass

    model = build("lstm")
    model.rnn = Mine(16, 32, batch_first=True)
    assert dpg.compress(model, [tokens()], bits=4).in_float == {"rnn": "kind"}
    model = build("lstm")
    parametrizations.weight_norm(model.rnn, "weight_hh_l0")
    assert dpg.stepwise(model) is model
    assert "rnn" in dpg.compress(model, [tokens()], bits=4).in_float
    mlp = nn.Sequential(nn.Linear(3, 3))
    assert dpg.stepwise(mlp) is mlp


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"model must be an nn\.Module; got a list"):
        dpg.stepwise([])
    steps = dpg.stepwise(nn.LSTM(3, 5, batch_first=True))
    with pytest.raises(
        ValueError, match=r"or \[T, 3\] with at least one step; got shape \[2, 4\]"
    ):
        steps(torch.rand(2, 4))
    with pytest.raises(ValueError, match=r"at least one step; got shape \[2, 0, 3\]"):
        steps(torch.rand(2, 0, 3))
    x, state = torch.rand(2, 4, 3), torch.zeros(1, 2, 5)
    with pytest.raises(
        ValueError, match=r"hx must be \(h, c\) for an LSTM; got Tensor"
    ):
        steps(x, state)
    with pytest.raises(
        ValueError, match=r"hx must be of shape \[1, 2, 5\]; got \[1, 3"
    ):
        steps(x, (torch.zeros(1, 3, 5), state))


def test_it_is_exported_with_a_dynamic_batch_for_one_length():
    onnxruntime = pytest.importorskip("onnxruntime")
    small = dpg.compress(build("lstm"), [tokens()], bits=8).model
    proto = to_onnx(small, tokens(2))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    x = tokens(5, seed=3)
    answer = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    expected = small(x)
    error = (torch.from_numpy(answer) - expected).norm() / expected.norm()
    assert error < 0.02  # the packed layers also round their inputs


def test_the_same_weights_with_another_function_are_refused(tmp_path):
    """A tensor of the right shape would load into any of these."""
    small = dpg.compress(build("rnn"), [tokens()], bits=4).model
    path = dpg.save(small, tmp_path / "small.safetensors")
    with pytest.raises(DamagedFileError, match="mode='RNN_RELU', not 'RNN_TANH'"):
        dpg.load(path, build("rnn", nonlinearity="relu"))
    other = build("rnn")
    other.rnn.batch_first = False
    with pytest.raises(DamagedFileError, match="batch_first=False, not True"):
        dpg.load(path, other)


def test_a_layer_that_the_filter_leaves_out_stays_as_it_is():
    small = dpg.compress(
        build("gru"), [tokens()], bits=4, filter=lambda name, _: "rnn" not in name
    )
    assert type(small.model.rnn) is nn.GRU
    assert small.in_float == {"rnn": "kind"}


def test_a_mask_of_positions_selects_the_inputs_of_the_same_positions():
    """As many sequences as steps, where a transposed mask would fit as well."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.reader = build("gru")

        def forward(self, input_ids, attention_mask):
            return self.reader(input_ids)

    ids = tokens(7)
    mask = torch.ones(7, 7, dtype=torch.long)
    mask[0, 2:] = 0
    steps = dpg.stepwise(Masked())
    batches = [{"input_ids": ids, "attention_mask": mask}]
    facts = dpg.calibrate(steps, batches).layers["reader.rnn.ih_l0"]
    x = steps.reader.table(ids)[mask.bool()]  # [44, 16]
    assert facts.positions == len(x) == 44
    torch.testing.assert_close(facts.second_moment, (x.T @ x / len(x)).detach())


def test_weights_are_read_under_their_old_names():
    gru = nn.GRU(5, 7, bidirectional=True)
    steps = dpg.stepwise(gru)
    assert steps.weight_hh_l0_reverse is gru.weight_hh_l0_reverse
    assert steps.bias_ih_l0 is gru.bias_ih_l0
    with pytest.raises(AttributeError, match="weight_hh_l1"):
        steps.weight_hh_l1  # noqa: B018


def test_transformers_saves_and_loads_it(tmp_path):
    transformers = pytest.importorskip("transformers")
    from deepseek_learn.dpg import hf

    class Config(transformers.PreTrainedConfig):
        model_type = "recurrent-reader"

    class Model(transformers.PreTrainedModel):
        config_class = Config

        def __init__(self, config):
            super().__init__(config)
            self.reader = Reader(nn.GRU, bidirectional=True)
            self.norm = nn.LayerNorm(3)  # transformers needs a parameter in float
            self.post_init()

        def forward(self, input_ids):
            return {"logits": self.norm(self.reader(input_ids))}

    torch.manual_seed(0)
    Model(Config()).save_pretrained(tmp_path / "float")
    config = hf.DPGConfig(4, calibration=[tokens()])
    small = Model.from_pretrained(tmp_path / "float", quantization_config=config)
    assert isinstance(small.reader.rnn.hh_l0_reverse, dpg.DPGLinear)
    small.save_pretrained(tmp_path / "small")
    again = Model.from_pretrained(tmp_path / "small")
    x = tokens(seed=4)
    assert torch.equal(again(x)["logits"], small(x)["logits"])
    # what `compress` made without the plugin is saved with the same layers
    model = Model.from_pretrained(tmp_path / "float")
    other = dpg.compress(model, [tokens()], bits=4, logits=lambda m, x: m(x)["logits"])
    hf.prepare(other.model).save_pretrained(tmp_path / "other")
    again = Model.from_pretrained(tmp_path / "other")
    assert torch.equal(again(x)["logits"], other.model(x)["logits"])
    with pytest.raises(dpg.CompressedTensorsError, match=r"'reader\.rnn' was written"):
        dpg.to_compressed_tensors(other.model, tmp_path / "vllm")
