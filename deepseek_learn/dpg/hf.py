"""Compressed models in Hugging Face's transformers.

Importing this module registers the quantization method "dpg":

>>> from transformers import AutoModelForCausalLM                    # doctest: +SKIP
>>> from deepseek_learn.dpg.hf import DPGConfig                      # doctest: +SKIP
>>> config = DPGConfig(bits=4, calibration=batches)                  # doctest: +SKIP
>>> model = AutoModelForCausalLM.from_pretrained(                    # doctest: +SKIP
...     folder, quantization_config=config)
>>> model.save_pretrained("small")                                   # doctest: +SKIP
>>> same = AutoModelForCausalLM.from_pretrained("small")             # doctest: +SKIP

The folder "small" holds the packed weights, and loads exactly wherever this module has
been imported. Where it has not, transformers finds weights of the wrong shape and refuses
to load them. Without these it would return a model with random weights.
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DamagedFileError, require
from .allocation import uniform
from .arena import gather
from .assembly import packed_layer, share_matrix
from .batches import run
from .compression import compress, convert
from .frozen import freeze, permit_exports
from .layers import DPGLayer, packed_layers
from .matrix import FloatLayer, Layers
from .packed import PackedMatrix, Segment
from .recurrent import settings_of
from .storage import facts_of, shape_of, tied_to

require("transformers", extra="hf", purpose="Compressing in transformers")

from transformers.quantizers import HfQuantizer  # noqa: E402
from transformers.quantizers.auto import (  # noqa: E402
    register_quantization_config,
    register_quantizer,
)
from transformers.utils.quantization_config import (  # noqa: E402
    QuantizationConfigMixin,
)

from .hf_layers import as_linear  # noqa: E402
from .hf_saving import push, save  # noqa: E402

Model = Any  # a transformers.PreTrainedModel, whose private attributes have no types
METHOD, VERSION = "dpg", 1  # of what config.json says
# no weight has this shape, so that whoever expects floats under the name refuses them
WRONG_SHAPE = (1,) * 7
HINT = "import_deepseek_learn.dpg.hf_to_load_this_model"


@register_quantization_config(METHOD)
class DPGConfig(QuantizationConfigMixin):
    """How a model is compressed while `from_pretrained` loads it.

    Args:
        bits: the average number of bits per weight, from 2 to 8. Without calibration,
            an integer.
        calibration: batches of inputs for `dpg.compress`, such as tensors of token ids or
            dictionaries of a model's arguments. Without them every row gets the same
            number of bits and is rounded to nearest, which loses more.
        layer_bits: maps layer names or patterns to bit widths (see `dpg.allocate`).
        options: other arguments of `dpg.compress`, such as `criterion`, `group_size`,
            `levels` and `granularity`.

    Attributes:
        replaced, layers, tied, checksum, version: what `save_pretrained` stores: the
            modules that were written as linear layers (see `hf_layers`), the packed
            layers, which of them share a matrix, a SHA-256 of their tensors, and the
            version of all this.

    Raises:
        TypeError: if `dpg.compress` has no argument of an option's name.
        ValueError: if an option takes effect with calibration only.
        DamagedFileError: if another version of this library wrote the configuration.
    """

    def __init__(
        self,
        bits: float = 4.0,
        calibration: Iterable[Any] | None = None,
        layer_bits: Mapping[str, int] | None = None,
        replaced: Iterable[str] = (),
        layers: Mapping[str, Any] | None = None,
        tied: Mapping[str, str] | None = None,
        checksum: str = "",
        version: int = VERSION,
        **options: Any,
    ):
        if version != VERSION:
            raise DamagedFileError(
                f"the quantization_config has version {version!r}, and this library reads "
                f"version {VERSION}."
            )
        self.quant_method: Any = METHOD
        self.calibration = None if calibration is None else [*calibration]
        self.bits, self.layer_bits = bits, layer_bits
        self.layers, self.tied = dict(layers or {}), dict(tied or {})
        self.replaced, self.checksum = list(replaced), checksum
        self.version = version
        options.pop("quant_method", None)
        unknown = options.keys() - OPTIONS
        if unknown:
            raise TypeError(
                f"DPGConfig has no option {min(unknown)!r}; it accepts bits, calibration, "
                f"layer_bits and {', '.join(OPTIONS)}."
            )
        ignored = () if calibration is not None else options.keys() - WITHOUT_BATCHES
        if ignored:
            raise ValueError(
                f"{min(ignored)} needs calibration: without it, every row gets `bits` "
                f"bits and is rounded to nearest."
            )
        self.options = options

    def to_dict(self) -> dict[str, Any]:
        """Return what config.json stores: how to load the model, not how it was made."""
        return {name: getattr(self, name) for name in STORED}


STORED = "quant_method", "version", "bits", "replaced", "layers", "tied", "checksum"
WITHOUT_BATCHES = {"group_size", "refine"}  # what takes effect without calibration
OPTIONS = ("criterion", "group_size", "refine", "rounding", "levels", "granularity")


@register_quantizer(METHOD)
class DPGQuantizer(HfQuantizer):
    """What transformers calls while it loads and saves a compressed model."""

    quantization_config: DPGConfig

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:
        device_map = kwargs.get("device_map")
        if isinstance(device_map, Mapping) and len(set(device_map.values())) > 1:
            raise ValueError(
                f"device_map must put the whole model on one device, because its packed "
                f"matrices lie in one block; got {sorted(set(device_map.values()))}."
            )

    def _process_model_before_weight_loading(self, model: Model, **kwargs: Any) -> None:
        if not self.pre_quantized:
            return
        config = self.quantization_config
        try:
            new = _empty_layers(model, config)
        except (
            AttributeError,
            KeyError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            raise DamagedFileError(
                f"the quantization_config in config.json is damaged or of another "
                f"version: {error!r}."
            ) from error
        _replace(model, new)
        ignored = {f"^{re.escape(name)}\\.weight$" for name in config.layers}
        ignored |= {HINT, *(model._keys_to_ignore_on_load_unexpected or ())}
        model._keys_to_ignore_on_load_unexpected = ignored
        model.all_tied_weights_keys = {
            name: other
            for name, other in model.all_tied_weights_keys.items()
            if name.rpartition(".")[0] not in config.layers
        }
        for name in config.layers:
            # transformers would initialize weights that it believes not to have loaded
            parent = model.get_submodule(name.rpartition(".")[0])
            parent._is_hf_initialized = not parent._non_persistent_buffers_set
        model._adjust_missing_and_unexpected_keys = partial(_refuse_missing, model)

    def _process_model_after_weight_loading(self, model: Model, **kwargs: Any) -> Model:
        config = self.quantization_config
        if not self.pre_quantized:
            return _compressed(model, config)
        del model._adjust_missing_and_unexpected_keys
        for name, first in config.tied.items():
            share_matrix(model.get_submodule(name), model.get_submodule(first))
        if _checksum(model) != config.checksum:
            raise DamagedFileError(
                f"{model.config.name_or_path or 'the checkpoint'} is damaged: its packed "
                f"weights are not those that were saved."
            )
        return _frozen(model)

    def get_state_dict_and_metadata(
        self, model: Model
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return each packed tensor once, and tensors that stop whoever expects floats."""
        packed = packed_layers(model)
        tied = tuple(f"{name}.matrix." for name in tied_to(packed))
        state = {k: v for k, v in model.state_dict().items() if not k.startswith(tied)}
        for name in [*(f"{name}.weight" for name in packed), HINT]:
            state[name] = torch.zeros(WRONG_SHAPE)
        return state, {"quantization": METHOD}

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        # with adapters (see `lora`); without them, the model refuses to train
        return True


