"""Figures do not depend on a person's settings of Matplotlib."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.root import ROOT

DRAW = """
import hashlib
from pipeline.reporting.heatmaps import heatmap
from pipeline.reporting.style import as_png, new_figure
import numpy as np
figure, axes = new_figure(4, 3)
heatmap(axes[0, 0], np.eye(3), ("a", "b", "c"), "title")
axes[0, 0].plot([0, 1], [0, 1])
print(hashlib.sha256(as_png(figure)).hexdigest())
"""
RC = "font.size: 20\nlines.linewidth: 5\naxes.grid: True\nsavefig.dpi: 30\nfont.family: monospace\n"


def drawn(**settings: str) -> str:
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", DRAW],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def plain() -> str:
    return drawn()


def test_a_jupyter_kernels_backend_changes_nothing(plain: str) -> None:
    assert drawn(MPLBACKEND="module://matplotlib_inline.backend_inline") == plain
    assert drawn(MPLBACKEND="no such backend") == plain


def test_a_matplotlibrc_changes_nothing(plain: str, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(RC, encoding="utf-8")
    assert drawn(MATPLOTLIBRC=str(tmp_path / "matplotlibrc")) == plain


def test_reporting_imports_neither_torch_nor_scipy_nor_pyplot() -> None:
    code = (
        "import sys, pipeline.reporting.report, pipeline.reporting.results_page, pipeline.reporting.page\n"
        "print({'torch', 'scipy', 'sklearn', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
