"""What a compressed model refuses: edits of packed weights, and formats of floats."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn import dpg
from deepseek_learn.dpg import FrozenModelError
from deepseek_learn.dpg.frozen import FrozenWeight
from deepseek_learn.dpg.layers import packed_layers
from tests.dpg.small_models import decoder, features, mlp, net, tokens, waves

EDIT = "cannot be edited, because it is packed and unpacked anew"


def layer(index: int = 0) -> nn.Module:
    return dpg.convert(mlp(), dpg.uniform(mlp(), 4))[index]


def assign(layer, value):
    layer.weight = value


def assign_data(layer):
    layer.weight.data = torch.zeros(40, 20)


def add(layer):
    weight = layer.weight
    weight += 1


def step(layer):
    weight = layer.weight.detach().requires_grad_()
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=1.0).step()


EDITS = {
    "add_": lambda layer: layer.weight.add_(1),
    "data.copy_": lambda layer: layer.weight.data.copy_(torch.zeros(40, 20)),
    "data = ": assign_data,
    "weight = tensor": lambda layer: assign(layer, torch.zeros(40, 20)),
    "weight = parameter": lambda layer: assign(layer, nn.Parameter(torch.zeros(2))),
    "+=": add,
    "[0] = ": lambda layer: layer.weight.__setitem__(0, 1.0),
    "uniform_": lambda layer: nn.init.uniform_(layer.weight),
    "kaiming_normal_": lambda layer: nn.init.kaiming_normal_(layer.weight),
    "xavier_uniform_": lambda layer: nn.init.xavier_uniform_(layer.weight),
    "zeros_": lambda layer: nn.init.zeros_(layer.weight),
    "orthogonal_": lambda layer: nn.init.orthogonal_(layer.weight),
    "a view": lambda layer: layer.weight.T[3:].mul_(2),
    "a part": lambda layer: layer.weight.unbind()[0].zero_(),
    "detach": lambda layer: layer.weight.detach().clamp_(0),
    "float": lambda layer: layer.weight.float().neg_(),
    "out=": lambda layer: torch.neg(torch.zeros(40, 20), out=layer.weight),
    "out=(...)": lambda layer: torch.max(
        torch.zeros(3, 40, 20), 0, out=(layer.weight, torch.empty(0).long())
    ),
    "inplace=True": lambda layer: F.relu(layer.weight, inplace=True),
    "foreach": lambda layer: torch._foreach_add_([layer.weight], 1),
    "step": step,
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("no_grad", [False, True])
def test_an_edit_of_a_packed_weight_is_refused(edit, no_grad):
    packed = layer()
    before = packed.weight.clone()
    with torch.set_grad_enabled(not no_grad), pytest.raises(FrozenModelError) as caught:
        EDITS[edit](packed)
    assert EDIT in str(caught.value)
    assert torch.equal(packed.weight, before)


def test_numpy_shows_a_packed_weight_read_only():
    with pytest.raises(ValueError, match="read-only"):
        layer().weight.numpy()[0] = 1


@pytest.mark.parametrize("build", [net, decoder, waves])
def test_every_kind_of_layer_refuses_an_edit(build):
    small = dpg.convert(build(), dpg.uniform(build(), 4))
    for packed in packed_layers(small).values():
        with pytest.raises(FrozenModelError, match=EDIT):
            packed.weight.data.add_(1)


READS = {
    "product": lambda w: F.linear(torch.ones(2, 20), w),
    "clone": lambda w: w.clone(),
    "scaled": lambda w: w * 1,
    "double": lambda w: w.double(),
    "index": lambda w: w[[0, 1]],
    "stack": lambda w: torch.stack([w, w]),
    "target": lambda w: torch.zeros(40, 20).add_(w),
    "copy": lambda w: torch.zeros(40, 20).copy_(w),
    "out": lambda w: torch.neg(w, out=torch.zeros(40, 20)),
    "deepcopy": copy.deepcopy,
    "pickle": lambda w: pickle.loads(pickle.dumps(w)),
}


@pytest.mark.parametrize("read", READS)
def test_what_is_computed_from_a_packed_weight_is_a_plain_tensor(read):
    result = READS[read](layer().weight)
    assert type(result) is torch.Tensor
    expected = READS[read](torch.Tensor(layer().weight.tolist()))
    torch.testing.assert_close(result, expected)
    result.add_(1)


def test_a_float_layer_can_take_a_packed_weight():
    packed, target = layer(), nn.Linear(20, 40)
    target.weight.data = packed.weight.clone()
    with torch.no_grad():
        target.weight.add_(0)
        target.weight.copy_(packed.weight)
    assert type(target.weight) is nn.Parameter
    assert torch.equal(target.weight, packed.weight)
    assert not any(isinstance(p, FrozenWeight) for p in packed.plain().parameters())


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter, merged as PEFT does it."""

    def __init__(self, base_layer: nn.Linear):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.Linear(base_layer.in_features, 4, bias=False)
        self.lora_B = nn.Linear(4, base_layer.out_features, bias=False)

    def forward(self, x):
        return self.base_layer(x) + self.lora_B(self.lora_A(x))

    def merge(self) -> nn.Module:
        delta = self.lora_B.weight @ self.lora_A.weight
        self.base_layer.weight.data += delta
        return self.base_layer


