"""A mixture of experts for OpenVINO, in the form in which it uses its grouped product."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino
    from torch import Tensor, nn


def compiled(reference: "nn.Module", threads: int) -> Callable:
    """OpenVINO's version of a `DeepseekV3MoE`, a function of `[tokens, 1, width]`.

    Written out, every expert reads every token, and weights of 0 remove what was not asked
    for. OpenVINO recognizes this form and multiplies only what a router has chosen; if it
    does not, this raises ValueError.
    """
    import openvino
    import torch

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.compile_model(_written_out(reference), "CPU", settings)
    kinds = {
        node.get_rt_info()["layerType"].astype(str)
        for node in model.get_runtime_model().get_ops()
    }
    if "GatherMatmul" not in kinds:
        raise ValueError(f"OpenVINO does not group the products: {sorted(kinds)}")
    request = model.create_infer_request()
    return lambda batch: torch.from_numpy(
        request.infer([batch.numpy()], share_inputs=True)[0]
    )


def _written_out(reference: "nn.Module") -> "openvino.Model":
    import openvino
    from openvino import opset15 as ops

    experts, shared = reference.experts, reference.shared_experts
    count, width = reference.gate.weight.shape
    x = ops.parameter([-1, 1, width], openvino.Type.f32)
    flat = ops.reshape(x, [-1, width], False)
    routing = ops.transpose(_weights_of_experts(flat, reference), [1, 0])
    routing = ops.reshape(routing, [count, -1, 1], False)
    tiled = ops.reshape(ops.tile(flat, [count, 1]), [count, -1, width], False)
    gate, up = experts.gate_up_proj.chunk(2, 1)
    each = _network(tiled, gate.contiguous(), up.contiguous(), experts.down_proj)
    each = ops.reshape(each, [count, -1, 1, width], False)
    routed = ops.reduce_sum(ops.multiply(each, ops.unsqueeze(routing, 3)), [0], False)
    layers = shared.gate_proj, shared.up_proj, shared.down_proj
    y = ops.add(routed, _network(x, *(layer.weight for layer in layers)))
    return openvino.Model([y], [x])


def _weights_of_experts(flat, reference: "nn.Module"):
    """`[tokens, experts]`: chosen by score and bias, weighed by score, else 0."""
    import openvino
    from openvino import opset15 as ops

    router, config = reference.gate, reference.config
    scores = ops.sigmoid(ops.matmul(flat, _constant(router.weight), False, True))
    biased = ops.add(scores, _constant(router.e_score_correction_bias))
    top = ops.constant(config.num_experts_per_tok)
    chosen = ops.topk(biased, top, 1, "max", "none").output(1)
    weights = ops.gather_elements(scores, chosen, 1)
    weights = ops.divide(weights, ops.reduce_sum(weights, [1], True))
    factor = ops.constant(config.routed_scaling_factor, openvino.Type.f32)
    zero = ops.constant(0.0, openvino.Type.f32)
    zeros = ops.broadcast(zero, ops.shape_of(scores))
    return ops.scatter_elements_update(zeros, chosen, ops.multiply(weights, factor), 1)


def _network(x, gate: "Tensor", up: "Tensor", down: "Tensor"):
    from openvino import opset15 as ops

    hidden = ops.matmul(x, _constant(gate), False, True)
    hidden = ops.multiply(hidden, ops.sigmoid(hidden))  # becomes one operation
    hidden = ops.multiply(hidden, ops.matmul(x, _constant(up), False, True))
    return ops.matmul(hidden, _constant(down), False, True)


def _constant(weight: "Tensor"):
    from openvino import opset15 as ops

    return ops.constant(weight.detach().numpy())
