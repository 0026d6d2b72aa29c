"""A figure with a slider is accessible, light, needs nothing from elsewhere, and shows the heights it is given."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from widelinear import Axis, slider

X, VALUES = np.arange(3), ["0.5", "0.9"]
HEIGHTS = np.array([[[1.0, 0.5, 0.25], [0, 0, 0]], [[1.0, 0.1, 0.01], [-1e9, 2, 0]]])
AXES = (Axis("step", [0, 1, 2]), Axis("error", [0, 1]))
LINES = {"error": {"color": "#0072B2"}, "a < b": {"color": "black", "linestyle": "--"}}


def draw(heights=HEIGHTS, **changed):
    chosen = {"axes": AXES, "lines": LINES, "quantity": "rate", "values": VALUES, "alt": "It falls.", **changed}
    return slider(X, heights, **chosen)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text in it."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data):
        tag, attrs, text = self.found[-1]
        self.found[-1] = tag, attrs, text + data

    def all(self, tag):
        return [(attrs, text.strip()) for name, attrs, text in self.found if name == tag]


def test_slider_and_picture_have_names():
    page = Elements(str(draw(words=[["slow", ""], ["fast", "gone"]], start=1)))
    [(label, _)], [(control, _)], [(title, text)] = page.all("label"), page.all("input"), page.all("title")
    picture = page.all("svg")[0][0]
    assert label["for"] == control["id"]
    assert (control["type"], control["max"], control["value"]) == ("range", "1", "1")
    assert control["aria-valuetext"] == "0.9, fast, gone"
    assert (picture["role"], picture["aria-labelledby"], text) == ("img", title["id"], "It falls.")
    assert page.all("b") == [({}, "0.9"), ({}, "fast"), ({}, "gone")]


def test_the_lines_are_the_heights_upside_down_in_thousandths():
    first, second = Elements(str(draw())).all("polyline")
    assert first[0]["points"] == "0,0 500,500 1000,750"
    assert second[0]["points"] == "0,1000 500,1000 1000,1000"
    assert (first[0]["stroke-dasharray"], second[0]["stroke-dasharray"]) == ("none", "7 4")


def test_the_script_has_every_position_and_cuts_what_is_far_outside():
    call = re.search(r"getElementById\(\"[-\w]+\"\), (.*)\)</script>", str(draw(words=[["", "</b>"], ["", ""]])))
    values, x, heights, words = json.loads(f"[{call[1]}]")
    assert (values, x, words) == (VALUES, [0, 500, 1000], [["", "</b>"], ["", ""]])
    assert heights == [[[0, 500, 750], [1000] * 3], [[0, 900, 990], [20_000, -1000, 1000]]]


def test_no_text_becomes_markup():
    page = str(draw(alt="</svg>", words=[["</script>", "<i>"], ["", ""]], quantity="<b>"))
    assert (page.count("</script>"), page.count("</svg>"), page.count("<i>")) == (1, 4, 1)


def test_it_asks_for_nothing_and_two_on_a_page_do_not_meet():
    one, other = str(draw()), str(draw(quantity="width"))
    assert not re.search(r"https?:|src=|href=|@import", one)
    assert not {attrs["id"] for _, attrs, _ in Elements(one).found if "id" in attrs} & {
        attrs["id"] for _, attrs, _ in Elements(other).found if "id" in attrs
    }


def test_the_same_figure_has_the_same_bytes():
    assert str(draw()) == str(draw())


def test_a_logarithmic_axis():
    axis = Axis("time", [0.1, 1, 10], log=True)
    np.testing.assert_allclose(axis.places([0.1, 1, 10, 100]), [0, 0.5, 1, 1.5])


@pytest.mark.parametrize("heights", [HEIGHTS[:1], HEIGHTS[:, :1], HEIGHTS[..., :2]])
def test_shapes_that_do_not_fit_are_refused(heights):
    with pytest.raises(ValueError, match="2 values, 2 lines and 3 points"):
        draw(heights)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        draw(np.where(HEIGHTS == 2, np.nan, HEIGHTS))


def test_a_heavy_figure_is_refused():
    many = np.ones((200, 2, 200))
    with pytest.raises(ValueError, match="kB, more than 50"):
        slider(np.arange(200), many, axes=AXES, lines=LINES, quantity="rate", values=["1"] * 200, alt="Flat.")
