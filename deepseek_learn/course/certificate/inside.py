"""What runs inside the sandbox, beside the learner's files: it is copied there.

It calls the learner's function and hands over what it returns. It decides nothing:
whether an answer is right, and how good predictions are, is decided outside.
"""

import importlib
import json
import random
import sys
from types import SimpleNamespace

import numpy as np


def predict(x, y, test_x, seed):
    """Call `predict` of `project.py` and return its predictions as whole numbers."""
    project = importlib.import_module("project")
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  # for code that uses it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    with open("config.json", encoding="utf-8") as file:
        config = json.load(file)
    predictions = project.predict(x, y, test_x, seed, config)
    if hasattr(predictions, "detach"):
        predictions = predictions.detach().cpu().numpy()
    return [int(label) for label in np.asarray(predictions).reshape(-1)]


def answer(function, arguments, named):
    """Call the graded answer; return its result and the arguments, maybe changed."""
    module = importlib.import_module("graded_answer")
    arguments = [namespace(each) for each in arguments]
    named = {name: namespace(value) for name, value in named.items()}
    result = getattr(module, function)(*arguments, **named)
    after = {name: data(value) for name, value in named.items()}
    return [result, [data(each) for each in arguments], after]


def namespace(value):
    """Turn {"attributes": ...} into an object with these attributes."""
    if isinstance(value, dict) and set(value) == {"attributes"}:
        pairs = value["attributes"].items()
        return SimpleNamespace(**{name: namespace(each) for name, each in pairs})
    return value


def data(value):
    if isinstance(value, SimpleNamespace):
        return {"attributes": {name: data(each) for name, each in vars(value).items()}}
    return value
