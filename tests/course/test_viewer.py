"""The CT viewer shows the right slice, upright, with circles around the findings."""

import base64
import io

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from deepseek_learn.course import CtViewer
from deepseek_learn.solutions.nodules.finding import Finding
from deepseek_learn.solutions.nodules.volume import Volume

matplotlib.use("Agg")
UPRIGHT = np.array([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]])


def volume(directions=UPRIGHT):
    """A dark volume of 40 x 60 x 80 mm with a bright ball in the upper left front."""
    hu = np.full((20, 60, 80), -1000, "float32")
    z, y, x = np.ogrid[:20, :60, :80]
    hu[(2 * (z - 15)) ** 2 + (y - 15) ** 2 + (x - 60) ** 2 < 25] = 100
    return Volume(hu, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), directions, "1.2")


BALL = Finding((60.0, 15.0, 30.0), 10.0, 0.9)


def gray(viewer):
    return np.asarray(Image.open(io.BytesIO(viewer.picture.value)).convert("L"))


def axes(viewer, **changes):
    figure = viewer._figure(**(viewer.values | changes))
    plt.close(figure)
    return figure.axes[0]


def test_it_opens_at_the_first_finding():
    viewer = CtViewer(volume(), [BALL])
    assert viewer.values["position"] == 15
    assert CtViewer(volume()).values["position"] == 10
    still = base64.b64decode(viewer._repr_mimebundle_()["image/png"])
    assert still == viewer.picture.value


@pytest.mark.parametrize(("plane", "position"), [(0, 15), (1, 15), (2, 60)])
def test_each_plane_shows_the_ball_in_its_circle(plane, position):
    viewer = CtViewer(volume(), [BALL])
    viewer.sliders["plane"].value = plane
    assert viewer.values["position"] == position
    shown = axes(viewer)
    (circle,) = shown.patches
    image = shown.images[0]
    left, right, bottom, top = image.get_extent()
    data = image.get_array()
    rows, columns = np.nonzero(data > 128)
    dy, dx = (bottom - top) / data.shape[0], (right - left) / data.shape[1]
    center = left + (columns.mean() + 0.5) * dx, top + (rows.mean() + 0.5) * dy
    np.testing.assert_allclose(center, circle.center, atol=1.1)


def test_the_head_is_at_the_top():
    viewer = CtViewer(volume(), [BALL])
    axial = axes(viewer, plane=0, position=15)
    coronal = axes(viewer, plane=1, position=15)
    assert axial.get_ylim()[0] > axial.get_ylim()[1]  # the front is at the top
    assert coronal.get_ylim()[0] < coronal.get_ylim()[1]


def test_a_circle_is_shown_where_the_finding_is_cut():
    viewer = CtViewer(volume(), [BALL])
    assert len(axes(viewer, position=15).patches) == 1
    assert len(axes(viewer, position=5).patches) == 0
    edge = axes(viewer, position=17).patches[0]
    assert edge.radius < axes(viewer, position=15).patches[0].radius


def test_going_to_a_finding_moves_the_slice():
    other = Finding((10.0, 50.0, 4.0), 6.0, 0.5)
    viewer = CtViewer(volume(), [BALL, other])
    viewer.sliders["finding"].value = 1
    assert viewer.values["position"] == 2
    viewer.sliders["plane"].value = 2
    assert viewer.values["position"] == 10


def test_the_window_changes_the_picture():
    viewer = CtViewer(volume(), [BALL])
    before = gray(viewer).mean()
    viewer.sliders["window"].value = "bone"
    assert gray(viewer).mean() != before
    with pytest.raises(ValueError, match="window must be one of lung"):
        CtViewer(volume(), window="brain")


def test_a_turned_volume_is_shown_upright():
    turned = Volume(
        volume().hu.transpose(2, 0, 1)[:, ::-1],
        (1.0, 2.0, 1.0),
        (0.0, 0.0, 38.0),
        np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
        "1.2",
    )
    same, other = (CtViewer(each, [BALL]) for each in (volume(), turned))
    assert same.values == other.values
    np.testing.assert_array_equal(gray(same), gray(other))


def test_without_findings_there_is_no_menu_of_them():
    assert CtViewer(volume()).sliders["finding"].layout.display == "none"
    assert CtViewer(volume(), [BALL]).sliders["finding"].layout.display is None
