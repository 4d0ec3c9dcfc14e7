"""Checks of arguments that several chapters take: flags, sizes, real numbers, sequences.

The chapters call them before they record anything; what goes wrong is said in the name of the user's call and
of the argument. Axes, shapes and data types are record.py's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from toonygrad import dtypes, record

# Positions are int64, so no axis has more elements.
MOST_ELEMENTS = int(np.iinfo(dtypes.INDEX).max)


def flag(call: str, name: str, value: Any) -> bool:
    """A yes or no; integers count, as NumPy has it, but not whatever Python finds true.

    Raises
    ------
    TypeError
        It is neither a truth value nor an integer.
    """
    if value is False or value is True:
        return value
    if isinstance(value, (bool, int, np.bool_, np.integer)):
        return bool(value)
    raise TypeError(f"{call}: {name} must be True or False, not {type(value).__name__}")


def copying(call: str, value: Any) -> bool | None:
    """The argument `copy`: yes, no, or None where it doesn't matter; TypeError where it is anything else."""
    return None if value is None else flag(call, "copy", value)


def size(call: str, name: str, value: Any) -> int:
    """How many elements an axis is to have.

    Raises
    ------
    TypeError
        It isn't an integer.
    ValueError
        It is negative, or more than an axis can have.
    """
    count = record.integer(call, name, value)
    if not 0 <= count <= MOST_ELEMENTS:
        raise ValueError(f"{call}: {name} can't be negative or past {MOST_ELEMENTS}, as {count} is")
    return count


def real(call: str, name: str, value: Any) -> float:
    """A Python or NumPy number as a float.

    Raises
    ------
    TypeError
        It is no number, or a complex one.
    OverflowError
        It is an integer past the range of float64.
    """
    number = record.python_number(call, value)
    if isinstance(number, complex):
        raise TypeError(f"{call}: {name} must be real, not {number}")
    try:
        return float(number)
    except OverflowError:
        raise OverflowError(f"{call}: {name} is out of bounds for float64") from None


def sequence(call: str, name: str, values: Any) -> tuple[Any, ...]:
    """Several values in their order, each still to be checked.

    Raises
    ------
    TypeError
        It can't be gone through.
    """
    if not isinstance(values, Iterable):
        raise TypeError(f"{call}: {name} must be a sequence, not {type(values).__name__}")
    return tuple(values)
