"""Explore redraws when a slider moves, and carries a static image."""

import asyncio
import base64

import ipywidgets
import matplotlib
import matplotlib.pyplot as plt
import pytest

from deepseek_learn import catalog
from deepseek_learn.course import Explore, widgets

matplotlib.use("Agg")


def draw(**values):
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.set_title(str(values))
    return figure


def test_still_picture_is_the_picture_shown():
    explore = Explore(draw, t=(0.5, 4.0, 0.5))
    still = base64.b64decode(explore._repr_mimebundle_()["image/png"])
    assert still.startswith(b"\x89PNG")
    assert still == explore.picture.value


def test_moving_the_slider_changes_picture_and_still():
    explore = Explore(draw, t=(0.5, 4.0, 0.5))
    before = explore.picture.value
    explore.sliders["t"].value = 2.0
    assert explore.picture.value != before
    still = base64.b64decode(explore._repr_mimebundle_()["image/png"])
    assert still == explore.picture.value


def test_a_text_is_shown_as_it_is_live_and_still():
    explore = Explore(lambda t: f"{t} < 1\n& more", t=(0, 3, 1))
    assert "0 &lt; 1\n&amp; more" in explore.picture.value
    explore.sliders["t"].value = 2
    still = explore._repr_mimebundle_()["text/html"]
    assert still == explore.picture.value
    assert "2 &lt; 1\n&amp; more" in still


def test_only_the_newest_value_is_drawn_when_events_pile_up():
    drawn = []

    def keep(t):
        drawn.append(t)
        return draw(t=t)

    async def drag():
        explore = Explore(keep, t=(0, 10, 1))
        for value in range(1, 8):
            explore.sliders["t"].value = value
        await asyncio.sleep(10 * widgets.SETTLE_S)

    asyncio.run(drag())
    assert drawn == [0, 7]


def test_figures_do_not_stay_open():
    open_before = plt.get_fignums()
    Explore(draw, t=(0, 3, 1)).sliders["t"].value = 2
    assert plt.get_fignums() == open_before


def test_kinds_of_sliders():
    own = ipywidgets.Checkbox(value=True)
    explore = Explore(draw, n=(1, 9, 2, 3), x=(0.0, 1.0, 0.1), kind=["a", "b"], own=own)
    kinds = [type(slider).__name__ for slider in explore.sliders.values()]
    assert kinds == ["IntSlider", "FloatSlider", "Dropdown", "Checkbox"]
    assert explore.values == {"n": 3, "x": 0.0, "kind": "a", "own": True}


def test_labels_follow_the_language():
    catalog.set_language("zh")
    words = {"t": {"en": "temperature", "zh": "温度"}}
    explore = Explore(draw, labels=words, t=(0, 3, 1), top_k=(1, 3, 1))
    assert explore.sliders["t"].description == "温度"
    assert explore.sliders["top_k"].description == "top k"


def test_a_long_label_of_a_slider_is_not_cut():
    own = ipywidgets.IntSlider(style={"description_width": "9em"})
    explore = Explore(lambda **_: "", a=ipywidgets.FloatLogSlider(), b=own)
    widths = {n: s.style.description_width for n, s in explore.sliders.items()}
    assert widths == {"a": "initial", "b": "9em"}


@pytest.mark.parametrize("spec", [(0, 1), [], 3, "abc"])
def test_slider_of_no_known_kind_is_refused(spec):
    with pytest.raises(TypeError, match="slider 't' must be"):
        Explore(draw, t=spec)


def test_draw_without_a_figure_is_refused():
    with pytest.raises(TypeError, match="figure or a string; it returned a NoneType"):
        Explore(lambda t: None, t=(0, 1, 1))


@pytest.mark.parametrize("kinds", [("text", "figure"), ("figure", "text")])
def test_a_text_now_and_a_figure_then_is_refused(kinds):
    explore = Explore(lambda t: "a" if kinds[t] == "text" else draw(), t=(0, 1, 1))
    before = explore.picture.value
    explore.sliders["t"].value = 1
    assert "always return a figure or always return a string" in explore.problem.value
    assert explore.picture.value == before


def test_error_while_dragging_is_shown_and_goes_away():
    def fussy(t):
        return draw(t=1 / (t - 2))

    explore = Explore(fussy, t=(0, 4, 1))
    before = explore.picture.value
    explore.sliders["t"].value = 2
    assert "ZeroDivisionError" in explore.problem.value
    assert explore.picture.value == before
    explore.sliders["t"].value = 3
    assert explore.problem.value == ""


@pytest.mark.notebook
def test_a_kernel_draws_the_newest_value_after_the_cell():
    """In a kernel the event loop draws; the next cell sees the image for 7, once."""
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    cells = [
        "import matplotlib.pyplot as plt\n"
        "from deepseek_learn.course import Explore\n"
        "drawn = []\n"
        "def draw(t):\n"
        "    drawn.append(t)\n"
        "    return plt.subplots()[0]\n"
        "explore = Explore(draw, t=(0, 9, 1))\n"
        "for t in range(1, 8):\n"
        "    explore.sliders['t'].value = t\n"
        "explore",
        "import asyncio\nawait asyncio.sleep(0.5)\nprint(drawn)",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs  # the figure is not shown a second time
    kinds = {"image/png", "application/vnd.jupyter.widget-view+json"}
    assert kinds <= set(output["data"])
    assert notebook.cells[1].outputs[0]["text"] == "[0, 7]\n"
