"""Backends: each is close to the float64 product, and the choice is explained."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deepseek_learn import catalog, dpg
from deepseek_learn.dpg import kernels
from deepseek_learn.dpg.codes import BITS
from deepseek_learn.dpg.kernels import multiply
from deepseek_learn.errors import DeepSeekLearnError
from tests.dpg.reference import bound, inputs, packed, product
from tests.dpg.reports import chinese
from tests.dpg.small_models import features, mlp
from tests.services import need

ROOT = Path(__file__).parents[2]
CPU = ("torch", "int4", "cpp")


@pytest.fixture(params=CPU)
def name(request):
    """Each CPU backend that works here, selected for the duration of a test."""
    with dpg.use_backend(request.param):
        try:
            dpg.backend()
        except DeepSeekLearnError as error:
            pytest.skip(str(error))
        yield request.param


def assert_near(name, matrix, x, bias=None):
    y = multiply(matrix, x, bias)
    assert y.dtype == torch.float32
    assert y.shape == (len(x), matrix.rows)
    assert y.is_contiguous()
    error = (y.double() - product(matrix, x, bias)).abs()
    assert (error <= bound(name, matrix, x, bias)).all()


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("bits", [*BITS, None])
def test_every_precision_is_near_the_float64_product(name, bits, refine):
    matrix, _ = packed(bits=bits, refine=refine)
    x, bias = inputs(5, 70), inputs(1, 37)[0]
    for matrix.refined in (False, True):
        for matrix.max_bits in (2, 3, 4, 5, 6, 7, 8):
            assert_near(name, matrix, x)
            assert_near(name, matrix, x, bias)


@pytest.mark.parametrize("group_size", [32, 64, 128])
@pytest.mark.parametrize("shape", [(1, 1), (16, 32), (17, 129), (96, 257)])
def test_every_shape_and_group_size(name, shape, group_size):
    matrix, _ = packed(*shape, group_size=group_size, refine=True)
    for rows in (1, 2, 3, 4, 5, 16, 65):
        assert_near(name, matrix, inputs(rows, shape[1]))


@pytest.mark.parametrize("bits", [*BITS, None])
def test_each_weight_alone(name, bits):
    """One-hot inputs return single weights: no code may be mistaken for another."""
    matrix, _ = packed(bits=bits, group_size=64)
    for matrix.max_bits in (2, 4, 8):
        y = multiply(matrix, torch.eye(70), None).T
        weight = matrix.dequantize()
        step = torch.full((38, 128), torch.inf)
        for part in matrix.parts():
            scale = (part.scale.float() * part.step).abs().T.repeat_interleave(64, 1)
            step[part.order.long() % 38] = scale
        assert ((y - weight).abs() < step[:37, :70] / 2).all()
        if name != "int4":  # 127 steps of 1 / 127 are 1 again
            torch.testing.assert_close(y, weight, rtol=1e-6, atol=1e-7)


def test_a_row_does_not_depend_on_the_others(name):
    matrix, _ = packed(refine=True)
    x = inputs(20, 70)
    together = multiply(matrix, x, None)
    for i in (0, 7, 19):
        alone = multiply(matrix, x[i : i + 1], None)[0]
        slack = bound("torch", matrix, x)[i]  # the order of summation may differ
        assert ((together[i] - alone).double().abs() <= 2 * slack).all()
    x[3] = 1e6  # a large neighboring row
    changed = multiply(matrix, x, None)
    others = [i for i in range(20) if i != 3]
    torch.testing.assert_close(changed[others], together[others], rtol=1e-6, atol=1e-6)


def test_inputs_that_are_views(name):
    matrix, _ = packed()
    x = inputs(70, 6).T  # not contiguous
    assert_near(name, matrix, x)
    wide = inputs(6, 90)[:, 10:80]
    assert_near(name, matrix, wide)


def test_zeros_and_very_small_and_large_numbers(name):
    matrix, _ = packed(refine=True)
    assert (multiply(matrix, torch.zeros(3, 70), None) == 0).all()
    for size in (1e-30, 1e30):
        assert_near(name, matrix, inputs(3, 70) * size)


def test_what_is_not_finite_is_not_hidden(name):
    matrix, _ = packed()
    x = inputs(4, 70)
    x[1, 2] = float("nan")
    x[2, 3] = float("inf")
    y = multiply(matrix, x, None)
    assert torch.isfinite(y[[0, 3]]).all()
    assert y[1].isnan().all()
    assert not torch.isfinite(y[2]).any()


def test_precision_can_be_changed_again_and_again(name):
    """Backends cache prepared matrices; they must notice every change."""
    matrix, _ = packed(refine=True)
    x, first = inputs(4, 70), {}
    for _ in range(2):
        for state in ((8, True), (4, True), (8, False), (2, False)):
            matrix.max_bits, matrix.refined = state
            y = multiply(matrix, x, None)
            assert torch.equal(first.setdefault(state, y), y)
    assert len({y.sum().item() for y in first.values()}) == 4


def test_a_matrix_that_goes_leaves_nothing_prepared(name):
    module = kernels._module(name)
    store = getattr(module, "_copies", getattr(module, "_descriptors", {}))
    before = len(store)
    matrix, _ = packed()
    multiply(matrix, inputs(1, 70), None)
    assert len(store) == before + (name != "torch")
    del matrix
    assert len(store) == before


def test_backends_agree_on_a_whole_network(name):
    model, x = mlp(), features()
    small = dpg.convert(model, dpg.uniform(model, 4, 32), refine=True)
    y = small(x)
    with dpg.use_backend("torch"):
        exact = small(x)
    # the first layer's error propagates through the second, which adds its own
    first, second = (small[i].matrix for i in (0, 3))
    hidden = small[0](x)
    passed = bound(name, first, x, small[0].bias) @ second.dequantize().double().abs().T
    slack = 3 * (passed + bound(name, second, hidden.relu(), small[3].bias))
    assert ((y - exact).double().abs() <= slack).all()


def test_gradients_and_tracing_use_the_exact_product(name):
    matrix, _ = packed()
    x = inputs(3, 70)
    with dpg.use_backend("torch"):
        exact = multiply(matrix, x, None)
    y = multiply(matrix, x.clone().requires_grad_(), None)
    assert torch.equal(y, exact)
    assert y.requires_grad
    with torch.no_grad():
        y = multiply(matrix, x.clone().requires_grad_(), None)
    assert not y.requires_grad
    with dpg.use_backend(name):
        assert torch.equal(y, multiply(matrix, x, None))
    on_meta = multiply(matrix.to("meta"), x.to("meta"), None)
    assert on_meta.shape == (3, 37)
    assert on_meta.is_meta


def test_the_graph_keeps_no_unpacked_weight():
    matrix, _ = packed(refine=True)
    x, saved = inputs(3, 70).requires_grad_(), []

    def keep(tensor):
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = multiply(matrix, x, None)
    assert sum(tensor.nbytes for tensor in saved) < matrix.dequantize().nbytes / 10
    g = inputs(3, 37).requires_grad_()
    [gradient] = torch.autograd.grad(y, x, g, create_graph=True)
    torch.testing.assert_close(gradient, g @ matrix.dequantize(), rtol=0, atol=0)
    [second] = torch.autograd.grad(gradient.sum(), g)
    assert torch.equal(second, torch.ones(3, 70) @ matrix.dequantize().T)


@pytest.mark.parametrize("refine", [False, True])
def test_a_matrix_with_many_rows_is_multiplied_in_pieces(refine, monkeypatch):
    matrix, _ = packed(2100, 70, refine=refine)  # some widths in more than one piece
    x, bias = inputs(3, 70).requires_grad_(), torch.randn(2100)
    results = []
    for many in (3000, 100):
        monkeypatch.setattr("deepseek_learn.dpg.kernels.MANY_ROWS", many)
        y = multiply(matrix, x, bias)
        g = torch.randn(3, 2100, generator=torch.Generator().manual_seed(0))
        results.append((y, *torch.autograd.grad(y, x, g)))
    for whole, pieces in zip(*results, strict=True):
        assert whole.shape == pieces.shape
        torch.testing.assert_close(whole, pieces, rtol=1e-4, atol=1e-4)
    bare = multiply(matrix, x, None)
    torch.testing.assert_close(bare + bias, results[1][0], rtol=0, atol=0)


def test_gradients_are_those_of_the_precision_of_the_forward_pass():
    matrix, _ = packed(bits=8, refine=True)
    weights, outputs = [], []
    x = inputs(3, 70).requires_grad_()
    for matrix.max_bits, matrix.refined in ((2, False), (4, False), (4, True)):
        weights.append(matrix.dequantize())
        outputs.append(multiply(matrix, x, None))
    matrix.max_bits, matrix.refined = 8, False
    for weight, y in zip(weights, outputs, strict=True):
        [gradient] = torch.autograd.grad(y.sum(), x)
        assert torch.equal(gradient, torch.ones(3, 37) @ weight)
    assert (matrix.max_bits, matrix.refined) == (8, False)


# ---- backend selection ---------------------------------------------------------------


def test_the_one_in_use_is_the_first_that_works():
    with dpg.use_backend(None):
        chosen = dpg.backend()
    assert chosen.name in CPU
    missing = CPU[::-1][: CPU[::-1].index(chosen.name)]
    assert str(chosen) == f"{chosen.name}: {chosen.reason}"
    for name in ("cpp", "int4"):
        not_used = f"({name} is not used: "
        assert (not_used in chosen.reason) == (name in missing and name != chosen.name)
    assert len(chosen.reason) > 10


def test_a_backend_by_name_and_back_again():
    with dpg.use_backend(None):
        before = dpg.backend()
        with dpg.use_backend("torch"):
            assert str(dpg.backend()) == "torch: requested by name."
            with dpg.use_backend(None):
                assert dpg.backend() == before
            assert dpg.backend().name == "torch"
        assert dpg.backend() == before
        with pytest.raises(KeyError), dpg.use_backend("torch"):
            raise KeyError
        assert dpg.backend() == before


@pytest.mark.parametrize("unknown", ["tpu", "triton", "", "Torch"])
def test_a_backend_that_there_is_not(unknown):
    matrix, _ = packed()
    sentence = (
        rf"DPG backend '{unknown}' does not support cpu; "
        r"use one of \('cpp', 'int4', 'torch'\)"
    )
    with dpg.use_backend(unknown):
        with pytest.raises(DeepSeekLearnError, match=sentence):
            dpg.backend()
        with pytest.raises(DeepSeekLearnError, match=sentence):
            multiply(matrix, inputs(1, 70), None)


def test_other_devices():
    with dpg.use_backend(None):
        assert dpg.backend("meta").name == "torch"
        assert dpg.backend("cuda:0").name in ("triton", "torch")
    with (
        dpg.use_backend("int4"),
        pytest.raises(DeepSeekLearnError, match="'int4' does not support cuda"),
    ):
        dpg.backend("cuda")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_reason_is_said_in_the_language_in_use(language, name):
    catalog.set_language(language)
    assert chinese(dpg.backend().reason) == (language == "zh")
    with dpg.use_backend(None):
        assert chinese(dpg.backend().reason) == (language == "zh")


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", f"import torch\ntorch.set_num_threads(1)\n{code}"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


WITHOUT_COMPILER = """
from deepseek_learn import dpg
from tests.dpg.small_models import features, mlp
chosen = dpg.backend()
print(chosen.name)
print(chosen.reason)
result = dpg.compress(mlp(), [features()], 4, refine=True)
y = result.model(features())
with dpg.use_backend("torch"):
    exact = result.model(features())
