"""What this machine can compute in."""

import pytest
import torch

from pipeline.devices import check_bfloat16
from pipeline.errors import PipelineError


def able() -> bool:
    try:
        check_bfloat16(torch.device("cpu"))
    except PipelineError:
        return False
    return True


needs_bfloat16 = pytest.mark.skipif(not able(), reason="this CPU does not compute in bfloat16, or may not")
