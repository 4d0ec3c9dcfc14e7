"""The exceptions users meet, and the words of the most frequent ones: call, shapes and data types.

Bad arguments end in Python's own TypeError, ValueError or IndexError; the classes here are for what only an
array engine can meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class CompileError(RuntimeError):
    """A generated kernel could not be compiled: a defect of the engine; the message names the kernel."""


class CacheWarning(RuntimeWarning):
    """The kernels on disk can't be used; kernels are compiled in memory instead."""


def dtype_error(call: str, wanted: str, *given: Any) -> TypeError:
    """A TypeError: `call` takes `wanted` data types and was given others."""
    if "float16" in map(str, given):
        return storage_error(call)
    return TypeError(f"{call}: {wanted} data types are allowed, not {', '.join(map(str, given))}")


def storage_error(call: str) -> TypeError:
    """A TypeError: `call` computes, and was given float16."""
    return TypeError(f"{call}: float16 is for storage; convert with astype(float32) to compute")


def mixed_error(call: str, given: Iterable[Any]) -> TypeError:
    """A TypeError: the data types of the operands of `call` have no common one."""
    kinds = " and ".join(map(str, given))
    return TypeError(f"{call}: no common data type for {kinds}; convert one of them with astype")


def shapes_error(call: str, shapes: Iterable[Sequence[int]]) -> ValueError:
    """A ValueError: the operands of `call` don't broadcast."""
    return ValueError(
        f"{call}: shapes {' and '.join(str(tuple(s)) for s in shapes)} do not broadcast together"
    )


def axis_error(call: str, axis: int, ndim: int) -> IndexError:
    """An IndexError: `axis` doesn't exist in an array of `ndim` dimensions."""
    return IndexError(
        f"{call}: axis {axis} is out of bounds for an array of {ndim} dimension{'s' * (ndim != 1)}"
    )
