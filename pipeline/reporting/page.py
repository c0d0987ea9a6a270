"""Sections and figures into one HTML page that needs nothing beside it."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from pipeline.reporting.section import Section


def render_page(template: str, title: str, sections: Sequence[Section], pictures: Mapping[str, bytes]) -> str:
    """The page of one dataset, its PNG pictures embedded."""
    return (
        _environment()
        .from_string(template)
        .render(
            title=title,
            sections=sections,
            pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
        )
    )


def render_index(template: str, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The page that leads to the datasets' pages, with their main numbers."""
    return _environment().from_string(template).render(metrics=metrics)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
