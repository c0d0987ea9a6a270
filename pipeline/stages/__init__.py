"""One thin script a stage. Under DVC each ends with it: killed alone and started again, DVC would start another beside.

Here, before what takes seconds to import: whoever's parent has ended by then never learns who it was; and Ctrl-C in
those seconds is no error of ours.
"""

import os
import sys
from types import TracebackType

from pipeline.processes import end_with_dvc


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted: nothing was begun", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say
if "DVC_STAGE" in os.environ:
    end_with_dvc()
