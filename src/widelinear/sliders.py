"""A figure with a slider, as one piece of HTML: no kernel, no network, no other file.

It works in the built book, in Jupyter and on Colab, and from the keyboard, since the slider is the browser's own.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

HEAVIEST = 50_000  # bytes of one figure
_LEFT, _TOP, _WIDTH, _HEIGHT = 52, 10, 330, 176  # where the lines are, in a picture of 400 × 226
_FINE = 1000  # positions are whole thousandths of that box
_DASHES = {"-": "none", "--": "7 4", ":": "2 3", "-.": "7 3 2 3"}

_SCRIPT = """(root, values, x, heights, words) => {
  const input = root.querySelector("input"), lines = root.querySelectorAll("polyline");
  input.addEventListener("input", () => {
    const at = Number(input.value);
    root.querySelector("label b").textContent = values[at];
    root.querySelectorAll("li b").forEach((word, k) => { word.textContent = words[at][k]; });
    input.setAttribute("aria-valuetext", [values[at], ...words[at].filter(Boolean)].join(", "));
    lines.forEach((line, k) => line.setAttribute("points", heights[at][k].map((y, j) => x[j] + "," + y).join(" ")));
  });
}"""


class Axis(NamedTuple):
    """An axis of a figure with a slider: it reaches from its first tick to its last.

    Args:
        label: what the axis says.
        ticks: increasing numbers.
        log: whether it is logarithmic.

    Example:
        >>> Axis("step", [1, 10, 100], log=True).places([10.0])
        array([0.5])

    Source: our own. Oracle: the example.
    """

    label: str
    ticks: Sequence[int | float]
    log: bool = False

    def places(self, numbers: Any) -> Float[np.ndarray, "..."]:
        """Where numbers lie between the first tick, 0, and the last, 1."""
        scale = np.log if self.log else np.asarray
        first, last = scale(self.ticks[0]), scale(self.ticks[-1])
        return (scale(np.asarray(numbers, float)) - first) / (last - first)


class _Figure(str):
    """HTML that a notebook displays, and otherwise a few words."""

    def __repr__(self) -> str:
        return "a figure with a slider"

    def _repr_html_(self) -> str:
        return str(self)


def slider(
    x: Float[np.ndarray, " points"] | Int[np.ndarray, " points"],
    heights: Float[np.ndarray, "values lines places"],
    *,
    axes: tuple[Axis, Axis],
    lines: Mapping[str, Mapping[str, Any]],
    quantity: str,
    values: Sequence[str],
    alt: str,
    words: Sequence[Sequence[str]] | None = None,
    start: int = 0,
) -> str:
    """Draw lines that change with the position of a slider.

    What lies outside of the axes is cut off. Without script the figure shows its first position.

    Args:
        x: where the points are, the same for all lines.
        heights: how high they are, finite, for every position of the slider and every line.
        axes: the horizontal and the vertical axis.
        lines: for each line its name and its style, as in `widelinear.plotting`: `color` as in CSS, `linestyle`,
            `linewidth`.
        quantity: what the slider changes.
        values: what its positions are called.
        alt: the figure in words, for those who do not see it.
        words: for every position and every line something to say in the legend.
        start: the position shown first.

    Returns:
        A self-contained `<div>`, which a notebook displays.

    Raises:
        ValueError: if the shapes do not fit together, a height is not finite, or the figure is heavier than 50 kB.

    Example:
        >>> figure = slider(
        ...     np.arange(3),
        ...     np.array([[[1, 0.5, 0.25]], [[1, 0.1, 0.01]]]),
        ...     axes=(Axis("step", [0, 1, 2]), Axis("error", [0, 1])),
        ...     lines={"error": {"color": "#0072B2"}},
        ...     quantity="learning rate",
        ...     values=["0.5", "0.9"],
        ...     alt="The error falls, the faster the larger the learning rate.",
        ... )
        >>> figure
        a figure with a slider
        >>> 'points="0,0 500,500 1000,750"' in str(figure)
        True

    Source: WCAG 2.1, success criteria 1.1.1, 2.1.1 and 4.1.2.
    Oracle: Python's HTML parser (`tests/test_sliders.py`); Chromium, a keyboard and axe (`make look`).
    """
    words = words or [[""] * len(lines)] * len(values)
    if heights.shape != (len(values), len(lines), len(x)) or {len(row) for row in words} != {len(lines)}:
        raise ValueError(
            f"heights has the shape {heights.shape}, but there are {len(values)} values, {len(lines)} lines and "
            f"{len(x)} points: give one height, and one of the words, for each."
        )
    across, down = _positions(axes[0].places(x)), _positions(1 - axes[1].places(heights))
    data = _script_values(list(values), across.tolist(), down.tolist(), [list(row) for row in words])
    name = f"wl-{zlib.crc32((quantity + alt + data).encode()):08x}"  # the same in every run
    said = ", ".join(filter(None, [values[start], *words[start]]))
    figure = f"""<div id="{name}" style="max-width:540px;background:#fff;color:#222;padding:.6em;border-radius:6px">
{_picture(axes, _lines(across, down[start], lines.values()), alt, name)}
<label for="{name}-input">{escape(quantity)} = <b>{escape(values[start])}</b></label>
<input id="{name}-input" type="range" min="0" max="{len(values) - 1}" value="{start}" autocomplete="off"
 style="display:block;width:100%" aria-valuetext="{escape(said)}">
