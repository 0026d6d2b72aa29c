"""A table twice: for a page, where a screen reader can follow it, and for a terminal."""

from collections.abc import Sequence
from html import escape

Row = Sequence[str]


def html_table(caption: str, header: Row, rows: Sequence[Row]) -> str:
    """An HTML table with a caption, column headings and row headings.

    The alignment stands in every cell because notebooks align cells to the right, cell by cell.

    Args:
        caption: one sentence that says what the table is.
        header: the column headings.
        rows: one text for each column; the first is the row's heading. All text is escaped.

    Returns:
        A self-contained `<table>` element.

    Example:
        >>> "<td style='text-align:left'>&lt; 1</td>" in html_table("Bounds", ["id", "bound"], [["T1", "< 1"]])
        True

    Source: WCAG 2.1, technique H63 (scope). Oracle: Python's HTML parser (`tests/test_claims.py`).
    """
    left = "style='text-align:left'"
    heads = "".join(f"<th scope='col' {left}>{escape(text)}</th>" for text in header)
    body = "".join(
        f"<tr><th scope='row' {left}>{escape(first)}</th>"
        + "".join(f"<td {left}>{escape(text)}</td>" for text in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    return (
        f"<table>\n<caption {left}>{escape(caption)}</caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    )


def text_table(rows: Sequence[Row]) -> str:
    """A table in plain text, its columns aligned.

    Args:
        rows: one text for each column; the first row may hold headings.

    Returns:
        One line for each row, without spaces at its end.

    Example:
        >>> print(text_table([["claim", "verdict"], ["F3-ratio", "holds"]]))
        claim     verdict
        F3-ratio  holds

    Source: our own. Oracle: the lines of the example.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
