"""Save and restore mutable objects of different kinds for a `Snapshot`.

A saver takes an object and returns an undo function and a collection of objects. The
undo function restores the current contents of the object. The collection holds the
objects that it contains, which the snapshot then saves as well.
"""

import collections
import dis
import functools
import operator
import os
import random
import site
import sys
import sysconfig
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# The undo function and the contents of one object. The undo function returns a
# description of anything that it cannot restore.
Saved = tuple[Callable[[], str | None], Iterable[Any]]

# the only standard-library modules whose classes are assumed to hold model state
_STANDARD = ("builtins", "collections", "dataclasses", "functools", "types", "argparse")
_FOLDERS = (
    *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),
    *site.getsitepackages(),
    site.getusersitepackages(),
    Path(__file__).parents[1],  # this package
)
_INSTALLED = ("<frozen", *(f"{folder}{os.sep}" for folder in _FOLDERS))


def ways(item: Any) -> list[Callable[[Any], Saved]]:
    """Return the savers for the contents and the attributes of an object."""
    if issubclass(type(item), type):
        return [_class] if _is_user_class(item) else []
    return _savers_of(type(item))  # type: ignore[arg-type]  # a class is hashable


@functools.cache
def _savers_of(kind: type) -> list[Callable[[Any], Saved]]:
    if kind is types.FunctionType:
        return [_function]
    savers = [saver for kinds, saver in _CONTENTS if issubclass(kind, kinds)]
    if issubclass(kind, Iterator) and kind.__module__ in ("builtins", "itertools"):
        savers.append(_iterator)
    if _may_enter(kind):
        savers.append(_attributes)
        if any("__slots__" in vars(base) for base in kind.__mro__):
            savers.append(_slots)
        if any(_is_user_class(base) for base in kind.__mro__):
            savers.append(lambda _: (nothing, kind.__mro__))
    return savers


def _may_enter(kind: type) -> bool:
    package, _, rest = kind.__module__.partition(".")
    if package == "torch":  # the class of a compiled module is in `torch._dynamo`
        return issubclass(kind, nn.Module | Tensor) or not rest.startswith("_")
    return package not in sys.stdlib_module_names or package in _STANDARD