def prepare(model: Model) -> Model:
    """Let transformers save a model that `dpg.compress` has made.

    Args:
        model: `dpg.compress(...).model`, a transformers model; it is changed in place.

    Returns:
        The model, whose `save_pretrained` and `push_to_hub` now keep the packed weights.

    Raises:
        TypeError: if `model` is not a model of transformers.
        ValueError: if `model` is not DPG-compressed.
    """
    if not hasattr(model, "config"):
        raise TypeError(
            f"model must be a transformers model; got a {type(model).__name__}."
        )
    before = getattr(model.config, "quantization_config", None)
    replaced = getattr(before, "replaced", ())
    config = DPGConfig(replaced=dict.fromkeys([*replaced, *settings_of(model)]))
    _describe(config, model)
    model.hf_quantizer = DPGQuantizer(config, pre_quantized=True)
    model.config.quantization_config = config
    return _frozen(model)


def _empty_layers(model: Model, config: DPGConfig) -> dict[str, DPGLayer]:
    """Return the packed layers that a configuration describes, without values."""
    as_linear(model, config.replaced)
    layers, new = Layers.of(model).uses, {}
    with torch.device("meta"):
        for name, facts in config.layers.items():
            _check_layer(name, facts, layers)
            rows, columns, group_size = facts["matrix"]
            segments = tuple(Segment(**each) for each in facts["segments"])
            matrix = PackedMatrix(rows, columns, group_size, segments)
            new[name] = packed_layer(layers[name], matrix)
    for name in config.tied:
        # stored under the other's name only: transformers would fill it with noise
        new[name].matrix = None  # type: ignore[assignment]
    return new


