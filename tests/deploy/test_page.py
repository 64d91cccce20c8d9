"""The wizard's form: its questions, the request it sends and the result it shows."""

import pandas as pd
import pytest

from deepseek_learn import catalog
from deepseek_learn.deploy import AccuracyError, GuardedModel, targets
from deepseek_learn.deploy.page import WizardPage


class Stub:
    """Records requests; returns the answer, or raises it."""

    def __init__(self, answer=None):
        self.answer, self.asked = answer, []

    def to(self, target, out, *, progress, **options):
        self.asked.append((target, out, options))
        progress("measuring", 0.5)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Done:
    def _repr_html_(self):
        return "<p>deployed</p>"


def page(answer=None, folder="there"):
    return WizardPage(Stub(answer), folder)


def test_it_offers_every_target_with_its_precisions():
    asked = page()
    assert set(asked.target.options) == set(targets)
    for name in targets:
        asked.target.value = name
        assert asked.precision.options == targets[name].precisions
        assert asked.precision.value == targets[name].precisions[0]
    asked.precision.value = "fp32"
    assert asked.loss.disabled
    asked.target.value = "cpp-cpu"
    assert not asked.loss.disabled


def test_it_passes_on_what_was_chosen_and_shows_the_answer():
    asked = page(Done())
    asked.target.value, asked.precision.value = "openvino", "bf16"
    asked.loss.value, asked.batch.value, asked.overwrite.value = 0.3, 4, True
    asked.folder.value = "elsewhere"
    asked.button.click()
    options = {"precision": "bf16", "loss": 0.3, "batch": 4, "overwrite": True}
    assert asked.wizard.asked == [("openvino", "elsewhere", options)]
    assert isinstance(asked.deployment, Done)
    assert asked.said.value == "<p>deployed</p>"
    assert (asked.step.value, asked.bar.value) == ("measuring", 0.5)
    assert (asked.bar.min, asked.bar.max) == (0, 1)  # so the bar is half full
    assert not asked.button.disabled


def refused():
    tried = pd.DataFrame({"metric": [80.0], "loss": [9.0]}, index=[0])
    return AccuracyError(GuardedModel(None, 89.0, (), tried, {}, ("a",), 0.1))


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (FileExistsError("out must be new."), "<b>out must be new.</b>"),
        (RuntimeError("a < b"), "<b>RuntimeError: a &lt; b</b>"),
        (refused(), "<pre>   metric  loss"),
    ],
)
def test_a_refusal_is_shown_and_the_button_works_again(error, shown):
    asked = page(error)
    asked.button.click()
    assert shown in asked.said.value
    assert asked.deployment is None
    assert asked.step.value == ""
    asked.wizard.answer = Done()
    asked.button.click()
    assert asked.said.value == "<p>deployed</p>"


def test_where_no_kernel_answers_it_is_a_table_in_either_language(monkeypatch):
    shown = page()._repr_mimebundle_()["text/html"]
    assert "<td>Target</td><td>cpp-cpu</td>" in shown
    assert "<td>Output folder</td><td>there</td>" in shown
    monkeypatch.setattr(catalog, "_current", "zh")
    assert "部署到哪里？" in page()._repr_mimebundle_()["text/html"]
