"""Questions about data types, and conversion (the standard's chapter "Data type functions").

Re-exported by toonygrad. Types are decided by dtypes.py's promotion table alone; only `astype` records
anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from toonygrad import dtypes, record
from toonygrad.array import Array, array_node, converted, from_node, node_of
from toonygrad.array_api.arguments import flag
from toonygrad.dtypes import DTypeLike
from toonygrad.errors import dtype_error, mixed_error
from toonygrad.placement import chosen

__all__ = ["FloatLimits", "IntegerLimits", "astype", "can_cast", "finfo", "iinfo", "isdtype", "result_type"]

Scalar = bool | int | float | complex


@dataclass(frozen=True)
class FloatLimits:
    """What `finfo` answers: the limits of a real floating-point type, as Python floats."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype


@dataclass(frozen=True)
class IntegerLimits:
    """What `iinfo` answers: the limits of an integer type, as Python integers."""

    bits: int
    max: int
    min: int
    dtype: np.dtype


_FLOAT_LIMITS: dict[np.dtype, FloatLimits] = {
    dtype: FloatLimits(
        limits.bits,
        float(limits.eps),
        float(limits.max),
        float(limits.min),
        float(limits.smallest_normal),
        dtype,
    )
    for dtype, limits in ((dtype, np.finfo(dtype)) for dtype in (dtypes.float16, *dtypes.REAL_FLOATING))
}
_INTEGER_LIMITS: dict[np.dtype, IntegerLimits] = {
    dtype: IntegerLimits(limits.bits, int(limits.max), int(limits.min), dtype)
    for dtype, limits in ((dtype, np.iinfo(dtype)) for dtype in dtypes.INTEGERS)
}


def astype(x: Array, dtype: DTypeLike, /, *, copy: bool = True, device: str | None = None) -> Array:
    """Convert to another data type, whatever that loses but an imaginary part.

    Floats become integers by truncation; what lies outside the range becomes its nearest end, and NaN 0.
    Integers wrap.

    Parameters
    ----------
    x : Array
        Any shape, any data type.
    dtype
        The data type wanted.
    copy : bool
        If False and `x` has the type already, `x` itself is returned.
    device : str, optional
        "cpu", or None for that of `x`.

    Returns
    -------
    Array
        Of the shape of `x`.

    Raises
    ------
    TypeError
        `dtype` is none of the standard's, or `x` is complex and `dtype` real.
    ValueError
        There is no such device.

    Notes
    -----
    The standard's "Data type functions", `astype`.
    """
    node = array_node("astype", x)
    place = chosen("astype", device, node)
    target = record.data_type("astype", dtype)
    x = x.to_device(place)
    if not flag("astype", "copy", copy) and node.dtype == target:
        return x
    return from_node(converted("astype", node_of(x), target))


def can_cast(from_: DTypeLike | Array, to: DTypeLike, /) -> bool:
    """Whether promotion takes one data type to another.

    Parameters
    ----------
    from_ : dtype or Array
        Where from; of an array its data type counts.
    to
        Where to.

    Raises
    ------
    TypeError
        An argument is none of the standard's data types.

    Notes
    -----
    The standard's "Data type functions", `can_cast`. Integers go to the floats that NumPy takes them to.
    """
    source, target = _data_type_of("can_cast", from_), record.data_type("can_cast", to)
    common = dtypes.PROMOTION.get((source, target))
    return common is not None and common == target


def finfo(type: DTypeLike | Array, /) -> FloatLimits:
    """Limits of a floating-point data type; of a complex one, those of its parts.

    Parameters
    ----------
    type : dtype or Array
        Of an array its data type counts.

    Returns
    -------
    FloatLimits
        With `bits`, `eps`, `max`, `min`, `smallest_normal` and `dtype`.

    Raises
    ------
    TypeError
        The type isn't a floating-point one.

    Notes
    -----
    The standard's "Data type functions", `finfo`.
    """
    dtype = _data_type_of("finfo", type)
    limits = _FLOAT_LIMITS.get(dtypes.REAL_PART.get(dtype, dtype))
    if limits is None:
        raise dtype_error("finfo", "floating", dtype)
    return limits


def iinfo(type: DTypeLike | Array, /) -> IntegerLimits:
    """Limits of an integer data type.

    Parameters
    ----------
    type : dtype or Array
        Of an array its data type counts.

    Returns
    -------
    IntegerLimits
        With `bits`, `max`, `min` and `dtype`.

    Raises
    ------
    TypeError
        The type isn't an integer one.

    Notes
    -----
    The standard's "Data type functions", `iinfo`.
    """
    dtype = _data_type_of("iinfo", type)
    if dtype not in _INTEGER_LIMITS:
        raise dtype_error("iinfo", "integral", dtype)
    return _INTEGER_LIMITS[dtype]


def isdtype(dtype: DTypeLike, kind: DTypeLike | tuple[DTypeLike, ...]) -> bool:
    """Whether a data type is of a kind.

    Parameters
    ----------
    dtype
        The type asked about.
    kind : dtype, str or tuple of them
        A data type; "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex
        floating" or "numeric"; or several, of which one is enough.

    Raises
    ------
    TypeError
        `dtype` or a type in `kind` is none of the standard's.
    ValueError
        There is no kind of that name.

    Notes
    -----
    The standard's "Data type functions", `isdtype`. float16 is of no kind, for nothing computes with it.
    """
    asked = record.data_type("isdtype", dtype)
    kinds = [_of_kind(one) for one in (kind if isinstance(kind, tuple) else (kind,))]
    return any(asked in each for each in kinds)


def result_type(*arrays_and_dtypes: Array | Scalar | DTypeLike) -> np.dtype:
    """The data type of a result of these operands.

    Parameters
    ----------
    *arrays_and_dtypes : Array, dtype or Python scalar
        At least one Array or data type.

    Raises
    ------
    TypeError
        The operands have no common data type, or all are Python scalars.

    Notes
    -----
    The standard's "Data type functions", `result_type`, and "Type promotion rules".
    """
    common: np.dtype | None = None
    scalars: list[Scalar] = []
    for given in arrays_and_dtypes:
        if isinstance(given, (bool, int, float, complex)) and not isinstance(given, np.generic):
            scalars.append(given)
            continue
        dtype = _data_type_of("result_type", given)
        joined = dtype if common is None else dtypes.PROMOTION.get((common, dtype))
        if joined is None:
            raise mixed_error("result_type", (common, dtype))
        common = joined
    if common is None:
        raise TypeError("result_type: at least one operand must be an Array or a data type")
    for scalar in scalars:
        number = record.python_number("result_type", scalar)
        joined = dtypes.scalar_dtype(number, common)
        if joined is None:
            raise mixed_error("result_type", (common, f"a Python {type(number).__name__}"))
        common = joined
    return common


# The kinds that `isdtype` and the inspection of the namespace know.
KINDS = (
    "bool",
    "signed integer",
    "unsigned integer",
    "integral",
    "real floating",
    "complex floating",
    "numeric",
)


def _of_kind(kind: DTypeLike) -> tuple[np.dtype, ...]:
    if not isinstance(kind, str):
        return (record.data_type("isdtype", kind),)
    if kind not in KINDS:
        raise ValueError(f"isdtype: no kind {kind!r}; there are {', '.join(map(repr, KINDS))}")
    return dtypes.CATEGORIES[kind]


def _data_type_of(call: str, given: Any) -> np.dtype:
    return record.data_type(call, given.dtype if isinstance(given, (Array, np.generic)) else given)
