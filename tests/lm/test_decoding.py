"""`Decoding` computes what the models compute, token by token."""

import pytest
import torch

from deepseek_learn import dpg, lm
from deepseek_learn.dpg.layers import set_precision
from deepseek_learn.errors import DeepSeekLearnError
from deepseek_learn.lm.config import (
    COMPRESSED_SPARSE,
    HEAVILY_COMPRESSED,
    SLIDING,
    SPARSE,
)
from deepseek_learn.lm.cpp.program import Program
from deepseek_learn.lm.hybrid import HybridAttention

TOKENS, PROMPT = 300, 100  # more than two tasks of attention
GROUPS = {"n_group": 4, "topk_group": 2, "num_experts_per_tok": 3}
CONFIGS = {
    "dense": {"first_k_dense_replace": 2},
    "query latent": {"q_lora_rank": 48},
    "groups of experts": GROUPS,
    "V2's routing": {
        **GROUPS,
        "topk_method": "group_limited_greedy",
        "scoring_func": "softmax",
        "norm_topk_prob": False,
        "routed_scaling_factor": 2.5,
    },
    "V4's scores": {"scoring_func": "sqrtsoftplus"},
}


def language_model(**sizes):
    torch.manual_seed(0)
    model = lm.LanguageModel(lm.Config(num_hidden_layers=2, **sizes)).eval()
    for router in model.routers():
        if router.balanced:
            router.e_score_correction_bias.normal_(std=0.1)
    return model


def plain(activation="relu"):
    torch.manual_seed(0)
    model = lm.Decoder(256, 128, 2, 4, TOKENS, activation=activation).eval()
    for parameter in model.parameters():  # biases and norms that matter
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.2)
    return model


def hybrid(**sizes):
    """Windows, chosen entries, all entries; sinks and biases that matter."""
    torch.manual_seed(0)
    kinds = (SLIDING, COMPRESSED_SPARSE, HEAVILY_COMPRESSED)
    sizes = {
        "num_hidden_layers": 3,
        "layer_types": kinds,
        "hidden_size": 64,
        "num_attention_heads": 6,
        "q_lora_rank": 48,
        "head_dim": 32,
        "qk_rope_head_dim": 16,
        "index_n_heads": 8,
        "index_head_dim": 32,
        "index_topk": 9,
        "sliding_window": 24,
        "compress_rates": {COMPRESSED_SPARSE: 4, HEAVILY_COMPRESSED: 16},
        "o_groups": 2,
        "o_lora_rank": 24,
    } | sizes
    model = lm.LanguageModel(lm.Config(**sizes)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("sinks", "position_bias")) or "_norm" in name:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.5)
    return model