print(float((y - exact).norm() / exact.norm()))
try:
    with dpg.use_backend("cpp"):
        dpg.backend()
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_everything_works_without_a_compiler(tmp_path):
    environment = {"PATH": "", "CXX": "", "DEEPSEEK_LEARN_CACHE": str(tmp_path)}
    name, reason, error, refusal = run(WITHOUT_COMPILER, **environment)
    assert name in ("int4", "torch")
    assert "(cpp is not used: The C++ kernel needs a C++ compiler" in reason
    assert float(error) < 0.02  # a few roundings to 2^-8
    assert refusal.startswith(
        "DeepSeekLearnError DPG backend 'cpp': The C++ kernel needs"
    )


@pytest.mark.slow
def test_the_environment_may_choose():
    message = run(
        "from deepseek_learn import dpg\nprint(dpg.backend())",
        DEEPSEEK_LEARN_DPG_BACKEND="torch",
    )
    assert message == ["torch: requested by name."]


TRITON = """
from deepseek_learn.dpg.kernels import triton_backend
from tests.dpg.reference import bound, inputs, packed, product
assert triton_backend.problem() == ""

def check(matrix, x, bias=None):
    y = triton_backend.multiply(matrix, x, bias)
    error = (y.double() - product(matrix, x, bias)).abs()
    assert y.shape == error.shape and (error <= bound("triton", matrix, x, bias)).all()

matrix, _ = packed(rows=20, columns=40, bits=5, refine=True)
for M in range(1, 20):
    check(matrix, inputs(M, 40), inputs(1, 20)[0] if M % 2 else None)
matrix, _ = packed(rows=40, columns=33, refine=True)  # all bit widths in one matrix
for matrix.max_bits in (2, 4, 5, 6, 8):
    for matrix.refined in (False, True):
        check(matrix, inputs(2, 33))
for group_size in (64, 128):
    matrix, _ = packed(rows=3, columns=150, group_size=group_size, refine=True)
    check(matrix, inputs(2, 150))
print("near")
"""


