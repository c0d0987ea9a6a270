"""A part of a page: a template that holds the words, what it is filled with, and figures."""

import base64
import functools
import gc
import multiprocessing
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jinja2
from matplotlib.figure import Figure

from pipeline.reporting import formats, predicates
from pipeline.reporting.style import as_png


@dataclass(frozen=True)
class Section:
    """One section of a report.

    template : `templates/<template>.html.j2`, which sets `title`. context : the data of its tables and sentences.
    figures : what it shows, by file name, each stored as `<name>.png` and in the template `pictures["<name>"]`.
    """

    template: str
    context: Mapping[str, Any]
    figures: Mapping[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A section made: its title, its HTML with the figures in it, and the figures as PNG files by name."""

    title: str
    html: str
    pictures: Mapping[str, bytes]


def draw(section: Section) -> Drawn:
    """Draw its figures and fill its template; a name that its data lack is an error (jinja2.UndefinedError)."""
    pictures = {name: as_png(figure) for name, figure in section.figures.items()}
    embedded = {name: base64.b64encode(picture).decode() for name, picture in pictures.items()}
    module = (
        environment().get_template(f"{section.template}.html.j2").make_module({**section.context, "pictures": embedded})
    )
    return Drawn(str(getattr(module, "title")), str(module), pictures)  # noqa: B009  a template sets it


def draw_all(makers: Sequence[Callable[[], Section]], workers: int = 1) -> list[Drawn]:
    """Make and draw sections, side by side in so many processes where the system can fork; the same bytes with any."""
    if workers < 2 or "fork" not in multiprocessing.get_all_start_methods():
        return [draw(make()) for make in makers]
    _forked.extend(makers)  # a forked process has them; frames and figures need no pickling
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of BLAS are idle, and know of forks
            with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _unswept) as pool:
                return list(pool.map(_draw_forked, range(len(makers))))
    finally:
        _forked.clear()


_forked: list[Callable[[], Section]] = []


def _unswept() -> None:
    """A process that only draws ends soon: looking for garbage among its thousands of artists is a sixth of its time."""
    gc.disable()


def _draw_forked(index: int) -> Drawn:
    return draw(_forked[index]())


@functools.cache
def environment() -> jinja2.Environment:
    """Where templates come from, and the numbers' formats and verdicts' predicates that they may use."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.reporting", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for function in (formats.percent, formats.rate, formats.number, formats.points, formats.length_of, formats.area,
                     formats.unbroken, formats.sentence):  # fmt: skip
        found.filters[function.__name__] = function
    for predicate in (predicates.gains, predicates.loses, predicates.same_effort, predicates.looks_cut, predicates.stands, predicates.size_against, predicates.too_few):  # fmt: skip
        found.globals[predicate.__name__] = predicate
    return found
