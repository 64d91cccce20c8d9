r"""LoRA adapters for compressed models, with PEFT.

The packed weights stay as they are. Each adapted layer adds a product of two small float
matrices to its output, and only these are trained:

.. math:: y = \hat W x + \tfrac{\alpha}{r} B A x

where A has the shape `[r, K]` and B the shape `[N, r]` (Hu et al. 2021, "LoRA", arXiv
2106.09685). Gradients reach the adapters of earlier layers through the unpacked weights
(Dettmers et al. 2023, "QLoRA", arXiv 2305.14314).

An adapter fits the float model as well, whose layers have the same names: load it there
with PEFT to merge it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import DamagedFileError, require
from .frozen import FrozenModelError, stop_training
from .layers import DPGEmbedding, DPGLayer, DPGLinear, packed_layers

require("peft", extra="hf", purpose="LoRA on compressed models")

import peft  # noqa: E402
from peft.tuners import lora  # noqa: E402
from peft.tuners.tuners_utils import (  # noqa: E402
    BaseTunerLayer,
    check_target_module_exists,
)
from safetensors import SafetensorError  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

Model = Any  # a peft.PeftModel, which passes on the attributes of the model inside


def refuse_merge(*args: object, **kwargs: object) -> NoReturn:
    raise FrozenModelError(
        "an adapter cannot be merged into packed weights, because their codes have no room "
        "for it. Keep the adapter beside them, or load it into the float model with "
        "peft.PeftModel.from_pretrained, merge it there and compress the result."
    )


class PackedLora(lora.Linear):
    """A packed linear layer with adapters."""

    merge = refuse_merge

    def _get_in_out_features(self, module: Any) -> tuple[int, int]:
        return module.in_features, module.out_features


class PackedLoraEmbedding(lora.Embedding):
    """A packed embedding with adapters."""

    merge = refuse_merge

    def _get_in_out_features(self, module: Any) -> tuple[int, int]:
        return module.num_embeddings, module.embedding_dim

    def _embed(
        self, input: Tensor, weight: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        return F.embedding(input, weight)


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    DPGLinear: PackedLora,
    DPGEmbedding: PackedLoraEmbedding,
}


def add(model: nn.Module, config: peft.LoraConfig) -> Model:
    """Add an adapter to a compressed model.

    Args:
        model: a compressed model; it is changed in place.
        config: which layers get an adapter and how large it is. `target_modules` may name
            packed linear layers and embeddings as well as layers that are in float.

    Returns:
        A `peft.PeftModel`. It trains, `save_pretrained` stores the adapter alone, and
        `unload` returns the compressed model. Merging is refused.

    Raises:
        ValueError: if the model is not compressed, if it has an adapter already, if a
            target is a packed layer of another kind, or if the configuration trains the
            biases or copies of packed layers, which have no parameters.

    >>> import peft, torch
    >>> from deepseek_learn import dpg
    >>> from deepseek_learn.dpg import lora
    >>> net = torch.nn.Sequential(torch.nn.Linear(64, 32))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> model = lora.add(packed, peft.LoraConfig(r=2, target_modules=["0"])).train()
    >>> [tuple(p.shape) for p in model.parameters() if p.requires_grad]
    [(2, 64), (32, 2)]
    """
    _check(model, config)
    config._register_custom_module(dict(LAYERS))
    _thaw(model)
    try:
        with _device_of(model):
            adapted = peft.get_peft_model(model, config)
    except BaseException:
        _freeze(model)
        raise
    return _guarded(adapted)


def load(model: nn.Module, folder: str | Path, is_trainable: bool = False) -> Model:
    """Load an adapter that `save_pretrained` has stored onto a compressed model.

    Args:
        model: a compressed model with the layers that the adapter was trained on; it is
            changed in place.
        folder: the adapter's folder.
        is_trainable: whether to go on training it.

    Returns:
        A `peft.PeftModel`, as from `add`.

    Raises:
        DamagedFileError: if the adapter's file is damaged or belongs to another model.
        FileNotFoundError: if the folder holds no adapter.
        ValueError: if the adapter is not LoRA, or as in `add`.

    >>> import peft, tempfile, torch
    >>> from deepseek_learn import dpg
    >>> from deepseek_learn.dpg import lora
    >>> def packed():
    ...     net = torch.nn.Sequential(torch.nn.Linear(64, 32))
    ...     return dpg.convert(net, dpg.uniform(net, bits=4))
    >>> model = lora.add(packed(), peft.LoraConfig(r=2, target_modules=["0"]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save_pretrained(folder)
    ...     again = lora.load(packed(), folder)
    >>> type(again).__name__
    'PeftModel'
    """
    folder = Path(folder)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"folder must hold an adapter: {folder / name} is missing."
            )
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"adapter_config.json in {folder} is damaged or of another version: {error!r}."
        ) from error
    if not isinstance(config, peft.LoraConfig):
        kind = getattr(config.peft_type, "value", config.peft_type)
        raise ValueError(f"folder must hold a LoRA adapter; {folder} holds {kind}.")
    try:
        stored = load_file(folder / "adapter_model.safetensors")
    except SafetensorError as error:
        raise DamagedFileError(
            f"the adapter in {folder} is damaged: {error}."
        ) from error
    config.inference_mode = not is_trainable
    adapted = add(model, config)
    expected = peft.get_peft_model_state_dict(adapted)
    problem = _difference(stored, expected)
    if problem:
        adapted.unload()
        raise DamagedFileError(
            f"the adapter in {folder} does not fit this model: {problem}."
        )
    peft.set_peft_model_state_dict(adapted, stored)
    return adapted if is_trainable else adapted.eval()


def _check(model: nn.Module, config: peft.LoraConfig) -> None:
    """Raise ValueError for what would fail later, or silently train nothing."""
    if not isinstance(config, peft.LoraConfig):
        raise ValueError(
            f"config must be a peft.LoraConfig; got {type(config).__name__}."
        )
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise ValueError(
            "model has an adapter already: PEFT's add_adapter and load_adapter add others."
        )
    packed = packed_layers(model)
    if config.target_modules in (None, "all-linear"):
        raise ValueError(
            f"target_modules must name layers, such as ['q_proj', 'v_proj'], or be a "
            f"regular expression; got {config.target_modules!r}."
        )
    if config.trainable_token_indices is not None:
        raise ValueError(
            "trainable_token_indices must be None, because the rows of a packed embedding "
            "cannot be trained."
        )
    if config.bias != "none":
        raise ValueError(
            f"bias must be 'none', because packed layers have no parameters; got "
            f"{config.bias!r}."
        )
    for name, layer in packed.items():
        if any(name.endswith(end) for end in config.modules_to_save or ()):
            raise ValueError(
                f"modules_to_save must name layers in float; {name!r} is packed, so that "
                f"a copy of it could not be trained."
            )
        kinds = tuple(LAYERS)
        if check_target_module_exists(config, name) and not isinstance(layer, kinds):
            raise ValueError(
                f"target_modules must name linear layers and embeddings, or layers in "
                f"float; {name!r} is a {type(layer).__name__}."
            )


def _difference(stored: dict, expected: dict) -> str:
    """Say in what an adapter's file differs from what the model needs, or return ''."""
    for name, tensor in expected.items():
        if name not in stored:
            return f"it lacks {name!r}"
        if stored[name].shape != tensor.shape:
            shapes = list(stored[name].shape), list(tensor.shape)
            return f"{name!r} is {shapes[0]}, and the model needs {shapes[1]}"
    extra = stored.keys() - expected.keys()
    return f"the model has no {min(extra)!r}" if extra else ""


def _bases(model: nn.Module) -> Iterator[DPGLayer]:
    return (module for module in model.modules() if isinstance(module, DPGLayer))


def _thaw(model: nn.Module) -> None:
    """Let the layers around the packed weights train."""
    for module in model.modules():
        vars(module).pop("train", None)  # what `freeze` put there
    for layer in _bases(model):
        layer.adapted = True


@contextmanager
def _device_of(model: nn.Module) -> Iterator[None]:
    """Tell PEFT the device, which it would take from a parameter: there may be none."""
    has_map = hasattr(model, "hf_device_map")
    if not has_map:
        device = next(_bases(model)).matrix.order.device
        model.hf_device_map = {"": device}  # type: ignore[assignment]
    try:
        yield
    finally:
        if not has_map:
            del model.hf_device_map


def _guarded(adapted: Model) -> Model:
    """Refuse to merge before any layer is merged, and freeze again what is unloaded."""
    inner = adapted.base_model
    inner.merge_and_unload = inner.merge_adapter = refuse_merge
    inner.unload = partial(_unload, inner)
    return adapted


def _unload(inner: Any) -> nn.Module:
    return _freeze(type(inner).unload(inner))


def _freeze(model: nn.Module) -> nn.Module:
    for layer in _bases(model):
        layer.adapted = False
    return stop_training(model)
