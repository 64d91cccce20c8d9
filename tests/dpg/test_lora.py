"""PEFT trains adapters on packed layers, stores them, and never merges them in silence."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from deepseek_learn import dpg
from deepseek_learn.dpg.frozen import FrozenModelError
from deepseek_learn.errors import DamagedFileError
from tests.services import need

peft, transformers = need("peft"), need("transformers")
lora = pytest.importorskip("deepseek_learn.dpg.lora")
hf = pytest.importorskip("deepseek_learn.dpg.hf")

TOKENS = 96
ATTENTION = ["q_proj", "v_proj"]


def compressed(name="Llama", **changes):
    sizes = {
        "vocab_size": TOKENS,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 8,
        "pad_token_id": 2,
    }
    config = getattr(transformers, f"{name}Config")(**sizes | changes)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    return dpg.convert(model, dpg.uniform(model, 4, 32))


def tokens(rows=4):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, TOKENS, (rows, 12), generator=generator)


def config(targets=ATTENTION, **options):
    return peft.LoraConfig(
        r=4, target_modules=targets, task_type="CAUSAL_LM", **options
    )


def planes(model):
    """What the packed layers of a model hold."""
    state = model.state_dict()
    return [state[k].clone() for k in sorted(state) if ".matrix." in k]


def train(model, steps=20):
    """The loss before each step."""
    x, losses = tokens(), []
    used = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(used, lr=0.02)
    model.train()
    for _ in range(steps):
        loss = model(input_ids=x, labels=x).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


@pytest.fixture(scope="module", params=["Llama", "Qwen3"])
def trained(request, tmp_path_factory):
    """An adapted model, its family, the folder of the adapter, and its losses."""
    small = compressed(request.param, tie_word_embeddings=request.param == "Qwen3")
    x, before = tokens(), planes(small)
    with torch.no_grad():
        expected = small(x).logits
    model = lora.add(small, config())
    with torch.no_grad():  # B starts as zero
        assert torch.equal(model(input_ids=x).logits, expected)
    losses = train(model)
    assert all(map(torch.equal, planes(model), before))
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return model, request.param, folder, losses


def loaded(trained, **options):
    model, name, folder, _ = trained
    tied = model.config.tie_word_embeddings
    return lora.load(compressed(name, tie_word_embeddings=tied), folder, **options)


def test_only_the_adapter_is_trained(trained):
    model, _, _, losses = trained
    assert losses[-1] < losses[0] - 0.3
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert len(names) == 2 * 2 * len(ATTENTION)  # A and B, two layers
    assert all(re.search(r"\.lora_[AB]\.", name) for name in names)


def test_gradients_are_those_of_the_unpacked_layers(trained):
    model, _, _, _ = trained
    x = tokens()

    def gradients():
        model.zero_grad()
        model(input_ids=x, labels=x).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.requires_grad]

    with dpg.use_backend("torch"):  # the others round activations that need no gradient
        packed = gradients()
    bases = [m for m in model.modules() if isinstance(m, dpg.DPGLinear)]
    forwards = [base.forward for base in bases]
    try:
        for base in bases:
            base.forward = base.plain().forward
        plain = gradients()
    finally:
        for base, forward in zip(bases, forwards, strict=True):
            base.forward = forward
    for ours, theirs in zip(packed, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_saved_adapter_is_loaded_exactly(trained):
    model, _, folder, _ = trained
    stored = load_file(folder / "adapter_model.safetensors")
    assert len(stored) == 8  # the packed weights are not among them
    again, x = loaded(trained), tokens()
    assert not again.training
    assert torch.equal(again(input_ids=x).logits, model(input_ids=x).logits)
    how = {"max_new_tokens": 5, "do_sample": False}
    for beams in (1, 2):
        one, two = (
            each.generate(input_ids=x, num_beams=beams, **how)
            for each in (again, model)
        )
        assert torch.equal(one, two)
    with again.disable_adapter():
        base = again(input_ids=x).logits
    assert not torch.equal(base, model(input_ids=x).logits)


def test_training_goes_on_where_it_was_stored(trained):
    model, x = trained[0], tokens()
    again = loaded(trained, is_trainable=True)
    assert again.training
    more = train(again, 10)
    with torch.no_grad():
        assert more[0] == pytest.approx(
            model(input_ids=x, labels=x).loss.item(), rel=1e-3
        )
    assert min(more) < more[0]
    inference = loaded(trained)
    assert not any(p.requires_grad for p in inference.parameters())


@pytest.mark.parametrize("way", ["merge_and_unload", "merge_adapter"])
def test_merging_is_refused_and_changes_nothing(trained, way):
    model, x = trained[0], tokens()
    with torch.no_grad():
        before = model(input_ids=x).logits
    for options in ({}, {"safe_merge": True}):
        with pytest.raises(FrozenModelError, match=r"cannot be merged .* float model"):
            getattr(model, way)(**options)
    for module in model.modules():
        if isinstance(module, lora.PackedLora | lora.PackedLoraEmbedding):
            with pytest.raises(FrozenModelError):
                module.merge()
    with torch.no_grad():
        assert torch.equal(model(input_ids=x).logits, before)


def test_an_adapter_is_merged_into_the_float_model_instead(trained):
    """What the refusal advises works: the layers have the same names."""
    model, _, folder, _ = trained
    original = transformers.AutoModelForCausalLM.from_config(model.config).eval()
    with torch.no_grad():
        before = original(tokens()).logits
        adapted = peft.PeftModel.from_pretrained(original, folder)
        expected = adapted(input_ids=tokens()).logits
        merged = adapted.merge_and_unload()
        torch.testing.assert_close(merged(tokens()).logits, expected)
    assert (expected - before).abs().max() > 0.01
    again = dpg.convert(merged.eval(), dpg.uniform(merged, 4, 32))
    assert again(tokens()).logits.shape == (4, 12, TOKENS)


def test_what_is_unloaded_is_the_compressed_model_and_refuses_to_train(trained):
    model, x = loaded(trained), tokens()
    with torch.no_grad(), model.disable_adapter():
        expected = model(input_ids=x).logits
    small = model.unload()
    with torch.no_grad():
        assert torch.equal(small(x).logits, expected)
    with pytest.raises(FrozenModelError, match="cannot train"):
        small.train()
    with pytest.raises(FrozenModelError, match="cannot train"):
        nn.Sequential(small).train()
    assert not any(p.requires_grad for p in small.parameters())


def test_a_model_that_transformers_compressed(tmp_path):
    """From its own folder, with the Trainer, and stored again beside its adapter."""
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    shape = transformers.LlamaConfig(vocab_size=TOKENS, num_hidden_layers=1, **sizes)
    model = transformers.AutoModelForCausalLM.from_config(shape)
    model.save_pretrained(tmp_path / "float")
    auto = transformers.AutoModelForCausalLM
    small = auto.from_pretrained(
        tmp_path / "float", quantization_config=hf.DPGConfig(4, group_size=32)
    )
    small.save_pretrained(tmp_path / "small")
    adapted = lora.add(auto.from_pretrained(tmp_path / "small"), config())
    adapted.enable_input_require_grads()
    rows = [{"input_ids": row, "labels": row} for row in tokens(8)]
    options = transformers.TrainingArguments(
        str(tmp_path / "run"), max_steps=3, per_device_train_batch_size=4, use_cpu=True,
        learning_rate=0.05, report_to=[], save_strategy="no", disable_tqdm=True,
        gradient_checkpointing=True,
    )  # fmt: skip
    transformers.Trainer(model=adapted, args=options, train_dataset=rows).train()
    adapted.save_pretrained(tmp_path / "adapter")
    again = lora.load(auto.from_pretrained(tmp_path / "small"), tmp_path / "adapter")
    x = tokens()
    with torch.no_grad():
        learned = adapted.eval()(input_ids=x).logits
        assert torch.equal(again(input_ids=x).logits, learned)
        assert not torch.equal(small(x).logits, learned)
    again.unload().save_pretrained(tmp_path / "third")
    assert torch.equal(
        auto.from_pretrained(tmp_path / "third")(x).logits, small(x).logits
    )


def test_embeddings_dora_and_layers_in_float():
    small = compressed()
    float_head = nn.Linear(48, TOKENS, bias=False)
    small.lm_head = float_head
    targets = ["embed_tokens", "q_proj", "lm_head"]
    model = lora.add(small, config(targets, use_dora=True))
    assert model.lm_head.base_layer is float_head
    losses = train(model)
    assert losses[-1] < losses[0] - 0.3
    before = float_head.weight.clone()
    with pytest.raises(FrozenModelError):  # before the head, which could be merged, is
        model.merge_and_unload()
    assert torch.equal(float_head.weight, before)


def test_a_network_without_a_parameter_and_without_a_configuration():
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    small, x = dpg.convert(net, dpg.uniform(net, 4)), torch.randn(16, 64)
    assert not [*small.parameters()]
    model = lora.add(small, peft.LoraConfig(r=2, target_modules=["0", "2"])).train()
    optimizer = torch.optim.Adam(
        (p for p in model.parameters() if p.requires_grad), 0.05
    )
    losses = []
    for _ in range(30):
        loss = (model(x) - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert not hasattr(small, "hf_device_map")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"bias": "all"}, "bias must be 'none'.*got 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save .*'lm_head' is packed"),
    ],
)
def test_what_would_train_nothing_is_refused(options, sentence):
    small = compressed()
    with pytest.raises(ValueError, match=sentence):
        lora.add(small, config(**options))
    with pytest.raises(FrozenModelError):  # as before
        small.train()


def test_other_models_layers_and_methods_are_refused():
    net = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(72, 4))
    with pytest.raises(ValueError, match="DPG-compressed; Sequential has no packed"):
        lora.add(net, peft.LoraConfig(target_modules=["2"]))
    small = dpg.convert(net, dpg.uniform(net, 8))
    with pytest.raises(ValueError, match="'0' is a DPGConv2d"):
        lora.add(small, peft.LoraConfig(target_modules=["0"]))
    with pytest.raises(ValueError, match=r"LoraConfig; got IA3Config"):
        lora.add(small, peft.IA3Config(target_modules=["2"], feedforward_modules=[]))
    with pytest.raises(ValueError, match="Target modules"):  # PEFT's own
        lora.add(small, peft.LoraConfig(target_modules=["absent"]))
    with pytest.raises(FrozenModelError, match="cannot train"):  # none of it thawed it
        small.train()
    for targets in (None, "all-linear"):
        with pytest.raises(ValueError, match=f"must name layers, .* got {targets!r}"):
            lora.add(small, peft.LoraConfig(target_modules=targets))
    config = peft.LoraConfig(target_modules=["2"], trainable_token_indices=[1])
    with pytest.raises(ValueError, match="trainable_token_indices must be None"):
        lora.add(small, config)
    model = lora.add(small, peft.LoraConfig(target_modules=["2"]))
    with pytest.raises(ValueError, match="has an adapter already"):
        lora.add(model, peft.LoraConfig(target_modules=["2"]))


def test_damaged_and_foreign_adapters_are_refused(trained, tmp_path):
    _, _, folder, _ = trained
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json is missing"):
        lora.load(compressed(), tmp_path)
    (tmp_path / "adapter_config.json").write_text(
        (folder / "adapter_config.json").read_text()
    )
    with pytest.raises(
        FileNotFoundError, match=r"adapter_model\.safetensors is missing"
    ):
        lora.load(compressed(), tmp_path)
    settings = tmp_path / "adapter_config.json"
    before = settings.read_text()
    file = tmp_path / "adapter_model.safetensors"
    file.touch()
    for text in (before[:100], before.replace('"LORA"', '"FOO"')):
        settings.write_text(text)
        with pytest.raises(
            DamagedFileError, match=r"adapter_config\.json in .* damaged"
        ):
            lora.load(compressed(), tmp_path)
    settings.write_text(before)
    whole = (folder / file.name).read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="is damaged"):
        lora.load(compressed(), tmp_path)
    tensors = load_file(folder / file.name)
    name = min(tensors)
    save_file({k: v for k, v in tensors.items() if k != name}, file)
    small = compressed()
    with pytest.raises(DamagedFileError, match=f"lacks '{re.escape(name)}'"):
        lora.load(small, tmp_path)
    with pytest.raises(FrozenModelError, match="cannot train"):
        small.train()
    save_file(tensors | {"another": torch.zeros(1)}, file)
    with pytest.raises(DamagedFileError, match="has no 'another'"):
        lora.load(compressed(), tmp_path)
    sizes = r"is \[4, 48\], and the model needs \[4, 96\]"
    with pytest.raises(DamagedFileError, match=sizes):
        lora.load(compressed(hidden_size=96), folder)
    facts = json.loads((folder / "adapter_config.json").read_text())
    facts = {k: facts[k] for k in ("base_model_name_or_path", "task_type")}
    facts |= {
        "peft_type": "IA3",
        "target_modules": ATTENTION,
        "feedforward_modules": [],
    }
    (tmp_path / "adapter_config.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"LoRA adapter; .* holds IA3"):
        lora.load(compressed(), tmp_path)
