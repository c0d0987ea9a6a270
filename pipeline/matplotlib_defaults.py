"""Import Matplotlib whatever a person's settings are. Imported before anything else imports it.

A Jupyter kernel names its own backend in the environment of all that it starts; where that backend is not installed,
`import matplotlib` fails. What a `matplotlibrc` says, `pipeline.reporting.style` takes back. The backend is left as it
is: figures are made without pyplot and written by Agg, so that a notebook that uses them keeps its own plots.
"""

import contextlib
import os

_backend = os.environ.pop("MPLBACKEND", None)

import matplotlib  # noqa: E402

if _backend is not None:
    os.environ["MPLBACKEND"] = _backend
    with contextlib.suppress(ValueError):  # not installed here
        matplotlib.rcParams["backend"] = _backend