MODELS = {
    name: lambda c=config: language_model(**c) for name, config in CONFIGS.items()
}
MODELS |= {
    "separate experts": lambda: lm.separate(language_model()),
    "hybrid": hybrid,
    "hybrid, all entries chosen": lambda: hybrid(
        index_topk=512, first_k_dense_replace=3
    ),
    "plain, ReLU": plain,
    "plain, GELU": lambda: plain("gelu"),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def ids():
    return torch.randint(0, 256, (TOKENS,), generator=torch.Generator().manual_seed(1))


def chooses(model):
    """Whether the model attends to the best of many entries."""
    hybrids = [m for m in model.modules() if isinstance(m, HybridAttention)]
    return any(m.indexed and m.config.index_topk < TOKENS // 4 for m in hybrids)


def decode(model, ids, dtype=torch.float32, prompt=PROMPT):
    """The logits after the prompt and after each later token, `[T, V]`."""
    decoding = lm.Decoding(model, len(ids), dtype)
    rows = [decoding.read(ids[:prompt])]
    rows += [decoding.step(int(token)).clone() for token in ids[prompt:]]
    assert decoding.length == len(ids)
    return torch.stack(rows)


@torch.inference_mode()
def whole(model, ids, prompt=PROMPT):
    return model(ids[None])[0, prompt - 1 :]


def test_logits_are_the_models(model, ids):
    torch.testing.assert_close(decode(model, ids), whole(model, ids), rtol=0, atol=5e-6)


@pytest.mark.parametrize("prompt", [1, 3, 4, 15, 16, 17, 23, 24, 25, 40])
def test_a_prompt_may_end_anywhere_in_a_window(prompt, ids):
    model, few = hybrid(), ids[:70]
    expected = whole(model, few, prompt)
    logits = decode(model, few, prompt=prompt)
    torch.testing.assert_close(logits, expected, rtol=0, atol=5e-6)


def test_a_cache_in_bfloat16_is_close_and_takes_half(model, ids):
    expected = whole(model, ids)
    error = (decode(model, ids, torch.bfloat16) - expected).abs().max() / expected.std()
    if not chooses(model):  # rounded scores may choose another entry or expert
        assert 0 < error < 2**-8 * 10  # some roundings to 8 bits
    sizes = [lm.Decoding(model, 64, t).bytes() for t in (torch.float32, torch.bfloat16)]
    assert sizes[0] == 2 * sizes[1]


def test_a_packed_model_is_read_with_16_bit_activations(model, ids):
    """With 8 bits, the smallest difference moves an activation by a whole step."""
    packed = dpg.convert(model, dpg.uniform(model, 4))
    set_precision(packed, wide=True)
    expected = whole(packed, ids)
    near = (decode(packed, ids) - expected).abs().max() / expected.std()
    set_precision(packed, wide=False)
    coarse = (whole(packed, ids) - expected).abs().max() / expected.std()
    assert near < coarse / 8


def test_the_number_of_threads_changes_nothing(ids):
    packed = dpg.convert(language_model(), dpg.uniform(language_model(), 4))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = decode(packed, ids, torch.bfloat16)
        torch.set_num_threads(2)
        two = decode(packed, ids, torch.bfloat16)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one[1:], two[1:])  # the prompt is read by PyTorch


def test_a_second_prompt_starts_anew(ids):
    model = language_model()
    decoding = lm.Decoding(model, 40, torch.float32)
    decoding.read(ids[100:130])
    decoding.step(3)
    first = decoding.read(ids[:20])
    expected = whole(model, ids[:22], 20)
    torch.testing.assert_close(first, expected[0], rtol=0, atol=5e-6)
    for token, row in zip(ids[20:22], expected[1:], strict=True):
        torch.testing.assert_close(decoding.step(int(token)), row, rtol=0, atol=5e-6)


def test_layers_of_one_input_are_rounded_once_and_agree_to_the_bit():
    torch.manual_seed(0)
    model = torch.nn.ModuleList(
        torch.nn.Linear(96, n, bias=n > 20) for n in (24, 17, 40)
    )
    packed = dpg.convert(model, dpg.uniform(model, 4))
    x, start = torch.randn(96), torch.randn(81)
    expected = torch.cat([layer(x[None])[0] for layer in packed])
    for add in (False, True):
        program, y = Program(), start.clone()
        program.linear(list(packed), x, y, add)
        program.run(0, threads=1)
        torch.testing.assert_close(y, expected + add * start, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("heads", "groups", "size", "width"),
    [(6, 2, 64, 24), (4, 1, 40, 64), (3, 3, 17, 121), (7, 1, 1100, 32)],
)
def test_attention(heads, groups, size, width, dtype):
    torch.manual_seed(0)
    q, capacity = 3 * torch.randn(heads, size), 400
    keys, values = (
        torch.randn(groups, capacity, size),
        torch.randn(groups, capacity, width),
    )
    keys, values = keys.to(dtype), values.to(dtype)
    y = torch.zeros(heads, width)
    program = Program()
    scale = 2.4 / size**0.5
    program.attend(q, keys, values, y, scale)
    for length in (1, 2, 128, 129, 400):
        program.run(length - 1)
        k, v = (
            t.double()[:, :length].repeat_interleave(heads // groups, 0)
            for t in (keys, values)
        )
        p = (torch.einsum("hd,hsd->hs", q.double(), k) * scale).softmax(1)
        expected = torch.einsum("hs,hsv->hv", p, v)
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["silu", "relu", "gelu"])
def test_gates(kind):
    x, up = torch.linspace(-100, 100, 1001), torch.randn(1001)
    y, factor = torch.empty(1001), torch.tensor([0.7])
    program = Program()
    program.gate(x, up, kind, y, factor)
    program.run(0)
    expected = getattr(torch.nn.functional, kind)(x.double()) * up.double() * 0.7
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("capacity", [0, 513])
def test_an_impossible_capacity_is_refused(capacity):
    with pytest.raises(
        ValueError, match=f"capacity must be from 1 to 512; got {capacity}"
    ):
        lm.Decoding(language_model(), capacity)


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"dtype must be .* got torch.float16"):
        lm.Decoding(language_model(), 8, torch.float16)


def test_a_full_sequence_is_refused(ids):
    decoding = lm.Decoding(language_model(), 3)
    with pytest.raises(
        ValueError, match="capacity of 3 tokens; got 4 new tokens after 0"
    ):
        decoding.read(ids[:4])
    decoding.read(ids[:3])
    with pytest.raises(ValueError, match="got 1 new tokens after 3"):
        decoding.step(0)


@pytest.mark.parametrize(
    "ids", [torch.zeros(1, 2).long(), torch.zeros(3), torch.zeros(0)]
)
def test_a_malformed_prompt_is_refused(ids):
    with pytest.raises(ValueError, match=r"ids must be int64 with shape \[T\]"):
        lm.Decoding(language_model(), 8).read(ids)


def test_other_models_are_refused():
    with pytest.raises(
        TypeError, match="must be a LanguageModel or a Decoder; got Linear"
    ):
        lm.Decoding(torch.nn.Linear(2, 2), 8)


def test_a_model_elsewhere_is_refused():
    with pytest.raises(ValueError, match="on the CPU; got a model on meta"):
        lm.Decoding(language_model().to("meta"), 8)


def test_more_experts_than_the_kernel_has_room_for_are_refused():
    options = {"scoring": "sigmoid", "top": 1, "scale": 1.0, "normalized": True}
    with pytest.raises(
        ValueError, match="at most 1024 experts in 256 groups; got 1025"
    ):
        Program().experts(torch.zeros(1025), None, [], torch.zeros(1), **options)


def test_an_attention_that_is_not_supported_is_named():
    config = {"layer_types": (SPARSE, SPARSE), "q_lora_rank": 32}
    with pytest.raises(
        DeepSeekLearnError, match="contains SparseAttention, which cannot"
    ):
        lm.Decoding(language_model(**config), 8)
