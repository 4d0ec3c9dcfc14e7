"""Operations that a library does better than a generated kernel, as opaque nodes: name -> routine.

A routine takes NumPy views of its sources, the node's parameters and the array to fill. Called by plans;
knows NumPy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def _matmul(sources: Sequence[np.ndarray], parameters: tuple[Any, ...], out: np.ndarray) -> None:
    left, right = sources
    np.matmul(left, right, out=out)


EXTERNAL: dict[str, Callable[[Sequence[np.ndarray], tuple[Any, ...], np.ndarray], None]] = {
    "matmul": _matmul,
}
