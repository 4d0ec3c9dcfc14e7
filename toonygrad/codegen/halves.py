"""Sharing elements out among two halves of their order, as kernels that `runtime/sorting.py` runs.

Each half sorted, one behind the other, they are sorted. Blocks of elements are the parallel steps. Imports
the dialect and the data types.
"""

from __future__ import annotations

import functools

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.python_source import KernelSource

__all__ = ["count_source", "move_source"]

# Elements that are told apart in scratch memory before they are moved to their places in two runs.
TOGETHER = 1024

_INTEGERS = tuple(Parameter(name, "integer", dtypes.int64) for name in ("size", "block"))


def _pointer(name: str, dtype: np.dtype) -> Parameter:
    return Parameter(name, "pointer", dtype)


@functools.cache
def count_source(dtype: np.dtype) -> KernelSource:
    """For each block how many elements are below the pivot. NaN isn't."""
    name = f"count_below_{dtype.name}"
    text = f"""\
def {name}(counts, given, pivot, size, block, lo, hi):
    value = pivot[0]
    for step in range(lo, hi):
        first = step * block
        count = 0
        for i in range(first, minimum(first + block, size)):
            count = count + where(given[i] < value, 1, 0)
        counts[step] = count
"""
    pointers = (_pointer("counts", dtypes.int64), _pointer("given", dtype), _pointer("pivot", dtype))
    return KernelSource(name, text, (*pointers, *_INTEGERS))


@functools.cache
def move_source(dtype: np.dtype) -> KernelSource:
    """The elements of each block to two places: from there on those below the pivot, and the others.

    Every element is written to both runs and counted in one, so that nothing depends on guessing which.
    """
    name = f"move_to_halves_{dtype.name}"
    text = f"""\
def {name}(out, places, given, pivot, size, block, lo, hi):
    low = {dtype.name}_scratch({TOGETHER})
    high = {dtype.name}_scratch({TOGETHER})
    value = pivot[0]
    for step in range(lo, hi):
        last = minimum((step + 1) * block, size)
        below = places[2 * step]
        above = places[2 * step + 1]
        for part in range(quotient(last - step * block + {TOGETHER - 1}, {TOGETHER})):
            first = step * block + part * {TOGETHER}
            lows = 0
            highs = 0
            for i in range(first, minimum(first + {TOGETHER}, last)):
                x = given[i]
                low[lows] = x
                high[highs] = x
                is_low = where(x < value, 1, 0)
                lows = lows + is_low
                highs = highs + (1 - is_low)
            for i in range(lows):
                out[below + i] = low[i]
            for i in range(highs):
                out[above + i] = high[i]
            below = below + lows
            above = above + highs
"""
    pointers = (
        *(_pointer("out", dtype), _pointer("places", dtypes.int64)),
        *(_pointer("given", dtype), _pointer("pivot", dtype)),
    )
    return KernelSource(name, text, (*pointers, *_INTEGERS))
