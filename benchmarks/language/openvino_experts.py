"""A mixture of experts for OpenVINO, in the form in which it uses its grouped product."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def compiled(reference: "nn.Module", threads: int) -> Callable:
    """OpenVINO's version of a `DeepseekV3MoE`, a function of `[tokens, 1, width]`.

    Written out, every expert reads every token, and weights of 0 remove what was not asked
    for. OpenVINO recognizes this form and multiplies only what a router has chosen; if it
    does not, this raises ValueError.
    """
    import openvino
    import torch
    from openvino import opset15 as ops

    def constant(weight: "Tensor"):
        return ops.constant(weight.detach().numpy())

    def products(x, gate, up, down):
        hidden = ops.matmul(x, constant(gate), False, True)
        hidden = ops.multiply(hidden, ops.sigmoid(hidden))  # becomes one operation
        hidden = ops.multiply(hidden, ops.matmul(x, constant(up), False, True))
        return ops.matmul(hidden, constant(down), False, True)

    router, experts, shared = (
        reference.gate,
        reference.experts,
        reference.shared_experts,
    )
    count, width = router.weight.shape
    top, scale = (
        reference.config.num_experts_per_tok,
        reference.config.routed_scaling_factor,
    )
    x = ops.parameter([-1, 1, width], openvino.Type.f32)
    flat = ops.reshape(x, [-1, width], False)
    # 1. The router chooses by score and bias, and weighs by score.
    scores = ops.sigmoid(ops.matmul(flat, constant(router.weight), False, True))
    biased = ops.add(scores, constant(router.e_score_correction_bias))
    chosen = ops.topk(biased, ops.constant(top), 1, "max", "none").output(1)
    weights = ops.gather_elements(scores, chosen, 1)
    weights = ops.divide(weights, ops.reduce_sum(weights, [1], True))
    weights = ops.multiply(weights, ops.constant(scale, openvino.Type.f32))
    zeros = ops.broadcast(ops.constant(0.0, openvino.Type.f32), ops.shape_of(scores))
    routing = ops.scatter_elements_update(zeros, chosen, weights, 1)
    routing = ops.reshape(ops.transpose(routing, [1, 0]), [count, -1, 1], False)
    # 2. All experts, as one product for all of them.
    tiled = ops.reshape(ops.tile(flat, [count, 1]), [count, -1, width], False)
    gate, up = experts.gate_up_proj.chunk(2, 1)
    each = products(tiled, gate.contiguous(), up.contiguous(), experts.down_proj)
    each = ops.reshape(each, [count, -1, 1, width], False)
    routed = ops.reduce_sum(ops.multiply(each, ops.unsqueeze(routing, 3)), [0], False)
    layers = shared.gate_proj, shared.up_proj, shared.down_proj
    y = ops.add(routed, products(x, *(layer.weight for layer in layers)))

    model = openvino.compile_model(
        openvino.Model([y], [x]),
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
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
