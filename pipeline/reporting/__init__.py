"""Data frames and metrics to tables, figures and pages; see `pipeline.reporting.report`. Reads no data, imports no torch."""

from pipeline import matplotlib_defaults  # noqa: F401  before any module of this room imports Matplotlib
