"""A notebook form for the deployment wizard, returned by `DeploymentWizard.page()`."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import ipywidgets

from ..catalog import text
from ..errors import DeepSeekLearnError
from .accuracy import AIM
from .destinations import targets
from .result import Deployment


class Wizard(Protocol):
    """What the form needs of a `DeploymentWizard`."""

    @property
    def to(self) -> Callable[..., Deployment]: ...


class WizardPage(ipywidgets.VBox):
    """A form with the deployment settings and a button that starts the deployment.

    The settings are the target, precision, loss, batch size and output folder.

    Args:
        wizard: a `DeploymentWizard`.
        folder: the initial value of the output folder.

    Attributes:
        deployment: the result of the last click on the button. It is None before the
            first click and after an error, which the page displays.
    """

    def __init__(self, wizard: Wizard, folder: str | Path = "deployed"):
        self.wizard = wizard
        self.deployment: Deployment | None = None
        self.target = _widget(ipywidgets.Dropdown, "target", options=list(targets))
        self.target.value = "cpp-cpu"
        self.precision = _widget(ipywidgets.Dropdown, "precision", options=[])
        scale = {"min": 0.0, "max": 0.9, "step": 0.1, "value": AIM}
        self.loss = _widget(ipywidgets.FloatSlider, "loss", **scale)
        sizes = {"min": 1, "max": 4096, "value": 1}
        self.batch = _widget(ipywidgets.BoundedIntText, "batch", **sizes)
        self.folder = _widget(ipywidgets.Text, "folder", value=str(folder))
        self.overwrite = _widget(ipywidgets.Checkbox, "overwrite", value=False)
        self.overwrite.layout.width = "48em"  # leaves space for the label on the right
        self.button = ipywidgets.Button(
            description=text("deploy.page_go"), button_style="primary"
        )
        self.bar = ipywidgets.FloatProgress(min=0.0, max=1.0, value=0.0)
        self.step, self.said = ipywidgets.Label(), ipywidgets.HTML()
        self._offer_precisions()
        super().__init__([*self.questions, self.button, self.bar, self.step, self.said])
        self.target.observe(self._offer_precisions, "value")
        self.precision.observe(self._toggle_loss, "value")
        self.button.on_click(self._deploy)

    @property
    def questions(self) -> tuple[ipywidgets.Widget, ...]:
        settings = (self.target, self.precision, self.loss, self.batch)
        return (*settings, self.folder, self.overwrite)

    def _offer_precisions(self, change: Any = None) -> None:
        """Offer the precisions of the selected target, and select its default."""
        self.precision.options = targets[self.target.value].precisions
        self.precision.value = self.precision.options[0]
        self._toggle_loss()

    def _toggle_loss(self, change: Any = None) -> None:
        self.loss.disabled = self.precision.value != "int8"

    def _deploy(self, button: Any) -> None:
        self.button.disabled, self.said.value, self.deployment = True, "", None
        try:
            self.deployment = self.wizard.to(
                self.target.value,
                self.folder.value,
                precision=self.precision.value,
                loss=self.loss.value,
                batch=self.batch.value,
                overwrite=self.overwrite.value,
                progress=self._report,
            )
            self.said.value = self.deployment._repr_html_()
        except Exception as error:  # an error raised in a callback would not be shown
            self.step.value = ""
            self.said.value = _error_html(error)
        finally:
            self.button.disabled = False

    def _report(self, step: str, fraction: float) -> None:
        self.step.value, self.bar.value = step, fraction

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Add a static table of the current settings for viewers without a kernel."""
        parent = getattr(super(), "_repr_mimebundle_", None)
        bundle = (parent(**kwargs) if parent else None) or {}
        rows = "".join(
            f"<tr><td>{html.escape(question.description)}</td>"
            f"<td>{html.escape(str(question.value))}</td></tr>"
            for question in self.questions
        )
        return bundle | {"text/html": f"<table>{rows}</table>{self.said.value}"}


def _widget(kind: type, question: str, **options: Any) -> ipywidgets.Widget:
    return kind(
        description=text(f"deploy.page_{question}"),
        style={"description_width": "14em"},
        layout={"width": "32em"},
        **options,
    )


def _error_html(error: Exception) -> str:
    sentence, _, table = str(error).partition("\n")
    if not isinstance(error, DeepSeekLearnError | ValueError | OSError):
        sentence = f"{type(error).__name__}: {sentence}"
    details = f"<pre>{html.escape(table)}</pre>" if table else ""
    return f"<p><b>{html.escape(sentence)}</b></p>{details}"