def _describe(config: DPGConfig, model: Model) -> None:
    """Note in a configuration how the layers of a model are packed."""
    packed = packed_layers(model)
    config.layers = {name: facts_of(layer) for name, layer in packed.items()}
    config.tied = tied_to(packed)
    config.checksum = _checksum(model)


def _compressed(model: Model, config: DPGConfig) -> Model:
    """Compress the layers of a model that has been loaded, in place."""
    config.replaced = as_linear(model)
    if config.calibration is None:
        layers = Layers.of(model)
        size = config.options.get("group_size", 64)
        allocation = uniform(layers, config.bits, size, config.layer_bits)
        small = convert(layers, allocation, refine=config.options.get("refine", False))
    else:
        small = compress(
            model,
            config.calibration,
            config.bits,
            layer_bits=config.layer_bits,
            logits=_logits,
            **config.options,
        ).model
    _replace(model, packed_layers(small))
    _describe(config, model)
    model.hf_quantizer.pre_quantized = True
    return _frozen(model)


def _logits(model: nn.Module, batch: Any) -> Tensor:
    """Return the logits, or what a model without a head returns in their place."""
    result = run(model, batch)
    return result["logits"] if "logits" in result else result[0]


def _frozen(model: Model) -> Model:
    """Refuse to train the model, save and upload it our way, and gather its planes."""
    gather(model)
    freeze(model, DPGLayer)
    permit_exports(model)
    model.save_pretrained = partial(save, model)
    model.push_to_hub = partial(push, model)
    return model


def _replace(model: nn.Module, new: Mapping[str, nn.Module]) -> None:
    """Put layers in place of others, under each name that a shared one has."""
    same = {id(model.get_submodule(name)): layer for name, layer in new.items()}
    for name, module in [*model.named_modules(remove_duplicate=False)]:
        if id(module) in same:
            model.set_submodule(name, same[id(module)])


def _check_layer(name: str, facts: Mapping, layers: Mapping[str, FloatLayer]) -> None:
    layer = layers.get(name)
    if layer is None or shape_of(layer) != facts["shape"]:
        raise DamagedFileError(
            f"config.json does not fit this model: its packed layer {name!r} is "
            f"{facts['shape']}, and the model has "
            f"{'none' if layer is None else shape_of(layer)}."
        )


def _refuse_missing(model: Model, report: Any) -> None:
    """Raise DamagedFileError for tensors that transformers would fill with noise.

    Called in place of the model's method that prepares the report on loading.
    """
    type(model)._adjust_missing_and_unexpected_keys(model, report)
    if report.missing_keys:
        raise DamagedFileError(
            f"{model.config.name_or_path or 'the checkpoint'} is damaged: it lacks "
            f"{len(report.missing_keys)} tensors, such as {min(report.missing_keys)!r}."
        )


def _checksum(model: nn.Module) -> str:
    """Return the SHA-256 of the packed matrices, in the order of their names."""
    digest, seen = sha256(), set()
    for name, layer in sorted(packed_layers(model).items()):
        if id(layer.matrix) not in seen:
            seen.add(id(layer.matrix))
            for key, tensor in sorted(layer.matrix.state_dict().items()):
                digest.update(f"{name}.{key}".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