@pytest.mark.slow
def test_the_triton_kernel_in_its_interpreter():
    need("triton")
    assert run(TRITON, TRITON_INTERPRET="1") == ["near"]


def test_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    matrix, _ = packed(refine=True)
    for name in ("triton", "torch"):
        with dpg.use_backend(name):
            for rows in (1, 3, 16, 19, 100):
                x, bias = inputs(rows, 70), inputs(1, 37)[0]
                expected, limit = (
                    product(matrix, x, bias),
                    bound("torch", matrix, x, bias),
                )
                y = multiply(matrix.cuda(), x.cuda(), bias.cuda())
                matrix.cpu()
                assert ((y.cpu().double() - expected).abs() <= limit).all()
    assert dpg.backend("cuda").name in ("triton", "torch")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["cpp", "int4", "torch"])
def test_another_default_dtype_changes_nothing(name, dtype):
    """A kernel writes float32 regardless of the default dtype."""
    model = mlp()
    small, x = dpg.convert(model, dpg.uniform(model, 4)), features()
    try:
        with dpg.use_backend(name):
            expected = small(x)
            torch.set_default_dtype(dtype)
            assert torch.equal(small(x), expected)
    except DeepSeekLearnError as error:
        pytest.skip(str(error))
    finally:
        torch.set_default_dtype(torch.float32)


def test_tracing_by_torch_jit_is_refused():
    model = mlp()
    small, x = dpg.convert(model, dpg.uniform(model, 4)), features()
    with pytest.raises(
        DeepSeekLearnError, match=r"use torch\.export or torch\.compile"
    ):
        torch.jit.trace(small, (x,), check_trace=False)
