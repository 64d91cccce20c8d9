"""The wizard as a page of questions, for a notebook: `DeploymentWizard.page()`."""

import html
from pathlib import Path
from typing import Any

import ipywidgets

from ..catalog import text
from ..errors import DeepSeekLearnError
from .accuracy import AIM
from .destinations import targets


class WizardPage(ipywidgets.VBox):
    """Asks for target, precision, tolerated loss, batch and folder; then deploys.

    Attributes:
        deployment: what the last press of the button gave; None before, or when it was
            refused: then the page shows the reason.

    Args:
        wizard: a `DeploymentWizard`.
        folder: where the answer goes, until the learner says otherwise.
    """

    def __init__(self, wizard, folder: str | Path = "deployed"):
        self.wizard, self.deployment = wizard, None
        self.target = _asked(ipywidgets.Dropdown, "target", options=list(targets))
        self.target.value = "cpp-cpu"
        self.precision = _asked(ipywidgets.Dropdown, "precision", options=[])
        scale = {"min": 0.0, "max": 0.9, "step": 0.1, "value": AIM}
        self.loss = _asked(ipywidgets.FloatSlider, "loss", **scale)
        sizes = {"min": 1, "max": 4096, "value": 1}
        self.batch = _asked(ipywidgets.BoundedIntText, "batch", **sizes)
        self.folder = _asked(ipywidgets.Text, "folder", value=str(folder))
        self.overwrite = _asked(ipywidgets.Checkbox, "overwrite", value=False)
        self.overwrite.layout.width = "48em"  # its words stand on the right
        self.button = ipywidgets.Button(
            description=text("deploy.page_go"), button_style="primary"
        )
        self.bar = ipywidgets.FloatProgress(min=0.0, max=1.0, value=0.0)
        self.step, self.said = ipywidgets.Label(), ipywidgets.HTML()
        self._offer()
        super().__init__([*self.questions, self.button, self.bar, self.step, self.said])
        self.target.observe(self._offer, "value")
        self.precision.observe(self._allow, "value")
        self.button.on_click(self._deploy)

    @property
    def questions(self) -> tuple[ipywidgets.Widget, ...]:
        asked = (self.target, self.precision, self.loss, self.batch)
        return (*asked, self.folder, self.overwrite)

    def _offer(self, change: Any = None) -> None:
        """The precisions of the target, its own first."""
        self.precision.options = targets[self.target.value].precisions
        self.precision.value = self.precision.options[0]
        self._allow()

    def _allow(self, change: Any = None) -> None:
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
                progress=self._tell,
            )
            self.said.value = self.deployment._repr_html_()
        except Exception as error:  # nobody would see it raised from a callback
            self.step.value = ""
            self.said.value = _refusal(error)
        finally:
            self.button.disabled = False

    def _tell(self, step: str, part: float) -> None:
        self.step.value, self.bar.value = step, part

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Beside the live page its questions and answers, where no kernel answers."""
        parent = getattr(super(), "_repr_mimebundle_", None)
        bundle = (parent(**kwargs) if parent else None) or {}
        rows = "".join(
            f"<tr><td>{html.escape(asked.description)}</td>"
            f"<td>{html.escape(str(asked.value))}</td></tr>"
            for asked in self.questions
        )
        return bundle | {"text/html": f"<table>{rows}</table>{self.said.value}"}


def _asked(kind: type, question: str, **options: Any) -> ipywidgets.Widget:
    return kind(
        description=text(f"deploy.page_{question}"),
        style={"description_width": "14em"},
        layout={"width": "32em"},
        **options,
    )


def _refusal(error: Exception) -> str:
    sentence, _, table = str(error).partition("\n")
    if not isinstance(error, DeepSeekLearnError | ValueError | OSError):
        sentence = f"{type(error).__name__}: {sentence}"
    shown = f"<pre>{html.escape(table)}</pre>" if table else ""
    return f"<p><b>{html.escape(sentence)}</b></p>{shown}"