def _is_user_class(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    if module is None or kind.__module__.partition(".")[0] in sys.builtin_module_names:
        return False
    return not _installed(getattr(module, "__file__", None) or "")


def _installed(path: str) -> bool:
    return path.startswith(_INSTALLED)


def nothing() -> None:
    """Do nothing. This is the undo function for objects without mutable contents."""


def _contents(
    read: Callable[[Any], Any],
    write: Callable[[Any, Any], Any],
    same: Callable[[Any, Any], bool],
    children: bool = True,
) -> Callable[[Any], Saved]:
    """Return a saver for what `read(item)` returns and `write(item, saved)` restores.

    Nothing is written to an object that still has the same contents.
    """

    def save(item: Any) -> Saved:
        saved = read(item)

        def undo() -> None:
            if not same(read(item), saved):
                write(item, saved)

        return undo, saved if children else ()

    return save


def _same(one: Collection, two: Collection) -> bool:
    """Return whether both collections hold the same objects in the same order."""
    return len(one) == len(two) and all(map(operator.is_, one, two))


# Overridden methods are bypassed, because they may have side effects. The order of an
# OrderedDict is unknown to the methods of dict.
def _dict_type(item: dict) -> type[dict]:
    ordered = isinstance(item, collections.OrderedDict)
    return collections.OrderedDict if ordered else dict


def _keys_and_values(item: dict) -> list:
    kind = _dict_type(item)
    return [*kind.keys(item), *kind.values(item)]


def _refill_dict(item: dict, saved: list) -> None:
    kind, size = _dict_type(item), len(saved) // 2
    kind.clear(item)
    for key, value in zip(saved[:size], saved[size:], strict=True):
        kind.__setitem__(item, key, value)


def _replace_all(item: Any, saved: Any) -> None:
    item[:] = saved


def _refill_deque(item: collections.deque, saved: list) -> None:
    item.clear()
    item.extend(saved)


def _refill_set(item: set, saved: set) -> None:
    set.clear(item)
    set.update(item, saved)


def _frozen(item: Iterable) -> Saved:
    return nothing, list(item)


def _array(item: np.ndarray) -> Saved:
    saved = item.copy()

    def undo() -> None:
        if item.flags.writeable and item.tobytes() != saved.tobytes():
            np.copyto(item, saved)

    return undo, list(item.flat) if item.dtype.hasobject else ()


def _attributes(item: Any) -> Saved:
    space = getattr(item, "__dict__", None)
    return nothing, [space] if type(space) is dict else ()


def _slots(item: Any) -> Saved:
    slots = [
        slot
        for base in type(item).__mro__
        if "__slots__" in vars(base)
        for slot in vars(base).values()
        if isinstance(slot, types.MemberDescriptorType)
    ]
    saved = [
        (slot, value) for slot in slots if (value := _slot_value(slot, item)) != _NONE
    ]

    def undo() -> None:
        for slot, value in saved:
            if _slot_value(slot, item)[0] is not value[0]:
                slot.__set__(item, value[0])

    return undo, [value[0] for _, value in saved]


_NONE = ()


def _slot_value(slot: types.MemberDescriptorType, item: Any) -> tuple:
    try:
        return (slot.__get__(item),)
    except AttributeError:
        return _NONE


def _function(item: types.FunctionType) -> Saved:
    """Save the closure and the defaults of a function.

    For a function defined in user code, also save the global variables that it uses.
    """
    cells = [
        (cell, cell.cell_contents)
        for cell in item.__closure__ or ()
        if _is_filled(cell)
    ]
    space = item.__globals__
    names = () if _installed(item.__code__.co_filename) else _names(item.__code__)
    saved = [(name, space[name]) for name in names if name in space]
    missing = [name for name in names if name not in space]

    def undo() -> None:
        for cell, value in cells:
            if not _is_filled(cell) or cell.cell_contents is not value:
                cell.cell_contents = value
        for name, value in saved:
            if name not in space or space[name] is not value:
                space[name] = value
        for name in missing:
            space.pop(name, None)

    contents = [value for _, value in cells + saved]
    contents += [item.__defaults__, item.__kwdefaults__, vars(item)]
    return undo, contents


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


@functools.cache
def _names(code: types.CodeType) -> tuple[str, ...]:
    """Return the names of the globals used by the code and its inner functions."""
    names = {
        step.argval for step in dis.get_instructions(code) if "GLOBAL" in step.opname
    }
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return tuple(sorted(names.union(*map(_names, inner))))


def _class(item: type) -> Saved:
    """Save the attributes of a user-defined class, including its methods."""
    saved = dict(vars(item))

    def undo() -> None:
        current = {n: v for n, v in vars(item).items() if not n.startswith("__")}
        for name in current.keys() - saved.keys():
            type.__delattr__(item, name)
        for name, value in saved.items():
            if not name.startswith("__") and current.get(name, undo) is not value:
                type.__setattr__(item, name, value)

    return undo, saved.values()


def _wrapper(item: Any) -> Saved:
    """Save the objects wrapped by a method, a property or a partial function."""
    names = ("__func__", "__self__", "fget", "fset", "func", "args", "keywords")
    return nothing, [getattr(item, name, None) for name in names]


def _iterator(item: Iterator) -> Saved:
    """Notice whether an iterator has advanced, since it cannot be rewound."""
    before, kind = _position(item), type(item).__name__

    def undo() -> str | None:
        same = _position(item) == before
        return None if same else f"a {kind}, which cannot be rewound"

    return undo, ()


def _position(item: Iterator) -> Any:
    if isinstance(item, types.GeneratorType):
        frame = item.gi_frame  # None at the end
        local = {} if frame is None else frame.f_locals
        return frame and (frame.f_lasti, *((k, id(v)) for k, v in local.items()))
    try:
        return repr(item.__reduce__()[1:])
    except Exception:  # the position cannot be read
        return ""


def _generator_state(
    read: Callable[[Any], Any], write: Callable[[Any, Any], Any]
) -> Callable[[Any], Saved]:
    """Return a saver for the state of a random number generator."""
    return _contents(read, write, same=lambda *_: False, children=False)


def _python_random(item: random.Random) -> Saved:
    if isinstance(item, random.SystemRandom):  # it has no state to save
        return nothing, ()
    return _generator_state(random.Random.getstate, random.Random.setstate)(item)


_CONTENTS: tuple[tuple[Any, Callable[[Any], Saved]], ...] = (
    (dict, _contents(_keys_and_values, _refill_dict, _same)),
    (list, _contents(list, _replace_all, _same)),
    (collections.deque, _contents(list, _refill_deque, _same)),
    (set, _contents(set, _refill_set, operator.eq)),
    (bytearray, _contents(bytes, _replace_all, operator.eq, children=False)),
    ((tuple, frozenset), _frozen),
    (types.MappingProxyType, lambda item: _frozen(item.values())),
    (np.ndarray, _array),
    (
        torch.Generator,
        _generator_state(torch.Generator.get_state, torch.Generator.set_state),
    ),
    (random.Random, _python_random),
    (
        np.random.RandomState,
        _generator_state(lambda r: r.get_state(), lambda r, state: r.set_state(state)),
    ),
    (
        np.random.BitGenerator,
        _generator_state(
            lambda b: b.state, lambda b, state: setattr(b, "state", state)
        ),
    ),
    (np.random.Generator, lambda item: (nothing, [item.bit_generator])),
    (
        (
            types.MethodType,
            types.BuiltinFunctionType,
            types.MethodWrapperType,
            staticmethod,
            classmethod,
            property,
            functools.partial,
        ),
        _wrapper,
    ),
)
