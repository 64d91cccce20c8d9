"""What runs inside the sandbox when a submission is graded: it is copied there."""

import json


def define():
    """Run the student's cells and return what they define.

    Only the answer's own cell, the last, must run without an error.
    """
    with open("cells.json", encoding="utf-8") as file:
        *others, answer = json.load(file)
    namespace = {"__name__": "__answer__"}
    for source in others:
        try:
            exec(compile(source, "<cell>", "exec"), namespace)
        except Exception as error:
            print("a cell before the answer failed:", error)
    exec(compile(answer, "<answer>", "exec"), namespace)
    return namespace


LOADED = {}


def defined(name):
    if not LOADED:
        LOADED.update(define())
    return LOADED[name]


def kind(name):
    """Return "function", or "value" with the value itself."""
    value = defined(name)
    return ["function", None] if callable(value) else ["value", value]


def answer(name, arguments, named):
    """Call the answer; return its result and the arguments, maybe changed."""
    return [defined(name)(*arguments, **named), arguments, named]


def check(id, name, seed):
    """Check the answer in this process, and return the outcome's status and message."""
    from deepseek_learn import course

    outcome = course.check(id, defined(name), seed=seed, record=False)
    return [outcome.status, outcome.message]
