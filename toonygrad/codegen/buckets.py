"""Sharing elements out among buckets by their order, as kernels that `runtime/sorting.py` runs.

What belongs in bucket k stands between the pivots k - 1 and k, so that sorted buckets one behind the other
are sorted. Blocks of elements are the parallel steps. Imports the dialect and the data types.
"""

from __future__ import annotations

import functools

import numpy as np

from toonygrad import dtypes
from toonygrad.codegen.cpu import Parameter
from toonygrad.codegen.python_source import KernelSource

__all__ = ["count_source", "move_source"]

# Elements whose buckets are found together, in vectors, before they are moved one by one.
TOGETHER = 1024

_INTEGERS = tuple(Parameter(name, "integer", dtypes.int64) for name in ("size", "block", "pivots"))


def _pointer(name: str, dtype: np.dtype) -> Parameter:
    return Parameter(name, "pointer", dtype)


@functools.cache
def count_source(dtype: np.dtype) -> KernelSource:
    """For each block and pivot how many elements aren't below it. NaN is below none."""
    name = f"count_buckets_{dtype.name}"
    text = f"""\
def {name}(counts, given, pivot, size, block, pivots, lo, hi):
    for step in range(lo, hi):
        first = step * block
        last = minimum(first + block, size)
        for k in range(pivots):
            value = pivot[k]
            count = 0
            for i in range(first, last):
                count = count + where(given[i] < value, 0, 1)
            counts[step * pivots + k] = count
"""
    pointers = (_pointer("counts", dtypes.int64), _pointer("given", dtype), _pointer("pivot", dtype))
    return KernelSource(name, text, (*pointers, *_INTEGERS))


@functools.cache
def move_source(dtype: np.dtype) -> KernelSource:
    """The elements of each block to the places of their buckets, `pivots` + 1 of them for each block."""
    name = f"move_to_buckets_{dtype.name}"
    text = f"""\
def {name}(out, places, given, pivot, size, block, pivots, lo, hi):
    bucket = int64_scratch({TOGETHER})
    for step in range(lo, hi):
        last = minimum((step + 1) * block, size)
        for part in range(quotient(block + {TOGETHER - 1}, {TOGETHER})):
            first = step * block + part * {TOGETHER}
            width = minimum(last - first, {TOGETHER})
            for i in range(width):
                bucket[i] = step * (pivots + 1)
            for k in range(pivots):
                value = pivot[k]
                for i in range(width):
                    bucket[i] = bucket[i] + where(given[first + i] < value, 0, 1)
            for i in range(width):
                to = places[bucket[i]]
                out[to] = given[first + i]
                places[bucket[i]] = to + 1
"""
    pointers = (
        *(_pointer("out", dtype), _pointer("places", dtypes.int64)),
        *(_pointer("given", dtype), _pointer("pivot", dtype)),
    )
    return KernelSource(name, text, (*pointers, *_INTEGERS))
