"""`data/curves/<study>/<model>.csv`: learning curves, one row per epoch and split."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts.files import damaged, replacing, unreadable
from pipeline.errors import PipelineError


def write_curves(path: Path, rows: Sequence[Any], kind: type[Any] | None = None) -> None:
    """Write dataclass instances of one type, a column per field, floats to 6 digits.

    kind : their type, where there may be none of them: a header is then written alone.
    """
    names = [field.name for field in fields(kind or rows[0])]
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(names)
        for row in rows:
            values = asdict(row)
            writer.writerow(f"{values[n]:.6g}" if isinstance(values[n], float) else values[n] for n in names)


def read_curves(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """The table back; PipelineError if it is missing, no CSV, or lacks one of `columns`."""
    expected = list(columns)
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; expected a table of curves: run dvc repro") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise unreadable(path, "a CSV file", error) from None
    if missing := [name for name in expected if name not in table]:
        raise damaged(path, f"expected the columns {', '.join(expected)}, found no {missing[0]}")
    return table
