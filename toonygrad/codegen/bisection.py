"""Searching in a sorted array, as a kernel in the dialect; `runtime/sorting.py` runs it.

Imports the dialect and the data types.
"""

from __future__ import annotations

import functools

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.python_source import KernelSource

__all__ = ["GROUP", "before", "places_source"]

# Values sought side by side, in the lanes of vectors: one by one each waits for its own elements.
GROUP = 64


def before(dtype: np.dtype, side: str) -> str:
    """The condition, as text, that `element` stands before the place where `value` belongs."""
    condition = "element < value" if side == "left" else "element <= value"
    if dtype.kind != "f":
        return condition
    # NaN counts as the greatest.
    absent = "(value != value) & (element == element)" if side == "left" else "value != value"
    return f"({condition}) | ({absent})"


@functools.cache
def places_source(dtype: np.dtype, side: str) -> KernelSource:
    """Where values belong in `ordered`, of at least one element; a parallel step has a group of values.

    After each of `steps` halvings, ceil(log2(size)) of them, what is left is as long for all values, so every
    element read is one of the array.
    """
    element = np.dtype(np.uint8) if dtype == dtypes.bool_ else dtype
    is_before = before(dtype, side)
    name = f"bisect_{side}_{dtype.name}"
    text = f"""\
def {name}(out, ordered, values, size, steps, count, lo, hi):
    sought = {element.name}_scratch({GROUP})
    found = int64_scratch({GROUP})
    for group in range(lo, hi):
        start = group * {GROUP}
        for k in range({GROUP}):
            sought[k] = values[minimum(start + k, count - 1)]
            found[k] = 0
        length = size
        for step in range(steps):
            half = quotient(length, 2)
            for k in range({GROUP}):
                value = sought[k]
                element = ordered[found[k] + half - 1]
                found[k] = found[k] + where({is_before}, half, 0)
            length = length - half
        for k in range(minimum({GROUP}, count - start)):
            value = sought[k]
            element = ordered[found[k]]
            out[start + k] = found[k] + where({is_before}, 1, 0)
"""
    pointers = (("out", dtypes.int64), ("ordered", element), ("values", element))
    parameters = [Parameter(pointer, "pointer", kind) for pointer, kind in pointers]
    parameters += [Parameter(integer, "integer", dtypes.int64) for integer in ("size", "steps", "count")]
    return KernelSource(name, text, tuple(parameters))
