"""Figures and texts with sliders, which are interactive in JupyterLab and Colab."""

import asyncio
import base64
import html
import io
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets

from ..catalog import choose, text

# Long enough to collect a burst of slider events, but too short to be noticeable.
SETTLE_S = 0.02


class Explore(ipywidgets.VBox):
    """A widget with sliders and a figure or text that depends on their values.

    Without a kernel (in the book or on GitHub), the notebook shows the last rendering,
    because the output also contains an `image/png` or `text/html`. While a slider is
    being dragged, only its latest value is drawn.

    Args:
        draw: a function that takes the values as keyword arguments and returns a
            matplotlib figure, which is then closed, or a string. It must always return
            the same type.
        labels: a mapping from the names of sliders to their labels, each of which is a
            string or `{"en": ..., "zh": ...}`.
        sliders: a mapping from names to specifications: `(low, high, step)` or
            `(low, high, step, start)` for a slider, a list for a drop-down menu, or an
            ipywidgets widget with a `value`.

    Raises:
        TypeError: if the specification of a slider has any other form, or if `draw`
            returns an object of any other type.

    >>> from deepseek_learn.course import Explore
    >>> def draw(temperature):
    ...     return f"at {temperature:.1f}"
    >>> explore = Explore(draw, temperature=(0.5, 4.0, 0.5))
    """

    def __init__(
        self,
        draw: Callable[..., Any],
        labels: Mapping[str, str | Mapping[str, str]] | None = None,
        **sliders: Any,
    ):
        self._draw, self._pending = draw, False
        captions = {name: _label(name, labels or {}) for name in sliders}
        self.sliders = {
            name: _slider(name, spec, captions[name]) for name, spec in sliders.items()
        }
        content = self._render()  # an error in `draw` is raised here
        if isinstance(content, str):
            self.picture = ipywidgets.HTML(content)
        else:
            self.picture = ipywidgets.Image(value=content, format="png")
        self.problem = ipywidgets.HTML()
        super().__init__([*self.sliders.values(), self.picture, self.problem])
        for slider in self.sliders.values():
            slider.observe(self._changed, "value")

    @property
    def values(self) -> dict[str, Any]:
        """The current values of the sliders."""
        return {name: slider.value for name, slider in self.sliders.items()}

    def _changed(self, change: Any) -> None:
        if self._pending:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel, so no events can pile up
            self._redraw()
            return
        self._pending = True
        loop.call_later(SETTLE_S, self._redraw)

    def _redraw(self) -> None:
        self._pending = (
            False  # reset before drawing, so that a change meanwhile is drawn next
        )
        try:
            content = self._render()
            if isinstance(content, str) != isinstance(self.picture, ipywidgets.HTML):
                raise TypeError(
                    "draw must always return a figure or always return a string."
                )
            self.picture.value = content
            self.problem.value = ""
        except Exception as error:  # the event loop would hide the exception
            facts = {"kind": type(error).__name__, "error": str(error)}
            self.problem.value = html.escape(text("widget.failed", **facts))

    def _render(self) -> bytes | str:
        """Call `draw` and return the result as a PNG or, for a string, as HTML."""
        import matplotlib.pyplot as plt

        figure = self._draw(**self.values)
        if isinstance(figure, str):
            return f'<p style="white-space: pre-wrap">{html.escape(figure)}</p>'
        if not hasattr(figure, "savefig"):
            raise TypeError(
                f"draw must return a matplotlib figure or a string; it returned a "
                f"{type(figure).__name__}."
            )
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=90, bbox_inches="tight")
        plt.close(figure)  # otherwise the notebook would show it a second time
        return buffer.getvalue()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        # ipywidgets 7 (Colab) has another display mechanism and never calls this
        parent = getattr(super(), "_repr_mimebundle_", None)
        bundle = (parent(**kwargs) if parent else None) or {}
        content = self.picture.value
        if isinstance(content, str):
            return bundle | {"text/html": content}
        return bundle | {"image/png": base64.b64encode(content).decode()}


def _label(name: str, labels: Mapping[str, Any]) -> str:
    label = labels.get(name, name.replace("_", " "))
    return label if isinstance(label, str) else choose(label)


def _slider(name: str, spec: Any, label: str) -> ipywidgets.Widget:
    if isinstance(spec, ipywidgets.Widget) and hasattr(spec, "value"):
        spec.description = spec.description or label
        style = getattr(spec, "style", None)
        if style is not None and getattr(style, "description_width", None) == "":
            style.description_width = "initial"  # otherwise a long label is cut
        return spec
    options = {"description": label, "style": {"description_width": "initial"}}
    if isinstance(spec, list) and spec:
        return ipywidgets.Dropdown(options=spec, **options)
    if isinstance(spec, tuple) and len(spec) in (3, 4):
        is_integer = all(isinstance(number, int) for number in spec)
        kind = ipywidgets.IntSlider if is_integer else ipywidgets.FloatSlider
        low, high, step, *start = spec
        value = start[0] if start else low
        return kind(min=low, max=high, step=step, value=value, **options)
    raise TypeError(
        f"slider {name!r} must be (low, high, step), (low, high, step, start), a list "
        f"of choices or a widget with a value; got {spec!r}."
    )
