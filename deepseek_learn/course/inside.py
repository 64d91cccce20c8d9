"""What runs inside the sandbox, beside a learner's files: it is copied there.

It calls the learner's functions and hands over what they return. It decides nothing:
whether an answer is right, and how good predictions are, is decided outside. (`check`
is the exception, for answers that cannot be checked from outside.)
"""

import importlib
import json
import random
import sys
from types import SimpleNamespace

import numpy as np

LOADED = {}  # what the learner's cells define


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


def kind(name):
    """Return "function", or "value" with the value itself."""
    value = defined(name)
    return ["function", None] if callable(value) else ["value", value]


def answer(name, arguments, named):
    """Call the answer; return its result and the arguments, maybe changed."""
    arguments = [namespace(each) for each in arguments]
    named = {key: namespace(value) for key, value in named.items()}
    result = defined(name)(*arguments, **named)
    after = {key: data(value) for key, value in named.items()}
    return [result, [data(each) for each in arguments], after]


def check(id, name, seed, cells):
    """Check the answer in this process, and return the outcome's status and message.

    `cells` stand for the file of the exercise's answers, which is hidden here.
    """
    from deepseek_learn import course
    from deepseek_learn.course import problems

    problems.read_answers = lambda path: dict(cells)
    outcome = course.check(id, defined(name), seed=seed, record=False)
    return [outcome.status, outcome.message]


def defined(name):
    """Return what the learner's cells define; they run once, in the order of the file.

    Only the answer's own cell, the last, must run without an error.
    """
    if not LOADED:
        with open("cells.json", encoding="utf-8") as file:
            *others, answers_own = json.load(file)
        variables = {"__name__": "__answer__"}
        for source in others:
            try:
                exec(compile(source, "<cell>", "exec"), variables)
            except Exception as error:
                print("a cell before the answer failed:", error)
        exec(compile(answers_own, "<answer>", "exec"), variables)
        LOADED.update(variables)
    return LOADED[name]


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