def test_adapters_of_a_compressed_model_cannot_be_merged():
    torch.manual_seed(0)
    model, x = nn.Sequential(Adapted(nn.Linear(20, 16)), nn.ReLU()), features()
    small = dpg.compress(model, [x], bits=8).model
    with pytest.raises(FrozenModelError, match="merge its adapters, for example"):
        small[0].merge()
    torch.testing.assert_close(small(x), model(x), rtol=0, atol=0.1)


def test_adapters_of_peft():
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    model = language_model(transformers)
    options = {"target_modules": ["q_proj"], "r": 4, "init_lora_weights": False}
    adapted = peft.get_peft_model(model, peft.LoraConfig(**options)).eval()
    small = dpg.compress(adapted, [tokens()], bits=8).model
    expected = small(tokens()).logits
    for method in (small.merge_and_unload, small.merge_adapter):
        with pytest.raises(FrozenModelError, match="merge its adapters, for example"):
            method()
    with pytest.raises(FrozenModelError, match="save_pretrained cannot store"):
        small.save_pretrained("never")
    assert torch.equal(small(tokens()).logits, expected)


def language_model(transformers, tied: bool = False) -> nn.Module:
    config = transformers.LlamaConfig(
        vocab_size=11,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("tied", [False, True])
def test_transformers_cannot_save_a_compressed_model(tied, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = language_model(transformers, tied)
    small = dpg.compress(model, [tokens()]).model
    path = dpg.save(small, tmp_path / "small")
    loaded = dpg.load(path, language_model(transformers, tied))
    assert torch.equal(loaded(tokens()).logits, small(tokens()).logits)
    for each in (small, copy.deepcopy(small), small.model, loaded):
        for method in (each.save_pretrained, each.push_to_hub):
            with pytest.raises(FrozenModelError, match=r"dpg\.save and dpg\.load"):
                method(tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    model.save_pretrained(tmp_path / "folder")  # the original still can
    assert (tmp_path / "folder" / "model.safetensors").exists()


def test_trainers_and_pipelines_of_transformers_refuse_as_well(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    small = dpg.compress(language_model(transformers), [tokens()]).model
    arguments = transformers.TrainingArguments(tmp_path / "run", report_to=[])
    trainer = transformers.Trainer(small, arguments)
    with pytest.raises(FrozenModelError, match=r"dpg\.save"):
        trainer.save_model(tmp_path / "trained")

    class Classify(transformers.Pipeline):
        def _sanitize_parameters(self, **options):
            return {}, {}, {}

        def preprocess(self, inputs):
            return inputs

        def _forward(self, inputs):
            return self.model(inputs)

        def postprocess(self, outputs):
            return outputs

    with pytest.raises(FrozenModelError, match=r"dpg\.save"):
        Classify(model=small, device="cpu").save_pretrained(tmp_path / "pipeline")


class Exportable(nn.Sequential):
    def save_pretrained(self, folder):
        return folder

    push_to_hub = save_pretrained


def test_only_parts_with_packed_layers_refuse_to_be_saved():
    parts = [Exportable(nn.Linear(20, 20)), Exportable(nn.ReLU())]
    model = Exportable(*parts)
    small = dpg.compress(model, [features()]).model
    assert small[1].save_pretrained("here") == small[1].push_to_hub("here") == "here"
    for part in (small, small[0], pickle.loads(pickle.dumps(small))):
        with pytest.raises(FrozenModelError, match="save_pretrained cannot store"):
            part.save_pretrained("here")
        with pytest.raises(FrozenModelError, match="push_to_hub cannot store"):
            part.push_to_hub("here")
    assert model.save_pretrained("here") == "here"
