"""Trained models that travel with the library, each with a card.

`list()` names them, `card(name)` says what one is and what it measured, `load(name)`
gives it ready to use, `example(name)` an input for it. No network is needed.
"""

import builtins

from .models import Card, Model, card, example, load, register, zoo

__all__ = ["Card", "Model", "card", "example", "list", "load", "register"]


def list() -> builtins.list[str]:
    """The names of the models."""
    return builtins.list(zoo)
