"""The parts that a report is made of."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from matplotlib.figure import Figure


@dataclass
class Section:
    """A titled run of paragraphs, tables and figures, in reading order.

    `blocks` holds HTML; `figures` holds what each `figure` block shows, by file name.
    """

    title: str
    blocks: list[tuple[str, str, str]] = field(default_factory=list)  # kind, HTML or name, caption
    figures: dict[str, Figure] = field(default_factory=dict)

    def text(self, words: str) -> None:
        """A paragraph of plain text."""
        self.blocks.append(("html", f"<p>{escape(words)}</p>", ""))

    def heading(self, words: str) -> None:
        """A heading inside the section."""
        self.blocks.append(("html", f"<h3>{escape(words)}</h3>", ""))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> None:
        """A table of texts; the first column is the row's name."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join(
            f"<tr><th>{escape(row[0])}</th>"
            + "".join(f"<td>{_unbroken(escape(cell))}</td>" for cell in row[1:])
            + "</tr>"
            for row in rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        html = f"<figure><figcaption>{escape(caption)}</figcaption>{table}</figure>"
        self.blocks.append(("html", html, ""))

    def figure(self, name: str, figure: Figure, caption: str) -> None:
        """A figure, stored as `<name>.png`."""
        self.figures[name] = figure
        self.blocks.append(("figure", name, caption))


def _unbroken(cell: str) -> str:
    """No line may end within an interval or between a number and its percent sign."""
    return re.sub(r"(?<=\d) %|, (?=[^\[\]]*\])", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), cell)


def percent(value: float, digits: int = 1) -> str:
    """0.123 as 12.3 %."""
    return f"{100 * value:.{digits}f} %"


def rate(entry: Mapping[str, float], digits: int = 1) -> str:
    """A {value, low, high} as "12.3 % [11.0, 13.5]"."""
    low, high = (f"{100 * entry[end]:.{digits}f}" for end in ("low", "high"))
    return f"{percent(entry['value'], digits)} [{low}, {high}]"


def number(value: float) -> str:
    """Three significant digits, as in the paper's Table 1."""
    return "0" if value == 0 else f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.2e}"


def points(entry: Mapping[str, float]) -> str:
    """A difference of rates {value, low, high} as "-1.2 points [-2.0, -0.4]"."""
    value, low, high = (f"{round(100 * entry[end], 1) + 0:+.1f}" for end in ("value", "low", "high"))  # + 0: no "-0.0"
    return f"{value} points [{low}, {high}]"
