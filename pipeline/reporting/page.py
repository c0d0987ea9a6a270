"""Sections into one HTML page that needs nothing beside it, and the page that leads to the studies' pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.reporting.comparison import Comparison, compared
from pipeline.reporting.pairs import pair_tables
from pipeline.reporting.section import Drawn, environment


def render_page(title: str, sections: Sequence[Drawn]) -> str:
    """The page of one study, its pictures embedded."""
    return environment().get_template("report.html.j2").render(title=title, sections=sections)


def render_index(metrics_by_study: Mapping[str, Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page that leads to the studies' pages, with a comparison of their main numbers.

    pairs : of studies on the same images, what `stages.transfer` found.
    """
    comparison: Comparison = compared(metrics_by_study)
    tables = [pair_tables(pair, metrics_by_study.values()) for pair in pairs]
    return environment().get_template("index.html.j2").render(comparison=comparison, pairs=tables)
