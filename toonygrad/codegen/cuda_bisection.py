"""Searching in a sorted array on a GPU, as a kernel in the dialect; `runtime/cuda_sorting.py` runs it.

Imports the dialect, the data types and the CPU's condition.
"""

from __future__ import annotations

import functools

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.bisection import before
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.python_source import KernelSource

__all__ = ["places_source"]


@functools.cache
def places_source(dtype: np.dtype, side: str) -> KernelSource:
    """Where values belong in `ordered`, of at least one element; a thread has one value.

    After each of `steps` halvings, ceil(log2(size)) of them, what is left is as long for all values, so every
    element read is one of the array.
    """
    element = np.dtype(np.uint8) if dtype == dtypes.bool_ else dtype
    is_before = before(dtype, side)
    name = f"cuda_bisect_{side}_{dtype.name}"
    text = f"""\
def {name}(out, ordered, values, size, steps, count):
    i = block_x() * threads_x() + thread_x()
    if i < count:
        value = values[i]
        found = 0
        length = size
        for step in range(steps):
            half = quotient(length, 2)
            element = ordered[found + half - 1]
            found = found + where({is_before}, half, 0)
            length = length - half
        element = ordered[found]
        out[i] = found + where({is_before}, 1, 0)
"""
    pointers = (("out", dtypes.int64), ("ordered", element), ("values", element))
    parameters = [Parameter(pointer, "pointer", kind) for pointer, kind in pointers]
    parameters += [Parameter(integer, "integer", dtypes.int64) for integer in ("size", "steps", "count")]
    return KernelSource(name, text, tuple(parameters))
