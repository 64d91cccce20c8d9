"""A 2-D convolution becomes a 3-D one that starts with the same answers."""

import torch
from torch import nn

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

SETTINGS = ("stride", "padding", "dilation", "groups", "padding_mode")


def check(answer, rng) -> None:
    expect.function(answer, "inflate")
    for case in range(6):
        conv, depth = layer(rng, case), (3, 5, 3, 1, 7, 3)[case]
        before = [each.detach().clone() for each in conv.parameters()]
        call = f"inflate({conv}, {depth})"
        new = expect.call(answer, expect.may_change(conv), depth)
        if not isinstance(new, nn.Conv3d):
            raise Failed("type", call=call, got=type(new).__name__)
        pairs = zip(conv.parameters(), before, strict=True)
        if any(not (torch.equal(*each) and each[0].requires_grad) for each in pairs):
            raise Failed("changed", call=call)
        compare_settings(new, conv, depth, call)
        compare_weights(new, conv, depth, call)


def layer(rng, case: int) -> nn.Conv2d:
    """A layer of any size; every second one has a bias, four of six a stride."""
    c_in, c_out, h, w, t, p, q = (
        int(n) for n in rng.integers([1, 1, 1, 2, 1, 0, 0], [4, 5, 4, 5, 4, 3, 2])
    )
    torch.manual_seed(int(rng.integers(2**31)))
    stride, bias = (1 + case % 3, t), case % 2 == 0
    return nn.Conv2d(c_in, c_out, (h, w), stride, (p, q), bias=bias)


def compare_settings(new: nn.Conv3d, conv: nn.Conv2d, depth: int, call: str) -> None:
    want = [*conv.weight.shape[:2], depth, *conv.weight.shape[2:]]
    if [*new.weight.shape] != want:
        raise Failed("shape", call=call, got=[*new.weight.shape], want=want)
    along_z = {"stride": 1, "padding": depth // 2, "dilation": 1}
    for name in SETTINGS:
        expected, got = getattr(conv, name), getattr(new, name)
        if name in along_z:
            expected = (along_z[name], *expected)
            got = tuple(got) if isinstance(got, tuple | list) else got
        if got != expected:
            raise Failed(
                "setting", call=call, name=name, got=str(got), want=str(expected)
            )


def compare_weights(new: nn.Conv3d, conv: nn.Conv2d, depth: int, call: str) -> None:
    for name, old in conv.named_parameters():
        each = getattr(new, name)
        if each is not None and each.dtype != old.dtype:
            what, want = f"{name}.dtype", str(old.dtype)
            raise Failed(
                "setting", call=call, name=what, got=str(each.dtype), want=want
            )
    weight, flat = new.weight.detach(), conv.weight.detach()
    share = (flat / depth)[:, :, None].expand_as(weight)
    center = torch.zeros_like(weight)
    center[:, :, depth // 2] = flat
    if not torch.allclose(weight, share, atol=1e-6):
        if torch.allclose(weight, share * depth, atol=1e-6):
            raise Failed("sum", call=call, factor=float(depth))
        if torch.allclose(weight, center, atol=1e-6):
            raise Failed("center", call=call)
        raise Failed("weight", call=call, depth=depth)
    if new.bias is None or conv.bias is None:
        same_bias = new.bias is conv.bias
    else:
        same_bias = new.bias.shape == conv.bias.shape
        same_bias = same_bias and torch.allclose(new.bias, conv.bias)
    if not same_bias:
        raise Failed("bias", call=call)
    memory = {each.untyped_storage().data_ptr() for each in conv.parameters()}
    for name, each in new.named_parameters():
        if each.untyped_storage().data_ptr() in memory:
            raise Failed("shared", call=call)
        if each.untyped_storage().nbytes() < each.numel() * each.element_size():
            raise Failed("repeated", call=call, name=name)
        if not each.requires_grad or not each.is_leaf:
            raise Failed("frozen", call=call, name=name)
    missing = {"weight", "bias"} - {name for name, _ in new.named_parameters()}
    for name in missing - ({"bias"} if conv.bias is None else set()):
        raise Failed("frozen", call=call, name=name)
