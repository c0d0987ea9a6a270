"""What else than arrays a task of the mapper has to keep."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def packed(value: Any) -> NDArray[np.uint8]:
    """Anything that JSON knows, as bytes among arrays."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def unpacked(array: NDArray[np.uint8]) -> Any:
    """What `packed` was given."""
    return json.loads(array.tobytes())
