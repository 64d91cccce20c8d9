"""Dynamic parameter grouping (DPG): mixed-precision quantization of trained models.

`DynamicParameterGroup` implements the method from the guide, which groups neurons by
how often they are active. `compress` implements the method that compresses best. It
allocates bits to blocks of rows based on Fisher information times rounding error,
rounds the weights with GPTQ, and stores each bit-plane only once. `Cascade` adapts the
precision to each input.

Lesson: `notebooks/basic/04_dynamic_parameter_groups.ipynb`.
"""

from .. import lazy

_LAZY = {
    "Allocation": "allocation",
    "Backend": "kernels",
    "Calibration": "calibration",
    "Cascade": "cascade",
    "CascadeError": "cascade",
    "Codes": "codes",
    "CompressedTensorsError": "compressed_tensors",
    "Compression": "compression",
    "DPGConv1d": "convolution",
    "DPGConv2d": "convolution",
    "DPGConv3d": "convolution",
    "DPGEmbedding": "layers",
    "DPGLinear": "layers",
    "DynamicParameterGroup": "monitor",
    "FrozenModelError": "frozen",
    "GGUFError": "gguf_families",
    "Groups": "groups",
    "Layer": "criteria",
    "Layers": "matrix",
    "MappedExperts": "mapped",
    "PackedMatrix": "packed",
    "Recurrent": "recurrent",
    "Statistics": "statistics",
    "Threshold": "cascade",
    "allocate": "allocation",
    "backend": "kernels",
    "by_groups": "allocation",
    "bytes_of": "matrix",
    "calibrate": "calibration",
    "compress": "compression",
    "convert": "compression",
    "drop_refinement": "storage",
    "grouping": "criteria",
    "load": "storage",
    "output_error": "rounding",
    "pack_matrix": "packed",
    "quantize": "rounding",
    "save": "storage",
    "set_precision": "layers",
    "simulate": "compression",
    "stepwise": "recurrent",
    "to_compressed_tensors": "compressed_tensors",
    "to_gguf": "gguf",
    "uniform": "allocation",
    "use_backend": "kernels",
    "write_experts": "mapped",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
