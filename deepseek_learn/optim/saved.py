"""Check that a saved state of `DeepOpt` fits the optimizer that loads it."""

from collections.abc import Mapping, Sequence
from typing import Any

from .roles import names_of
from .sharded import local


def check_saved(
    groups: Sequence[Mapping[str, Any]], state_dict: Mapping[str, Any]
) -> None:
    """Raise ValueError unless a saved state fits these parameter groups.

    It is checked before anything is loaded, so that a state that does not fit leaves the
    optimizer unchanged.
    """
    saved = state_dict.get("param_groups", [{}])
    for group in saved:
        if "role" not in group or "shapes" not in group:
            raise ValueError(
                f"state_dict must come from DeepOpt; got groups with "
                f"{sorted(set(group) - {'params'})}."
            )
    roles = [group["role"] for group in groups]
    saved_roles = [group["role"] for group in saved]
    if roles != saved_roles:
        raise ValueError(
            f"state_dict must have groups with the roles {roles}; got {saved_roles}."
        )
    for group, old in zip(groups, saved, strict=True):
        if list(map(tuple, group["shapes"])) != list(map(tuple, old["shapes"])):
            raise ValueError(
                f"state_dict must have parameters of the same shapes; the group "
                f"{group['role']!r} has {_first_mismatch(group, old)}."
            )
        for name, p, key in zip(
            names_of(group), group["params"], old["params"], strict=True
        ):
            entry = state_dict["state"].get(key, {})
            mean, momentum = entry.get("mean"), entry.get("momentum")  # [rows, n]
            mismatch = mean is not None and mean.shape != local(p).shape
            if mismatch or (
                momentum is not None and momentum.numel() != local(p).numel()
            ):
                got = momentum if mean is None else mean
                raise ValueError(
                    f"state_dict must hold this process's part of {name}, "
                    f"{list(local(p).shape)}; got {list(got.shape)}."
                )


def _first_mismatch(group: Mapping[str, Any], old: Mapping[str, Any]) -> str:
    """Describe the first parameter whose shape differs between the two groups."""
    if len(group["shapes"]) != len(old["shapes"]):
        return f"{len(group['shapes'])} parameters, not {len(old['shapes'])}"
    columns = names_of(group), group["shapes"], old["shapes"]
    for name, shape, old_shape in zip(*columns, strict=True):
        if tuple(shape) != tuple(old_shape):
            return f"{name} of {list(shape)}, not {list(old_shape)} (matrices, m, n)"
    return "no other shapes"
