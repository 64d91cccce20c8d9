"""A picture or text with sliders: live in JupyterLab and Colab, a still one elsewhere."""

import asyncio
import base64
import html
import io
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from ..catalog import choose, text

# Long enough for a burst of slider events to arrive, too short to be seen.
SETTLE_S = 0.02


class Explore(ipywidgets.VBox):
    """Sliders over the picture, or the text, that `draw` makes of their values.

    Where no kernel answers (the book, GitHub), the notebook shows it as it was last
    drawn: the output carries an `image/png` or `text/html` beside the live view. While
    a slider is dragged only the newest values are drawn.

    Args:
        draw: `draw(**values)` returns a matplotlib figure, which is closed afterwards,
            or a text; for all values the same of the two.
        labels: name → label, a string or `{"en": ..., "zh": ...}`.
        sliders: name → `(low, high, step)` or `(low, high, step, start)`: a slider;
            a list: a choice; or an ipywidgets widget with a `value`.

    Raises:
        TypeError: for a slider that is none of these, or a `draw` that gives neither.

    >>> Explore(draw, temperature=(0.5, 4.0, 0.5))                  # doctest: +SKIP
    """

    def __init__(
        self,
        draw: Callable[..., Any],
        labels: Mapping[str, str | Mapping[str, str]] | None = None,
        **sliders: Any,
    ):
        self._draw, self._pending = draw, False
        named = {name: _label(name, labels or {}) for name in sliders}
        self.sliders = {
            name: _slider(name, spec, named[name]) for name, spec in sliders.items()
        }
        drawn = self._drawn()  # a mistake in `draw` is raised here
        if isinstance(drawn, str):
            self.picture = ipywidgets.HTML(drawn)
        else:
            self.picture = ipywidgets.Image(value=drawn, format="png")
        self.problem = ipywidgets.HTML()
        super().__init__([*self.sliders.values(), self.picture, self.problem])
        for slider in self.sliders.values():
            slider.observe(self._changed, "value")

    @property
    def values(self) -> dict[str, Any]:
        """What the sliders stand at."""
        return {name: slider.value for name, slider in self.sliders.items()}

    def _changed(self, change: Any) -> None:
        if self._pending:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: nothing can pile up
            self._redraw()
            return
        self._pending = True
        loop.call_later(SETTLE_S, self._redraw)

    def _redraw(self) -> None:
        self._pending = False  # before drawing: a change meanwhile is drawn next
        try:
            drawn = self._drawn()
            if isinstance(drawn, str) != isinstance(self.picture, ipywidgets.HTML):
                raise TypeError("draw must return always a figure, or always a text.")
            self.picture.value = drawn
            self.problem.value = ""
        except Exception as error:  # nobody would see it raised from the event loop
            said = text("widget.failed", kind=type(error).__name__, error=str(error))
            self.problem.value = html.escape(said)

    def _drawn(self) -> bytes | str:
        """A PNG, or HTML for a text."""
        import matplotlib.pyplot as plt

        found = self._draw(**self.values)
        if isinstance(found, str):
            return f'<p style="white-space: pre-wrap">{html.escape(found)}</p>'
        if not hasattr(found, "savefig"):
            raise TypeError(
                f"draw must return a matplotlib figure or a text; it returned a "
                f"{type(found).__name__}."
            )
        buffer = io.BytesIO()
        found.savefig(buffer, format="png", dpi=90, bbox_inches="tight")
        plt.close(found)  # or the notebook would show it a second time
        return buffer.getvalue()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        # ipywidgets 7 (Colab) shows itself by other means and never asks for this
        parent = getattr(super(), "_repr_mimebundle_", None)
        bundle = (parent(**kwargs) if parent else None) or {}
        still = self.picture.value
        if isinstance(still, str):
            return bundle | {"text/html": still}
        return bundle | {"image/png": base64.b64encode(still).decode()}


def _label(name: str, labels: Mapping[str, Any]) -> str:
    label = labels.get(name, name.replace("_", " "))
    return label if isinstance(label, str) else choose(label)


def _slider(name: str, spec: Any, label: str) -> ipywidgets.Widget:
    if isinstance(spec, ipywidgets.Widget) and hasattr(spec, "value"):
        spec.description = spec.description or label
        return spec
    shown = {"description": label, "style": {"description_width": "initial"}}
    if isinstance(spec, list) and spec:
        return ipywidgets.Dropdown(options=spec, **shown)
    if isinstance(spec, tuple) and len(spec) in (3, 4):
        whole = all(isinstance(number, int) for number in spec)
        kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
        low, high, step, *start = spec
        value = start[0] if start else low
        return kind(min=low, max=high, step=step, value=value, **shown)
    raise TypeError(
        f"slider {name!r} must be (low, high, step), (low, high, step, start), a list "
        f"of choices or a widget with a value; got {spec!r}."
    )