<ul style="list-style:none;margin:.3em 0 0;padding:0">{_legend(lines, words[start])}</ul>
<script>({_SCRIPT})(document.getElementById("{name}"), {data})</script></div>"""
    if (size := len(figure.encode())) > HEAVIEST:
        raise ValueError(f"The figure has {size / 1000:.0f} kB, more than {HEAVIEST // 1000}: give it fewer points.")
    return _Figure(figure)


def _positions(places: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Places in the box in whole steps; those far outside it only as far as a line needs to leave it straight."""
    if not np.isfinite(places).all():
        raise ValueError("A position is not finite, or not positive on a logarithmic axis: leave it out.")
    return np.clip(np.round(_FINE * places), -20 * _FINE, 20 * _FINE).astype(int)


def _script_values(*values: Any) -> str:
    """Arguments of a call in JavaScript that no text in them can end early."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))[1:-1].replace("</", "<\\/")


def _picture(axes: tuple[Axis, Axis], lines: str, alt: str, name: str) -> str:
    """The box with its axes; a picture in the picture cuts off what leaves the box."""
    horizontal, vertical = axes
    marks = "".join(
        f'<text x="{_LEFT + _WIDTH * place:.1f}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle">{_number(tick)}</text>'
        for tick, place in zip(horizontal.ticks, horizontal.places(horizontal.ticks), strict=True)
    ) + "".join(
        f'<text x="{_LEFT - 6}" y="{_TOP + _HEIGHT * (1 - place) + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
        f'<path d="M{_LEFT} {_TOP + _HEIGHT * (1 - place):.1f}h{_WIDTH}" stroke="#222" opacity=".25"/>'
        for tick, place in zip(vertical.ticks, vertical.places(vertical.ticks), strict=True)
    )
    middle = _TOP + _HEIGHT / 2
    return f"""<svg viewBox="0 0 400 226" role="img" aria-labelledby="{name}-alt"
 style="width:100%;font:12px sans-serif">
<title id="{name}-alt">{escape(alt)}</title>{marks}
<text x="{_LEFT + _WIDTH / 2}" y="221" text-anchor="middle">{escape(horizontal.label)}</text>
<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(vertical.label)}</text>
<svg x="{_LEFT}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_FINE} {_FINE}"
 preserveAspectRatio="none">{lines}</svg></svg>"""


def _lines(x: Int[np.ndarray, " points"], heights: Int[np.ndarray, "lines points"], styles: Any) -> str:
    return "".join(
        f'<polyline fill="none" vector-effect="non-scaling-stroke" {_stroke(style)} points="'
        + " ".join(f"{across},{down}" for across, down in zip(x, line, strict=True))
        + '"/>'
        for line, style in zip(heights, styles, strict=True)
    )


def _legend(lines: Mapping[str, Mapping[str, Any]], words: Sequence[str]) -> str:
    """One row for each line: a piece of it, its name, and what there is to say."""
    return "".join(
        f'<li><svg width="32" height="10" aria-hidden="true"><path d="M0 5H28" {_stroke(style)}/></svg>'
        f"{escape(name)} <b>{escape(word)}</b></li>"
        for (name, style), word in zip(lines.items(), words, strict=True)
    )


def _stroke(style: Mapping[str, Any]) -> str:
    dashes, width = _DASHES[style.get("linestyle", "-")], 1.6 * style.get("linewidth", 1.4)
    return f'stroke="{style["color"]}" stroke-width="{width:.1f}" stroke-dasharray="{dashes}"'


def _number(tick: int | float) -> str:
    return f"{tick:g}".replace("-", "−")
